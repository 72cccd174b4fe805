"""The admin port: a few GET paths over HTTP/1.1, one answer per connection.

`/healthcheck` (200 while the storage answers and nothing is draining), `/rlconfig` (the limits in force, as YAML),
`/limits` (likewise, and what is left of each, as JSON), `/metrics` (Prometheus), and POST `/json` (a RateLimitRequest
in protobuf's JSON form, as envoyproxy/ratelimit takes).
Written out by hand because an HTTP framework would more than double the time this process needs to start.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

HEAD_BYTES_MAX: Final = 16 * 1024
BODY_BYTES_MAX: Final = 1024 * 1024
CLIENT_SECONDS: Final = 5.0
"""A client gets this long to send its request and take its answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    body: str
    content_type: str = "text/plain; charset=utf-8"


Page = Callable[[bytes], Awaitable[Reply]]
"""Answers one method and path; takes the request's body."""

_REASONS: Final[Mapping[int, str]] = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class _RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.reply = Reply(status, f"{message}\n")


class AdminServer:
    """Serves `pages`, keyed by method and path."""

    def __init__(self, pages: Mapping[tuple[str, str], Page]) -> None:
        self._pages = pages
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens and returns the port; raises OSError."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=HEAD_BYTES_MAX)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stops listening."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLIENT_SECONDS):
                try:
                    reply = await self._answer(reader)
                except _RefusedError as refused:
                    reply = refused.reply
                body = reply.body.encode()
                head = (
                    f"HTTP/1.1 {reply.status} {_REASONS[reply.status]}\r\ncontent-type: {reply.content_type}\r\n"
                    f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
                )
                writer.write(head.encode() + body)
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader) -> Reply:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (asyncio.LimitOverrunError, asyncio.IncompleteReadError):
            raise _RefusedError(400, "not an HTTP request") from None
        first, *lines = head.split("\r\n")
        words = first.split(" ")
        if len(words) != 3:
            raise _RefusedError(400, "not an HTTP request")
        method, path = words[0], words[1].partition("?")[0]
        page = self._pages.get((method, path))
        if page is None:
            known = any(path == each for _, each in self._pages)
            raise _RefusedError(405 if known else 404, "no such method here" if known else "no such page")
        return await page(await _body(reader, lines))


async def _body(reader: asyncio.StreamReader, lines: list[str]) -> bytes:
    for line in lines:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            if not value.strip().isdecimal():
                raise _RefusedError(400, "content-length is not a number")
            if int(value) > BODY_BYTES_MAX:
                raise _RefusedError(413, f"more than {BODY_BYTES_MAX} bytes")
            try:
                return await reader.readexactly(int(value))
            except asyncio.IncompleteReadError:
                raise _RefusedError(400, "the body ended early") from None
    return b""
