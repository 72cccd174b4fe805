"""The admin port: `/healthcheck` (200 until the end comes) and `/metrics` (Prometheus), GET over HTTP/1.1."""

import asyncio
import contextlib
from typing import Final

from headgate.collector.counters import Counts

CLIENT_SECONDS: Final = 5.0


class AdminServer:
    """Answers from the process's counters."""

    def __init__(self, counts: Counts, stop: asyncio.Event) -> None:
        self._counts = counts
        self._stop = stop
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens and returns the port; raises OSError."""
        self._server = await asyncio.start_server(self._serve, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
            async with asyncio.timeout(CLIENT_SECONDS):
                first = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n", 1)[0].split(b" ")
                status, body = self._page(first[1].decode("latin-1") if len(first) == 3 else "")
                head = f"HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\n"
                writer.write(f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode())
                await writer.drain()
        writer.close()

    def _page(self, path: str) -> tuple[str, str]:
        match path.partition("?")[0]:
            case "/metrics":
                return "200 OK", self._counts.text()
            case "/healthcheck":
                return ("503 Service Unavailable", "ending\n") if self._stop.is_set() else ("200 OK", "ok\n")
            case _:
                return "404 Not Found", "no such page\n"
