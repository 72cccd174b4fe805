"""Whether Envoy Gateway calls us: pure, with the time as an argument.

Envoy Gateway has AI routes of ours to translate from the moment their HTTPRoutes are written. If no call has brought
them for `PATIENCE_SECONDS` since, it is not set up to ask us, and AI routes answer nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

PATIENCE_SECONDS: Final = 30.0


class Hooks(Enum):
    """What is known of a Gateway's calls."""

    CALLED = "Called"
    WAITING = "Waiting"
    NEVER_CALLED = "NeverCalled"


REMEDY: Final = (
    "Envoy Gateway's configuration needs extensionManager.hooks.xdsTranslator.post: [Translation], its translation "
    "lists (listener, route, cluster, secret) with includeAll: true, and extensionManager.service with this server"
)


@dataclass(slots=True)
class HookLiveness:
    """Calls by Gateway (`<ns>/<name>`)."""

    called: dict[str, float] = field(default_factory=dict[str, float])
    """When a call last brought AI routes of it."""
    _expected: dict[str, float] = field(default_factory=dict[str, float])
    last_call: float | None = None
    """When Envoy Gateway last asked anything."""

    def expect(self, gateways: frozenset[str], now: float) -> None:
        """These have AI routes now."""
        self._expected = {name: self._expected.get(name, now) for name in gateways}

    def call(self, gateways: frozenset[str], now: float) -> None:
        """Envoy Gateway asked, with AI routes of these."""
        self.last_call = now
        for name in gateways:
            self.called[name] = now

    def states(self, now: float) -> Mapping[str, Hooks]:
        """Every Gateway that has AI routes."""
        return {name: self._state(name, since, now) for name, since in self._expected.items()}

    def _state(self, name: str, since: float, now: float) -> Hooks:
        if name in self.called:
            return Hooks.CALLED
        return Hooks.NEVER_CALLED if now - since > PATIENCE_SECONDS else Hooks.WAITING
