"""Whether Envoy Gateway calls us, and what its calls told: pure, with the time as an argument.

Envoy Gateway has AI routes of ours to translate from the moment their HTTPRoutes are written. If no call has brought
them for `PATIENCE_SECONDS` since, it is not set up to ask us, and AI routes answer nothing. It asks one replica, which
need not be the leader: what the others have `Heard` comes from `peers`.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from headgate.compiler.envoy_gateway.routes import Problem

PATIENCE_SECONDS: Final = 30.0
TRANSLATIONS_MAX: Final = 256
"""Gateways (with mergeGateways, classes) that are translated, each by itself."""


class Hooks(Enum):
    """What is known of a Gateway's calls."""

    CALLED = "Called"
    WAITING = "Waiting"
    NEVER_CALLED = "NeverCalled"


REMEDY: Final = (
    "Envoy Gateway's configuration needs extensionManager.hooks.xdsTranslator.post: [Translation], its translation "
    "lists (listener, route, cluster, secret) with includeAll: true, and extensionManager.service with this server"
)


@dataclass(frozen=True, slots=True)
class Heard:
    """A replica's last call for some Gateways (`<ns>/<name>`) with AI routes, and what translating them found."""

    gateways: tuple[str, ...]
    at: float
    """Seconds since the epoch, by that replica's clock."""
    problems: tuple[Problem, ...] = ()


def newest(heard: Iterable[Heard]) -> Mapping[str, Heard]:
    """By Gateway: another replica may have been asked before this one."""
    found: dict[str, Heard] = {}
    for each in sorted(heard, key=lambda each: each.at):
        found.update(dict.fromkeys(each.gateways, each))
    return found


@dataclass(slots=True)
class HookLiveness:
    """What this replica has heard."""

    last_call: float | None = None
    """When Envoy Gateway last asked anything."""
    _expected: dict[str, float] = field(default_factory=dict[str, float])
    _heard: dict[str, Heard] = field(default_factory=dict[str, Heard])

    @property
    def heard(self) -> Collection[Heard]:
        return self._heard.values()

    def expect(self, gateways: frozenset[str], now: float) -> None:
        """These have AI routes now."""
        self._expected = {name: self._expected.get(name, now) for name in gateways}

    def hear(self, translation: str, heard: Heard) -> bool:
        """Envoy Gateway asked for a translation; whether that tells anything that the call before did not."""
        self.last_call = heard.at
        before = self._heard.pop(translation, None)
        if heard.gateways:
            self._heard[translation] = heard
        while len(self._heard) > TRANSLATIONS_MAX:
            self._heard.pop(next(iter(self._heard)))
        if before is None:
            return bool(heard.gateways)
        return (before.gateways, before.problems) != (heard.gateways, heard.problems)

    def states(self, now: float, elsewhere: Iterable[Heard] = ()) -> Mapping[str, Hooks]:
        """Every Gateway that has AI routes. `elsewhere` is what other replicas have heard."""
        called = newest((*self.heard, *elsewhere))
        return {name: self._state(name in called, since, now) for name, since in self._expected.items()}

    def _state(self, called: bool, since: float, now: float) -> Hooks:
        if called:
            return Hooks.CALLED
        return Hooks.NEVER_CALLED if now - since > PATIENCE_SECONDS else Hooks.WAITING

    def problems(self, elsewhere: Iterable[Heard] = ()) -> tuple[Problem, ...]:
        """What the newest translation of each Gateway that has AI routes has found."""
        called = newest((*self.heard, *elsewhere))
        found = (each for name, each in called.items() if name in self._expected)
        return tuple(dict.fromkeys(problem for each in found for problem in each.problems))
