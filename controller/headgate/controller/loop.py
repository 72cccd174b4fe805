"""From a change to what Envoy serves.

    change → a short quiet time, newest wins → build (load and compile, in a thread) → files → limits → snapshot

One build runs at a time; changes that come during it cause one more. A build that fails leaves everything as it is.
Limits are written before the snapshot, so that Envoy never sends a descriptor nobody knows.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, TypeVar

from google.protobuf.message import Message
from headgate.compiler import ir
from headgate.compiler.conditions import ObjectStatus, Told, as_object
from headgate.compiler.exchanges import Exchange
from headgate.contract.secret import Secret
from headgate.controller.files import add_files, keep_files, write_atomically
from headgate.controller.metrics import ControllerMetrics
from headgate.controller.store import Refusal, SnapshotStore
from headgate.controller.xds.session import Rejected
from headgate.controller.xds.snapshot import Dangling, Snapshot, SnapshotTaker, dangling
from headgate.runtime.garbage import collect_later
from headgate.runtime.logging import event_log
from headgate.runtime.metrics import Registry

log = event_log("controller")
T = TypeVar("T")

QUIET_SECONDS: Final = 0.02
"""Editors and `git checkout` write several files in a row: wait until nothing changed for this long."""
QUIET_SECONDS_MAX: Final = 0.3
"""…but a file that changes all the time must not keep everything from being served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What one look at the sources gave: everything the outlets need."""

    resources: Mapping[str, Mapping[str, Message]]
    """Type URL → name → message."""
    limits_text: str = ""
    """The rate limit service's configuration; empty where nothing is limited."""
    files: Mapping[str, Secret] = field(default_factory=dict[str, Secret])
    """Files Envoy reads, by name below the state directory's `files`."""
    problems: tuple[object, ...] = ()
    """Diagnostics for the user; each prints as one line or block."""
    exchanges: tuple[Exchange, ...] = ()
    """Credentials to fetch and keep fresh."""
    told: Told = field(default_factory=lambda: Told(tuple))
    program: ir.Program | None = None
    """What it all means, for explaining."""

    @property
    def statuses(self) -> tuple[ObjectStatus, ...]:
        """The status of every object that is ours."""
        return self.told()


Unfit = Callable[[Snapshot], Iterable[Rejected]]
"""What of a snapshot Envoy must not even be offered, though it would take it."""


class LoopObserver(Protocol):
    """Told what happens. Called on the event loop; must not block."""

    def built(self, build: Build, snapshot: Snapshot) -> None:
        """A new configuration was made; `snapshot` is what it wants."""

    def build_failed(self, error: Exception) -> None:
        """The sources could not be read or compiled at all."""

    def applied(self, snapshot: Snapshot, seconds: float) -> None:
        """Envoy acknowledged everything new, `seconds` after the change was seen."""

    def refused(self, refusal: Refusal) -> None:
        """Envoy refused a resource."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopStatus:
    """A look at the loop from outside."""

    wanted: str
    published: str
    accepted: str
    refusals: tuple[str, ...]
    error: str
    """Why the last build failed; empty if it did not."""
    nodes: tuple[str, ...]
    problems: tuple[str, ...]
    objects: tuple[Mapping[str, object], ...]
    """Every object that is ours, with its status as the API has it."""


class ControllerLoop:
    """Runs builds and publishes them; is the `AdsObserver` of the server it publishes to."""

    def __init__(
        self,
        *,
        build: Callable[[], Build],
        publish: Callable[[Snapshot], None],
        observer: LoopObserver,
        state_directory: Path,
        static_clusters: frozenset[str] = frozenset(),
        metrics: ControllerMetrics | None = None,
        unfit: Unfit = lambda _: (),
    ) -> None:
        self._metrics = metrics or ControllerMetrics(Registry())
        self._metrics.statuses = lambda: () if self._last is None else self._last.statuses
        self._metrics.numbers |= {
            "envoys": lambda: len(self._nodes),
            "problems": lambda: len(self._last.problems) if self._last is not None else 0,
            "refusals": lambda: len(self._store.refusals),
        }
        self._build = build
        self._publish = publish
        self._observer = observer
        self._state_directory = state_directory
        self._static_clusters = static_clusters
        self._unfit = unfit
        self._store = SnapshotStore()
        self._taker = SnapshotTaker()
        self._last: Build | None = None
        self._objects: tuple[Build, tuple[Mapping[str, object], ...]] | None = None
        self._error = ""
        self._nodes: list[str] = []
        self._changed_at = 0.0

    @property
    def limits_path(self) -> Path:
        return self._state_directory / "ratelimit" / "headgate.yaml"

    @property
    def files_directory(self) -> Path:
        return self._state_directory / "files"

    async def run(self, changes: AsyncIterator[object]) -> None:
        """Builds after every change, until `changes` ends. The first build is the caller's (`build_now`).

        A failure that ends it is told in the log and the status: what is served stays served, but must not look well.
        """
        try:
            async for changed_at in quiet_changes(changes):
                await self.build_now(changed_at)
        except Exception as error:
            log.exception("changes_not_followed")
            self._error = f"changes are not followed any more: {error}"

    async def build_now(self, changed_at: float | None = None) -> bool:
        """One build; returns whether it could be made. `changed_at` is the monotonic time of the change."""
        started = time.monotonic()
        previous = self._store.wanted
        try:
            build, snapshot, missing = await _in_a_thread(self._make)
            await _in_a_thread(lambda: self._write(build))
        except Exception as error:
            self._error = str(error)
            self._metrics.built(time.monotonic() - started, failed=True)
            self._observer.build_failed(error)
            return False
        self._metrics.built(time.monotonic() - started)
        self._error = ""
        for each in missing:
            log.error("reference_not_resolved", problem=str(each))
        self._last = build
        self._observer.built(build, snapshot)
        log.debug("built", version=snapshot.version, build_seconds=time.monotonic() - started)
        if previous is None or snapshot.version != previous.version:
            self._changed_at = changed_at or started
            self._store.want(snapshot)
            for rejected in self._unfit(snapshot):
                self._refused(rejected)
            if self._store.published is not None:
                self._offer(self._store.published)
        return True

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """What is wanted and Envoy refused."""
        return self._store.refusals

    def status(self) -> LoopStatus:
        """For `/status`."""
        store, last = self._store, self._last
        return LoopStatus(
            wanted=store.wanted.version if store.wanted else "",
            published=store.published.version if store.published else "",
            accepted=store.accepted.version if store.accepted else "",
            refusals=tuple(map(str, store.refusals)),
            error=self._error,
            nodes=tuple(self._nodes),
            problems=tuple(map(str, last.problems)) if last else (),
            objects=self._objects_of(last) if last else (),
        )

    def _objects_of(self, build: Build) -> tuple[Mapping[str, object], ...]:
        """Made once for each build: who watches asks every second."""
        if self._objects is None or self._objects[0] is not build:
            self._objects = build, tuple(map(as_object, build.statuses))
        return self._objects[1]

    # --- what Envoys do (AdsObserver)

    def connected(self, node: str) -> None:
        self._nodes.append(node)
        log.info("envoy_connected", node=node)

    def disconnected(self, node: str) -> None:
        self._nodes.remove(node)
        log.info("envoy_disconnected", node=node)

    def applied(self, node: str, snapshot_version: str) -> None:
        if not self._store.applied(snapshot_version) or self._store.accepted is None:
            return
        seconds = time.monotonic() - self._changed_at
        log.info("snapshot_applied", node=node, version=snapshot_version, seconds=seconds)
        if self._last is not None and not self._store.refusals:
            keep_files(self.files_directory, self._last.files.keys())
        self._metrics.applied(seconds)
        self._observer.applied(self._store.accepted, seconds)

    def rejected(self, node: str, rejected: Rejected) -> None:
        self._metrics.rejected(rejected.type_url)
        snapshot = self._refused(rejected, node=node)
        if snapshot is not None:
            self._offer(snapshot)

    # ---

    def _refused(self, rejected: Rejected, node: str = "") -> Snapshot | None:
        """Remembers and tells it; returns what to publish now."""
        snapshot = self._store.refused(rejected)
        for refusal in self._store.refusals:
            if refusal.version == rejected.versions.get(refusal.reference.name):
                log.error(
                    "envoy_refused" if node else "not_offered",
                    node=node,
                    type=rejected.type_url.rpartition(".")[2],
                    name=refusal.reference.name,
                    message=rejected.message,
                )
                self._observer.refused(refusal)
        return snapshot

    def _make(self) -> tuple[Build, Snapshot, tuple[Dangling, ...]]:
        with collect_later():
            build = self._build()
            snapshot = self._taker.take(build.resources)
            return build, snapshot, dangling(snapshot, self._static_clusters)

    def _write(self, build: Build) -> None:
        for name in add_files(self.files_directory, build.files):
            log.info("file_written", name=name)
        if not build.limits_text:
            self.limits_path.unlink(missing_ok=True)
        elif write_atomically(self.limits_path, build.limits_text):
            log.info("limits_written", path=str(self.limits_path))

    def _offer(self, snapshot: Snapshot) -> None:
        log.info("snapshot_published", version=snapshot.version, resources=snapshot.count())
        self._metrics.pushes.value += 1
        self._publish(snapshot)


async def _in_a_thread(work: Callable[[], T]) -> T:
    """Its result. A thread cannot be stopped: who is cancelled meanwhile goes on only once it has ended, so that
    nothing is written into a folder that its owner has removed."""
    running = asyncio.create_task(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.gather(running, return_exceptions=True)
        raise


async def quiet_changes(changes: AsyncIterator[object]) -> AsyncGenerator[float]:
    """The monotonic time of every run of changes, once it is over; what comes meanwhile is one more run."""
    pending = asyncio.Event()
    reader = asyncio.create_task(_collect(changes, pending))
    try:
        while not (reader.done() and not pending.is_set()):
            await _either(pending, reader)
            if not pending.is_set():
                break
            changed_at = time.monotonic()
            await _quiet(pending)
            yield changed_at
    finally:
        reader.cancel()
    if reader.done() and not reader.cancelled() and (error := reader.exception()) is not None:
        raise error


async def _collect(changes: AsyncIterator[object], pending: asyncio.Event) -> None:
    async for _ in changes:
        pending.set()


async def _either(pending: asyncio.Event, reader: asyncio.Task[None]) -> None:
    """Until something changed or nothing more can."""
    waiting = asyncio.create_task(pending.wait())
    try:
        await asyncio.wait((waiting, reader), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


async def _quiet(pending: asyncio.Event) -> None:
    """Until nothing changed for a short time; takes all changes up to then."""
    deadline = time.monotonic() + QUIET_SECONDS_MAX
    while pending.is_set() and time.monotonic() < deadline:
        pending.clear()
        try:
            async with asyncio.timeout(QUIET_SECONDS):
                await pending.wait()
        except TimeoutError:
            return
    pending.clear()
