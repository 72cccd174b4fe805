"""One Envoy's delta ADS stream, without I/O: requests and snapshots in, actions out.

The session compares what Envoy has (`_Held`) with what it should have (`publish`) and sends the difference, in order:

1. A name Envoy just asked for, and its first request of all clusters or listeners, is answered at once: Envoy asks
   because something it already has waits for it.
2. Everything else follows the phases of `resource_types`; a phase starts when all before it are acknowledged.
3. Envoy acknowledges clusters only when none is warming any more, so routes wait for that; but one name that does not
   resolve must not keep every other change waiting. And before anything is removed, requests in flight get time to end.
   The session says `Hold` and goes on at `release` at the latest: time is the shell's.
4. After a NACK nothing more of that snapshot is sent, and a refused version of a resource is not sent again as long as
   snapshots hold it: the next `publish` decides what Envoy gets instead (see `withhold`). Where Envoy names none of
   several resources, they are sent again in halves until it is known which: one bad resource costs only itself.

Versions are content hashes, so what Envoy says it has when it reconnects is compared as it is, across controllers.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from headgate.controller.xds.references import Reference
from headgate.controller.xds.resource_types import (
    EXTENSION,
    LISTENER,
    RESOURCE_TYPES,
    ROUTE,
    TYPES_BY_URL,
    Phase,
)
from headgate.controller.xds.snapshot import Resource, Snapshot

WILDCARD = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A DeltaDiscoveryRequest."""

    type_url: str
    nonce: str = ""
    error: str | None = None
    """Envoy's words if it refused the response `nonce`; None if it took it."""
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """A DeltaDiscoveryResponse to write, in the order of the actions."""

    type_url: str
    nonce: str
    snapshot_version: str
    resources: tuple[Resource, ...] = ()
    removed: tuple[str, ...] = ()


class HoldReason(StrEnum):
    """What a `Hold` waits for."""

    WARMING = "warming"
    """Clusters to be acknowledged, that is to be warm. Ends by itself when they are."""
    REMOVAL = "removal"
    """Requests that still use what is about to go."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The session waits until `release(ticket)`."""

    reason: HoldReason
    ticket: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """Envoy refused resources: those its words name, or the only one of the response."""

    type_url: str
    versions: Mapping[str, str]
    message: str
    snapshot_version: str

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.versions)


@dataclass(frozen=True, slots=True)
class Applied:
    """Envoy acknowledged everything new in the snapshot; what is old may still be there."""

    snapshot_version: str


Action = Send | Hold | Rejected | Applied

_UNKNOWN = ""
"""The version of a resource of which we do not know what Envoy has: it refused a response that held it."""


@dataclass(slots=True)
class _Held:
    """What Envoy has of one type, as far as we know."""

    subscribed: bool = False
    wildcard: bool = False
    names: set[str] = field(default_factory=set[str])
    versions: dict[str, str] = field(default_factory=dict[str, str])
    """What it has, or will have when it acknowledges what is under way."""
    asked: set[str] = field(default_factory=set[str])
    """Names it waits for; `*` for the first request of all."""
    refused: dict[str, set[str]] = field(default_factory=dict[str, set[str]])


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A response that is not acknowledged yet: name → version, and the names it removes."""

    type_url: str
    versions: Mapping[str, str]
    snapshot_version: str


class DeltaSession:
    """See the module. Every method returns what to do next, in order."""

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self._target = snapshot
        self._held: Mapping[str, _Held] = {row.url: _Held() for row in RESOURCE_TYPES}
        self._under_way: dict[str, _UnderWay] = {}
        self._nonce = 0
        self._ticket = 0
        self._warming: int | None = None
        self._overdue: set[str] = set()
        """Nonces under way that listeners and routes no longer wait for."""
        self._condemned: dict[Reference, int] = {}
        self._released_removals: set[int] = set()
        self._blocked = False
        self._applied_version: str | None = None

    def publish(self, snapshot: Snapshot) -> tuple[Action, ...]:
        """Makes `snapshot` what Envoy should have."""
        self._target = snapshot
        self._blocked = False
        for row in RESOURCE_TYPES:
            held, named = self._held[row.url], snapshot.resources[row.url]
            held.refused = {
                name: versions
                for name, versions in held.refused.items()
                if name in named and named[name].version in versions
            }
        return self._advance([])

    def receive(self, request: Request) -> tuple[Action, ...]:
        """Takes one request of Envoy's; one for a type we do not serve is ignored."""
        held = self._held.get(request.type_url)
        if held is None:
            return ()
        actions: list[Action] = []
        answered = self._under_way.pop(request.nonce, None) if request.nonce else None
        if answered is not None and request.error is not None:
            actions += self._refuse(answered, request.error, overdue=request.nonce in self._overdue)
        self._overdue.discard(request.nonce)
        self._subscribe(held, request)
        return self._advance(actions)

    def release(self, ticket: int) -> tuple[Action, ...]:
        """Ends a `Hold`; a ticket that is no longer waited for changes nothing."""
        if self._warming == ticket:
            self._warming = None
            self._overdue.update(self._under_way)
        elif ticket in self._condemned.values():
            self._released_removals.add(ticket)
        return self._advance([])

    def settled(self) -> bool:
        """Whether Envoy has exactly the snapshot, as far as it asked for it and did not refuse it."""
        return not self._under_way and not self._condemned and not self._differences()

    # --- what Envoy says

    def _subscribe(self, held: _Held, request: Request) -> None:
        first, held.subscribed = not held.subscribed, True
        held.versions.update(request.initial_versions)
        # https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#how-the-client-specifies-what-resources-to-return
        asks_all = WILDCARD in request.subscribe or (first and not request.subscribe)
        if asks_all and TYPES_BY_URL[request.type_url].wildcard:
            held.wildcard = True
            if not request.initial_versions:
                held.asked.add(WILDCARD)
        for name in request.subscribe:
            if name == WILDCARD:
                continue
            held.names.add(name)
            if name not in request.initial_versions:
                # A client may ask again for what it has dropped, whatever we think it has.
                held.versions.pop(name, None)
                held.asked.add(name)
        for name in request.unsubscribe:
            if name == WILDCARD:
                held.wildcard = False
            held.names.discard(name)
            held.asked.discard(name)
            if not held.wildcard:
                held.versions.pop(name, None)

    def _refuse(self, answered: _UnderWay, message: str, *, overdue: bool) -> Sequence[Action]:
        held = self._held[answered.type_url]
        for name, version in answered.versions.items():
            if held.versions.get(name) == version:
                held.versions[name] = _UNKNOWN
        blamed = _named(answered.versions, message)
        if not blamed and len(answered.versions) > 1:
            halves = self._send_halves(answered)
            if overdue:
                self._overdue.update(half.nonce for half in halves)
            return halves
        versions = {name: answered.versions[name] for name in blamed or answered.versions}
        for name, version in versions.items():
            held.refused.setdefault(name, set()).add(version)
        self._blocked = True
        snapshot_version = answered.snapshot_version
        return [
            Rejected(type_url=answered.type_url, versions=versions, message=message, snapshot_version=snapshot_version)
        ]

    def _send_halves(self, answered: _UnderWay) -> Sequence[Send]:
        """Sends again what a refused response held, in two, unless something newer of it is wanted or under way."""
        target, held = self._target, self._held[answered.type_url]
        if target is None:
            return ()
        named = target.resources[answered.type_url]
        again = [
            named[name]
            for name, version in answered.versions.items()
            if name in named and named[name].version == version and held.versions.get(name) == _UNKNOWN
        ]
        half = len(again) // 2
        return [self._send(target, answered.type_url, part, ()) for part in (again[:half], again[half:]) if part]

    # --- what to do next

    def _advance(self, actions: list[Action]) -> tuple[Action, ...]:
        if self._target is None:
            return tuple(actions)
        actions += self._answer_asked(self._target)
        if not self._blocked:
            self._run_phases(self._target, actions)
        return tuple(actions)

    def _run_phases(self, target: Snapshot, actions: list[Action]) -> None:
        for phase in (Phase.UPSTREAMS, Phase.LISTENERS, Phase.ROUTES):
            sent = self._send_phase(target, phase)
            actions += sent
            if sent and phase is Phase.UPSTREAMS:
                self._warming = self._next_ticket()
                actions.append(Hold(HoldReason.WARMING, self._warming))
            if self._phase_under_way(phase):
                return
        if self._under_way or not self._complete():
            return
        if self._applied_version != target.version:
            self._applied_version = target.version
            actions.append(Applied(target.version))
        self._remove(target, actions)

    def _answer_asked(self, target: Snapshot) -> Iterable[Send]:
        for row in RESOURCE_TYPES:
            held = self._held[row.url]
            if not held.asked:
                continue
            asked, held.asked = held.asked, set()
            named = target.resources[row.url]
            wanted = named.values() if WILDCARD in asked else [named[name] for name in sorted(asked & named.keys())]
            missing = sorted(asked - named.keys() - {WILDCARD})
            yield self._send(target, row.url, [r for r in wanted if not _is_refused(held, r)], missing)

    def _send_phase(self, target: Snapshot, phase: Phase) -> list[Send]:
        sent: list[Send] = []
        for row in RESOURCE_TYPES:
            if row.updates is not phase:
                continue
            changed = self._changed(target, row.url)
            removed = self._stale(target, row.url) if row.removals is phase else []
            if changed or removed:
                sent.append(self._send(target, row.url, changed, removed))
        return sent

    def _send(self, target: Snapshot, type_url: str, resources: Sequence[Resource], removed: Sequence[str]) -> Send:
        self._nonce += 1
        nonce = str(self._nonce)
        versions = {resource.name: resource.version for resource in resources}
        held = self._held[type_url]
        held.versions.update(versions)
        for name in removed:
            held.versions.pop(name, None)
        self._under_way[nonce] = _UnderWay(type_url, versions, target.version)
        return Send(
            type_url=type_url,
            nonce=nonce,
            snapshot_version=target.version,
            resources=tuple(resources),
            removed=tuple(removed),
        )

    def _remove(self, target: Snapshot, actions: list[Action]) -> None:
        """Condemns what is stale, and removes what was condemned before its ticket was released."""
        stale = {
            Reference(row.url, name)
            for row in RESOURCE_TYPES
            if row.removals is Phase.REMOVALS
            for name in self._stale(target, row.url)
        }
        self._condemned = {reference: ticket for reference, ticket in self._condemned.items() if reference in stale}
        due = {reference for reference, ticket in self._condemned.items() if ticket in self._released_removals}
        for row in RESOURCE_TYPES:
            names = sorted(reference.name for reference in due if reference.type_url == row.url)
            if names:
                actions.append(self._send(target, row.url, (), names))
        self._condemned = {r: ticket for r, ticket in self._condemned.items() if r not in due}
        self._released_removals &= set(self._condemned.values())
        fresh = stale - due - self._condemned.keys()
        if fresh:
            ticket = self._next_ticket()
            self._condemned.update(dict.fromkeys(fresh, ticket))
            actions.append(Hold(HoldReason.REMOVAL, ticket))

    def _next_ticket(self) -> int:
        self._ticket += 1
        return self._ticket

    # --- what differs

    def _changed(self, target: Snapshot, type_url: str) -> list[Resource]:
        held, named = self._held[type_url], target.resources[type_url]
        wanted = named.values() if held.wildcard else [named[name] for name in sorted(held.names & named.keys())]
        return [r for r in wanted if held.versions.get(r.name) != r.version and not _is_refused(held, r)]

    def _stale(self, target: Snapshot, type_url: str) -> list[str]:
        return sorted(self._held[type_url].versions.keys() - target.resources[type_url].keys())

    def _differences(self) -> bool:
        target = self._target
        if target is None:
            return False
        return any(self._changed(target, row.url) or self._stale(target, row.url) for row in RESOURCE_TYPES)

    def _phase_under_way(self, phase: Phase) -> bool:
        return any(
            TYPES_BY_URL[sent.type_url].updates <= phase
            for nonce, sent in self._under_way.items()
            if nonce not in self._overdue
        )

    def _complete(self) -> bool:
        """Whether Envoy asked for all there is and waits for no route configuration or filter of a listener that there
        is."""
        target = self._target
        if target is None or not all(self._held[row.url].subscribed for row in RESOURCE_TYPES if row.wildcard):
            return False
        return all(
            reference.name in self._held[reference.type_url].versions
            or reference.name not in target.resources[reference.type_url]
            for each in target.resources[LISTENER].values()
            if each.name in self._held[LISTENER].versions
            for reference in each.references
            if reference.type_url in (ROUTE, EXTENSION)
        )


def _is_refused(held: _Held, resource: Resource) -> bool:
    return resource.version in held.refused.get(resource.name, ())


def _named(versions: Mapping[str, str], message: str) -> Sequence[str]:
    """The names in `message`: Envoy names clusters and listeners (`Error adding/updating cluster(s) a: …, b: …`)."""
    return [name for name in versions if re.search(rf"(?<![\w/.-]){re.escape(name)}(?![\w/.-])", message)]
