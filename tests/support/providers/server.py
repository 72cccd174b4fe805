"""The HTTP server of the fake providers: a thread of its own, so that blocking tests and clients can call it."""

import asyncio
import gzip
import itertools
import ssl
import threading
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from aiohttp import web

from support.eventstream import CONTENT_TYPE
from support.ports import LOOPBACK
from support.providers.answers import TAIL_BYTES, Answer, Delivery, Failure, Raw, Reply
from support.providers.received import Received
from support.waiting import wait_until

T = TypeVar("T")
Script = Callable[[Received], Reply]


@dataclass(frozen=True, slots=True)
class Rendered:
    """An answer in a provider's format; each part is one event."""

    content_type: str
    parts: Sequence[bytes]


class Api(Protocol):
    """What a kind of provider knows: its credential, its checks and its formats."""

    @property
    def credential_header(self) -> str: ...

    def problems(self, received: Received, key: str, allow_unknown: bool) -> list[str]:
        """Why this provider would refuse the request; empty: it would not."""
        ...

    def render(self, answer: Answer, received: Received) -> Rendered: ...

    def render_failure(self, failure: Failure) -> Rendered: ...

    def headers(self, number: int) -> Mapping[str, str]:
        """Headers of every response, e.g. request ids and remaining limits; `number` counts requests from 1."""
        ...


class _LoopThread:
    """An event loop that runs in a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="providers", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()


class Provider:
    """A running fake provider.

    `answer` scripts the replies in order; the last one repeats. Without a script it answers `Answer()`. Of
    `tolerated_headers` (lower-case) nothing is said.
    """

    def __init__(
        self,
        api: Api,
        *,
        key: str = "provider-key",
        allow_unknown: bool = False,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
        tolerated_headers: Collection[str] = (),
        host: str = LOOPBACK,
    ) -> None:
        self.api = api
        self.host = host
        self._tolerated = frozenset(tolerated_headers)
        self.key = key
        self.requests: list[Received] = []
        self.disconnects = 0
        """Requests whose client left before the answer was complete."""
        self._allow_unknown = allow_unknown
        self._script: list[Script] = [lambda _: Answer()]
        self._numbers = itertools.count(1)
        self._scheme = "https" if tls else "http"
        self._loop = _LoopThread()
        self._closing: asyncio.Event = asyncio.Event()
        self._runner, self.port = self._loop.run(self._start(tls, port))

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self.host}:{self.port}"

    @property
    def last(self) -> Received:
        """The newest request; raises IndexError when there was none."""
        return self.requests[-1]

    @property
    def problems(self) -> list[str]:
        """What was wrong with any request."""
        return [f"{each.method} {each.path}: {problem}" for each in self.requests for problem in each.problems]

    def answer(self, *replies: Reply | Script) -> None:
        """The replies to the next requests, in order; the last one also to all after it."""
        self._script = [reply if callable(reply) else _always(reply) for reply in replies]

    def forget(self) -> None:
        """Forgets requests and script."""
        self.requests.clear()
        self._script = [lambda _: Answer()]

    def wait_for_requests(self, count: int) -> list[Received]:
        """All requests, once there are at least `count`."""
        return wait_until(
            lambda: self.requests if len(self.requests) >= count else None,
            f"{count} requests",
        )

    def wait_for_disconnects(self, count: int = 1) -> None:
        wait_until(lambda: self.disconnects >= count, f"{count} disconnects")

    def close(self) -> None:
        if self._runner is not None:
            runner, self._runner = self._runner, None
            self._loop.run(self._stop(runner))
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _start(self, tls: ssl.SSLContext | None, port: int) -> tuple[web.AppRunner | None, int]:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, self.host, port, ssl_context=tls)
        await site.start()
        bound: int = runner.addresses[0][1]
        return runner, bound

    async def _stop(self, runner: web.AppRunner) -> None:
        self._closing.set()
        await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        received = Received(
            method=request.method,
            path=request.rel_url.raw_path,
            query=request.rel_url.raw_query_string,
            headers=tuple(
                (name.decode().lower(), value.decode(errors="replace")) for name, value in request.raw_headers
            ),
            body=await request.read(),
        )
        judged = tuple(header for header in received.headers if header[0] not in self._tolerated)
        checked = replace(received, headers=judged)
        received.problems.extend(self.api.problems(checked, self.key, self._allow_unknown))
        number = next(self._numbers)
        reply = self._reply(received)
        self.requests.append(received)
        rendered, status = self._render(reply, received)
        headers = {**self.api.headers(number), "content-type": rendered.content_type, **reply.headers}
        if isinstance(reply, Failure) and reply.retry_after_seconds is not None:
            headers["retry-after"] = str(reply.retry_after_seconds)
        try:
            return await self._deliver(request, status, headers, rendered.parts, reply.delivery)
        except (ConnectionResetError, asyncio.CancelledError):
            self.disconnects += not reply.delivery.reset
            raise

    def _reply(self, received: Received) -> Reply:
        if received.problems:
            return Failure(400, "; ".join(received.problems))
        script = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        return script(received)

    def _render(self, reply: Reply, received: Received) -> tuple[Rendered, int]:
        match reply:
            case Answer():
                return self.api.render(reply, received), 200
            case Failure():
                return self.api.render_failure(reply), reply.status
            case Raw():
                parts = reply.body if isinstance(reply.body, tuple) else (reply.body,)
                return Rendered(reply.content_type, parts), reply.status

    async def _deliver(
        self, request: web.Request, status: int, headers: dict[str, str], parts: Sequence[bytes], delivery: Delivery
    ) -> web.StreamResponse:
        if delivery.delay_seconds:
            await asyncio.sleep(delivery.delay_seconds)
        if delivery.reset and request.transport:
            request.transport.close()
            raise ConnectionResetError
        writes = _writes(parts, delivery)
        if delivery.gzip:
            headers["content-encoding"] = "gzip"
        streamed = headers["content-type"].startswith(("text/event-stream", CONTENT_TYPE))
        limits = (delivery.end_after_bytes, delivery.abort_after_bytes, delivery.hang_after_bytes)
        if not streamed and delivery.end_after_bytes is None:
            headers["content-length"] = str(sum(map(len, writes)))
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        room = min((limit for limit in limits if limit is not None), default=None)
        for write in writes:
            data = write if room is None else write[:room]
            if data:
                await response.write(data)
            if room is not None and (room := room - len(data)) <= 0:
                break
            if delivery.pause_seconds:
                await asyncio.sleep(delivery.pause_seconds)
        await self._finish(request, response, delivery)
        return response

    async def _finish(self, request: web.Request, response: web.StreamResponse, delivery: Delivery) -> None:
        if delivery.hang_after_bytes is not None:
            await self._closing.wait()
        elif delivery.abort_after_bytes is not None:
            if request.transport:
                request.transport.close()
        else:
            await response.write_eof()


def _always(reply: Reply) -> Script:
    return lambda _: reply


def _writes(parts: Sequence[bytes], delivery: Delivery) -> list[bytes]:
    if delivery.gzip:
        parts = [gzip.compress(b"".join(parts))]
    match delivery.cut:
        case "events":
            return [part for part in parts if part]
        case "bytes":
            return [bytes([byte]) for part in parts for byte in part]
        case "whole":
            return [b"".join(parts)]
        case "tail":
            whole = b"".join(parts)
            return [whole[:-TAIL_BYTES], *(bytes([byte]) for byte in whole[-TAIL_BYTES:])]
