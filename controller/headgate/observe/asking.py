"""Asks our own processes over their unix sockets."""

import asyncio
import json
from pathlib import Path
from typing import Final

from headgate.observe.page import SourceError

ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024
ASK_SECONDS_MAX: Final = 1.0


async def ask(socket: Path, path: str, body: bytes | None = None) -> bytes:
    """The body of a 200 answer to a GET, or to a POST of JSON. Raises SourceError."""
    try:
        async with asyncio.timeout(ASK_SECONDS_MAX):
            answer = await _exchange(socket, _request(path, body))
    except (OSError, TimeoutError, asyncio.LimitOverrunError) as error:
        raise SourceError(str(error) or type(error).__name__) from None
    head, _, found = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if status != [b"200"]:
        raise SourceError(f"answered {json.dumps(head[:100].decode('latin-1'))}")
    return found


def _request(path: str, body: bytes | None) -> bytes:
    head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    return f"{head}content-length: {len(body or b'')}\r\n\r\n".encode() + (body or b"")


async def _exchange(socket: Path, request: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(socket))
    try:
        writer.write(request)
        found = bytearray()
        while chunk := await reader.read(65536):
            found += chunk
            if len(found) > ANSWER_BYTES_MAX:
                raise SourceError(f"answered more than {ANSWER_BYTES_MAX} bytes")
        return bytes(found)
    finally:
        writer.close()
