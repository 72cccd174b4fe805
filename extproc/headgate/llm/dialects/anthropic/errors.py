"""Anthropic's error answers to and from canonical errors. <https://docs.anthropic.com/en/api/errors>"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec
from headgate.llm.errors import ErrorDetail, ErrorKind, RequestError, kind_of_status

QUOTED_CHARACTERS_MAX: Final = 1_000
"""Of a body that is no error of this dialect, at most this much is quoted."""

TYPES: Final[Mapping[str, ErrorKind]] = MappingProxyType(
    {
        "invalid_request_error": ErrorKind.INVALID_REQUEST,
        "authentication_error": ErrorKind.AUTHENTICATION,
        "billing_error": ErrorKind.QUOTA,
        "permission_error": ErrorKind.PERMISSION,
        "not_found_error": ErrorKind.NOT_FOUND,
        "request_too_large": ErrorKind.TOO_LARGE,
        "rate_limit_error": ErrorKind.RATE_LIMIT,
        "timeout_error": ErrorKind.TIMEOUT,
        "overloaded_error": ErrorKind.OVERLOADED,
        "api_error": ErrorKind.INTERNAL,
    }
)

_WORDS: Final[Mapping[ErrorKind, str]] = MappingProxyType({kind: word for word, kind in TYPES.items()})

_STATUSES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "invalid_request_error": 400,
        "authentication_error": 401,
        "billing_error": 402,
        "permission_error": 403,
        "not_found_error": 404,
        "request_too_large": 413,
        "rate_limit_error": 429,
        "timeout_error": 504,
        "overloaded_error": 529,
    }
)
"""Of errors inside a stream, which come without a status."""

THREAD_UNSUPPORTED: Final = "thread_unsupported_request"
"""Anthropic's word, by which its SDKs know to send the whole conversation again, and from then on."""

_OUT_OF_CREDIT: Final = "credit balance is too low"
"""Anthropic says so in an `invalid_request_error` of status 400."""


class _Object(msgspec.Struct, frozen=True):
    type: str | None = None
    message: str | None = None


class _Body(msgspec.Struct, frozen=True):
    """Anthropic's error; `message` and `detail` at the top are what clouds and proxies in front of it write."""

    error: _Object | str | None = None
    message: str | None = None
    request_id: str | None = None


_DECODER: Final = msgspec.json.Decoder(_Body)


def kind_of_type(word: str) -> ErrorKind:
    """The kind that an error type tells."""
    return TYPES.get(word, ErrorKind.INTERNAL)


def status_of_type(word: str) -> int:
    """The status that an error type would have had as an answer."""
    return _STATUSES.get(word, 500)


def type_of(detail: ErrorDetail) -> str:
    """Anthropic's word for a canonical error."""
    return _WORDS[detail.kind]


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ErrorDetail:
    """See `ChatDialect.decode_error`."""
    request_id = headers.get("request-id", "")
    try:
        decoded = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _unreadable(status, body, request_id)
    error = decoded.error
    message = error.message if isinstance(error, _Object) else error
    message = message or decoded.message
    if not message:
        return _unreadable(status, body, request_id)
    word = (error.type or "") if isinstance(error, _Object) else ""
    kind = TYPES.get(word, kind_of_status(status))
    if kind is ErrorKind.INVALID_REQUEST and status != 400:
        kind = kind_of_status(status)
    if _OUT_OF_CREDIT in message:
        kind = ErrorKind.QUOTA
    return ErrorDetail(
        status=status, kind=kind, message=message, type=word, request_id=request_id or decoded.request_id or ""
    )


def _unreadable(status: int, body: bytes, request_id: str) -> ErrorDetail:
    text = body[: QUOTED_CHARACTERS_MAX * 4].decode("utf-8", "replace").strip()[:QUOTED_CHARACTERS_MAX]
    message = f"the provider answered {status}" + (f": {text}" if text else " without a message")
    return ErrorDetail(status=status, kind=kind_of_status(status), message=message, request_id=request_id)


def encode_error(detail: ErrorDetail) -> bytes:
    """See `ChatDialect.encode_error`."""
    error: dict[str, object] = {"type": type_of(detail), "message": detail.message}
    if detail.code == THREAD_UNSUPPORTED:
        error["details"] = {"error_code": detail.code}
    body: dict[str, object] = {"type": "error", "error": error}
    if detail.request_id:
        body["request_id"] = detail.request_id
    return msgspec.json.encode(body)


def refuse_thread(thread: msgspec.Raw | bytes | None) -> None:
    """RequestError where a request begins or continues a thread: only Anthropic's own API keeps those."""
    if thread and bytes(thread) != b"null":
        reason = "conversations are kept at Anthropic, which this backend is not: send the whole one in `messages`"
        raise RequestError(reason, path="thread", code=THREAD_UNSUPPORTED)
