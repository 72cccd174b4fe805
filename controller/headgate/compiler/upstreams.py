"""What a BackendTrafficPolicy says of connections to a backend: part of the compiler's middle (`ir`)."""

from dataclasses import dataclass
from typing import Final, Literal

from headgate.compiler.clients import TcpKeepalive

LookupFamily = Literal["IPv4", "IPv6", "IPv4Preferred", "IPv6Preferred", "IPv4AndIPv6"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """How a backend's name is looked up. None for Envoy's own time between look-ups."""

    seconds: float | None = None
    as_answered: bool = False
    """Whether an answer holds as long as it says."""
    family: LookupFamily = "IPv4Preferred"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """None is Envoy's default."""

    idle_seconds: float | None = None
    seconds: float | None = None
    stream_seconds: float | None = None
    per_endpoint_max: int | None = None
    keepalive: TcpKeepalive | None = None
    lookup: Lookup = Lookup()
    panic_percent: int | None = None


AS_ENVOY_DOES: Final = Connections()
