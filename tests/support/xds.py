"""An Envoy that is only its delta ADS client, for tests of the session: what it has, what it asks for, what it refuses.

It follows what the real one does: clusters first, listeners when all clusters are acknowledged, and names (secrets,
endpoints, filters, route configurations) as soon as something it took refers to them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from headgate.controller.xds.references import Reference
from headgate.controller.xds.resource_types import (
    CLUSTER,
    ENDPOINT,
    EXTENSION,
    LISTENER,
    ROUTE,
    SECRET,
    TYPES_BY_URL,
)
from headgate.controller.xds.session import Action, Applied, DeltaSession, Hold, Rejected, Request, Send
from headgate.controller.xds.snapshot import Resource, Snapshot, make_snapshot

Refuses = Callable[[Reference, str], bool]
"""(resource, version) → whether the model refuses it."""


def resource(type_url: str, name: str, version: str, refers: Iterable[Reference] = ()) -> tuple[Reference, Resource]:
    """A made-up resource; its body is never read."""
    return Reference(type_url, name), Resource(name, version, b"", frozenset(refers))


def cluster(name: str, version: str = "1", *, secret: str = "", endpoints: bool = False) -> tuple[Reference, Resource]:
    refers = [Reference(SECRET, secret)] if secret else []
    refers += [Reference(ENDPOINT, name)] if endpoints else []
    return resource(CLUSTER, name, version, refers)


def listener(name: str, version: str = "1", *, route: str, extension: str = "") -> tuple[Reference, Resource]:
    refers = [Reference(ROUTE, route)] + ([Reference(EXTENSION, extension)] if extension else [])
    return resource(LISTENER, name, version, refers)


def route(name: str, version: str = "1", *, clusters: Iterable[str] = ()) -> tuple[Reference, Resource]:
    return resource(ROUTE, name, version, [Reference(CLUSTER, each) for each in clusters])


def secret(name: str, version: str = "1") -> tuple[Reference, Resource]:
    return resource(SECRET, name, version)


def snapshot(*resources: tuple[Reference, Resource]) -> Snapshot:
    return make_snapshot(resources)


class ModelEnvoy:
    """Talks to a session. `step` handles one message in either direction, so a test chooses the interleaving.

    Its refusals name what they are of, as Envoy's of clusters and listeners do; or nothing, as those of routes.
    """

    def __init__(
        self, session: DeltaSession, refuses: Refuses = lambda _reference, _version: False, *, names: bool = True
    ) -> None:
        self.session = session
        self.refuses = refuses
        self.names = names
        self.has: dict[Reference, Resource] = {}
        self.to_session: deque[Request] = deque()
        self.to_envoy: deque[Send] = deque()
        self.holds: deque[Hold] = deque()
        self.applied: list[str] = []
        self.rejected: list[Rejected] = []
        self.sent: list[Send] = []
        self._asked: dict[str, set[str]] = {url: set() for url in TYPES_BY_URL}
        self._listening = False

    def connect(self, versions: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """Opens the stream; `versions` (type URL → name → version) is what a reconnecting Envoy says it has."""
        versions = versions or {}
        self.to_session.append(Request(type_url=CLUSTER, initial_versions=versions.get(CLUSTER, {})))
        for url in (ENDPOINT, SECRET, LISTENER, EXTENSION, ROUTE):
            names = versions.get(url, {})
            if names or (url == LISTENER and self._listening):
                asked = () if TYPES_BY_URL[url].wildcard else tuple(names)
                self.to_session.append(Request(type_url=url, subscribe=asked, initial_versions=names))
                self._asked[url].update(asked)

    def reconnect(self, session: DeltaSession) -> None:
        """The stream breaks; what was under way is lost, what was taken stays."""
        self.session = session
        self.to_session.clear()
        self.to_envoy.clear()
        self.holds.clear()
        self._asked = {url: set() for url in TYPES_BY_URL}
        held: dict[str, dict[str, str]] = {}
        for reference, taken in self.has.items():
            held.setdefault(reference.type_url, {})[reference.name] = taken.version
        self.connect(held)
        self._ask(Reference("", "*"))

    def publish(self, target: Snapshot) -> None:
        self.act(self.session.publish(target))

    def act(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Send():
                    self.to_envoy.append(action)
                    self.sent.append(action)
                case Hold():
                    self.holds.append(action)
                case Applied():
                    self.applied.append(action.snapshot_version)
                case Rejected():
                    self.rejected.append(action)

    def step(self, choice: int = 0) -> bool:
        """Does one of the things that can happen now; False if there is none."""
        possible: list[Callable[[], None]] = []
        if self.to_session:
            possible.append(lambda: self.act(self.session.receive(self.to_session.popleft())))
        if self.to_envoy:
            possible.append(lambda: self._take(self.to_envoy.popleft()))
        if self.holds:
            possible.append(lambda: self.act(self.session.release(self.holds.popleft().ticket)))
        if not possible:
            return False
        possible[choice % len(possible)]()
        return True

    def run(self, steps_max: int = 10_000) -> None:
        """Until nothing more happens."""
        for _ in range(steps_max):
            if not self.step():
                return
        raise AssertionError("the session does not come to rest")

    def _take(self, send: Send) -> None:
        # what came too late for an unsubscription has no watch any more: Envoy drops it
        asked = None if TYPES_BY_URL[send.type_url].wildcard else self._asked[send.type_url]
        watched = [r for r in send.resources if asked is None or r.name in asked]
        taken = [r for r in watched if not self.refuses(Reference(send.type_url, r.name), r.version)]
        for each in taken:
            self.has[Reference(send.type_url, each.name)] = each
        for name in send.removed:
            self.has.pop(Reference(send.type_url, name), None)
        bad = [r.name for r in watched if r not in taken]
        named = f"Error adding/updating {', '.join(f'{name}: refused' for name in bad)}"
        error = (named if self.names else "refused") if bad else None
        self.to_session.append(Request(type_url=send.type_url, nonce=send.nonce, error=error))
        if not self._listening and send.type_url == CLUSTER:
            self._listening = True
            self.to_session.append(Request(type_url=LISTENER))
        for each in taken:
            for reference in each.references:
                self._ask(reference)
        self._forget()

    def _ask(self, reference: Reference) -> None:
        """Subscribes to a name; `*` to all that what it has refers to."""
        wanted = {r for each in self.has.values() for r in each.references} if reference.name == "*" else {reference}
        for each in sorted(wanted):
            if not TYPES_BY_URL[each.type_url].wildcard and each.name not in self._asked[each.type_url]:
                self._asked[each.type_url].add(each.name)
                self.to_session.append(Request(type_url=each.type_url, subscribe=(each.name,)))

    def _forget(self) -> None:
        """Unsubscribes from what nothing refers to any more."""
        used = {r for each in self.has.values() for r in each.references}
        for url, names in self._asked.items():
            gone = tuple(sorted(name for name in names if Reference(url, name) not in used))
            if gone:
                names.difference_update(gone)
                for name in gone:
                    self.has.pop(Reference(url, name), None)
                self.to_session.append(Request(type_url=url, unsubscribe=gone))
