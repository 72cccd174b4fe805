"""What `OTEL_*` variables say, as values: where telemetry goes and which requests are traced.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
https://opentelemetry.io/docs/specs/otel/protocol/exporter/

Rule: what nobody here can do is a note for the user, never a silent default; a variable that cannot be read is one too,
and counts as unset, as does an empty one. Notes say what is taken instead.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final
from urllib.parse import unquote, urlsplit

from headgate.contract.addresses import host_port
from headgate.contract.secret import Secret

Pairs = tuple[tuple[str, str], ...]

SERVICE_NAME: Final = "ai-gateway"
"""compat: `service.name` where nothing else is said."""
SECONDS_MAX: Final = 10.0
SCOPE: Final = "headgate"
"""The instrumentation scope of what is ours."""
OPERATION_EVENT: Final = "gen_ai.client.inference.operation.details"
"""The event that tells of one call."""


TOGETHER: Final = "headgate.together"
"""Attributes of Envoy's spans in one text, which the collector takes apart: `name=value`, `SEPARATOR` between them; `-`
or nothing for what is not known. The last one is the client's model, which may be any text."""
SEPARATOR: Final = "\x1f"
"""No header can hold it."""
ORIGINAL_MODEL: Final = "gen_ai.original.model"
PARAMETERS: Final = "headgate.request.parameters"
"""A request's parameters as Envoy's spans have them: one text of JSON, which the collector takes apart."""


class Signal(StrEnum):
    TRACES = "traces"
    METRICS = "metrics"
    LOGS = "logs"


class Protocol(StrEnum):
    """How OTLP is spoken."""

    GRPC = "grpc"
    HTTP = "http/protobuf"
    JSON = "http/json"


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
    compressed: bool = False
    """By gzip."""
    socket: str = ""
    """Of a server on this machine, instead of its addresses: a path."""

    @property
    def url(self) -> str:
        """For whoever sends HTTP requests by himself."""
        return f"{'https' if self.tls else 'http'}://{self.target}{self.path}"

    @property
    def target(self) -> str:
        """`host:port` of its first address."""
        address = self.addresses[0]
        return host_port(address.host, address.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where a signal goes: to a receiver, to standard output (a line of JSON for each message), or to both."""

    receiver: Exporter | None = None
    console: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Of the attributes of a span or a log record; None for none."""

    attributes_max: int | None = None
    value_length_max: int | None = None
    """Of a text, in characters."""


NO_LIMITS: Final = Limits()


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
    """How spans or log records are gathered before they are sent."""

    items: int = 512
    seconds: float = 5.0
    queue_max: int = 2048
    """What waits, at most."""
    timeout_seconds: float = 30.0
    """For one batch, with all that is tried again."""


@dataclass(slots=True)
class _Reading:
    """An environment, and what is to be said of it."""

    environment: Mapping[str, str]
    notes: list[str]

    def text(self, *names: str) -> str:
        """The first variable that says something. An empty one is unset, as specified."""
        return next((value for name in names if (value := self.environment.get(name, "").strip())), "")

    def ratio(self, name: str) -> float:
        text = self.text(name)
        try:
            found = float(text) if text else 1.0
        except ValueError:
            found = -1.0
        if 0 <= found <= 1:
            return found
        self.notes.append(f"{name}={text} is not read: a number from 0 to 1 is needed; 1 is taken")
        return 1.0

    def whole(self, name: str, otherwise: int | None, *, least: int = 0) -> int | None:
        """A whole number."""
        text = self.text(name)
        if not text:
            return otherwise
        if text.isascii() and text.isdecimal() and int(text) >= least:
            return min(int(text), _WHOLE_MAX)
        taken = "no limit" if otherwise is None else otherwise
        self.notes.append(f"{name}={text} is not read: a whole number from {least} on is needed; {taken} is taken")
        return otherwise

    def seconds(self, name: str, otherwise: int, *, least: int = 0) -> float:
        """Of milliseconds."""
        return (self.whole(name, otherwise, least=least) or 0) / 1000

    def timeout(self, name: str, otherwise: int) -> float:
        """Of milliseconds; 0 is for ever, which is a long time."""
        return self.seconds(name, otherwise) or _WHOLE_MAX / 1000

    def is_true(self, name: str) -> bool:
        text = self.text(name).lower()
        if text not in ("", "true", "false"):
            self.notes.append(f"{name}={text} is not read: true or false is needed; false is taken")
        return text == "true"


_WHOLE_MAX: Final = 2**31 - 1


def disabled(environment: Mapping[str, str]) -> bool:
    """Whether all telemetry of OpenTelemetry's is off."""
    return _Reading(environment, []).is_true("OTEL_SDK_DISABLED")


def asks(environment: Mapping[str, str], signal: Signal) -> bool:
    """Whether the environment says that a signal goes somewhere."""
    return destination(environment, signal, []) is not None


def log_destination(environment: Mapping[str, str], notes: list[str]) -> Destination | None:
    """Where a log of requests goes. It is asked for by name: an endpoint that is there for traces asks for none."""
    read = _Reading(environment, [])
    named = read.text("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_LOGS_EXPORTER")
    return destination(environment, Signal.LOGS, notes) if named else None


def envoy_can_send(found: Destination, limits: Limits) -> bool:
    """Whether Envoy itself can send a signal there: it speaks OTLP, as protobuf, as it is."""
    receiver = found.receiver
    plain = receiver is not None and receiver.protocol is not Protocol.JSON and not receiver.compressed
    return plain and not found.console and limits == NO_LIMITS


_CONSOLES: Final = frozenset({"console", "otlp/stdout"})


def destination(environment: Mapping[str, str], signal: Signal, notes: list[str]) -> Destination | None:
    """Where a signal goes; None where it goes nowhere. Adds to `notes` what the user has to be told.

    An endpoint is enough, the signal's own or the common one; `OTEL_<SIGNAL>_EXPORTER` says otherwise.
    """
    if disabled(environment):
        return None
    kinds = _exporters(_Reading(environment, notes), signal)
    receiver = _receiver(environment, signal, notes) if "otlp" in kinds else None
    console = not kinds.isdisjoint(_CONSOLES)
    return Destination(receiver=receiver, console=console) if receiver or console else None


def _exporters(read: _Reading, signal: Signal) -> frozenset[str]:
    name = signal.value.upper()
    found = frozenset(kind.strip() for kind in read.text(f"OTEL_{name}_EXPORTER").split(",")) - {""}
    # the page of Prometheus is there anyway
    known = {"otlp", "none", *_CONSOLES, *(("prometheus",) if signal is Signal.METRICS else ())}
    for kind in sorted(found - known):
        read.notes.append(f"OTEL_{name}_EXPORTER={kind} is not known, and left out: otlp, console and none are")
    if found & known:
        return found & known
    endpoint = read.text(f"OTEL_EXPORTER_OTLP_{name}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return frozenset({"otlp"}) if endpoint else frozenset()


def _receiver(environment: Mapping[str, str], signal: Signal, notes: list[str]) -> Exporter | None:
    read = _Reading(environment, notes)
    name = signal.value.upper()
    own, common = read.text(f"OTEL_EXPORTER_OTLP_{name}_ENDPOINT"), read.text("OTEL_EXPORTER_OTLP_ENDPOINT")
    protocol = _protocol(read, name)
    endpoint = own or common or f"http://localhost:{4317 if protocol is Protocol.GRPC else 4318}"
    found = parse_endpoint(endpoint, protocol, insecure=_insecure(read, name))
    if found is None:
        notes.append(
            f"OpenTelemetry's endpoint {endpoint.rpartition('@')[2]} is not read: http://host:port or "
            "https://host:port is needed; credentials belong into OTEL_EXPORTER_OTLP_HEADERS"
        )
        return None
    if protocol is not Protocol.GRPC and not own:
        path, mark, query = found.path.partition("?")
        found = replace(found, path=f"{path.rstrip('/')}/v1/{signal.value}{mark}{query}")
    certificate, key = (read.text(*_named(name, f"CLIENT_{what}")) for what in ("CERTIFICATE", "KEY"))
    if bool(certificate) is not bool(key):
        notes.append("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and _CLIENT_KEY go together: none is shown to the receiver")
        certificate = key = ""
    return replace(
        found,
        headers=_headers(read, *_named(name, "HEADERS")),
        timeout_seconds=read.timeout(_said(read, *_named(name, "TIMEOUT")), round(SECONDS_MAX * 1000)),
        ca_file=read.text(*_named(name, "CERTIFICATE")),
        certificate_file=certificate,
        key_file=key,
        compressed=_compressed(read, name),
    )


def _named(name: str, what: str) -> tuple[str, str]:
    """The variable of a signal, and that of all of them."""
    return f"OTEL_EXPORTER_OTLP_{name}_{what}", f"OTEL_EXPORTER_OTLP_{what}"


def _said(read: _Reading, own: str, common: str) -> str:
    """The variable that counts."""
    return own if read.text(own) else common


def _compressed(read: _Reading, name: str) -> bool:
    variable = _said(read, *_named(name, "COMPRESSION"))
    text = read.text(variable)
    if text not in ("", "none", "gzip"):
        read.notes.append(f"{variable}={text} is not known: gzip and none are; nothing is compressed")
    return text == "gzip"


def _protocol(read: _Reading, name: str) -> Protocol:
    variable = _said(read, *_named(name, "PROTOCOL"))
    text = read.text(variable)
    if text and text not in (*Protocol,):
        read.notes.append(f"{variable}={text} is not known: {', '.join(Protocol)} are; {Protocol.HTTP} is taken")
        text = ""
    return Protocol(text or Protocol.HTTP)


def _insecure(read: _Reading, name: str) -> bool:
    return read.is_true(_said(read, *_named(name, "INSECURE")))


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
        port = 4317 if protocol is Protocol.GRPC else 443 if tls else 80
    path = "" if protocol is Protocol.GRPC else parts.path or "/"
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


_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")


def _headers(read: _Reading, own: str, common: str) -> tuple[tuple[str, Secret], ...]:
    """What can be no header is left out, for Envoy would refuse the whole change, and never told: it may be a key."""
    variable = _said(read, own, common)
    text = read.text(variable)
    found = [
        (name.lower(), Secret(value))
        for name, value in pairs(text)
        if _HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)
    ]
    if len(found) != sum(bool(pair.strip()) for pair in text.split(",")):
        read.notes.append(f"{variable}: some headers are left out: write name=value,name=value, percent-encoded")
    return tuple(found)


def resource(environment: Mapping[str, str], notes: list[str] | None = None) -> tuple[str, Pairs]:
    """`service.name`, and the other attributes of whoever tells. As specified, one that is wrong discards them all."""
    text = environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if any(pair.strip() and "=" not in pair for pair in text.split(",")):
        if notes is not None:
            notes.append("OTEL_RESOURCE_ATTRIBUTES is not read: name=value,name=value is needed, percent-encoded")
        text = ""
    known = dict(pairs(text))
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
        read.notes.append(
            f"OTEL_TRACES_SAMPLER={name} is not known: {', '.join(_SAMPLERS)} are; parentbased_always_on is taken"
        )
        name = ""
    ratio = read.ratio("OTEL_TRACES_SAMPLER_ARG") if name.endswith("ratio") else 1.0
    return _SAMPLERS[name or "parentbased_always_on"](ratio)


CONVENTION_VARIABLE: Final = "AI_GATEWAY_TRACING_SEMCONV"


def convention(environment: Mapping[str, str], notes: list[str] | None = None) -> Convention:
    """What attributes of spans are called."""
    text = environment.get(CONVENTION_VARIABLE, "").strip()
    if notes is not None and text and text not in (*Convention,):
        notes.append(f"{CONVENTION_VARIABLE}={text} is not known: {', '.join(Convention)}; gen_ai is taken")
    return Convention.OPENINFERENCE if text == Convention.OPENINFERENCE else Convention.GEN_AI


def tracing(
    environment: Mapping[str, str], attributes: Pairs = (), via: Exporter | None = None
) -> tuple[Tracing | None, tuple[str, ...]]:
    """How requests are traced, None for not at all; and what the user has to be told.

    `via` is a server of ours that sends what Envoy tells it; without one Envoy sends it itself, as well as it can.
    """
    notes: list[str] = []
    found = destination(environment, Signal.TRACES, notes)
    notes += content_notes(environment)
    if found is None:
        return None, tuple(notes)
    gathered = batches(environment, Signal.TRACES, notes)
    limits = attribute_limits(environment, Signal.TRACES, notes)
    where = via or _sent_by_envoy(found, limits, gathered, notes)
    if where is None:
        return None, tuple(notes)
    read = _Reading(environment, notes)
    service_name, others = resource(environment, notes)
    said = {name.strip() for name in (read.text("OTEL_PROPAGATORS") or "tracecontext,baggage").split(",")}
    unknown = sorted(said - {"tracecontext", "baggage", "none", ""})
    notes.extend(f"OTEL_PROPAGATORS: {name} is left out: tracecontext and baggage are spoken" for name in unknown)
    return Tracing(
        exporter=where,
        service_name=service_name,
        resource=others,
        sampler=_sampler(read),
        convention=convention(environment, notes),
        attributes=attributes,
        trace_context="tracecontext" in said,
        baggage="baggage" in said,
        queue_max=gathered.queue_max,
    ), tuple(notes)


def _sent_by_envoy(found: Destination, limits: Limits, gathered: Batches, notes: list[str]) -> Exporter | None:
    receiver = found.receiver
    if found.console:
        notes.append("OTEL_TRACES_EXPORTER: Envoy writes no spans to the console: leave out --direct-traces")
    if receiver is None:
        return None
    if receiver.protocol is Protocol.JSON:
        notes.append(f"Envoy sends no {Protocol.JSON}: {Protocol.HTTP} is taken (or leave out --direct-traces)")
    if receiver.compressed:
        notes.append("Envoy compresses no spans: they are sent as they are (or leave out --direct-traces)")
    if limits != NO_LIMITS:
        notes.append("Envoy knows no limits of attributes: there are none (or leave out --direct-traces)")
    return replace(
        receiver,
        protocol=Protocol.GRPC if receiver.protocol is Protocol.GRPC else Protocol.HTTP,
        compressed=False,
        timeout_seconds=min(receiver.timeout_seconds, gathered.timeout_seconds),  # it tries once
    )


_PROCESSORS: Final[Mapping[Signal, tuple[str, int]]] = {
    Signal.TRACES: ("OTEL_BSP", 5000),
    Signal.LOGS: ("OTEL_BLRP", 1000),
}
"""Batch processors, and the milliseconds after which they send."""
_QUEUE: Final = 2048
_BATCH: Final = 512
_TIMEOUT: Final = 30_000


def batches(environment: Mapping[str, str], signal: Signal = Signal.TRACES, notes: list[str] | None = None) -> Batches:
    """How spans or log records are gathered."""
    read = _Reading(environment, [] if notes is None else notes)
    prefix, delay = _PROCESSORS[signal]
    queue_max = read.whole(f"{prefix}_MAX_QUEUE_SIZE", _QUEUE, least=1) or _QUEUE
    items = read.whole(f"{prefix}_MAX_EXPORT_BATCH_SIZE", min(_BATCH, queue_max), least=1) or _BATCH
    if items > queue_max:
        read.notes.append(f"{prefix}_MAX_EXPORT_BATCH_SIZE={items} is more than the queue holds: {queue_max} is taken")
    return Batches(
        items=min(items, queue_max),
        seconds=read.seconds(f"{prefix}_SCHEDULE_DELAY", delay),
        queue_max=queue_max,
        timeout_seconds=read.timeout(f"{prefix}_EXPORT_TIMEOUT", _TIMEOUT),
    )


def periods(environment: Mapping[str, str], notes: list[str]) -> tuple[float, float]:
    """After how many seconds metrics are sent again, and how many one message may take."""
    read = _Reading(environment, notes)
    interval = read.seconds("OTEL_METRIC_EXPORT_INTERVAL", 60_000, least=1)
    return interval, read.timeout("OTEL_METRIC_EXPORT_TIMEOUT", 30_000)


_LIMITED: Final[Mapping[Signal, str]] = {Signal.TRACES: "SPAN", Signal.LOGS: "LOGRECORD"}


def attribute_limits(environment: Mapping[str, str], signal: Signal, notes: list[str] | None = None) -> Limits:
    """What spans or log records may hold. Without a variable all of it: OpenTelemetry's 128 attributes would cut what
    is asked for by name."""
    read = _Reading(environment, [] if notes is None else notes)

    def limit(what: str) -> int | None:
        own = f"OTEL_{_LIMITED[signal]}_ATTRIBUTE_{what}_LIMIT"
        return read.whole(_said(read, own, f"OTEL_ATTRIBUTE_{what}_LIMIT"), None)

    return Limits(limit("COUNT"), limit("VALUE_LENGTH"))


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


def content_notes(environment: Mapping[str, str]) -> tuple[str, ...]:
    """What the user has to be told of what is captured."""
    said = environment.get(CAPTURE_VARIABLE, "").strip()
    if said.lower() in _CONTENTS:
        return ()
    known = "span_only, event_only, span_and_event and no_content are"
    return (f"{CAPTURE_VARIABLE}={said} is not known: {known}; nothing is captured",)


def captured_content(environment: Mapping[str, str]) -> Content:
    """Nowhere, unless somebody asks for it."""
    return _CONTENTS.get(environment.get(CAPTURE_VARIABLE, "").strip().lower(), Content())
