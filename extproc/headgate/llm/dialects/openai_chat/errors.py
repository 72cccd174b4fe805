"""Errors of the chat completions dialect.

Read: OpenAI's `{"error": {message, type, param, code}}`, and what compatible servers answer: the same members at the
top level (Mistral, older vLLM), `{"error": "text"}`, `{"detail": …}` (FastAPI), plain text and HTML.
Written: OpenAI's shape. compat: a top-level `type: error`, and the status as `code` where no word is known.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from headgate.llm.dialects.openai_chat.wire import ABSENT, ErrorBody, present
from headgate.llm.errors import ErrorDetail, ErrorKind, kind_of_status

TEXT_CHARACTERS_MAX: Final = 1_000
"""Of a body that is no error of this dialect: enough to tell a proxy's page from a provider's words."""

_TYPES: Final[Mapping[ErrorKind, str]] = {
    ErrorKind.INVALID_REQUEST: "invalid_request_error",
    ErrorKind.AUTHENTICATION: "authentication_error",
    ErrorKind.PERMISSION: "permission_error",
    ErrorKind.NOT_FOUND: "not_found_error",
    ErrorKind.TOO_LARGE: "invalid_request_error",
    ErrorKind.RATE_LIMIT: "rate_limit_error",
    ErrorKind.QUOTA: "insufficient_quota",
    ErrorKind.TIMEOUT: "timeout_error",
    ErrorKind.OVERLOADED: "overloaded_error",
    ErrorKind.INTERNAL: "server_error",
}

_CODES: Final[Mapping[ErrorKind, str]] = {
    ErrorKind.RATE_LIMIT: "rate_limit_exceeded",
    ErrorKind.QUOTA: "insufficient_quota",
}
"""Codes that clients decide by: whether waiting helps. They win over another dialect's word for the same."""

_KINDS: Final[Mapping[str, ErrorKind]] = {
    "insufficient_quota": ErrorKind.QUOTA,
    "billing_hard_limit_reached": ErrorKind.QUOTA,
    "billing_not_active": ErrorKind.QUOTA,
    "billing_error": ErrorKind.QUOTA,
    "insufficient_balance": ErrorKind.QUOTA,
    "exceeded_current_quota_error": ErrorKind.QUOTA,
    "rate_limit_exceeded": ErrorKind.RATE_LIMIT,
    "rate_limit_error": ErrorKind.RATE_LIMIT,
    "rate_limit_reached_error": ErrorKind.RATE_LIMIT,
    "tokens": ErrorKind.RATE_LIMIT,
    "requests": ErrorKind.RATE_LIMIT,
    "invalid_api_key": ErrorKind.AUTHENTICATION,
    "authentication_error": ErrorKind.AUTHENTICATION,
    "permission_error": ErrorKind.PERMISSION,
    "model_not_found": ErrorKind.NOT_FOUND,
    "not_found_error": ErrorKind.NOT_FOUND,
    "overloaded_error": ErrorKind.OVERLOADED,
    "engine_overloaded_error": ErrorKind.OVERLOADED,
    "server_overloaded": ErrorKind.OVERLOADED,
    "timeout_error": ErrorKind.TIMEOUT,
    "invalid_request_error": ErrorKind.INVALID_REQUEST,
    "server_error": ErrorKind.INTERNAL,
    "internal_server_error": ErrorKind.INTERNAL,
    "api_error": ErrorKind.INTERNAL,
}
"""By `code` or `type`; only words that say more than the status."""

_REQUEST_ID_HEADERS: Final = ("x-request-id", "request-id", "apim-request-id", "cf-ray")


class _Envelope(msgspec.Struct, frozen=True):
    error: ErrorBody | str | None = None
    message: str | None = None
    type: str | None = None
    code: str | int | None = None
    param: str | None = None
    detail: msgspec.Raw = ABSENT


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_text = msgspec.json.Decoder(str).decode


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ErrorDetail:
    """The provider's error answer; never fails."""
    request_id = next((headers[name] for name in _REQUEST_ID_HEADERS if headers.get(name)), "")
    try:
        envelope = _decode_envelope(body)
        detail = _text_of_detail(envelope.detail)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _detail_of_text(status, body, request_id)
    match envelope.error:
        case ErrorBody() as error:
            pass
        case str(message):
            error = ErrorBody(message=message, type=envelope.type, code=envelope.code, param=envelope.param)
        case None:
            message = envelope.message or detail
            if not message:
                return _detail_of_text(status, body, request_id)
            error = ErrorBody(message=message, type=envelope.type, code=envelope.code, param=envelope.param)
    return detail_of(error, status, request_id)


def detail_of(error: ErrorBody, status: int, request_id: str = "") -> ErrorDetail:
    """An error object of this dialect, from an error answer or from inside a stream."""
    code = "" if error.code is None else str(error.code)
    kind = _KINDS.get(code) or _KINDS.get(error.type or "")
    by_status = kind_of_status(status)
    if kind is None or (kind is ErrorKind.INVALID_REQUEST and by_status is not ErrorKind.INTERNAL):
        kind = by_status  # OpenAI calls nearly every 4xx an invalid_request_error
    elif kind is ErrorKind.INTERNAL and status >= 500:
        kind = by_status
    return ErrorDetail(
        status=status,
        kind=kind,
        message=error.message or f"the provider answered {status} without a message",
        type=error.type or "",
        code="" if code == str(status) else code,
        param=error.param or "",
        request_id=request_id,
    )


def encode_error(error: ErrorDetail) -> bytes:
    """The client's error body."""
    code = _CODES.get(error.kind) or error.code or str(error.status)
    return msgspec.json.encode(
        {
            "type": "error",
            "error": {
                "message": error.message,
                "type": error.type if error.type in _OWN_TYPES else _TYPES[error.kind],
                "param": error.param or None,
                "code": code,
            },
        }
    )


_OWN_TYPES: Final = frozenset(_TYPES.values()) | {"tokens", "requests"}


def _detail_of_text(status: int, body: bytes, request_id: str) -> ErrorDetail:
    text = " ".join(body[: 4 * TEXT_CHARACTERS_MAX].decode("utf-8", "replace").split())[:TEXT_CHARACTERS_MAX]
    message = f"the provider answered {status}: {text}" if text else f"the provider answered {status} without a message"
    return ErrorDetail(status=status, kind=kind_of_status(status), message=message, request_id=request_id)


def _text_of_detail(detail: msgspec.Raw) -> str:
    raw = present(detail)
    if raw.startswith(b'"'):
        return _decode_text(raw)
    if raw in (b"[]", b"{}"):
        return ""
    return raw[: 4 * TEXT_CHARACTERS_MAX].decode("utf-8", "replace")[:TEXT_CHARACTERS_MAX]
