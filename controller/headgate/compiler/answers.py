"""What the gateway itself answers on a route, in place of its backends: part of the compiler's middle (`ir`)."""

from dataclasses import dataclass
from typing import Final

from headgate.compiler.clients import TextRule

BODILESS: Final = (204, 304)
"""Statuses of answers that end with their headers (RFC 9110 6.4.1): Envoy sends a body all the same, which a client
would read as the next answer of its connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectResponse:
    status: int
    body: str
    content_type: str = ""
    """Of an answer that a user wrote, which is sent as it is; empty for ours, which speak the client's dialect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    scheme: str = ""
    hostname: str = ""
    path: str = ""
    path_prefix: str | None = None
    port: int | None = None
    status: int = 302


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is done to some requests before a backend is asked; parts are millionths of the requests."""

    delay_seconds: float = 0.0
    delayed: int = 0
    abort_status: int = 0
    aborted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Compressor:
    """How answers may be compressed, from so many bytes on."""

    kind: str
    """`gzip`, `brotli` or `zstd`."""
    bytes_min: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseOverride:
    """What a client gets in place of some answers; the headers of the answer are left out."""

    statuses: tuple[str, ...] = ()
    """What a status begins with, one of these; empty for any."""
    headers: tuple[tuple[str, TextRule], ...] = ()
    """Headers that the answer has, all of them."""
    local: bool | None = None
    """Whether the gateway itself must have answered; None where it does not matter."""
    status: int = 0
    """0 for the answer's own."""
    body: str = ""
    """In Envoy's format."""
    sets: tuple[tuple[str, str], ...] = ()
    adds: tuple[tuple[str, str], ...] = ()
