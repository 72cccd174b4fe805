"""What EnvoyProxies say of access logs and traces (`spec.telemetry`).

Bounds and defaults: https://gateway.envoyproxy.io/docs/api/extension_types/ (v1.9).
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import msgspec
from headgate.compiler.resources.cel_syntax import cel_problem
from headgate.compiler.resources.formats import format_violations
from headgate.compiler.resources.headers import HTTPHeader
from headgate.compiler.resources.metadata import Name63, Name253, Struct, Violation
from headgate.compiler.resources.quantities import INT32_MAX, Group, Namespace

PORT_DEFAULT = 4317
SINK_FIELDS = {"ALS": "als", "File": "file", "OpenTelemetry": "openTelemetry"}


class ReceiverReference(Struct, frozen=True, kw_only=True):
    """Names what receives telemetry: a Service of the cluster or a Backend."""

    group: Group = ""
    """API group; the core group for a Service."""
    kind: Name63 = "Service"
    """Service or Backend."""
    name: Name253
    """Name of the object."""
    namespace: Namespace = ""
    """Its namespace; the referring object's when absent."""
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    """Port of a Service."""


class WeightedReceiverReference(ReceiverReference, frozen=True, kw_only=True):
    """One of several."""

    unsupported: ClassVar[Mapping[str, str]] = {
        "fallback": "all that are named are asked in turn",
        "weight": "all that are named are asked alike",
    }


class Receiver(Struct, frozen=True, kw_only=True):
    """Where telemetry goes."""

    backend_ref: ReceiverReference | None = None
    """As `backendRefs` with one entry."""
    backend_refs: Annotated[tuple[WeightedReceiverReference, ...], msgspec.Meta(max_length=16)] = ()
    """Services or Backends."""
    unsupported: ClassVar[Mapping[str, str]] = {"backendSettings": "Envoy's defaults are used"}

    @property
    def references(self) -> tuple[ReceiverReference, ...]:
        return self.backend_refs or (() if self.backend_ref is None else (self.backend_ref,))


class HostReceiver(Receiver, frozen=True, kw_only=True):
    """Where telemetry goes, by reference or by name."""

    host: str | None = None
    """Host name, where nothing is referred to."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = PORT_DEFAULT
    """Port of `host`."""

    def violations(self) -> Iterator[Violation]:
        if not self.host and not self.references:
            yield Violation("host or backendRefs needs to be set", remedy="backendRefs: [{name: ..., port: 4317}]")


# --- traces


class Fraction(Struct, frozen=True, kw_only=True):
    """A share."""

    numerator: Annotated[int, msgspec.Meta(ge=0, le=INT32_MAX)]
    """What of `denominator` it is."""
    denominator: Annotated[int, msgspec.Meta(ge=1, le=INT32_MAX)] = 100
    """The whole."""

    def violations(self) -> Iterator[Violation]:
        if self.numerator > self.denominator:
            yield Violation("numerator must be less than or equal to denominator", "numerator")

    @property
    def ratio(self) -> float:
        return self.numerator / self.denominator


class LiteralTag(Struct, frozen=True, kw_only=True):
    """A fixed text."""

    value: str
    """The text."""


class EnvironmentTag(Struct, frozen=True, kw_only=True):
    """A variable of Envoy's environment."""

    name: str
    """The variable."""
    default_value: str | None = None
    """Where it is not set."""


class RequestHeaderTag(Struct, frozen=True, kw_only=True):
    """A request's header."""

    name: str
    """The header."""
    default_value: str | None = None
    """Where a request has none."""


class CustomTag(Struct, frozen=True, kw_only=True):
    """An attribute of spans."""

    type: Literal["Literal", "Environment", "RequestHeader"] = "Literal"
    """What its value comes from."""
    literal: LiteralTag | None = None
    """A fixed text."""
    environment: EnvironmentTag | None = None
    """A variable of Envoy's environment."""
    request_header: RequestHeaderTag | None = None
    """A request's header."""

    def violations(self) -> Iterator[Violation]:
        given = {"Literal": self.literal, "Environment": self.environment, "RequestHeader": self.request_header}
        if given[self.type] is None:
            field = self.type[0].lower() + self.type[1:]
            yield Violation(f"{field} must be specified for type {self.type}", field)


class OTelSampler(Struct, frozen=True, kw_only=True):
    """Which requests are traced, in OpenTelemetry's words."""

    type: Literal[
        "AlwaysOn",
        "AlwaysOff",
        "TraceIdRatio",
        "ParentBasedAlwaysOn",
        "ParentBasedAlwaysOff",
        "ParentBasedTraceIdRatio",
    ] = "AlwaysOn"
    """The sampler; `ParentBased…` follow the client's decision where there is one."""
    sampling_percentage: Fraction | None = None
    """The share, for `…Ratio`."""


class OpenTelemetryTracing(Struct, frozen=True, kw_only=True):
    """Of OpenTelemetry's receivers."""

    headers: Annotated[tuple[HTTPHeader, ...], msgspec.Meta(max_length=32)] = ()
    """What the receiver is sent, such as its key."""
    resource_attributes: Mapping[str, str] = {}
    """Who tells."""
    sampler: OTelSampler | None = None
    """Which requests are traced; wins over the sampling of `tracing`."""


class TracingProvider(HostReceiver, frozen=True, kw_only=True):
    """Where spans go: OTLP by gRPC."""

    type: Literal["OpenTelemetry", "Zipkin", "Datadog"] = "OpenTelemetry"
    """Only `OpenTelemetry`."""
    service_name: str | None = None
    """`service.name`; `<gateway>.<namespace>` when absent."""
    open_telemetry: OpenTelemetryTracing | None = None
    """Of OpenTelemetry's receivers."""
    unsupported: ClassVar[Mapping[str, str]] = {
        "backendSettings": "Envoy's defaults are used",
        "zipkin": "only OpenTelemetry is spoken",
    }


class ProxyTracing(Struct, frozen=True, kw_only=True):
    """Traces of requests."""

    provider: TracingProvider
    """Where spans go."""
    sampling_rate: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    """Per cent of the requests whose client did not decide; 100 when absent."""
    sampling_fraction: Fraction | None = None
    """The same as a fraction."""
    custom_tags: Mapping[str, CustomTag] = {}
    """More attributes of every span."""
    tags: Mapping[str, str] = {}
    """More attributes, as formats of Envoy's access log."""
    unsupported: ClassVar[Mapping[str, str]] = {
        "clientSamplingFraction": "a client's own decision is followed",
        "overallSamplingFraction": "set samplingFraction",
        "spanName": "spans are called by operation and model",
    }

    def violations(self) -> Iterator[Violation]:
        if self.sampling_rate is not None and self.sampling_fraction is not None:
            yield Violation("only one of samplingRate or samplingFraction can be specified", "samplingFraction")
        for name, value in sorted(self.tags.items()):
            yield from format_violations(f"tags.{name}", value)


# --- access logs


class AccessLogFormat(Struct, frozen=True, kw_only=True):
    """What a line tells, in Envoy's format commands."""

    type: Literal["Text", "JSON"] | None = None
    """What it is; told by what is there when absent."""
    text: str | None = None
    """A line of text."""
    json: Mapping[str, str] | None = None
    """Members of a JSON object, or attributes of a log record."""

    def violations(self) -> Iterator[Violation]:
        if self.type == "Text" and self.text is None:
            yield Violation("If AccessLogFormat type is Text, text field needs to be set.", "text")
        if self.type == "JSON" and self.json is None:
            yield Violation("If AccessLogFormat type is JSON, json field needs to be set.", "json")
        yield from format_violations("text", self.text or "")
        for name, value in sorted((self.json or {}).items()):
            yield from format_violations(f"json.{name}", value)


class FileSink(Struct, frozen=True, kw_only=True):
    """A file."""

    path: Annotated[str, msgspec.Meta(min_length=1)] = "/dev/stdout"
    """Its path on Envoy's machine."""


class OpenTelemetrySink(HostReceiver, frozen=True, kw_only=True):
    """A receiver of OTLP by gRPC."""

    resources: Mapping[str, str] = {}
    """Who tells; as `resourceAttributes`."""
    resource_attributes: Mapping[str, str] = {}
    """Who tells."""
    headers: Annotated[tuple[HTTPHeader, ...], msgspec.Meta(max_length=32)] = ()
    """What the receiver is sent, such as its key."""


class AlsHttp(Struct, frozen=True, kw_only=True):
    """What of headers is sent along."""

    request_headers: tuple[str, ...] = ()
    """Names."""
    response_headers: tuple[str, ...] = ()
    """Names."""
    response_trailers: tuple[str, ...] = ()
    """Names."""


class AlsSink(Receiver, frozen=True, kw_only=True):
    """A receiver of Envoy's own access log service, by gRPC."""

    log_name: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    """What the log is called; `accesslog` when absent."""
    type: Literal["HTTP", "TCP"]
    """Only `HTTP`."""
    http: AlsHttp | None = None
    """What of headers is sent along."""

    def violations(self) -> Iterator[Violation]:
        if not self.references:
            yield Violation("a receiver is needed", "backendRefs", "backendRefs: [{name: ..., port: ...}]")


class AccessLogSink(Struct, frozen=True, kw_only=True):
    """Where a line goes."""

    type: Literal["ALS", "File", "OpenTelemetry"]
    """What it is."""
    als: AlsSink | None = None
    """Envoy's access log service."""
    file: FileSink | None = None
    """A file."""
    open_telemetry: OpenTelemetrySink | None = None
    """A receiver of OTLP."""

    def violations(self) -> Iterator[Violation]:
        given = {"ALS": self.als, "File": self.file, "OpenTelemetry": self.open_telemetry}
        if given[self.type] is None:
            field = SINK_FIELDS[self.type]
            yield Violation(f"If AccessLogSink type is {self.type}, {field} field needs to be set.", field)


class AccessLogSetting(Struct, frozen=True, kw_only=True):
    """One access log."""

    format: AccessLogFormat | None = None
    """What it tells; Headgate's own fields when absent."""
    matches: Annotated[tuple[str, ...], msgspec.Meta(max_length=10)] = ()
    """CEL: the requests that are told of; all of them must hold."""
    sinks: Annotated[tuple[AccessLogSink, ...], msgspec.Meta(min_length=1, max_length=50)]
    """Where it goes."""
    type: Literal["Listener", "Route", "Upstream"] | None = None
    """`Upstream`: a line for each attempt at a backend; else one for each request."""

    def violations(self) -> Iterator[Violation]:
        for index, expression in enumerate(self.matches):
            if problem := cel_problem(expression):
                yield Violation(problem, f"matches[{index}]", "CEL over Envoy's attributes, like response.code >= 400")


class ProxyAccessLog(Struct, frozen=True, kw_only=True):
    """Access logs."""

    disable: bool = False
    """Writes none."""
    settings: Annotated[tuple[AccessLogSetting, ...], msgspec.Meta(max_length=50)] = ()
    """The logs; without any, lines of JSON on standard output."""


class ProxyTelemetry(Struct, frozen=True, kw_only=True):
    """What is told of requests."""

    access_log: ProxyAccessLog | None = None
    """Access logs."""
    tracing: ProxyTracing | None = None
    """Traces."""
    unsupported: ClassVar[Mapping[str, str]] = {
        "healthCheckLog": "health checks are not logged",
        "metrics": "Envoy's metrics are at the port of its pages",
        "requestID": "clients' request ids stay as they are",
    }
