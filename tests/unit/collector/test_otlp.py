"""Records as OpenTelemetry logs, to a server that is there, away, or refuses."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from headgate.collector.settings import otlp_settings
from headgate.collector.sinks.otlp import OtlpLogs
from headgate.collector.sinks.sink import RefusedError, SinkError
from headgate.ledger.record import Tokens, UsageRecord

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
    """An OTLP/HTTP server."""

    def __init__(self) -> None:
        self.status = 200
        self.received: list[dict[str, Any]] = []
        self.headers: list[str] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.received.append(await request.json())
        self.headers.append(request.headers.get("authorization", ""))
        return web.json_response({}, status=self.status)


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


async def test_records_are_logs(receiver: Receiver) -> None:
    sink = OtlpLogs(receiver.url, headers={"authorization": "Bearer x"}, resource={"service.name": "ai-gateway"})
    await sink.write([RECORD, RECORD])
    await sink.close()
    (resource,) = receiver.received[0]["resourceLogs"]
    assert resource["resource"]["attributes"] == [{"key": "service.name", "value": {"stringValue": "ai-gateway"}}]
    (scope,) = resource["scopeLogs"]
    assert len(scope["logRecords"]) == 2
    attributes = {each["key"]: each["value"] for each in scope["logRecords"][0]["attributes"]}
    assert attributes["gen_ai.usage.input_tokens"] == {"intValue": "11"}
    assert attributes["gen_ai.usage.output_tokens"] == {"intValue": "0"}
    assert attributes["gen_ai.request.model"] == {"stringValue": "gpt"}
    assert attributes["session.id"] == {"stringValue": "s"}
    assert "gen_ai.response.model" not in attributes, "what is not known is left out"
    assert receiver.headers == ["Bearer x"]


async def test_server_that_is_away_is_asked_again(receiver: Receiver) -> None:
    sink = OtlpLogs(receiver.url, headers={}, resource={})
    receiver.status = 503
    with pytest.raises(SinkError):
        await sink.write([RECORD])
    receiver.status = 400
    with pytest.raises(RefusedError):
        await sink.write([RECORD])
    await sink.close()


def test_environment() -> None:
    assert otlp_settings({}).endpoint == ""
    assert otlp_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}).endpoint == "", "that is for traces"
    asked = {"OTEL_LOGS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"}
    assert otlp_settings(asked).endpoint == "http://c:4318/v1/logs"
    assert otlp_settings({**asked, "OTEL_SDK_DISABLED": "true"}).endpoint == ""
    more = {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://l/x", "OTEL_EXPORTER_OTLP_HEADERS": "a=b%20c,d=e"}
    found = otlp_settings({**more, "OTEL_RESOURCE_ATTRIBUTES": "k=v", "OTEL_SERVICE_NAME": "gw"})
    assert found.endpoint == "http://l/x"
    assert found.headers == {"a": "b c", "d": "e"}
    assert found.resource == {"k": "v", "service.name": "gw"}
