"""A receiver of OpenTelemetry's data, by gRPC and by HTTP on two ports: spans, log records and metrics as plain values.

By HTTP it takes protobuf and JSON, compressed or not. It takes entries of Envoy's access log service too.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc
from aiohttp import web
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs_pb
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces_pb

from support.ports import LOOPBACK
from support.tls import MutualTls
from support.waiting import wait_until

SERVER, CLIENT = 2, 3
"""Kinds of spans."""
ERROR = 2
"""Status of a span."""
_TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_ENTRIES = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
_METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
_LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"

Value = str | int | float | bool | Sequence[Any] | Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One span. Ids are hexadecimal; `parent` is empty for the first of a trace."""

    trace: str
    id: str
    parent: str
    name: str
    kind: int
    status: int
    start: int
    end: int
    attributes: Mapping[str, Value]
    resource: Mapping[str, Value]
    events: tuple[str, ...] = ()
    """Their names."""

    def __getitem__(self, name: str) -> Value:
        return self.attributes.get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """One log record."""

    trace: str
    span: str
    event: str
    body: Value
    attributes: Mapping[str, Value]
    resource: Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldMetric:
    """One metric of one message, by what it is called; `points` are the attributes of each and its value or count."""

    name: str
    scope: str
    points: Sequence[tuple[Mapping[str, Value], float]]
    resource: Mapping[str, Value]


@dataclass(slots=True)
class Received:
    """What came, in order; `headers` are those of every request."""

    spans: list[Span] = field(default_factory=list[Span])
    logs: list[LogRecord] = field(default_factory=list[LogRecord])
    metrics: list[ToldMetric] = field(default_factory=list[ToldMetric])
    headers: list[Mapping[str, str]] = field(default_factory=list[Mapping[str, str]])
    entries: list[bytes] = field(default_factory=list[bytes])
    """Messages of Envoy's access log service."""
    raw: list[bytes] = field(default_factory=list[bytes])
    """The requests' bodies: what must be in none of them is looked for here."""


def _value(value: Any) -> Value:
    kind = value.WhichOneof("value")
    match kind:
        case "array_value":
            return [_value(each) for each in value.array_value.values]
        case "kvlist_value":
            return _attributes(value.kvlist_value.values)
        case None:
            return None
        case _:
            return getattr(value, kind)


def _attributes(pairs: Any) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for pair in pairs:
        assert pair.key not in found, f"{pair.key} comes twice"
        found[pair.key] = _value(pair.value)
    return found


def _spans(data: bytes) -> Iterator[Span]:
    for of_resource in traces_pb.ExportTraceServiceRequest.FromString(data).resource_spans:
        resource = _attributes(of_resource.resource.attributes)
        # the name that the field had before it was called `scope_spans`
        for scope in of_resource.instrumentation_library_spans:
            for span in scope.spans:
                yield Span(
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    name=span.name,
                    kind=span.kind,
                    status=span.status.code,
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                    attributes=_attributes(span.attributes),
                    resource=resource,
                    events=tuple(event.name for event in span.events),
                )


def spans_of_json(data: bytes | str) -> Iterator[Span]:
    """Of OTLP's JSON, read by its specification alone."""
    for of_resource in json.loads(data)["resourceSpans"]:
        resource = _json_attributes(of_resource.get("resource", {}).get("attributes", []))
        for scope in of_resource["scopeSpans"]:
            for span in scope["spans"]:
                yield Span(
                    trace=span["traceId"],
                    id=span["spanId"],
                    parent=span.get("parentSpanId", ""),
                    name=span["name"],
                    kind=span["kind"],
                    status=span.get("status", {}).get("code", 0),
                    start=int(span["startTimeUnixNano"]),
                    end=int(span["endTimeUnixNano"]),
                    attributes=_json_attributes(span.get("attributes", [])),
                    resource=resource,
                )


def _json_value(value: Any) -> Value:
    ((kind, said),) = value.items()
    if kind == "arrayValue":
        return [_json_value(each) for each in said["values"]]
    return int(said) if kind == "intValue" else said


def _json_attributes(pairs: Any) -> dict[str, Value]:
    return {pair["key"]: _json_value(pair["value"]) for pair in pairs}


def _logs(data: bytes) -> Iterator[LogRecord]:
    for of_resource in logs_pb.ExportLogsServiceRequest.FromString(data).resource_logs:
        resource = _attributes(of_resource.resource.attributes)
        for scope in of_resource.instrumentation_library_logs:
            for record in scope.logs:
                attributes = _attributes(record.attributes)
                yield LogRecord(
                    trace=record.trace_id.hex(),
                    span=record.span_id.hex(),
                    event=str(attributes.get("event.name", record.name)),
                    body=_value(record.body),
                    attributes=attributes,
                    resource=resource,
                )


def _metrics(data: bytes) -> Iterator[ToldMetric]:
    for of_resource in metrics_pb.ExportMetricsServiceRequest.FromString(data).resource_metrics:
        resource = _attributes(of_resource.resource.attributes)
        for scope in of_resource.instrumentation_library_metrics:
            for metric in scope.metrics:
                points = getattr(metric, metric.WhichOneof("data")).data_points
                yield ToldMetric(
                    name=metric.name,
                    scope=scope.instrumentation_library.name,
                    points=[(_attributes(point.attributes), _amount(point)) for point in points],
                    resource=resource,
                )


def _amount(point: Any) -> float:
    return point.count if hasattr(point, "bucket_counts") else getattr(point, point.WhichOneof("value"))


class OtlpReceiver:
    """Listens while it is entered. With `tls` it hears only those who show a certificate."""

    def __init__(self, *, host: str = LOOPBACK, http_port: int = 0, tls: MutualTls | None = None) -> None:
        self._received = Received()
        self._host = host
        self._http_port = http_port
        self._tls = tls
        self._lock = threading.Lock()
        self._grpc = grpc.server(ThreadPoolExecutor(2))
        self._grpc.add_generic_rpc_handlers((_Service(self),))
        self.grpc_port = (
            self._grpc.add_insecure_port(f"{host}:0")
            if tls is None
            else self._grpc.add_secure_port(f"{host}:0", _credentials(tls))
        )
        self._grpc.start()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="otlp", daemon=True)
        self._thread.start()
        self._runner, self.http_port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    @property
    def grpc_url(self) -> str:
        return f"{self._scheme}://{self._host}:{self.grpc_port}"

    @property
    def http_url(self) -> str:
        return f"{self._scheme}://{self._host}:{self.http_port}"

    @property
    def _scheme(self) -> str:
        return "http" if self._tls is None else "https"

    @property
    def received(self) -> Received:
        """All that came since `forget`."""
        with self._lock:
            return Received(
                [*self._received.spans],
                [*self._received.logs],
                [*self._received.metrics],
                [*self._received.headers],
                [*self._received.entries],
                [*self._received.raw],
            )

    def forget(self) -> None:
        with self._lock:
            self._received = Received()

    def wait(self, wanted: Callable[[Span], bool], count: int = 1) -> Sequence[Span]:
        """The spans that are wanted, once there are `count`."""

        def found() -> Sequence[Span] | None:
            spans = [span for span in self.received.spans if wanted(span)]
            return spans if len(spans) >= count else None

        return wait_until(found, f"{count} spans")

    def trace(self, trace: str, count: int) -> Sequence[Span]:
        """The spans of a trace, once there are `count`, by their start."""
        spans = self.wait(lambda span: span.trace == trace, count)
        return sorted(spans, key=lambda span: span.start)

    def wait_logs(self, wanted: Callable[[LogRecord], bool], count: int = 1) -> Sequence[LogRecord]:
        """The log records that are wanted, once there are `count`."""

        def found() -> Sequence[LogRecord] | None:
            records = [record for record in self.received.logs if wanted(record)]
            return records if len(records) >= count else None

        return wait_until(found, f"{count} log records")

    def take(self, path: str, data: bytes, headers: Mapping[str, str]) -> None:
        """One request."""
        with self._lock:
            self._received.headers.append(headers)
            self._received.raw.append(data)
            if path == "/v1/traces" and headers.get("content-type") == "application/json":
                self._received.spans.extend(spans_of_json(data))
            elif path in (_TRACES, "/v1/traces"):
                self._received.spans.extend(_spans(data))
            elif path in (_METRICS, "/v1/metrics"):
                self._received.metrics.extend(_metrics(data))
            elif path == _ENTRIES:
                self._received.entries.append(data)
            elif path in (_LOGS, "/v1/logs"):
                self._received.logs.extend(_logs(data))

    async def _listen(self) -> tuple[web.AppRunner, int]:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/{path:.*}", self._post)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        context = None if self._tls is None else self._tls.server_context()
        await web.TCPSite(runner, self._host, self._http_port, ssl_context=context).start()
        bound: int = runner.addresses[0][1]
        return runner, bound

    async def _post(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.take(request.path, await request.read(), headers)
        return web.Response()

    def close(self) -> None:
        self._grpc.stop(0.1).wait(5)
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _credentials(tls: MutualTls) -> grpc.ServerCredentials:
    pair = (tls.server_key.read_bytes(), tls.server_certificate.read_bytes())
    return grpc.ssl_server_credentials([pair], tls.ca.read_bytes(), require_client_auth=True)


class _Service(grpc.GenericRpcHandler):
    def __init__(self, receiver: OtlpReceiver) -> None:
        self._receiver = receiver

    def service(self, handler_call_details: Any) -> Any:
        path: str = handler_call_details.method
        if path == _ENTRIES:
            stream: Callable[..., Any] = grpc.stream_unary_rpc_method_handler
            return stream(self._entries)

        def export(data: bytes, context: Any) -> bytes:
            self._receiver.take(path, data, {key: str(value) for key, value in context.invocation_metadata()})
            return b""

        made: Callable[..., Any] = grpc.unary_unary_rpc_method_handler  # its types are partly unknown
        return made(export)

    def _entries(self, messages: Iterator[bytes], context: Any) -> bytes:
        del context
        try:
            for message in messages:
                self._receiver.take(_ENTRIES, message, {})
        except grpc.RpcError:  # Envoy ends such a stream by leaving
            pass
        return b""
