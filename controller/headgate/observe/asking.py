"""Asks our own processes over their unix sockets."""

from pathlib import Path
from typing import Final

from headgate.observe.page import SourceError
from headgate.runtime import local_http

ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024
ASK_SECONDS_MAX: Final = 1.0


async def ask(socket: Path, path: str, body: bytes | None = None) -> bytes:
    """The body of a 200 answer to a GET, or to a POST of JSON. Raises SourceError."""
    method = "GET" if body is None else "POST"
    try:
        answer = await local_http.ask(
            socket, path, method=method, body=body or b"", seconds=ASK_SECONDS_MAX, bytes_max=ANSWER_BYTES_MAX
        )
    except local_http.UnansweredError as error:
        raise SourceError(str(error)) from None
    if answer.status != 200:
        raise SourceError(f"answered {answer.status} {answer.reason}")
    return answer.body
