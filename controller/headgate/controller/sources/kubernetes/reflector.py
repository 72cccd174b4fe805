"""Keeps one collection up to date in the world: a list, then a watch, again and again.

    kind not served ──(looked for every few seconds)──► list (streamed, else in pages) ──► watch ──┐
        ▲                        ▲                            version expired, resync ◄────────────┤
        └── path gone ───────────┴── a break: on from the version that was seen last, after a wait ┘

What was read stays in force while the API server cannot be reached. Every wait is bounded and has jitter, so that a
thousand watches do not come back at once.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, Protocol

from headgate.compiler.resources.kinds import Kind
from headgate.controller.sources.kubernetes.client import ApiError, ApiServer, UnreachableError
from headgate.controller.sources.kubernetes.discovery import Discovery, Served
from headgate.controller.sources.kubernetes.watching import (
    Event,
    Failed,
    Mark,
    Page,
    Position,
    ProtocolError,
    Put,
    Removed,
    decode_event,
    decode_page,
    page_query,
    version_of,
)
from headgate.controller.sources.kubernetes.world import Collection, Entry, KubernetesWorld, older, read_entry
from headgate.runtime.logging import event_log
from headgate.runtime.pauses import retry_seconds

log = event_log("controller")

ABSENT_SECONDS: Final = 5.0
"""How often a kind that is not served is looked for."""
WATCH_SECONDS: Final = (300, 600)
"""A watch is asked to end after a random time between these."""
RESYNC_SECONDS: Final = 3600.0
"""After about this long everything is listed again: a watch that lost an event must not be wrong for ever."""
INITIAL_SECONDS_MAX: Final = 60.0
"""A streamed list that is not complete by then is asked for in pages."""
_DENIED: Final = (401, 403)
_YIELD_EVERY: Final = 64
"""Objects read in a row before the event loop gets its turn."""


class Store(Protocol):
    """Told what changes in a collection."""

    world: KubernetesWorld

    def changed(self) -> None:
        """The world is another one."""


@dataclass(slots=True)
class Backoff:
    """Waits that double, each between half of that and all of it."""

    first_seconds: float = 0.2
    most_seconds: float = 5.0
    _failures: int = 0

    def failed(self, at_least: float = 0.0) -> float:
        """How long to wait now."""
        self._failures += 1
        return max(at_least, retry_seconds(self._failures, self.first_seconds, self.most_seconds))

    def worked(self) -> None:
        self._failures = 0


@dataclass(slots=True)
class ReflectorState:
    """How a reflector is doing, for `/status`."""

    collection: Collection
    synced: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the first list is complete, or the kind is known not to be served."""
    served: str = ""
    """The version that is read; empty while the kind is not served."""
    error: str = ""
    """Why it is not up to date; empty while it is."""
    denied: bool = False
    """Whether that is because we may not read it: waiting will not help."""
    lists: int = 0
    watches: int = 0
    events: int = 0


class Reflector:
    """See the module; `run` until it is cancelled."""

    def __init__(
        self,
        api: ApiServer,
        discovery: Discovery,
        store: Store,
        *,
        kind: Kind,
        namespace: str = "",
        name: str = "",
        field_selector: str = "",
        resync_seconds: float = RESYNC_SECONDS,
    ) -> None:
        self.state = ReflectorState(Collection(kind.group, kind.name, namespace, name))
        self._api = api
        self._discovery = discovery
        self._store = store
        self._kind = kind
        self._selector = f"metadata.name={name}" if name else field_selector
        self._resync_seconds = resync_seconds
        self._position = Position()
        self._backoff = Backoff()
        self._listed_at = 0.0
        self._moved = asyncio.Event()

    async def read_to(self, version: str, namespace: str = "") -> None:
        """Until all of a namespace is read that was there at a version. Raises ApiError, UnreachableError.

        An idle watch does not say how far it is, so what it has to have told is asked for.
        """
        if self._is_past(version) or (served := await self._discovery.find(self._kind)) is None:
            return
        path = served.path(namespace or self.state.collection.namespace)
        versions = [version_of(raw) async for page in self._pages(path, served) for raw in page.items]
        newest = max(versions, key=lambda each: int(each) if each.isdigit() else 0, default="")
        while not self._is_past(newest):
            await self._moved.wait()

    async def run(self) -> None:
        """Never returns."""
        while True:
            try:
                served = await self._find()
                await self._follow(served)
                self._failed("")
            except ApiError as error:
                await self._refused(error)
            except (UnreachableError, ProtocolError) as error:
                await self._wait(str(error))
            except Exception as error:  # a bug must not leave a kind stale in silence, nor end all the others
                log.exception("reflector_failed", kind=self._kind.name, error=str(error))
                self._position.version = ""
                await self._wait(f"{type(error).__name__}: {error}")

    async def _find(self) -> Served:
        while (served := await self._discovery.find(self._kind)) is None:
            if self.state.served or not self.state.synced.is_set():
                log.info("kind_not_served", kind=self._kind.name, group=self._kind.group)
            self.state.served = ""
            if self._store.world.drop(self.state.collection):
                self._store.changed()
            self._position.version = ""
            self._ready()
            await asyncio.sleep(ABSENT_SECONDS * random.uniform(0.8, 1.0))
        if served.api_version != self.state.served:
            self._position.version = ""
            self.state.served = served.api_version
        return served

    async def _follow(self, served: Served) -> None:
        """One list, if need be, and one watch."""
        path = served.path(self.state.collection.namespace)
        if self._position.version and time.monotonic() - self._listed_at > self._resync_seconds:
            self._position.version = ""
        if not self._position.version and not self._position.streaming:
            await self._list(path, served)
        started = time.monotonic()
        try:
            await self._watch(path)
        except ApiError as error:
            if self._position.version or error.code not in (400, 422):
                raise
            # Kubernetes before 1.32, or with the feature switched off: it refuses the parameters.
            self._position.streaming = False
            return
        if time.monotonic() - started < 1.0:
            await self._wait("")

    async def _list(self, path: str, served: Served) -> None:
        entries: list[Entry] = []
        version = ""
        async for page in self._pages(path, served):
            version = page.version
            for number, raw in enumerate(page.items):
                entries.extend(_read(raw))
                if number % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
        self._position.version = version
        self._complete(entries)

    async def _pages(self, path: str, served: Served) -> AsyncGenerator[Page]:
        more, begun = "", False
        while more or not begun:
            query = {**page_query(more), **self._selected()}
            page = decode_page(await self._api.request("GET", path, query=query), served.api_version, self._kind.name)
            yield page
            more, begun = page.more, True

    async def _watch(self, path: str) -> None:
        """Until the watch ends. Raises what `ApiServer.stream` raises."""
        query = {**self._position.watch_query(random.randint(*WATCH_SECONDS)), **self._selected()}
        self.state.watches += 1
        initial: list[Entry] | None = None if self._position.version else []
        deadline = asyncio.timeout(INITIAL_SECONDS_MAX if initial is not None else None)
        try:
            async with aclosing(self._events(path, query)) as events, deadline:
                async for event in events:
                    if initial is None:
                        self._take(event)
                    elif self._gather(event, initial):
                        initial = None
                        deadline.reschedule(None)
                    if isinstance(event, Failed):
                        self._position.seen(event)
                        self._raise(event)
        except TimeoutError:
            log.warning("streamed_list_too_slow", kind=self._kind.name)
            self._position.streaming = False

    async def _events(self, path: str, query: dict[str, str]) -> AsyncGenerator[Event]:
        async with aclosing(self._api.stream(path, query)) as lines:
            count = 0
            async for line in lines:
                yield decode_event(line)
                count += 1
                if count % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)

    def _gather(self, event: Event, initial: list[Entry]) -> bool:
        """Collects the objects of a streamed list; whether it is complete."""
        match event:
            case Put():
                initial.extend(_read(event.raw))
            case Removed():
                gone = _read(event.raw)
                initial[:] = [entry for entry in initial if all(entry.key != each.key for each in gone)]
            case Mark():
                if event.initial_end:
                    self._position.seen(event)
                    self._complete(initial)
                    return True
            case Failed():
                pass
        return False

    def _take(self, event: Event) -> None:
        """An event of a running watch."""
        world, collection = self._store.world, self.state.collection
        changed = False
        match event:
            case Put():
                changed = world.put(collection, event.raw)
            case Removed():
                changed = world.remove(collection, event.raw)
            case Mark() | Failed():
                pass
        if not isinstance(event, Failed):
            self._position.seen(event)
            self._up_to_date()
            self._tell_moved()
            self.state.events += 1
        if changed:
            self._store.changed()

    def _complete(self, entries: list[Entry]) -> None:
        changed = self._store.world.replace(self.state.collection, entries)
        self._listed_at = time.monotonic() - random.uniform(0, self._resync_seconds / 10)
        self.state.lists += 1
        self._up_to_date()
        self._tell_moved()
        self._ready()
        if changed:
            self._store.changed()

    def _raise(self, event: Failed) -> None:
        if event.expired:
            log.info("watch_expired", kind=self._kind.name)
        raise UnreachableError(f"the watch of {self._kind.name} broke: {event.code} {event.message}")

    async def _refused(self, error: ApiError) -> None:
        if error.code == 410:
            self._position.version = ""
        if error.code == 404 and self.state.served:
            self._discovery.forget(Served(self.state.served, "", False))
        self.state.denied = error.code in _DENIED
        await self._wait(str(error), error.retry_after_seconds)

    async def _wait(self, error: str, at_least: float = 0.0) -> None:
        self._failed(error)
        await asyncio.sleep(self._backoff.failed(at_least))

    def _failed(self, error: str) -> None:
        if error and error != self.state.error:
            log.warning("watch_failed", kind=self._kind.name, namespace=self.state.collection.namespace, error=error)
        self.state.error = error

    def _up_to_date(self) -> None:
        self._backoff.worked()
        self.state.error = ""
        self.state.denied = False

    def _is_past(self, version: str) -> bool:
        return not self.state.served or (bool(at := self._position.version) and not older(at, version))

    def _tell_moved(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    def _ready(self) -> None:
        self.state.synced.set()

    def _selected(self) -> dict[str, str]:
        return {"fieldSelector": self._selector} if self._selector else {}


def _read(raw: dict[str, object]) -> list[Entry]:
    entry = read_entry(raw)
    return [entry] if entry is not None else []
