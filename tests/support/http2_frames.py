"""An HTTP/2 client of single frames: it sends what a test says, when it says so, a reset in any phase too."""

import socket
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from support.waiting import BUSY_SECONDS

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
CANCEL: Final = 8


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """RFC 9113, 4.1."""
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def block(headers: Mapping[str, str]) -> bytes:
    """Literal fields that are not indexed, without Huffman's code (RFC 7541, 6.2.2); none is longer than 126 bytes."""
    out = bytearray()
    for name, value in headers.items():
        out += b"\x00" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
    return bytes(out)


class Http2Connection:
    """One connection by prior knowledge, on which one stream at a time is opened."""

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        self._authority = where.netloc
        self._socket = socket.create_connection((where.hostname, where.port), timeout=BUSY_SECONDS)
        self._socket.sendall(PREFACE + frame(SETTINGS))
        self._stream = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def head(self, path: str, headers: Mapping[str, str]) -> None:
        """Begins a POST."""
        self._stream += 2
        own = {":method": "POST", ":scheme": "http", ":authority": self._authority, ":path": path, **headers}
        self._socket.sendall(frame(HEADERS, END_HEADERS, self._stream, block(own)))

    def body(self, data: bytes, *, ends: bool) -> None:
        self._socket.sendall(frame(DATA, END_STREAM if ends else 0, self._stream, data))

    def trailers(self, headers: Mapping[str, str]) -> None:
        self._socket.sendall(frame(HEADERS, END_HEADERS | END_STREAM, self._stream, block(headers)))

    def reset(self) -> None:
        """Leaves the stream, and the connection open."""
        self._socket.sendall(frame(RST_STREAM, 0, self._stream, CANCEL.to_bytes(4)))

    def read_until(self, wanted: bytes) -> bytes:
        """The answer's body up to and with these bytes, or to its end."""
        found = b""
        while wanted not in found:
            kind, flags, payload = self._frame()
            if kind == SETTINGS and not flags & ACK:
                self._socket.sendall(frame(SETTINGS, ACK))
            elif kind == DATA:
                found += payload
            elif kind in (RST_STREAM, GOAWAY):
                raise ConnectionResetError(payload)
            if kind in (DATA, HEADERS) and flags & END_STREAM:
                break
        return found

    def _frame(self) -> tuple[int, int, bytes]:
        head = self._exactly(9)
        return head[3], head[4], self._exactly(int.from_bytes(head[:3]))

    def _exactly(self, size: int) -> bytes:
        out = b""
        while len(out) < size:
            data = self._socket.recv(size - len(out))
            if not data:
                raise ConnectionResetError
            out += data
        return out
