"""One HTTP request over a unix socket of this machine: to Envoy's admin interface, or to a process of our own.

Whoever answers closes the connection; all of the answer is read, up to a bound, within a time.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path


class UnansweredError(Exception):
    """Nobody answered in time, or not with HTTP, or with too much; the text says which."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, whatever its status."""

    status: int
    reason: str
    body: bytes


async def ask(
    socket: Path, path: str, *, seconds: float, bytes_max: int, method: str = "GET", body: bytes = b""
) -> Answer:
    """Asks once. `bytes_max` is of the whole answer. Raises UnansweredError."""
    head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    try:
        async with asyncio.timeout(seconds):
            answer = await _exchange(socket, head.encode() + body, bytes_max)
    except (OSError, TimeoutError) as error:
        raise UnansweredError(str(error) or type(error).__name__) from error
    try:
        return _parsed(answer)
    except ValueError:
        raise UnansweredError(f"this is no HTTP: {answer[:100]!r}") from None


async def _exchange(socket: Path, request: bytes, bytes_max: int) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(socket))
    try:
        writer.write(request)
        found = bytearray()
        while chunk := await reader.read(65536):
            found += chunk
            if len(found) > bytes_max:
                raise UnansweredError(f"more than {bytes_max} bytes")
        return bytes(found)
    finally:
        writer.close()


def _parsed(answer: bytes) -> Answer:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    _, status, *reason = lines[0].split(" ", 2)
    chunked = "transfer-encoding: chunked" in map(str.lower, lines)
    return Answer(int(status), "".join(reason), _dechunked(body) if chunked else body)


def _dechunked(body: bytes) -> bytes:
    parts: list[bytes] = []
    while body:
        size_text, _, rest = body.partition(b"\r\n")
        size = int(size_text.partition(b";")[0], 16)
        if size == 0:
            break
        parts.append(rest[:size])
        body = rest[size + 2 :]
    return b"".join(parts)
