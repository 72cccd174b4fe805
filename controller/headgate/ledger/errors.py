"""What went wrong, in one word: from Envoy's status, flags and details to an `ErrorKind`."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from headgate.ledger.entry import Entry
from headgate.ledger.record import UsageRecord


class ErrorKind(StrEnum):
    """Whose fault it was and what kind; `error.type` of metrics and spans."""

    CLIENT_GONE = "client_gone"
    """The client hung up before its answer was complete."""
    BAD_REQUEST = "bad_request"
    """The gateway refused the request as it is: malformed, too large, untranslatable."""
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    """No such model or path here."""
    LIMITED = "limited"
    """A limit of ours refused it."""
    UPSTREAM_LIMITED = "upstream_limited"
    """The provider answered 429."""
    UPSTREAM_REFUSED = "upstream_refused"
    """The provider answered another 4xx."""
    UPSTREAM_FAILED = "upstream_failed"
    """The provider answered 5xx."""
    UPSTREAM_TIMEOUT = "upstream_timeout"
    UPSTREAM_RESET = "upstream_reset"
    """The connection to the provider failed or broke off."""
    NO_BACKEND = "no_backend"
    """No backend could be asked: none healthy, none known, too many requests waiting."""
    INTERNAL = "internal"
    """The gateway failed."""


UNASKED: Final = frozenset(
    {
        ErrorKind.BAD_REQUEST,
        ErrorKind.UNAUTHENTICATED,
        ErrorKind.FORBIDDEN,
        ErrorKind.NOT_FOUND,
        ErrorKind.LIMITED,
        ErrorKind.INTERNAL,
    }
)
"""How an attempt ended that the gateway itself ended, before its backend was asked."""
BY_FLAG: Final[Mapping[str, ErrorKind]] = {
    "downstream_connection_termination": ErrorKind.CLIENT_GONE,
    "downstream_remote_reset": ErrorKind.CLIENT_GONE,
    "downstream_protocol_error": ErrorKind.BAD_REQUEST,
    "rate_limited": ErrorKind.LIMITED,
    "unauthorized_details": ErrorKind.FORBIDDEN,
    "upstream_request_timeout": ErrorKind.UPSTREAM_TIMEOUT,
    "stream_idle_timeout": ErrorKind.UPSTREAM_TIMEOUT,
    "duration_timeout": ErrorKind.UPSTREAM_TIMEOUT,
    "upstream_max_stream_duration_reached": ErrorKind.UPSTREAM_TIMEOUT,
    "local_reset": ErrorKind.UPSTREAM_RESET,
    "upstream_remote_reset": ErrorKind.UPSTREAM_RESET,
    "upstream_connection_failure": ErrorKind.UPSTREAM_RESET,
    "upstream_connection_termination": ErrorKind.UPSTREAM_RESET,
    "upstream_protocol_error": ErrorKind.UPSTREAM_RESET,
    "no_healthy_upstream": ErrorKind.NO_BACKEND,
    "no_cluster_found": ErrorKind.NO_BACKEND,
    "no_route_found": ErrorKind.NOT_FOUND,
    "upstream_overflow": ErrorKind.NO_BACKEND,
    "upstream_retry_limit_exceeded": ErrorKind.UPSTREAM_FAILED,
    "failed_local_healthcheck": ErrorKind.NO_BACKEND,
    "dns_resolution_failure": ErrorKind.NO_BACKEND,
    "overload_manager": ErrorKind.INTERNAL,
}
"""In the order in which they are looked for: a client that hung up explains all the rest."""

_LOCAL: Final[Mapping[int, ErrorKind]] = {
    401: ErrorKind.UNAUTHENTICATED,
    403: ErrorKind.FORBIDDEN,
    404: ErrorKind.NOT_FOUND,
    429: ErrorKind.LIMITED,
}


def model_known(record: UsageRecord) -> bool:
    """Whether the model that was asked for is one of ours: anybody may ask for any other name."""
    return record.error != ErrorKind.NOT_FOUND or bool(record.backend)


def error_kind(entry: Entry) -> str:
    """The `ErrorKind` of an entry; empty where nothing went wrong."""
    if entry.flags:
        for flag, kind in BY_FLAG.items():
            if flag in entry.flags:
                return kind
    status = entry.status
    if 200 <= status < 400:
        return ""
    if status == 0:
        return ErrorKind.CLIENT_GONE if not entry.attempt else ErrorKind.UPSTREAM_RESET
    if entry.attempt or entry.details == "via_upstream":
        if status == 429:
            return ErrorKind.UPSTREAM_LIMITED
        return ErrorKind.UPSTREAM_REFUSED if status < 500 else ErrorKind.UPSTREAM_FAILED
    return _LOCAL.get(status, ErrorKind.BAD_REQUEST if status < 500 else ErrorKind.INTERNAL)
