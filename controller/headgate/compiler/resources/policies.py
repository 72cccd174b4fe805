"""Envoy Gateway's policies of traffic, group `gateway.envoyproxy.io`.

Bounds and defaults: https://gateway.envoyproxy.io/docs/api/extension_types/ (v1.8).
"""

from base64 import b64decode
from collections.abc import Iterator, Mapping
from math import isqrt
from typing import Annotated, ClassVar, Literal

import msgspec
from headgate.compiler.resources.client_connections import TcpKeepalive
from headgate.compiler.resources.metadata import Struct, Violation
from headgate.compiler.resources.policy import MergedPolicy, MergedPolicySpec
from headgate.compiler.resources.quantities import (
    INT32_MAX,
    Duration,
    HeaderName,
    Hostname,
    Quantity,
    duration_seconds,
    not_positive,
    quantity_bytes,
)
from headgate.compiler.resources.rate_limits import UINT32_MAX, RateLimitSpec, UInt32
from headgate.compiler.resources.response_override import ResponseOverride
from headgate.compiler.resources.telemetry import Fraction

Status = Annotated[int, msgspec.Meta(ge=100, le=599)]
PORTS = range(1, 65536)


class RetryOn(Struct, frozen=True, kw_only=True):
    """What is tried again."""

    triggers: tuple[
        Literal[
            "5xx",
            "gateway-error",
            "reset",
            "reset-before-request",
            "connect-failure",
            "retriable-4xx",
            "refused-stream",
            "retriable-status-codes",
            "cancelled",
            "deadline-exceeded",
            "internal",
            "resource-exhausted",
            "unavailable",
        ],
        ...,
    ] = ()
    """Failures, by Envoy's names."""
    http_status_codes: tuple[Status, ...] = ()
    """Statuses; for `retriable-status-codes`."""


class BackOffPolicy(Struct, frozen=True, kw_only=True):
    """Time between attempts."""

    base_interval: Duration = ""
    """The first; grows exponentially."""
    max_interval: Duration = ""
    """The longest."""

    def violations(self) -> Iterator[Violation]:
        if self.max_interval and duration_seconds(self.max_interval) < duration_seconds(self.base_interval or "0s"):
            yield Violation("must not be less than baseInterval", "maxInterval", f"maxInterval: {self.base_interval}")


class PerRetryPolicy(Struct, frozen=True, kw_only=True):
    """About one attempt."""

    timeout: Duration = ""
    """How long it may take."""
    back_off: BackOffPolicy | None = None
    """Time before it."""


class Retry(Struct, frozen=True, kw_only=True):
    """When a request is tried again, with the next backend of the rule."""

    num_retries: Annotated[int, msgspec.Meta(ge=0, le=INT32_MAX)] = 2
    """How often."""
    retry_on: RetryOn | None = None
    """What is tried again."""
    per_retry: PerRetryPolicy | None = None
    """About one attempt."""
    unsupported: ClassVar[Mapping[str, str]] = {
        "numAttemptsPerPriority": "each attempt goes to the next backend",
    }


class TCPTimeout(Struct, frozen=True, kw_only=True):
    """Timeouts of connections to backends."""

    connect_timeout: Duration = ""
    """To connect."""

    def violations(self) -> Iterator[Violation]:
        yield from not_positive(connectTimeout=self.connect_timeout)


class HTTPTimeout(Struct, frozen=True, kw_only=True):
    """Timeouts of requests to backends."""

    request_timeout: Duration = ""
    """The whole request, where its route does not say."""
    connection_idle_timeout: Duration = ""
    """A connection without a request; an hour when absent."""
    max_connection_duration: Duration = ""
    """How long a connection is used; then it ends between two requests."""
    max_stream_duration: Duration = ""
    """One attempt, with its whole answer; a stream of tokens too is cut off then."""
    stream_idle_timeout: Duration = ""
    """How long a request and its answer may be silent; a ClientTrafficPolicy's where absent. An AIGatewayRoute's own
    `streamIdleTimeout` is of an attempt, after which the next backend is asked."""


class Timeout(Struct, frozen=True, kw_only=True):
    """Timeouts towards backends."""

    tcp: TCPTimeout | None = None
    """Of connections."""
    http: HTTPTimeout | None = None
    """Of requests."""


class PerEndpoint(Struct, frozen=True, kw_only=True):
    """Bounds on what one endpoint of a backend is given at a time."""

    max_connections: UInt32 = 1024
    """Connections."""


class RetryBudget(Struct, frozen=True, kw_only=True):
    """Bounds the retries to a backend by the requests to it."""

    percent: Fraction
    """Retries of the requests that are under way or wait."""
    min_retry_concurrency: Annotated[int, msgspec.Meta(ge=0, le=INT32_MAX)] | None = None
    """As many are allowed in any case; 3 when absent."""


class CircuitBreaker(Struct, frozen=True, kw_only=True):
    """Bounds on what one backend is given at a time."""

    max_connections: UInt32 | None = None
    """Connections."""
    max_pending_requests: UInt32 | None = None
    """Requests that wait for a connection."""
    max_parallel_requests: UInt32 | None = None
    """Requests."""
    max_parallel_retries: UInt32 | None = None
    """Retries; 1024 when absent."""
    max_requests_per_connection: UInt32 | None = None
    """Requests over the life of a connection."""
    per_endpoint: PerEndpoint | None = None
    """Bounds on what one endpoint is given."""
    retry_budget: RetryBudget | None = None
    """Bounds retries in place of `maxParallelRetries`."""


class Payload(Struct, frozen=True, kw_only=True):
    """Bytes of a check."""

    type: Literal["Text", "Binary"]
    """How they are written."""
    text: str | None = None
    """For type Text."""
    binary: str | None = None
    """For type Binary, in base64."""

    def violations(self) -> Iterator[Violation]:
        given = {"Text": self.text, "Binary": self.binary}
        if given[self.type] is None or sum(each is not None for each in given.values()) > 1:
            field = self.type.lower()
            yield Violation(f"If payload type is {self.type}, {field} field needs to be set.", field, f"{field}: ...")
        elif not self.text:
            try:
                if not b64decode(self.binary or "", validate=True):
                    yield Violation("there is nothing in it", self.type.lower())
            except ValueError:
                yield Violation("that is no base64", "binary", "binary: cG9uZw==")


class HTTPActiveHealthChecker(Struct, frozen=True, kw_only=True):
    """Asks a path."""

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    """Path to ask."""
    method: Literal["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"] = "GET"
    """By this method."""
    hostname: Hostname | None = None
    """Of this host; the backend's own when absent."""
    expected_statuses: tuple[Status, ...] = ()
    """Answers of the healthy; 200 when empty."""
    retriable_statuses: tuple[Status, ...] = ()
    """Answers that count to `unhealthyThreshold`; any other makes a backend unhealthy at once."""
    expected_response: Payload | None = None
    """What the body of the healthy holds."""
    request_body: Payload | None = None
    """What is sent; for POST and PUT."""

    def violations(self) -> Iterator[Violation]:
        if self.request_body is not None and self.method not in ("POST", "PUT"):
            message = "The requestBody field can only be set when method is POST or PUT."
            yield Violation(message, "requestBody", "method: POST")


class TCPActiveHealthChecker(Struct, frozen=True, kw_only=True):
    """Opens a connection."""

    send: Payload | None = None
    """What is sent."""
    receive: Payload | None = None
    """What must come back; when absent, that a connection opens is enough."""


class HealthCheckOverrides(Struct, frozen=True, kw_only=True):
    """Where checks go."""

    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] | None = None
    """Port; the backend's own when absent. A unix socket has none, and is asked itself."""


class ActiveHealthCheck(Struct, frozen=True, kw_only=True):
    """Asks backends whether they are well."""

    type: Literal["HTTP", "TCP", "GRPC"]
    """`HTTP` or `TCP`."""
    timeout: Duration = "1s"
    """How long an answer may take."""
    interval: Duration = "3s"
    """Time between checks."""
    unhealthy_threshold: Annotated[int, msgspec.Meta(ge=1, le=UINT32_MAX)] = 3
    """Failures in a row after which a backend is left out."""
    healthy_threshold: Annotated[int, msgspec.Meta(ge=1, le=UINT32_MAX)] = 1
    """Successes in a row after which it is used again."""
    initial_jitter: Duration = ""
    """How long the first check waits at most, at random."""
    http: HTTPActiveHealthChecker | None = None
    """For type HTTP."""
    tcp: TCPActiveHealthChecker | None = None
    """For type TCP."""
    overrides: HealthCheckOverrides | None = None
    """Where checks go."""
    unsupported: ClassVar[Mapping[str, str]] = {
        "grpc": "no provider of models speaks gRPC",
        "healthCheckLog": "checks are not logged",
    }

    def violations(self) -> Iterator[Violation]:
        if (self.type == "HTTP") != (self.http is not None):
            yield Violation("If Health Checker type is HTTP, http field needs to be set.", "http", "http: {path: /}")
        if (self.type == "TCP") != (self.tcp is not None):
            yield Violation("If Health Checker type is TCP, tcp field needs to be set.", "tcp", "tcp: {}")
        if self.type == "GRPC":
            yield Violation("type GRPC is not supported", "type", "type: HTTP")
        yield from not_positive(timeout=self.timeout, interval=self.interval)


class PassiveHealthCheck(Struct, frozen=True, kw_only=True):
    """Leaves out an endpoint that keeps failing."""

    consecutive_5xx_errors: UInt32 = msgspec.field(name="consecutive5XxErrors", default=5)
    """Failures in a row after which it is left out."""
    interval: Duration = "3s"
    """How often it is looked at."""
    base_ejection_time: Duration = "30s"
    """How long it is left out the first time."""
    max_ejection_percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = 10
    """How many endpoints of a backend may be left out at the same time."""
    consecutive_gateway_errors: UInt32 = 0
    """Answers 502, 503 and 504 in a row after which it is left out; 0 for never."""
    split_external_local_origin_errors: bool = False
    """Whether failed connections are counted apart, and not as failed requests."""
    consecutive_local_origin_failures: UInt32 = 5
    """Failed connections in a row after which it is left out, where they are counted apart."""
    failure_percentage_threshold: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    """Per cent of failures above which it is left out, where there are at least 5 endpoints with 50 requests each."""
    always_eject_one_endpoint: bool = False
    """Leaves one out whatever `maxEjectionPercent` says."""

    def violations(self) -> Iterator[Violation]:
        yield from not_positive(interval=self.interval, baseEjectionTime=self.base_ejection_time)


class HealthCheck(Struct, frozen=True, kw_only=True):
    """Looks after backends."""

    active: ActiveHealthCheck | None = None
    """Asks them."""
    passive: PassiveHealthCheck | None = None
    """Watches what they answer."""
    panic_threshold: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    """Per cent of healthy endpoints below which all are used; 50 when absent. Where a rule has other backends, one
    without a healthy endpoint is tried even at 0, for only an attempt that fails goes on to the next."""


def _is_prime(number: int) -> bool:
    return number == 2 or (number % 2 > 0 and all(number % divisor for divisor in range(3, isqrt(number) + 1, 2)))


class HeaderKey(Struct, frozen=True, kw_only=True):
    """A header."""

    name: HeaderName
    """Its name."""


class QueryKey(Struct, frozen=True, kw_only=True):
    """A query parameter."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern="^[!-~]+$")]
    """Its name."""


class CookieKey(Struct, frozen=True, kw_only=True):
    """A cookie."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern="^[!-~]+$")]
    """Its name."""
    unsupported: ClassVar[Mapping[str, str]] = {
        "ttl": "clients are given no cookie: it is one that they send",
        "attributes": "clients are given no cookie: it is one that they send",
    }


class ConsistentHash(Struct, frozen=True, kw_only=True):
    """Requests that agree in this go to one backend, as long as backends and weights stay as they are."""

    type: Literal["SourceIP", "Header", "Headers", "Cookie", "QueryParams"]
    """What requests agree in. What a request lacks makes it go anywhere."""
    header: HeaderKey | None = None
    """For type Header."""
    headers: tuple[HeaderKey, ...] = ()
    """For type Headers: all of them together."""
    cookie: CookieKey | None = None
    """For type Cookie."""
    query_params: tuple[QueryKey, ...] = ()
    """For type QueryParams: all of them together."""
    table_size: Annotated[int, msgspec.Meta(ge=2, le=5_000_011)] = 65_537
    """Entries of the table by which a backend's endpoints are found; a prime number."""

    def violations(self) -> Iterator[Violation]:
        given = {
            "Header": self.header,
            "Headers": self.headers,
            "Cookie": self.cookie,
            "QueryParams": self.query_params,
        }
        if self.type in given and not given[self.type]:
            field = self.type[0].lower() + self.type[1:]
            example = (
                f"{field}: {{name: x-client}}"
                if self.type in ("Header", "Cookie")
                else f"{field}: [{{name: x-client}}]"
            )
            yield Violation(f"If consistent hash type is {self.type}, the {field} field must be set.", field, example)
        if not _is_prime(self.table_size):
            yield Violation("only a prime number makes a table", "tableSize", "tableSize: 65537")


class LoadBalancer(Struct, frozen=True, kw_only=True):
    """Which of several backends of one priority, and which endpoint of a backend, a request goes to."""

    type: Literal["ConsistentHash", "LeastRequest", "Random", "RoundRobin", "BackendUtilization", "DynamicModule"]
    """`ConsistentHash` chooses backends by `consistentHash`, in shares as their weights say. With the others they are
    drawn by weight, and the type says how endpoints of a backend are; the last two are taken for `LeastRequest`."""
    consistent_hash: ConsistentHash | None = None
    """For type ConsistentHash."""
    unsupported: ClassVar[Mapping[str, str]] = {
        "slowStart": "a new endpoint gets its whole share at once",
        "zoneAware": "zones are not told apart",
        "endpointOverride": "requests name no endpoints",
        "backendUtilization": "what endpoints say of their load is not read",
        "dynamicModule": "modules are not loaded",
    }

    def violations(self) -> Iterator[Violation]:
        if (self.type == "ConsistentHash") != (self.consistent_hash is not None):
            message = "If LoadBalancer type is consistentHash, consistentHash field needs to be set."
            example = "consistentHash: {type: Header, header: {name: x-client}}"
            yield Violation(message, "consistentHash", example)


class Dns(Struct, frozen=True, kw_only=True):
    """How names of backends are looked up."""

    dns_refresh_rate: Duration = ""
    """How often, where the answer's own time does not count; 30s when absent."""
    respect_dns_ttl: bool = True
    """Whether an answer holds as long as it says."""
    lookup_family: Literal["IPv4", "IPv6", "IPv4Preferred", "IPv6Preferred", "IPv4AndIPv6"] = "IPv4Preferred"
    """Which addresses are asked for."""


Percentage = Annotated[float, msgspec.Meta(ge=0, le=100)]


class FaultDelay(Struct, frozen=True, kw_only=True):
    """Makes requests wait."""

    fixed_delay: Duration
    """How long."""
    percentage: Percentage = 100.0
    """Of how many; exact to 0.0001 per cent."""

    def violations(self) -> Iterator[Violation]:
        yield from not_positive(fixedDelay=self.fixed_delay)


class FaultAbort(Struct, frozen=True, kw_only=True):
    """Answers requests in place of a backend."""

    http_status: Annotated[int, msgspec.Meta(ge=200, le=599)]
    """With this status."""
    percentage: Percentage = 100.0
    """Of how many; exact to 0.0001 per cent."""
    refused: ClassVar[Mapping[str, str]] = {"grpcStatus": "httpStatus"}


class FaultInjection(Struct, frozen=True, kw_only=True):
    """Faults for trying out what clients make of them. What is aborted asks no backend, so nothing fails over."""

    delay: FaultDelay | None = None
    """Makes requests wait."""
    abort: FaultAbort | None = None
    """Answers requests in place of a backend."""

    def violations(self) -> Iterator[Violation]:
        if self.delay is None and self.abort is None:
            yield Violation("Delay and abort faults are set at least one.", "abort", "abort: {httpStatus: 503}")


class ProtocolUpgrade(Struct, frozen=True, kw_only=True):
    """A protocol that connections may be upgraded to."""

    type: Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~/-]+$")]
    """As the header `upgrade` names it, like `websocket`."""
    refused: ClassVar[Mapping[str, str]] = {"connect": "remove it: this gateway is no proxy"}

    def violations(self) -> Iterator[Violation]:
        if self.type.lower() == "connect":
            yield Violation("CONNECT is not served: this gateway is no proxy", "type", "type: websocket")


class Compression(Struct, frozen=True, kw_only=True):
    """How answers may be compressed."""

    type: Literal["Gzip", "Brotli", "Zstd"]
    """The format."""
    gzip: Mapping[str, object] | None = None
    """Has no settings."""
    brotli: Mapping[str, object] | None = None
    """Has no settings."""
    zstd: Mapping[str, object] | None = None
    """Has no settings."""
    min_content_length: Quantity | None = None
    """Least length of an answer that is worth it; 30 bytes when absent, which is the least."""

    def violations(self) -> Iterator[Violation]:
        length = self.min_content_length
        if length is not None and not 30 <= quantity_bytes(length) < 2**32:
            yield Violation("must be from 30 bytes to 4 GiB", "minContentLength", "minContentLength: 1Ki")


class BackendTrafficPolicySpec(MergedPolicySpec, frozen=True, kw_only=True):
    """How requests are sent to backends."""

    rate_limit: RateLimitSpec | None = None
    """Limits."""
    retry: Retry | None = None
    """When a request is tried again."""
    timeout: Timeout | None = None
    """How long things may take."""
    circuit_breaker: CircuitBreaker | None = None
    """How much a backend is given at a time."""
    health_check: HealthCheck | None = None
    """Looks after backends."""
    tcp_keepalive: TcpKeepalive | None = None
    """Asks backends that say nothing whether they are still there."""
    dns: Dns | None = None
    """How names are looked up."""
    load_balancer: LoadBalancer | None = None
    """Which backend and endpoint a request goes to. When absent, backends are drawn by weight, and the endpoint with
    the fewest requests is chosen."""
    fault_injection: FaultInjection | None = None
    """Faults for trying out what clients make of them."""
    response_override: tuple[ResponseOverride, ...] = ()
    """Answers that are replaced; the first that matches counts. What is answered before a request's route is known,
    like a model that nobody serves, stays as it is. Pages of other origins cannot read what replaces a backend's."""
    compressor: tuple[Compression, ...] = ()
    """How answers are compressed for clients that take them so (text, JSON and pages, no streams). Of formats that a
    client likes equally it is the first, where all routes of a listener agree on that."""
    compression: tuple[Compression, ...] = ()
    """The older form of `compressor`, which comes first."""
    http_upgrade: tuple[ProtocolUpgrade, ...] = ()
    """What connections of plain routes may be upgraded to; `websocket` when absent. Models are asked by HTTP alone."""
    unsupported: ClassVar[Mapping[str, str]] = {
        "connection": "bodies up to the bound of the listener are buffered",
        "requestBuffer": "bufferLimit of a ClientTrafficPolicy bounds bodies",
        "admissionControl": "requests are admitted by limits only",
        "bandwidthLimit": "bytes per second are not limited",
        "http2": "Envoy's HTTP/2 defaults are used",
        "proxyProtocol": "the PROXY protocol is not spoken with backends",
        "routingType": "requests go to endpoints",
        "telemetry": "telemetry does not vary by policy",
        "useClientProtocol": "HTTP/1.1, or HTTP/2 where the backend asks for it",
    }


class BackendTrafficPolicy(MergedPolicy, frozen=True, kw_only=True):
    """Limits, retries, timeouts and health of the backends of a Gateway or route."""

    spec: BackendTrafficPolicySpec
