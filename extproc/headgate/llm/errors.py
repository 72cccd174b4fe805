"""Whose fault it was, as classes; what the other side said, as a value.

`RequestError` and `UpstreamError` are all that this package raises on purpose. Anything else is a bug.
"""

from enum import StrEnum

import msgspec


class ErrorKind(StrEnum):
    """What went wrong, in the words no single provider owns. Each dialect has a table from and to its own."""

    INVALID_REQUEST = "invalid_request"
    AUTHENTICATION = "authentication"
    PERMISSION = "permission"
    NOT_FOUND = "not_found"
    TOO_LARGE = "too_large"
    RATE_LIMIT = "rate_limit"
    """Too fast: waiting helps."""
    QUOTA = "quota"
    """Out of budget or credit: waiting does not help."""
    TIMEOUT = "timeout"
    OVERLOADED = "overloaded"
    INTERNAL = "internal"


def kind_of_status(status: int) -> ErrorKind:
    """The kind that an HTTP status alone tells."""
    kind = STATUS_KINDS.get(status)
    if kind is not None:
        return kind
    return ErrorKind.INVALID_REQUEST if 400 <= status < 500 else ErrorKind.INTERNAL


STATUS_KINDS = {
    401: ErrorKind.AUTHENTICATION,
    402: ErrorKind.QUOTA,
    403: ErrorKind.PERMISSION,
    404: ErrorKind.NOT_FOUND,
    408: ErrorKind.TIMEOUT,
    413: ErrorKind.TOO_LARGE,
    429: ErrorKind.RATE_LIMIT,
    503: ErrorKind.OVERLOADED,
    504: ErrorKind.TIMEOUT,
    529: ErrorKind.OVERLOADED,
}


class ErrorDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """A canonical error: what any dialect's error body says."""

    status: int
    kind: ErrorKind
    message: str
    type: str = ""
    """The provider's own type word, kept when both sides speak the same words."""
    code: str = ""
    """The provider's or our own machine-readable code (`context_length_exceeded`, `insufficient_quota`)."""
    param: str = ""
    """JSON path of what was wrong, where known."""
    request_id: str = ""
    retry_after_seconds: int = 0
    """When to try again, as the body says it; 0 where it does not."""


class TranslationError(Exception):
    """An error that has an answer: `status` and the words for the client."""

    status: int
    kind: ErrorKind
    path: str
    code: str

    def __init__(
        self, message: str, *, status: int, kind: ErrorKind | None = None, path: str = "", code: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind_of_status(status) if kind is None else kind
        self.path = path
        self.code = code

    def detail(self) -> ErrorDetail:
        """The same as a value; the message names the path where there is one."""
        message = f"{self.path}: {self.message}" if self.path else self.message
        return ErrorDetail(status=self.status, kind=self.kind, message=message, code=self.code, param=self.path)


class RequestError(TranslationError):
    """The client's fault. `path` is the JSON path of what was wrong; the message says what would be right."""

    def __init__(self, message: str, *, path: str = "", status: int = 400, code: str = "") -> None:
        super().__init__(message, status=status, path=path, code=code)


class UnsupportedTranslation(RequestError):  # noqa: N818 - the name the whole project uses
    """The request is fine, but this pair of dialects, or this target, cannot carry it. 422."""

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message, path=path, status=422, code="unsupported_translation")


class UpstreamError(TranslationError):
    """The provider answered what its dialect does not allow."""

    def __init__(self, message: str, *, status: int = 502, kind: ErrorKind | None = None) -> None:
        super().__init__(message, status=status, kind=kind, code="upstream_error")


class StreamFailed(UpstreamError):  # noqa: N818 - what happened, as the sibling above
    """A provider's stream failed before anything of it went to the client: `error` is what it said, or what is said of
    it."""

    def __init__(self, error: ErrorDetail) -> None:
        super().__init__(error.message, status=error.status, kind=error.kind)
        self.error = error

    def detail(self) -> ErrorDetail:
        """As it was said."""
        return self.error
