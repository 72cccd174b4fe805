"""Records as OpenTelemetry logs, to a server that is there, away, or refuses."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from headgate.collector.sinks.otlp import OtlpLogs, open_logs
from headgate.collector.sinks.sink import RefusedError, SinkError
from headgate.ledger.record import Tokens, UsageRecord
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import SeverityNumber
from support.otlp import OtlpReceiver

RECORD = UsageRecord(
    id="1",
    request_id="r1",
    started_ns=1_000,
    operation="chat",
    request_model="gpt",
    status=200,
    tokens=Tokens(input=11, output=0),
    labels=(("session.id", "s"),),
)


class Receiver:
    """An OTLP/HTTP server that answers as it is told."""

    def __init__(self) -> None:
        self.status = 200
        self.received: list[ExportLogsServiceRequest] = []
        self.headers: list[str] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.received.append(ExportLogsServiceRequest.FromString(await request.read()))
        self.headers.append(request.headers.get("authorization", ""))
        return web.Response(status=self.status)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    app = web.Application()
    app.router.add_post("/v1/logs", found.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/logs"
    yield found
    await runner.cleanup()


def opened(environment: dict[str, str], endpoint: str = "") -> OtlpLogs:
    logs, notes = open_logs(environment, endpoint)
    assert notes == ()
    assert logs is not None
    return logs


async def test_records_are_logs(receiver: Receiver) -> None:
    sink = opened(
        {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": receiver.url, "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20x"}
    )
    await sink.write([RECORD, RECORD])
    await sink.close()
    (resource,) = receiver.received[0].resource_logs
    assert {each.key: each.value.string_value for each in resource.resource.attributes} == {
        "service.name": "ai-gateway"
    }
    (scope,) = resource.instrumentation_library_logs
    assert scope.instrumentation_library.name == "headgate"
    assert len(scope.logs) == 2
    assert scope.logs[0].severity_number == SeverityNumber.SEVERITY_NUMBER_INFO
    attributes = {each.key: each.value for each in scope.logs[0].attributes}
    assert attributes["gen_ai.usage.input_tokens"].int_value == 11
    assert attributes["gen_ai.usage.output_tokens"].WhichOneof("value") == "int_value", "none is a number too"
    assert attributes["gen_ai.request.model"].string_value == "gpt"
    assert attributes["session.id"].string_value == "s"
    assert "gen_ai.response.model" not in attributes, "what is not known is left out"
    assert receiver.headers == ["Bearer x"]


async def test_server_that_is_away_is_asked_again(receiver: Receiver) -> None:
    sink = opened({}, receiver.url)
    receiver.status = 503
    with pytest.raises(SinkError):
        await sink.write([RECORD])
    receiver.status = 400
    with pytest.raises(RefusedError):
        await sink.write([RECORD])
    await sink.close()


async def test_by_grpc_to_the_common_endpoint() -> None:
    with OtlpReceiver() as receiver:
        sink = opened(
            {
                "OTEL_LOGS_EXPORTER": "otlp",
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_url,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            }
        )
        await sink.write([RECORD])
        await sink.close()
        (record,) = receiver.received.logs
        assert record.attributes["gen_ai.request.model"] == "gpt"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"},
        {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_nobody_asked_for_logs(environment: dict[str, str]) -> None:
    assert open_logs(environment) == (None, ()), "a common endpoint is there for traces"
