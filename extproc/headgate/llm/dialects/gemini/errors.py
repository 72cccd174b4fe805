"""Google's error answers to and from canonical errors. <https://cloud.google.com/apis/design/errors>"""

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec
from headgate.llm.dialects.gemini import wire
from headgate.llm.errors import ErrorDetail, ErrorKind, kind_of_status

QUOTED_CHARACTERS_MAX: Final = 1_000
"""Of a body that is no error of this dialect, at most this much is quoted."""

KINDS: Final[Mapping[str, ErrorKind]] = MappingProxyType(
    {
        "INVALID_ARGUMENT": ErrorKind.INVALID_REQUEST,
        "FAILED_PRECONDITION": ErrorKind.INVALID_REQUEST,
        "OUT_OF_RANGE": ErrorKind.INVALID_REQUEST,
        "UNAUTHENTICATED": ErrorKind.AUTHENTICATION,
        "PERMISSION_DENIED": ErrorKind.PERMISSION,
        "NOT_FOUND": ErrorKind.NOT_FOUND,
        "RESOURCE_EXHAUSTED": ErrorKind.RATE_LIMIT,
        "DEADLINE_EXCEEDED": ErrorKind.TIMEOUT,
        "UNAVAILABLE": ErrorKind.OVERLOADED,
        "INTERNAL": ErrorKind.INTERNAL,
        "UNKNOWN": ErrorKind.INTERNAL,
    }
)

_WORDS: Final[Mapping[ErrorKind, str]] = MappingProxyType(
    {
        ErrorKind.INVALID_REQUEST: "INVALID_ARGUMENT",
        ErrorKind.AUTHENTICATION: "UNAUTHENTICATED",
        ErrorKind.PERMISSION: "PERMISSION_DENIED",
        ErrorKind.NOT_FOUND: "NOT_FOUND",
        ErrorKind.TOO_LARGE: "INVALID_ARGUMENT",
        ErrorKind.RATE_LIMIT: "RESOURCE_EXHAUSTED",
        ErrorKind.QUOTA: "RESOURCE_EXHAUSTED",
        ErrorKind.TIMEOUT: "DEADLINE_EXCEEDED",
        ErrorKind.OVERLOADED: "UNAVAILABLE",
        ErrorKind.INTERNAL: "INTERNAL",
    }
)

_STATUSES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "INVALID_ARGUMENT": 400,
        "FAILED_PRECONDITION": 400,
        "OUT_OF_RANGE": 400,
        "UNAUTHENTICATED": 401,
        "PERMISSION_DENIED": 403,
        "NOT_FOUND": 404,
        "RESOURCE_EXHAUSTED": 429,
        "DEADLINE_EXCEEDED": 504,
        "UNAVAILABLE": 503,
    }
)
"""Of errors inside a stream."""

_INVALID_KEY: Final = "API_KEY_INVALID"
"""The `reason` in the details: AI Studio says 400 INVALID_ARGUMENT of a wrong key."""

_TOO_LARGE_STATUS: Final = 413


_RETRY_INFO: Final = "type.googleapis.com/google.rpc.RetryInfo"
_DELAY: Final = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)s")


class _Retry(wire.Open, frozen=True):
    """One of an error's details."""

    kind: str = msgspec.field(name="@type", default="")
    retry_delay: str = ""


class _Body(wire.Open, frozen=True):
    error: wire.ErrorStatus | None = None


_decode_one = msgspec.json.Decoder(_Body).decode
_decode_details = msgspec.json.Decoder(list[_Retry]).decode
_decode_several = msgspec.json.Decoder(list[_Body]).decode


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ErrorDetail:
    """See `ChatDialect.decode_error`. Streams that were not asked for by `alt=sse` wrap the error in a list."""
    try:
        if body.lstrip().startswith(b"["):
            bodies = _decode_several(body)
            decoded = bodies[0] if bodies else _Body()
        else:
            decoded = _decode_one(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _unreadable(status, body)
    if decoded.error is None or not (decoded.error.message or decoded.error.status):
        return _unreadable(status, body)
    return detail_of(decoded.error, status)


def detail_of(error: wire.ErrorStatus, status: int) -> ErrorDetail:
    """An error object, from an error answer or from inside a stream. Details are told as upstream tells them."""
    word = error.status or ""
    kind = KINDS.get(word, kind_of_status(status))
    details = wire.present(error.details)
    if status == _TOO_LARGE_STATUS:
        kind = ErrorKind.TOO_LARGE
    elif _INVALID_KEY.encode() in details:
        kind = ErrorKind.AUTHENTICATION
    message = error.message or f"the provider answered {status} {word}".rstrip()
    if details and details != b"[]":
        text = details.decode("utf-8", "replace")[:QUOTED_CHARACTERS_MAX]
        message = f"Error: {message}\nDetails: {text}"
    return ErrorDetail(
        status=status, kind=kind, message=message, type=word, retry_after_seconds=_retry_after_seconds(details)
    )


def _retry_after_seconds(details: bytes) -> int:
    """What `RetryInfo` says, in whole seconds: Google has no header for it, and clients read only that."""
    if _RETRY_INFO.encode() not in details:
        return 0
    try:
        known = _decode_details(details)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    delays = [_DELAY.fullmatch(each.retry_delay) for each in known if each.kind == _RETRY_INFO]
    return max((math.ceil(float(delay[1])) for delay in delays if delay), default=0)


def failure_of(error: wire.ErrorStatus) -> ErrorDetail:
    """An error that came with a status of success."""
    code = error.code
    status = code if code is not None and 400 <= code < 600 else _STATUSES.get(error.status or "", 502)
    return detail_of(error, status)


def _unreadable(status: int, body: bytes) -> ErrorDetail:
    text = body[: QUOTED_CHARACTERS_MAX * 4].decode("utf-8", "replace").strip()[:QUOTED_CHARACTERS_MAX]
    message = f"the provider answered {status}" + (f": {text}" if text else " without a message")
    return ErrorDetail(status=status, kind=kind_of_status(status), message=message)


def error_members(detail: ErrorDetail) -> dict[str, Any]:
    """The member `error` of an answer or of a stream's chunk."""
    word = detail.type if detail.type in KINDS else _WORDS[detail.kind]
    return {"code": detail.status, "message": detail.message, "status": word}


def encode_error(detail: ErrorDetail) -> bytes:
    """See `ChatDialect.encode_error`."""
    return msgspec.json.encode({"error": error_members(detail)})
