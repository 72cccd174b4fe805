"""The admin page of a worker: GET /metrics (Prometheus text) and GET /health.

A dozen lines of HTTP/1.1 serve it, so that no web framework costs memory and start-up time.
"""

import asyncio
from typing import Final

from headgate.extproc.metrics import Metrics
from headgate.runtime.addresses import AddressInUseError

HEAD_BYTES_MAX: Final = 16 * 1024
READ_TIMEOUT_SECONDS: Final = 10.0
_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_TEXT_TYPE: Final = "text/plain; charset=utf-8"


class Admin:
    """A listening admin page."""

    def __init__(self, server: asyncio.Server) -> None:
        self._server = server

    @classmethod
    async def start(cls, address: str, metrics: Metrics) -> "Admin":
        """Listens on `host:port`. AddressInUseError."""
        host, _, port = address.rpartition(":")

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _answer(reader, writer, metrics)

        try:
            return cls(await asyncio.start_server(answer, host, int(port), limit=HEAD_BYTES_MAX))
        except OSError as error:
            raise AddressInUseError(f"cannot listen on {address}: {error.strerror}") from error

    @property
    def port(self) -> int:
        return self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self._server.close()
        await self._server.wait_closed()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, metrics: Metrics) -> None:
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), READ_TIMEOUT_SECONDS)
        status, kind, body = _page(head.split(b"\r\n", 1)[0].decode("latin-1"), metrics)
        encoded = body.encode()
        lines = (
            f"HTTP/1.1 {status}",
            f"content-type: {kind}",
            f"content-length: {len(encoded)}",
            "connection: close",
        )
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + encoded)
        await writer.drain()
    except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        pass  # not a client that waits for an answer
    finally:
        writer.close()


def _page(request_line: str, metrics: Metrics) -> tuple[str, str, str]:
    method, _, rest = request_line.partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    if method not in ("GET", "HEAD"):
        return "405 Method Not Allowed", _TEXT_TYPE, "only GET\n"
    match path:
        case "/metrics":
            return "200 OK", _METRICS_TYPE, metrics.render()
        case "/health":
            return "200 OK", _TEXT_TYPE, "OK\n"
        case _:
            return "404 Not Found", _TEXT_TYPE, "there are /metrics and /health\n"
