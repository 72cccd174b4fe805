"""What `OTEL_*` variables say, as values: where telemetry goes and which requests are traced.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
https://opentelemetry.io/docs/specs/otel/protocol/exporter/

Rule: what nobody here can do is a note for the user, never a silent default; a variable that cannot be read is one too,
and counts as unset.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final
from urllib.parse import unquote, urlsplit

from headgate.contract.secret import Secret

Pairs = tuple[tuple[str, str], ...]

SERVICE_NAME: Final = "ai-gateway"
"""compat: `service.name` where nothing else is said."""
SECONDS_MAX: Final = 10.0
SCOPE: Final = "headgate"
"""The instrumentation scope of what is ours."""
OPERATION_EVENT: Final = "gen_ai.client.inference.operation.details"
"""The event that tells of one call."""


class Signal(StrEnum):
    TRACES = "traces"
    METRICS = "metrics"
    LOGS = "logs"


class Protocol(StrEnum):
    """How OTLP is spoken."""

    GRPC = "grpc"
    HTTP = "http/protobuf"


class Convention(StrEnum):
    """What attributes of spans are called."""

    GEN_AI = "gen_ai"
    OPENINFERENCE = "openinference"


@dataclass(frozen=True, slots=True)
class Address:
    """One address of a receiver: a DNS name or an IP."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporter:
    """Where one signal goes."""

    protocol: Protocol
    authority: str
    """What the receiver is called: the host of HTTP requests, the server name of TLS."""
    addresses: tuple[Address, ...]
    path: str = ""
    """Of HTTP requests."""
    tls: bool = False
    headers: tuple[tuple[str, Secret], ...] = ()
    """Lower-case names; the values are credentials as a rule."""
    timeout_seconds: float = SECONDS_MAX
    ca_file: str = ""
    """CAs of the receiver; empty for the system's."""
    certificate_file: str = ""
    key_file: str = ""
    """What we show it, where it asks."""

    @property
    def url(self) -> str:
        """For whoever sends HTTP requests by himself."""
        return f"{'https' if self.tls else 'http'}://{self.target}{self.path}"

    @property
    def target(self) -> str:
        """`host:port` of its first address."""
        address = self.addresses[0]
        host = f"[{address.host}]" if ":" in address.host else address.host
        return f"{host}:{address.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """Which requests are traced."""

    ratio: float = 1.0
    parent_based: bool = True
    """A request that comes with a trace is traced where its client traces it; `ratio` is for the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """An attribute of every span: a `value`, a variable of Envoy's environment, a request's header or a format."""

    name: str
    value: str = ""
    format: str = ""
    environment: str = ""
    header: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """How requests are traced."""

    exporter: Exporter
    service_name: str = SERVICE_NAME
    resource: Pairs = ()
    sampler: Sampler = Sampler()
    convention: Convention = Convention.GEN_AI
    attributes: Pairs = ()
    """(request header, attribute)"""
    tags: tuple[Tag, ...] = ()
    trace_context: bool = True
    """Whether W3C trace context is taken from clients and given to providers."""
    baggage: bool = True
    """Whether clients' baggage goes to providers."""
    queue_max: int = 2048
    """Spans that wait to be sent, of each of Envoy's workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """How spans are gathered: for all tracers of a process."""

    spans: int = 512
    seconds: float = 1.0


@dataclass(slots=True)
class _Reading:
    """An environment, and what is to be said of it."""

    environment: Mapping[str, str]
    notes: list[str]

    def text(self, *names: str) -> str:
        """The first variable that says something. An empty one is unset, as specified."""
        return next((value for name in names if (value := self.environment.get(name, "").strip())), "")

    def number(self, name: str, otherwise: float, *, most: float = float("inf")) -> float:
        text = self.text(name)
        try:
            found = float(text) if text else otherwise
        except ValueError:
            found = -1.0
        if 0 <= found <= most:
            return found
        self.notes.append(f"{name}={text} is not read: a number from 0 to {most:g} is needed")
        return otherwise

    def is_true(self, name: str) -> bool:
        return self.text(name).lower() == "true"


def disabled(environment: Mapping[str, str]) -> bool:
    """Whether all telemetry of OpenTelemetry's is off."""
    return environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def asks(environment: Mapping[str, str], signal: Signal) -> bool:
    """Whether the environment says that a signal goes somewhere."""
    return exporter(environment, signal, []) is not None


def log_exporter(environment: Mapping[str, str], notes: list[str]) -> Exporter | None:
    """Where a log of requests goes. It is asked for by name: an endpoint that is there for traces asks for none."""
    named = "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT" in environment or environment.get("OTEL_LOGS_EXPORTER") == "otlp"
    return exporter(environment, Signal.LOGS, notes) if named else None


def exporter(environment: Mapping[str, str], signal: Signal, notes: list[str]) -> Exporter | None:
    """Where a signal goes; None where it goes nowhere. Adds to `notes` what the user has to be told.

    An endpoint is enough, the signal's own or the common one; `OTEL_<SIGNAL>_EXPORTER` says otherwise.
    """
    read = _Reading(environment, notes)
    name = signal.value.upper()
    wanted = read.text(f"OTEL_{name}_EXPORTER")
    own, common = read.text(f"OTEL_EXPORTER_OTLP_{name}_ENDPOINT"), read.text("OTEL_EXPORTER_OTLP_ENDPOINT")
    kinds = {kind.strip() for kind in wanted.split(",")} if wanted else ({"otlp"} if own or common else set[str]())
    known = {"otlp", "none", *({"prometheus"} if signal is Signal.METRICS else ())}  # whose page is there anyway
    notes.extend(f"OTEL_{name}_EXPORTER={kind} is not known: otlp or none" for kind in sorted(kinds - known))
    if disabled(environment) or "otlp" not in kinds:
        return None
    protocol = _protocol(read, name)
    endpoint = own or common or f"http://localhost:{4317 if protocol is Protocol.GRPC else 4318}"
    found = parse_endpoint(endpoint, protocol, insecure=_insecure(read, name))
    if found is None:
        notes.append(
            f"OpenTelemetry's endpoint {endpoint.rpartition('@')[2]} is not read: http://host:port or "
            "https://host:port is needed; credentials belong into OTEL_EXPORTER_OTLP_HEADERS"
        )
        return None
    if protocol is Protocol.HTTP and not own:
        path, mark, query = found.path.partition("?")
        found = replace(found, path=f"{path.rstrip('/')}/v1/{signal.value}{mark}{query}")
    if read.text(f"OTEL_EXPORTER_OTLP_{name}_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION") not in ("", "none"):
        notes.append("OTEL_EXPORTER_OTLP_COMPRESSION is not read: what is sent is not compressed")

    def setting(what: str) -> str:
        return read.text(f"OTEL_EXPORTER_OTLP_{name}_{what}", f"OTEL_EXPORTER_OTLP_{what}")

    millis = f"OTEL_EXPORTER_OTLP_{name}_TIMEOUT"
    millis = millis if read.text(millis) else "OTEL_EXPORTER_OTLP_TIMEOUT"
    return replace(
        found,
        headers=tuple((key.lower(), Secret(value)) for key, value in pairs(setting("HEADERS"))),
        timeout_seconds=read.number(millis, SECONDS_MAX * 1000) / 1000,
        ca_file=setting("CERTIFICATE"),
        certificate_file=setting("CLIENT_CERTIFICATE"),
        key_file=setting("CLIENT_KEY"),
    )


def _protocol(read: _Reading, name: str) -> Protocol:
    text = read.text(f"OTEL_EXPORTER_OTLP_{name}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    if text and text not in (*Protocol,):
        read.notes.append(f"OTLP's protocol {text} is not spoken: {Protocol.HTTP} is, and {Protocol.GRPC}")
    return Protocol.GRPC if text == Protocol.GRPC else Protocol.HTTP


def _insecure(read: _Reading, name: str) -> bool:
    own = f"OTEL_EXPORTER_OTLP_{name}_INSECURE"
    return read.is_true(own) if read.text(own) else read.is_true("OTEL_EXPORTER_OTLP_INSECURE")


def parse_endpoint(text: str, protocol: Protocol, *, insecure: bool = False) -> Exporter | None:
    """`http://host:port/path`; of gRPC also `host:port`. None for what is none."""
    if "://" not in text:
        if protocol is not Protocol.GRPC:
            return None
        text = f"{'http' if insecure else 'https'}://{text}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        return None  # who needs a password says it in a header
    tls = parts.scheme == "https"
    if port is None:
        port = (443 if tls else 80) if protocol is Protocol.HTTP else 4317
    path = parts.path or "/" if protocol is Protocol.HTTP else ""
    return Exporter(
        protocol=protocol,
        authority=parts.netloc.rpartition("@")[2],
        addresses=(Address(parts.hostname, port),),
        path=f"{path}?{parts.query}" if parts.query and path else path,
        tls=tls,
    )


def pairs(text: str) -> Pairs:
    """`a=1,b=2`, percent-encoded."""
    found = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    return tuple((unquote(name.strip()), unquote(value.strip())) for name, _, value in found)


def resource(environment: Mapping[str, str]) -> tuple[str, Pairs]:
    """`service.name`, and the other attributes of whoever tells."""
    known = dict(pairs(environment.get("OTEL_RESOURCE_ATTRIBUTES", "")))
    named = known.pop("service.name", "")
    return environment.get("OTEL_SERVICE_NAME", "").strip() or named or SERVICE_NAME, tuple(sorted(known.items()))


_SAMPLERS: Final[Mapping[str, Callable[[float], Sampler]]] = {
    "always_on": lambda _: Sampler(ratio=1.0, parent_based=False),
    "always_off": lambda _: Sampler(ratio=0.0, parent_based=False),
    "traceidratio": lambda ratio: Sampler(ratio=ratio, parent_based=False),
    "parentbased_always_on": lambda _: Sampler(ratio=1.0),
    "parentbased_always_off": lambda _: Sampler(ratio=0.0),
    "parentbased_traceidratio": lambda ratio: Sampler(ratio=ratio),
}


def _sampler(read: _Reading) -> Sampler:
    name = read.text("OTEL_TRACES_SAMPLER")
    if name and name not in _SAMPLERS:
        read.notes.append(f"OTEL_TRACES_SAMPLER={name} is not known: {', '.join(_SAMPLERS)}")
        name = ""
    ratio = read.number("OTEL_TRACES_SAMPLER_ARG", 1.0, most=1.0) if name.endswith("ratio") else 1.0
    return _SAMPLERS[name or "parentbased_always_on"](ratio)


def _convention(read: _Reading) -> Convention:
    text = read.text("AI_GATEWAY_TRACING_SEMCONV")
    if text and text not in (*Convention,):
        read.notes.append(f"AI_GATEWAY_TRACING_SEMCONV={text} is not known: {', '.join(Convention)}")
    return Convention.OPENINFERENCE if text == Convention.OPENINFERENCE else Convention.GEN_AI


def tracing(environment: Mapping[str, str], attributes: Pairs = ()) -> tuple[Tracing | None, tuple[str, ...]]:
    """How requests are traced, None for not at all; and what the user has to be told."""
    notes: list[str] = []
    where = exporter(environment, Signal.TRACES, notes)
    content = environment.get(CAPTURE_VARIABLE, "").strip()
    if content.lower() not in _CONTENTS:
        notes.append(f"{CAPTURE_VARIABLE}={content} is not known: span_only, event_only, span_and_event or no_content")
    if where is None:
        return None, tuple(notes)
    read = _Reading(environment, notes)
    service_name, others = resource(environment)
    said = {name.strip() for name in (read.text("OTEL_PROPAGATORS") or "tracecontext,baggage").split(",")}
    unknown = sorted(said - {"tracecontext", "baggage", "none"})
    notes.extend(f"OTEL_PROPAGATORS: {name} is not spoken: tracecontext and baggage are" for name in unknown)
    return Tracing(
        exporter=where,
        service_name=service_name,
        resource=others,
        sampler=_sampler(read),
        convention=_convention(read),
        attributes=attributes,
        trace_context="tracecontext" in said,
        baggage="baggage" in said,
        queue_max=int(read.number("OTEL_BSP_MAX_QUEUE_SIZE", 2048)),
    ), tuple(notes)


def batches(environment: Mapping[str, str]) -> Batches:
    """How spans are gathered. What cannot be read is as if it were not there; `tracing` does not tell of it."""
    read = _Reading(environment, [])
    otherwise = Batches()
    seconds = read.number("OTEL_BSP_SCHEDULE_DELAY", otherwise.seconds * 1000) / 1000
    return Batches(
        spans=int(read.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", otherwise.spans)) or otherwise.spans,
        seconds=seconds or otherwise.seconds,
    )


CAPTURE_VARIABLE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


@dataclass(frozen=True, slots=True)
class Content:
    """Where what is said in requests and answers is told."""

    spans: bool = False
    events: bool = False

    @property
    def any(self) -> bool:
        return self.spans or self.events


_CONTENTS: Final[Mapping[str, Content]] = {
    "": Content(),
    "false": Content(),
    "no_content": Content(),
    "true": Content(spans=True),
    "span_only": Content(spans=True),
    "event_only": Content(events=True),
    "span_and_event": Content(spans=True, events=True),
}


def captured_content(environment: Mapping[str, str]) -> Content:
    """Nowhere, unless somebody asks for it."""
    return _CONTENTS.get(environment.get(CAPTURE_VARIABLE, "").strip().lower(), Content())
