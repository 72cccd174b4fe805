"""The admin port of a server: a few paths over HTTP/1.1, one answer per connection.

Written out by hand because an HTTP framework would more than double the time that our servers need to start. It listens
on `--admin-port`, and on `--admin-socket` for whoever started the process (`headgate run` has one port for all).
"""

import argparse
import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from headgate.contract.addresses import host_port
from headgate.runtime.addresses import AddressInUseError
from headgate.runtime.logging import event_log

log = event_log("admin")

HEAD_BYTES_MAX: Final = 16 * 1024
BODY_BYTES_MAX: Final = 1024 * 1024
LENGTH_DIGITS_MAX: Final = 16
CLIENT_SECONDS: Final = 5.0
"""A client gets this long to send its request and take its answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    body: str
    content_type: str = "text/plain; charset=utf-8"
    body_sent: bool = True


Page = Callable[[bytes], Awaitable[Reply]]
"""Answers one method and path; takes the request's body."""

_REASONS: Final[Mapping[int, str]] = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
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


def add_arguments(parser: argparse.ArgumentParser, shows: str) -> None:
    """The options of an `AdminAddress`. `shows` are its paths, for the help."""
    parser.add_argument("--admin-port", type=int, default=None, help=f"port for {shows}; none without it")
    parser.add_argument("--admin-host", default="127.0.0.1", help="address for --admin-port (default %(default)s)")
    parser.add_argument("--admin-socket", default="", metavar="PATH", help="unix socket for the same")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminAddress:
    """Where to listen: at a TCP port unless it is None, at a unix socket unless it is empty."""

    host: str = "127.0.0.1"
    port: int | None = None
    socket: str = ""


def admin_address(options: argparse.Namespace) -> AdminAddress:
    """What the options of `add_arguments` say."""
    return AdminAddress(host=options.admin_host, port=options.admin_port, socket=options.admin_socket)


def page(text: Callable[[], str], content_type: str = "text/plain; charset=utf-8") -> Page:
    """A page that is always there."""

    async def answer(_: bytes) -> Reply:
        return Reply(200, text(), content_type)

    return answer


class AdminServer:
    """Serves `pages`, keyed by method and path, and `/healthz`, that it is there; by HEAD as well, without a body."""

    def __init__(self, pages: Mapping[tuple[str, str], Page]) -> None:
        self._pages = {("GET", "/healthz"): page(lambda: "ok\n"), **pages}
        self._servers: list[asyncio.Server] = []

    async def open(self, address: AdminAddress) -> int | None:
        """Listens there; returns the port. Raises AddressInUseError."""
        if address.socket:
            with _named(address.socket):
                server = await asyncio.start_unix_server(self._serve, address.socket, limit=HEAD_BYTES_MAX)
            self._servers.append(server)
        if address.port is None:
            return None
        with _named(host_port(address.host, address.port)):
            return await self.start(address.host, address.port)

    async def start(self, host: str, port: int) -> int:
        """Listens and returns the port; raises OSError."""
        server = await asyncio.start_server(self._serve, host, port, limit=HEAD_BYTES_MAX)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stops listening."""
        for server in self._servers:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(CLIENT_SECONDS):
                writer.write(_encoded(await self._reply(reader)))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError):
            pass  # it has gone, or takes too long
        finally:
            writer.transport.abort()

    async def _reply(self, reader: asyncio.StreamReader) -> Reply:
        try:
            return await self._answer(reader)
        except _RefusedError as refused:
            return refused.reply
        except (OSError, TimeoutError):
            raise
        except Exception:
            log.exception("page_failed")
            return Reply(500, "this page failed; the log says why\n")

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
        answer = self._pages.get(("GET" if method == "HEAD" else method, path))
        if answer is None:
            known = any(path == each for _, each in self._pages)
            raise _RefusedError(405 if known else 404, "no such method here" if known else "no such page")
        if method == "POST" and _from_web_page(lines):
            raise _RefusedError(403, "not for web pages")
        reply = await answer(await _body(reader, lines))
        return replace(reply, body_sent=method != "HEAD")


def _encoded(reply: Reply) -> bytes:
    body = reply.body.encode()
    head = (
        f"HTTP/1.1 {reply.status} {_REASONS[reply.status]}\r\ncontent-type: {reply.content_type}\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + (body if reply.body_sent else b"")


@contextlib.contextmanager
def _named(where: str) -> Generator[None]:
    try:
        yield
    except (OSError, OverflowError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise AddressInUseError(f"cannot listen on {where}: {reason}") from error


def _from_web_page(lines: list[str]) -> bool:
    """Browsers send an origin with what may change something; a page of any site may have them post to loopback."""
    return any(line.lower().startswith("origin:") for line in lines)


async def _body(reader: asyncio.StreamReader, lines: list[str]) -> bytes:
    for line in lines:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            digits = value.strip()
            if not (digits.isascii() and digits.isdecimal()):
                raise _RefusedError(400, "content-length is not a number")
            if len(digits) > LENGTH_DIGITS_MAX or int(digits) > BODY_BYTES_MAX:
                raise _RefusedError(413, f"more than {BODY_BYTES_MAX} bytes")
            try:
                return await reader.readexactly(int(digits))
            except asyncio.IncompleteReadError:
                raise _RefusedError(400, "the body ended early") from None
    return b""
