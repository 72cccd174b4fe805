"""A Kubernetes API that says what a test tells it to, for what a real one does not do on demand."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate.controller.sources.kubernetes.client import JSON, ApiError, UnreachableError

from support.waiting import BUSY_SECONDS

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any = None


Answer = Object | Exception
Stream = list[Object | Exception | asyncio.Event]
"""Events of a watch; after the last one it stays open, unless that is `END`."""
END: Object = {"type": "END", "object": {}}


@dataclass(slots=True)
class ScriptedApi:
    """Answers watches and requests of a path with what was scripted for it, in order; discovery from `served`."""

    served: dict[str, dict[str, tuple[str, bool]]] = field(default_factory=dict[str, dict[str, tuple[str, bool]]])
    """API version to kind to plural and whether it is namespaced."""
    streams: deque[Stream] = field(default_factory=deque[Stream])
    answers: deque[Answer | Callable[[Request], Answer]] = field(
        default_factory=deque[Answer | Callable[[Request], Answer]]
    )
    requests: list[Request] = field(default_factory=list[Request])
    discoveries: int = 0
    _asked: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = JSON,
    ) -> bytes:
        del content_type
        if method == "GET" and path.count("/") <= 3:
            return self._discover(path)
        request = Request(method, path, dict(query or {}), body)
        await self._note(request)
        if not self.answers:
            raise UnreachableError("nothing scripted")
        answer = self.answers.popleft()
        answer = answer(request) if callable(answer) else answer
        if isinstance(answer, Exception):
            raise answer
        return json.dumps(answer).encode()

    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[bytes]:
        await self._note(Request("WATCH", path, dict(query)))
        for event in self.streams.popleft() if self.streams else []:
            if isinstance(event, Exception):
                raise event
            if event is END:
                return
            if isinstance(event, asyncio.Event):
                await event.wait()  # the test says when the stream goes on
                continue
            yield json.dumps(event).encode()
        await asyncio.Event().wait()

    async def asked(self, count: int) -> None:
        """Waits until that many requests (discovery aside) were made."""
        async with asyncio.timeout(BUSY_SECONDS), self._asked:
            await self._asked.wait_for(lambda: len(self.requests) >= count)

    async def _note(self, request: Request) -> None:
        async with self._asked:
            self.requests.append(request)
            self._asked.notify_all()

    def _discover(self, path: str) -> bytes:
        self.discoveries += 1
        version = path.removeprefix("/apis/").removeprefix("/api/")
        if (kinds := self.served.get(version)) is None:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        resources = [{"name": plural, "kind": kind, "namespaced": spaced} for kind, (plural, spaced) in kinds.items()]
        return json.dumps({"resources": resources}).encode()


def added(item: Object) -> Object:
    """The event of an object that is there."""
    return {"type": "ADDED", "object": item}


def initial_end(version: int) -> Object:
    """The bookmark that ends a streamed list."""
    metadata = {"resourceVersion": str(version), "annotations": {"k8s.io/initial-events-end": "true"}}
    return {"type": "BOOKMARK", "object": {"metadata": metadata}}
