"""An address that stays while what is behind it is stopped, started again, and listens elsewhere."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from support.ports import LOOPBACK


class WanderingPort:
    """Passes connections on to `target`; refuses them while there is none."""

    def __init__(self) -> None:
        self.port = 0
        self._target: int | None = None
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._pass_on, LOOPBACK, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.point_to(None)

    def point_to(self, target: int | None) -> None:
        """From now on; connections that there are break."""
        self._target = target
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._target is None:
            writer.transport.abort()
            return
        with contextlib.suppress(OSError):
            other_reader, other_writer = await asyncio.open_connection(LOOPBACK, self._target)
            ends = {writer, other_writer}
            self._writers |= ends
            try:
                await asyncio.gather(_copy(reader, other_writer), _copy(other_reader, writer))
            finally:
                self._writers -= ends
                for end in ends:
                    end.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()
