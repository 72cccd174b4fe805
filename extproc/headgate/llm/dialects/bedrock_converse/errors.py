"""Errors of Bedrock's runtime to and from canonical errors; the same for Converse, InvokeModel and inside streams.

<https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html>. The exception's name comes as the header
`x-amzn-errortype` (sometimes followed by `:` and a URL) or as the members `__type` or `code`. We write `__type`:
every AWS SDK reads it and raises the class of that name.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec
from headgate.llm.errors import ErrorDetail, ErrorKind, kind_of_status

QUOTED_CHARACTERS_MAX: Final = 1_000
"""Of a body that is no error of this dialect, at most this much is quoted."""

EXCEPTIONS: Final[Mapping[str, tuple[ErrorKind, int]]] = MappingProxyType(
    {
        "ValidationException": (ErrorKind.INVALID_REQUEST, 400),
        "AccessDeniedException": (ErrorKind.PERMISSION, 403),
        "ResourceNotFoundException": (ErrorKind.NOT_FOUND, 404),
        "ThrottlingException": (ErrorKind.RATE_LIMIT, 429),
        "TooManyRequestsException": (ErrorKind.RATE_LIMIT, 429),
        "Throttling": (ErrorKind.RATE_LIMIT, 429),
        "ThrottledException": (ErrorKind.RATE_LIMIT, 429),
        "RequestThrottledException": (ErrorKind.RATE_LIMIT, 429),
        "RequestThrottled": (ErrorKind.RATE_LIMIT, 429),
        "RequestLimitExceeded": (ErrorKind.RATE_LIMIT, 429),
        "LimitExceededException": (ErrorKind.RATE_LIMIT, 429),
        "ProvisionedThroughputExceededException": (ErrorKind.RATE_LIMIT, 429),
        "SlowDown": (ErrorKind.RATE_LIMIT, 429),
        "ServiceQuotaExceededException": (ErrorKind.QUOTA, 400),
        "ModelTimeoutException": (ErrorKind.TIMEOUT, 408),
        "ModelNotReadyException": (ErrorKind.OVERLOADED, 429),
        "ServiceUnavailableException": (ErrorKind.OVERLOADED, 503),
        "InternalServerException": (ErrorKind.INTERNAL, 500),
        "ModelErrorException": (ErrorKind.INTERNAL, 424),
        "ModelStreamErrorException": (ErrorKind.INTERNAL, 424),
        "UnrecognizedClientException": (ErrorKind.AUTHENTICATION, 403),
        "InvalidSignatureException": (ErrorKind.AUTHENTICATION, 403),
        "IncompleteSignatureException": (ErrorKind.AUTHENTICATION, 403),
        "IncompleteSignature": (ErrorKind.AUTHENTICATION, 403),
        "SignatureDoesNotMatch": (ErrorKind.AUTHENTICATION, 403),
        "InvalidClientTokenId": (ErrorKind.AUTHENTICATION, 403),
        "MissingAuthenticationTokenException": (ErrorKind.AUTHENTICATION, 403),
        "MissingAuthenticationToken": (ErrorKind.AUTHENTICATION, 403),
        "ExpiredTokenException": (ErrorKind.AUTHENTICATION, 403),
        "ExpiredToken": (ErrorKind.AUTHENTICATION, 403),
    }
)
"""Name to kind, and to the status of an exception that comes inside a stream, without one."""

_NAMES: Final[Mapping[ErrorKind, str]] = MappingProxyType(
    {
        ErrorKind.INVALID_REQUEST: "ValidationException",
        ErrorKind.AUTHENTICATION: "UnrecognizedClientException",
        ErrorKind.PERMISSION: "AccessDeniedException",
        ErrorKind.NOT_FOUND: "ResourceNotFoundException",
        ErrorKind.TOO_LARGE: "ValidationException",
        ErrorKind.RATE_LIMIT: "ThrottlingException",
        ErrorKind.QUOTA: "ServiceQuotaExceededException",
        ErrorKind.TIMEOUT: "ModelTimeoutException",
        ErrorKind.OVERLOADED: "ServiceUnavailableException",
        ErrorKind.INTERNAL: "InternalServerException",
    }
)

_STREAM_NAMES: Final[Mapping[ErrorKind, str]] = MappingProxyType(
    {
        ErrorKind.INVALID_REQUEST: "validationException",
        ErrorKind.TOO_LARGE: "validationException",
        ErrorKind.RATE_LIMIT: "throttlingException",
        ErrorKind.QUOTA: "throttlingException",
        ErrorKind.OVERLOADED: "serviceUnavailableException",
        ErrorKind.TIMEOUT: "modelStreamErrorException",
        ErrorKind.INTERNAL: "internalServerException",
    }
)
"""A stream has fewer of them."""

_TOO_LONG: Final = ("input is too long", "prompt is too long", "too many input tokens")
"""How a `ValidationException` says that the conversation does not fit."""


_DAILY: Final = "tokens per day"
"""How a `ThrottlingException` says that waiting, as clients wait, does not help."""


class _Body(msgspec.Struct, frozen=True):
    message: str | None = None
    capital_message: str | None = msgspec.field(name="Message", default=None)
    type: str | None = msgspec.field(name="__type", default=None)
    code: str | int | None = None


_DECODER: Final = msgspec.json.Decoder(_Body)


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ErrorDetail:
    """See `ChatDialect.decode_error`."""
    request_id = headers.get("x-amzn-requestid", "")
    said = _read(body)
    name = _name_of(headers.get("x-amzn-errortype") or said.type or (said.code if isinstance(said.code, str) else ""))
    message = said.message or said.capital_message
    if not message:
        text = body[: QUOTED_CHARACTERS_MAX * 4].decode("utf-8", "replace").strip()[:QUOTED_CHARACTERS_MAX]
        text = name or ("" if text == "{}" else text)
        message = f"the provider answered {status}" + (f": {text}" if text else " without a message")
    kind = EXCEPTIONS[name][0] if name in EXCEPTIONS else kind_of_status(status)
    return _detail(status, kind, message, name, request_id)


def decode_exception(name: str, payload: bytes) -> ErrorDetail:
    """An exception that ends a stream; its name begins with a small letter there."""
    name = _name_of(name)
    name = name[:1].upper() + name[1:]
    kind, status = EXCEPTIONS.get(name, (ErrorKind.INTERNAL, 500))
    said = _read(payload)
    message = said.message or said.capital_message or f"the provider ended its stream with {name or 'an error'}"
    return _detail(status, kind, message, name, "")


def exception_name(detail: ErrorDetail) -> str:
    """The exception that says a canonical error inside a stream."""
    return _STREAM_NAMES.get(detail.kind, "validationException")


def encode_error(detail: ErrorDetail) -> bytes:
    """See `ChatDialect.encode_error`."""
    name = detail.type if detail.type in EXCEPTIONS else _NAMES[detail.kind]
    return msgspec.json.encode({"__type": name, "message": detail.message})


def _read(body: bytes) -> _Body:
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Body()


def _name_of(said: str) -> str:
    """`namespace#Name:http://…` without what surrounds the name."""
    return said.partition(":")[0].rpartition("#")[2].strip()


def _detail(status: int, kind: ErrorKind, message: str, name: str, request_id: str) -> ErrorDetail:
    lower = message.lower()
    too_long = kind is ErrorKind.INVALID_REQUEST and any(words in lower for words in _TOO_LONG)
    code = "context_length_exceeded" if too_long else ""
    if kind is ErrorKind.RATE_LIMIT and _DAILY in lower:
        kind = ErrorKind.QUOTA
    return ErrorDetail(status=status, kind=kind, message=message, type=name, code=code, request_id=request_id)
