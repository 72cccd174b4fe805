"""Many equal unary gRPC calls from very little CPU: HTTP/2 frames are made beforehand, answers only skimmed.

It can saturate a server that shares its machine, which a real gRPC client in Python cannot.
"""

import asyncio
import struct
import time
from collections.abc import Mapping

_SETTINGS, _PING, _HEADERS, _WINDOW_UPDATE, _GOAWAY = 0x4, 0x6, 0x1, 0x8, 0x7
TICK_SECONDS = 0.001
"""Of a load that keeps a pace."""
_END_STREAM, _END_HEADERS, _ACK = 0x1, 0x4, 0x1


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One HTTP/2 frame."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def header_block(fields: dict[str, str]) -> bytes:
    """HPACK without compression: literals that are never indexed; names and values are shorter than 127 bytes."""
    return b"".join(
        b"\x10" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
        for name, value in fields.items()
    )


class Caller(asyncio.Protocol):
    """Keeps `closed` equal calls in flight on one connection, at most `calls` in all; or begins so many `per_second`,
    whatever is in flight."""

    def __init__(
        self,
        method: str,
        metadata: Mapping[str, str],
        body: bytes,
        closed: int = 0,
        calls: int = 2**30,
        *,
        per_second: float = 0.0,
    ) -> None:
        fields = {":method": "POST", ":scheme": "http", ":path": method, ":authority": "l"}
        fields |= {"te": "trailers", "content-type": "application/grpc", **metadata}
        self._left = calls
        self._wanted: tuple[int, asyncio.Event] | None = None
        self._block = header_block(fields)
        self._data = b"\x00" + struct.pack(">I", len(body)) + body
        self._closed = closed
        self._per_second = per_second
        self._began_at, self._begun = 0.0, 0
        self._stream = -1
        self._buffer = b""
        self._sent_at: dict[int, float] = {}
        self.latencies: list[float] = []
        self.answers = 0
        self.bodies: list[bytes] = []
        """The messages answered, while `calls` is bounded."""
        self._keeps_bodies = calls < 2**30

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(_SETTINGS, 0, 0, b""))
        transport.write(frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**30)))
        if self._per_second:
            self._began_at = time.perf_counter()
            self._keep_pace()
        else:
            self._call(self._closed)

    def _keep_pace(self) -> None:
        due = int((time.perf_counter() - self._began_at) * self._per_second) - self._begun
        if due > 0:
            self._begun += due
            self._call(due)
        if self._left:
            asyncio.get_running_loop().call_later(TICK_SECONDS, self._keep_pace)

    def _call(self, count: int) -> None:
        now = time.perf_counter()
        out: list[bytes] = []
        count = min(count, self._left)
        self._left -= count
        for _ in range(count):
            self._stream += 2
            self._sent_at[self._stream] = now
            out += (
                frame(_HEADERS, _END_HEADERS, self._stream, self._block),
                frame(0, _END_STREAM, self._stream, self._data),
            )
        self._transport.write(b"".join(out))

    def data_received(self, data: bytes) -> None:
        buffer, position, ended = self._buffer + data, 0, 0
        now = time.perf_counter()
        received = 0
        while len(buffer) - position >= 9:
            length = int.from_bytes(buffer[position : position + 3], "big")
            if len(buffer) - position < 9 + length:
                break
            kind, flags = buffer[position + 3], buffer[position + 4]
            payload = buffer[position + 9 : position + 9 + length]
            if kind == 0:
                received += length
                if self._keeps_bodies:
                    # The server sends these small messages in a frame each: 5 bytes of prefix, then the message.
                    self.bodies.append(payload[5:])
            elif kind == _HEADERS and flags & _END_STREAM:
                ended += 1
                stream = int.from_bytes(buffer[position + 5 : position + 9], "big")
                self.latencies.append(now - self._sent_at.pop(stream))
            elif kind == _SETTINGS and not flags & _ACK:
                self._transport.write(frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _PING and not flags & _ACK:
                self._transport.write(frame(_PING, _ACK, 0, payload))
            elif kind == _GOAWAY:
                raise ConnectionError(payload)
            position += 9 + length
        self._buffer = buffer[position:]
        if received:
            self._transport.write(frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", received)))
        self.answers += ended
        if self._wanted is not None and self.answers >= self._wanted[0]:
            self._wanted[1].set()
        if ended and self._left and not self._per_second:
            self._call(ended)

    async def answered(self, count: int) -> None:
        """Waits until there are `count` answers in all."""
        self._wanted = count, asyncio.Event()
        if self.answers < count:
            await self._wanted[1].wait()

    def close(self) -> None:
        """Stops calling."""
        self._left = 0
        self._transport.close()
