"""Writes statuses to the API server: only what differs, latest wins, a few at a time, and nothing unless we lead.

    offer(statuses) ──► what differs from what was last seen ──► queue of keys ──► workers ──► server-side apply
         ▲ leader now, RECHECK_SECONDS          ▲ a failed write comes back after a wait ──┘

A key is in the queue once; a worker takes what is wanted when its turn comes.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec
from headgate.compiler.conditions import ObjectStatus
from headgate.compiler.resources.kinds import BY_NAME
from headgate.compiler.resources.metadata import Key
from headgate.controller.sources.kubernetes.client import APPLY, ApiError, ApiServer, UnreachableError
from headgate.controller.sources.kubernetes.discovery import Discovery
from headgate.controller.sources.kubernetes.world import Seen
from headgate.controller.status import (
    ConditionChange,
    condition_changes,
    covers,
    has_more,
    merged,
    shared,
)
from headgate.runtime.logging import event_log
from headgate.runtime.pauses import retry_seconds

log = event_log("controller")

FIELD_MANAGER: Final = "headgate"
WORKERS: Final = 8
RECHECK_SECONDS: Final = 30.0
"""How often all statuses are compared again: somebody may have written over ours."""
RETRY_SECONDS: Final = (0.2, 30.0)
_WRITES: Final = (404, 409)
"""Answers that say the object is not the one we saw: what is right comes with the next event."""


class SeenStatuses(Protocol):
    """Where the writer reads what the API server shows."""

    def seen(self, key: Key) -> Seen | None: ...
    def wrote(self, key: Key, seen: Seen) -> None: ...


OnChange = Callable[[ObjectStatus, Sequence[ConditionChange]], None]
"""Told of conditions that were written and are not what they were."""


class _Metadata(msgspec.Struct, rename="camel"):
    uid: str = ""
    resource_version: str = ""


class _Written(msgspec.Struct, rename="camel"):
    metadata: _Metadata
    status: Mapping[str, object] = {}


@dataclass(slots=True)
class Counts:
    """What the writer did, for metrics and tests."""

    writes: int = 0
    conflicts: int = 0
    failures: int = 0


class StatusWriter:
    """See the module. `run` until it is cancelled."""

    def __init__(
        self,
        api: ApiServer,
        discovery: Discovery,
        store: SeenStatuses,
        *,
        controller_name: str,
        may_write: Callable[[], bool],
        on_change: OnChange = lambda _, __: None,
    ) -> None:
        self.counts = Counts()
        self._api = api
        self._discovery = discovery
        self._store = store
        self._controller_name = controller_name
        self._may_write = may_write
        self._on_change = on_change
        self._wanted: Mapping[Key, ObjectStatus] = {}
        self._written: dict[Key, Mapping[str, object]] = {}
        """What we wrote in this life."""
        self._settled: dict[Key, tuple[Mapping[str, object], bytes]] = {}
        """What was wanted and seen when there was nothing (more) to write."""
        self._queue: asyncio.Queue[Key] = asyncio.Queue()
        self._queued: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._waiting: dict[Key, asyncio.TimerHandle] = {}

    def offer(self, statuses: Sequence[ObjectStatus]) -> None:
        """These are the statuses that all objects should have."""
        self._wanted = {each.key: each for each in statuses}
        for known in (self._written, self._settled, self._failures):
            for key in known.keys() - self._wanted.keys():
                del known[key]
        self.recheck()

    def recheck(self) -> None:
        """Compares all of them with what is seen, and queues what differs."""
        if not self._may_write():
            return
        for key, wanted in self._wanted.items():
            seen = self._store.seen(key)
            if seen is None or key in self._queued or key in self._waiting:
                continue
            if self._settled.get(key) != (wanted.status, seen.status):
                self._enqueue(key)

    def shows(self, wanted: ObjectStatus) -> bool:
        """Whether the API server shows this status already."""
        seen = self._store.seen(wanted.key)
        return seen is not None and covers(seen.decoded(), wanted.status)

    @property
    def idle(self) -> bool:
        """Whether nothing is left to write now."""
        return not self._queued and not self._waiting

    async def run(self) -> None:
        """Writes until it is cancelled."""
        workers = [asyncio.create_task(self._work()) for _ in range(WORKERS)]
        try:
            while True:
                await asyncio.sleep(RECHECK_SECONDS)
                self.recheck()
        finally:
            for task in (*workers, *self._waiting.values()):
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                await self._bring(key)
            except Exception as error:  # a bug in one status must not end the writing of all others
                log.exception("status_failed", object=str(key), error=str(error))
                self._later(key)
            finally:
                self._queued.discard(key)

    async def _bring(self, key: Key) -> None:
        """Makes one object's status what it should be."""
        try:
            if await self._write(key):
                self._failures.pop(key, None)
        except ApiError as error:
            if error.code in _WRITES:
                self.counts.conflicts += 1
                log.debug("status_conflict", object=str(key), error=error.message)
            else:
                self.counts.failures += 1
                log.warning("status_refused", object=str(key), error=str(error))
            self._later(key, error.retry_after_seconds)
        except UnreachableError as error:
            self.counts.failures += 1
            log.debug("status_unreachable", object=str(key), error=str(error))
            self._later(key)

    async def _write(self, key: Key) -> bool:
        wanted, seen = self._wanted.get(key), self._store.seen(key)
        if wanted is None or seen is None or (wanted.uid and wanted.uid != seen.uid):
            return True  # gone, or another object of that name, which has its own status in the next build
        before = seen.decoded()
        if not self._differs(wanted, before):
            self._settled[key] = (wanted.status, seen.status)
            return True
        kind = BY_NAME[key.group, key.kind]
        served = await self._discovery.find(kind)
        if served is None or not self._may_write():
            return True
        metadata = {"name": key.name, "uid": seen.uid}
        if key.namespace:
            metadata["namespace"] = key.namespace
        if shared(wanted.status):
            metadata["resourceVersion"] = seen.version
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {
            "apiVersion": served.api_version,
            "kind": key.kind,
            "metadata": metadata,
            "status": merged(wanted.status, before, self._controller_name, now),
        }
        answer = await self._api.request(
            "PATCH",
            f"{served.path(key.namespace, key.name)}/status",
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
            body=body,
            content_type=APPLY,
        )
        self.counts.writes += 1
        self._wrote(wanted, answer, served.api_version)
        if changes := condition_changes(wanted.status, before):
            self._on_change(wanted, changes)
        return True

    def _differs(self, wanted: ObjectStatus, before: Mapping[str, object]) -> bool:
        if not covers(before, wanted.status):
            return True
        # What is there beyond it is ours to remove only if we did not write exactly this already.
        unknown = self._written.get(wanted.key) != wanted.status
        return unknown and has_more(before, wanted.status, self._controller_name)

    def _wrote(self, wanted: ObjectStatus, answer: bytes, api_version: str) -> None:
        written = msgspec.json.decode(answer, type=_Written)
        seen = Seen(
            api_version, written.metadata.uid, written.metadata.resource_version, msgspec.json.encode(written.status)
        )
        if not covers(written.status, wanted.status):
            log.warning("status_not_kept", object=str(wanted.key))
        self._written[wanted.key] = wanted.status
        self._settled[wanted.key] = (wanted.status, seen.status)
        self._store.wrote(wanted.key, seen)

    def _enqueue(self, key: Key) -> None:
        self._waiting.pop(key, None)
        if key not in self._queued:
            self._queued.add(key)
            self._queue.put_nowait(key)

    def _later(self, key: Key, at_least: float = 0.0) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        wait = max(at_least, retry_seconds(failures, *RETRY_SECONDS))
        if (timer := self._waiting.pop(key, None)) is not None:
            timer.cancel()
        self._waiting[key] = asyncio.get_running_loop().call_later(wait, self._enqueue, key)
