"""Cohere's error answers to and from canonical errors. <https://docs.cohere.com/reference/errors>

The body says only a message and an id; what went wrong is told by the status.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from headgate.llm.errors import ErrorDetail, ErrorKind, kind_of_status

QUOTED_CHARACTERS_MAX: Final = 1_000
"""Of a body that is no error of this dialect, at most this much is quoted."""

INVALID_TOKEN: Final = 498
"""What Cohere answers to tokens it has blocked."""

_OUT_OF_QUOTA: Final = ("/ month", "billing", "spend limit")
"""What a 429 says when waiting does not help (a trial key's monthly calls are used up)."""


class _Body(msgspec.Struct, frozen=True):
    message: str | None = None
    id: str | None = None


_DECODER: Final = msgspec.json.Decoder(_Body)


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ErrorDetail:
    """See `ChatDialect.decode_error`."""
    try:
        decoded = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        decoded = _Body()
    request_id = headers.get("x-request-id", "") or decoded.id or ""
    if not decoded.message:
        text = " ".join(body[: QUOTED_CHARACTERS_MAX * 4].decode("utf-8", "replace").split())[:QUOTED_CHARACTERS_MAX]
        message = f"the provider answered {status}" + (f": {text}" if text else " without a message")
        return ErrorDetail(status=status, kind=kind_of_status(status), message=message, request_id=request_id)
    return ErrorDetail(
        status=status, kind=_kind_of(status, decoded.message), message=decoded.message, request_id=request_id
    )


def _kind_of(status: int, message: str) -> ErrorKind:
    if status == INVALID_TOKEN:
        return ErrorKind.AUTHENTICATION
    if status == 429 and any(words in message.lower() for words in _OUT_OF_QUOTA):
        return ErrorKind.QUOTA
    return kind_of_status(status)


def encode_error(detail: ErrorDetail) -> bytes:
    """See `ChatDialect.encode_error`."""
    body = {"id": detail.request_id} if detail.request_id else {}
    return msgspec.json.encode({**body, "message": detail.message})
