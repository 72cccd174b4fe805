"""What a BackendTrafficPolicy says of a backend: how it and its endpoints are chosen and found well, how connections to
them are kept, and when it is tried again. Part of the compiler's middle (`ir`)."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """Of HTTP where there is a path, else of TCP."""

    path: str = ""
    interval_seconds: float
    timeout_seconds: float
    unhealthy_threshold: int
    healthy_threshold: int
    method: str = "GET"
    host: str = ""
    """Empty for the backend's own."""
    statuses: tuple[int, ...] = ()
    """Of the healthy; 200 where there are none."""
    retriable_statuses: tuple[int, ...] = ()
    sent: bytes = b""
    expected: bytes = b""
    """What must come back; nothing where it is empty."""
    port: int = 0
    """0 for the endpoint's own."""
    jitter_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierDetection:
    consecutive_5xx: int
    interval_seconds: float
    base_ejection_seconds: float
    ejection_percent_max: int
    consecutive_gateway_errors: int = 0
    consecutive_local_failures: int | None = None
    """None where failed connections count as failed requests."""
    failure_percent: int | None = None
    ejects_one: bool = False


RETRIES_MAX = 1024
"""At a time and backend, as Envoy Gateway has it. Envoy's own default is 3: where the next provider is slow, the fourth
request that fails at the same time would not fail over."""


@dataclass(frozen=True, slots=True)
class Balancing:
    """How an endpoint of a backend is chosen."""

    kind: Literal["least_request", "random", "round_robin", "hash"] = "least_request"
    table_size: int = 0


LEAST_REQUEST: Final = Balancing()


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """Circuit breaker thresholds; 0 keeps Envoy's default, which is 1,024 of the first three."""

    connections_max: int = 0
    pending_max: int = 0
    requests_max: int = 0
    retries_max: int = RETRIES_MAX
    requests_per_connection_max: int = 0
    retry_percent: float | None = None
    """Of the requests under way and waiting, in place of `retries_max`."""
    retries_min: int | None = None
    """Allowed whatever `retry_percent` comes to; None for Envoy's 3."""


ENVOYS_BREAKER: Final = Breaker()


@dataclass(frozen=True, slots=True)
class HashKey:
    """Something of a request, by which it finds its backend."""

    kind: Literal["source_ip", "header", "cookie", "query"]
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When the next backend is asked, or the same once more."""

    count: int
    on: str
    """Envoy's `retry_on` list."""
    status_codes: tuple[int, ...] = ()
    per_try_seconds: float | None = None
    per_try_idle_seconds: float | None = None
    back_off_base_seconds: float | None = None
    back_off_max_seconds: float | None = None
