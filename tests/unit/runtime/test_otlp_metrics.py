"""Metrics as OTLP: what a receiver is sent, over HTTP and gRPC, and when it is away."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import grpc
import pytest
from aiohttp import web
from headgate.contract.otel import Protocol, Signal
from headgate.runtime.metrics import Description, Kind, Registry
from headgate.runtime.metrics_export import read_of
from headgate.runtime.otlp.metrics import MetricsExport, MetricsSettings, metrics_settings
from headgate.runtime.otlp.transport import METHODS, SendError, open_transport
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric


def registry() -> Registry:
    made = Registry()
    made.counter("headgate.requests", "Requests.", ("backend", "error.type")).at("a", "").value = 3
    made.observed(Description(name="headgate.ready", kind=Kind.GAUGE, help="Ready."), lambda: {(): 1})
    made.histogram("gen_ai.client.token.usage", "Tokens.", ("gen_ai.token.type",), (1.0, 4.0), unit="token")
    return made


@dataclass
class Receiver:
    """Keeps what it is sent."""

    messages: list[ExportMetricsServiceRequest] = field(default_factory=list[ExportMetricsServiceRequest])
    headers: list[str] = field(default_factory=list[str])
    status: int = 200
    address: str = ""

    def metrics(self) -> dict[str, tuple[str, Metric]]:
        """Scope and metric of the last message, by name."""
        resource = self.messages[-1].resource_metrics[0]
        return {
            metric.name: (scope.instrumentation_library.name, metric)
            for scope in resource.instrumentation_library_metrics
            for metric in scope.metrics
        }

    async def handle(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/x-protobuf"
        self.headers.append(request.headers.get("authorization", ""))
        self.messages.append(ExportMetricsServiceRequest.FromString(await request.read()))
        return web.Response(status=self.status)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    app = web.Application()
    app.router.add_post("/v1/metrics", found.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


def configured(environment: dict[str, str]) -> MetricsSettings:
    found, notes = metrics_settings(environment)
    assert found is not None
    assert notes == ()
    return found


async def test_metrics_are_sent_at_the_end(receiver: Receiver) -> None:
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.address,
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20x",
        "OTEL_SERVICE_NAME": "mine",
        "OTEL_RESOURCE_ATTRIBUTES": "zone=b",
    }
    made, chosen = registry(), configured(environment)
    export = MetricsExport(read_of(made), chosen, open_transport(chosen.destination, Signal.METRICS))
    export.start()
    await export.close()
    assert receiver.headers == ["Bearer x"]
    attributes = receiver.messages[0].resource_metrics[0].resource.attributes
    assert {each.key: each.value.string_value for each in attributes} == {"service.name": "mine", "zone": "b"}
    found = receiver.metrics()
    assert found.keys() == {"headgate.requests", "headgate.ready"}, "what has no series is not told"
    scope, requests = found["headgate.requests"]
    assert scope == "headgate"
    assert requests.sum.is_monotonic
    assert requests.sum.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    point = requests.sum.data_points[0]
    assert point.as_int == 3
    assert {each.key: each.value.string_value for each in point.attributes} == {"backend": "a"}
    assert 0 < point.start_time_unix_nano <= point.time_unix_nano


async def test_delta_is_what_came_since_the_last_message_that_was_taken(receiver: Receiver) -> None:
    environment = {
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{receiver.address}/v1/metrics",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
        "OTEL_METRIC_EXPORT_INTERVAL": "20",
        "OTEL_METRIC_EXPORT_TIMEOUT": "100",
    }
    made = Registry()
    tokens = made.histogram("gen_ai.client.token.usage", "T.", (), (1.0, 4.0), unit="token").at()
    tokens.observe(3)
    chosen = configured(environment)
    assert chosen.interval_seconds == 0.02
    export = MetricsExport(read_of(made), chosen, open_transport(chosen.destination, Signal.METRICS))
    await export.export()
    tokens.observe(9)
    receiver.status = 503
    await export.export()
    receiver.status = 200
    tokens.observe(1)
    await export.close()
    scope, metric = receiver.metrics()["gen_ai.client.token.usage"]
    assert (scope, metric.unit) == ("envoyproxy/ai-gateway", "token")
    point = metric.histogram.data_points[0]
    assert metric.histogram.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    assert (point.count, point.sum, list(point.bucket_counts)) == (2, 10, [1, 0, 1])
    assert list(point.explicit_bounds) == [1.0, 4.0]


async def test_over_grpc() -> None:
    received: list[bytes] = []

    async def handle(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        del context
        received.append(request)
        return b""

    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    service, _, method = METHODS[Signal.METRICS].strip("/").partition("/")
    behaviour: Callable[..., Awaitable[bytes]] = handle
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(behaviour)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    await server.start()
    chosen = configured(
        {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    )
    assert chosen.destination.receiver is not None
    assert chosen.destination.receiver.protocol is Protocol.GRPC
    await MetricsExport(read_of(registry()), chosen, open_transport(chosen.destination, Signal.METRICS)).close()
    await server.stop(0)
    assert ExportMetricsServiceRequest.FromString(received[0]).resource_metrics


async def test_a_receiver_that_is_away_is_an_error_for_the_log_only() -> None:
    chosen = configured({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
    transport = open_transport(chosen.destination, Signal.METRICS)
    with pytest.raises(SendError):
        await transport.send(b"")
    await MetricsExport(read_of(registry()), chosen, transport).close()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:1", "OTEL_METRICS_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x:1"},
    ],
)
def test_nobody_asked(environment: dict[str, str]) -> None:
    assert metrics_settings(environment) == (None, ())


def test_what_is_not_read_is_said() -> None:
    found, notes = metrics_settings(
        {
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_METRIC_EXPORT_INTERVAL": "soon",
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "sideways",
        }
    )
    assert found is not None
    assert found.interval_seconds == 60
    assert len(notes) == 2


@dataclass
class Broken:
    """A transport with a bug."""

    asked: int = 0

    async def send(self, message: bytes) -> None:
        del message
        self.asked += 1
        raise ValueError("a bug")

    async def close(self) -> None: ...


async def test_a_bug_ends_no_later_export(caplog: pytest.LogCaptureFixture) -> None:
    settings, _ = metrics_settings({"OTEL_METRICS_EXPORTER": "otlp"})
    assert settings is not None
    transport = Broken()
    export = MetricsExport(read_of(registry()), settings, transport)
    await export.export()
    await export.close()
    assert transport.asked == 2
    assert [record.getMessage() for record in caplog.records] == ["metrics_not_sent"] * 2
