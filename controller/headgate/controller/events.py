"""Events (events.k8s.io/v1) where a condition changes: what `kubectl describe` shows below an object.

A condition that becomes false is a Warning; one that was false and is true again is Normal. A condition that is true
from the start tells nothing new and makes none. The same words about the same object are said once in `QUIET_SECONDS`;
what comes faster than it can be written is dropped: an event is a courtesy.
"""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from headgate.compiler.conditions import ObjectStatus
from headgate.controller.sources.kubernetes.client import ApiError, ApiServer, UnreachableError
from headgate.controller.status import ConditionChange
from headgate.runtime.logging import event_log

log = event_log("controller")

QUIET_SECONDS: Final = 600.0
PENDING_MAX: Final = 256
SAID_MAX: Final = 4_096
_NOTE_CHARACTERS_MAX: Final = 1_000
"""The API takes 1,024 bytes."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One event to be written."""

    about: ObjectStatus
    warning: bool
    reason: str
    note: str


def happenings(about: ObjectStatus, changes: Sequence[ConditionChange]) -> tuple[Happening, ...]:
    """What is worth telling of changes. Pure."""
    found: list[Happening] = []
    for change in changes:
        note = f"{change.type}: {change.message}" if change.message else f"{change.type} is {change.status}"
        if change.status == "False":
            found.append(Happening(about, True, change.reason, note))
        elif change.status == "True" and change.before == "False":
            found.append(Happening(about, False, change.reason, note))
    return tuple(found)


def as_event(happening: Happening, *, reporter: str, instance: str, now: datetime) -> Mapping[str, object]:
    """The object to create. Pure, but for its name."""
    about = happening.about
    regarding = {"apiVersion": about.api_version, "kind": about.key.kind, "name": about.key.name, "uid": about.uid}
    if about.key.namespace:
        regarding["namespace"] = about.key.namespace
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": f"{about.key.name[:200]}.{secrets.token_hex(8)}",
            "namespace": about.key.namespace or "default",
        },
        "eventTime": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": reporter,
        "reportingInstance": instance[:128],
        "action": "Reconcile",
        "type": "Warning" if happening.warning else "Normal",
        "reason": happening.reason[:128] or "Changed",
        "note": happening.note.encode()[:_NOTE_CHARACTERS_MAX].decode(errors="ignore"),
        "regarding": regarding,
    }


class EventRecorder:
    """Writes them; `run` until it is cancelled."""

    def __init__(self, api: ApiServer, *, reporter: str, instance: str, may_write: Callable[[], bool]) -> None:
        self.written = 0
        self._api = api
        self._reporter = reporter
        self._instance = instance
        self._may_write = may_write
        self._said: OrderedDict[tuple[str, str, str, str], float] = OrderedDict()
        self._pending: asyncio.Queue[Happening] = asyncio.Queue(PENDING_MAX)

    def tell(self, about: ObjectStatus, changes: Sequence[ConditionChange]) -> None:
        """Some conditions of an object have changed."""
        for happening in happenings(about, changes):
            if not self._is_news(happening):
                continue
            try:
                self._pending.put_nowait(happening)
            except asyncio.QueueFull:
                log.debug("event_dropped", object=str(about.key))

    async def run(self) -> None:
        """Writes one after the other."""
        while True:
            happening = await self._pending.get()
            if not self._may_write():
                continue
            body = as_event(happening, reporter=self._reporter, instance=self._instance, now=datetime.now(UTC))
            namespace = happening.about.key.namespace or "default"
            try:
                await self._api.request("POST", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events", body=body)
                self.written += 1
            except (ApiError, UnreachableError) as error:
                log.debug("event_failed", object=str(happening.about.key), error=str(error))

    def _is_news(self, happening: Happening) -> bool:
        now = time.monotonic()
        key = (happening.about.uid, str(happening.about.key), happening.reason, happening.note)
        said = self._said.pop(key, None)
        self._said[key] = said if said is not None and now - said < QUIET_SECONDS else now
        while len(self._said) > SAID_MAX:
            self._said.popitem(last=False)
        return self._said[key] == now
