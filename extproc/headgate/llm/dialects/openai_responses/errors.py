"""Errors of the Responses API: chat completions' own, word for word; what a response says of its failure."""

from typing import Final

from headgate.llm.dialects.openai_chat.errors import decode_error, detail_of, encode_error
from headgate.llm.dialects.openai_chat.wire import ErrorBody
from headgate.llm.dialects.openai_responses import wire
from headgate.llm.errors import ErrorDetail, ErrorKind

__all__ = ["decode_error", "encode_error", "event_failure", "failure_code", "failure_of"]

_STATUSES: Final = {"server_error": 500, "rate_limit_exceeded": 429, "insufficient_quota": 429, "invalid_prompt": 400}
"""By the code of a failure; a failure inside an answer has no status of its own."""


def failure_of(error: str | ErrorBody | None) -> ErrorDetail:
    """The failure that a response or an error event tells."""
    body = ErrorBody(message=error) if isinstance(error, str) or error is None else error
    code = "" if body.code is None else str(body.code)
    status = _STATUSES.get(code) or _STATUSES.get(body.type or "") or 502
    if code.isascii() and code.isdigit() and 400 <= int(code[:4]) < 600:
        status = int(code[:4])
    if code.startswith(("image", "invalid_image", "unsupported_image", "empty_image")):
        status = 400
    return detail_of(body, status)


def failure_code(error: ErrorDetail) -> str:
    """The code of a failed response: one of a closed set."""
    if error.kind in (ErrorKind.RATE_LIMIT, ErrorKind.QUOTA):
        return "rate_limit_exceeded"
    return "invalid_prompt" if error.kind is ErrorKind.INVALID_REQUEST else "server_error"


def event_failure(event: wire.Event) -> ErrorDetail:
    """The failure that an `error` event tells, its members in it or in an object."""
    if event.error:
        return failure_of(event.error)
    return failure_of(ErrorBody(message=event.message, code=event.code, param=event.param))
