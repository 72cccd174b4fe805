"""What an EnvoyProxy says of access logs and traces, through the real Envoy."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from support import manifests
from support.manifests import AI, Document, backend, document, ref, route, rule, secret, target
from support.otlp import OtlpReceiver
from support.providers import OPENAI, Failure, Provider
from support.stage import Stage
from support.waiting import wait_until

BROUGHT = "sk-brought-by-a-client"
TRACE = "0af7651916cd43dd8448eb211c80319c"


def proxy(receiver: OtlpReceiver, folder: Path) -> Document:
    there: Document = {"host": "127.0.0.1", "port": receiver.grpc_port}
    otel: Document = {**there, "resourceAttributes": {"region": "x"}, "headers": [{"name": "X-Key", "value": "sekret"}]}
    als: Document = {
        "backendRefs": [{"group": "gateway.envoyproxy.io", "kind": "Backend", "name": "receiver"}],
        "type": "HTTP",
        "logName": "mine",
        "http": {"requestHeaders": ["x-team"]},
    }
    text: Document = {"type": "Text", "text": "%RESPONSE_CODE% %REQ(X-TEAM)%"}
    settings: list[Document] = [
        {
            "format": text,
            "matches": ["response.code >= 400"],
            "sinks": [{"type": "File", "file": {"path": str(folder / "errors")}}],
        },
        {
            "format": {"type": "JSON", "json": {"model": "%DYNAMIC_METADATA(headgate:model)%"}},
            "sinks": [
                {"type": "File", "file": {"path": str(folder / "json")}},
                {"type": "OpenTelemetry", "openTelemetry": otel},
            ],
        },
        {"sinks": [{"type": "ALS", "als": als}]},
        {"type": "Upstream", "sinks": [{"type": "File", "file": {"path": str(folder / "attempts")}}]},
    ]
    tracing: Document = {
        "samplingRate": 100,
        "customTags": {
            "team": {"type": "RequestHeader", "requestHeader": {"name": "X-Team", "defaultValue": "none"}},
            "where": {"type": "Literal", "literal": {"value": "here"}},
        },
        "tags": {"status": "%RESPONSE_CODE%"},
        "provider": {**there, "serviceName": "shop"},
    }
    telemetry: Document = {"accessLog": {"settings": settings}, "tracing": tracing}
    return document("gateway.envoyproxy.io/v1alpha1", "EnvoyProxy", "mine", {"telemetry": telemetry})


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def running(receiver: OtlpReceiver, folder: Path) -> Iterator[Stage]:
    with Stage(openai=Provider(OPENAI, key=BROUGHT), second=Provider(OPENAI, key="sk-2")) as stage:
        documents = manifests.gateway({"port": stage.port})
        documents[1]["spec"]["infrastructure"] = {
            "parametersRef": {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "mine"}
        }
        address: Document = {"endpoints": [{"ip": {"address": "127.0.0.1", "port": receiver.grpc_port}}]}
        override: Document = {
            **target("AIServiceBackend", "openai"),
            "type": "APIKey",
            "apiKey": {"secretRef": {"name": "openai"}},
            "credentialOverride": {"fromRequestHeaders": {}},
        }
        documents += [
            proxy(receiver, folder),
            document("gateway.envoyproxy.io/v1alpha1", "Backend", "receiver", address),
            *backend("openai", stage["openai"].port),
            secret("openai", apiKey="sk-o"),
            document(f"{AI}/v1beta1", "BackendSecurityPolicy", "openai", override),
            *backend("second", stage["second"].port, key="sk-2"),
            route("r", [rule("gpt", ref("openai"), ref("second", priority=1))]),
        ]
        yield stage.run(documents, environment={"OTEL_BSP_SCHEDULE_DELAY": "100"})


def test_end_costs_no_entry_that_a_log_service_of_ones_own_was_to_get() -> None:
    """Envoy sends such entries every second; an Envoy that ends drops what it has gathered."""
    with OtlpReceiver() as receiver, Stage(openai=Provider(OPENAI, key="sk-o")) as stage:
        documents = manifests.gateway({"port": stage.port})
        documents[1]["spec"]["infrastructure"] = {
            "parametersRef": {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "mine"}
        }
        references = [{"group": "gateway.envoyproxy.io", "kind": "Backend", "name": "receiver"}]
        log = {"sinks": [{"type": "ALS", "als": {"backendRefs": references, "type": "HTTP"}}]}
        there: Document = {"endpoints": [{"ip": {"address": "127.0.0.1", "port": receiver.grpc_port}}]}
        kind = "gateway.envoyproxy.io/v1alpha1"
        documents += [
            document(kind, "EnvoyProxy", "mine", {"telemetry": {"accessLog": {"settings": [log]}}}),
            document(kind, "Backend", "receiver", there),
            *backend("openai", stage["openai"].port, key="sk-o"),
            route("r", [rule("gpt", ref("openai"))]),
        ]
        stage.run(documents)
        assert [stage.chat("gpt").status_code for _ in range(5)] == [200] * 5
        assert stage.gateway.stop() == 0

        def entries() -> int:
            messages = map(StreamAccessLogsMessage.FromString, receiver.received.entries)
            return sum(len(message.http_logs.log_entry) for message in messages)

        wait_until(lambda: entries() == 5, "the last entries")


def test_every_kind_of_sink_and_no_credential(running: Stage, receiver: OtlpReceiver, folder: Path) -> None:
    body = {"model": "gpt", "messages": [{"role": "user", "content": "Hello!"}]}
    more = {"x_aigw_api_key": BROUGHT, "x_team": "blue", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    running["openai"].answer(Failure(503, "away"))
    assert running.post("/v1/chat/completions", body, **_headers(more)).status_code == 200
    assert running.post("/v1/chat/completions", {**body, "model": "no"}, **_headers(more)).status_code == 404

    entries = wait_until(lambda: receiver.received.entries or None, "an entry")
    message = StreamAccessLogsMessage.FromString(entries[0])
    assert message.identifier.log_name == "mine"
    assert message.http_logs.log_entry[0].request.request_headers["x-team"] == "blue"
    (record, _) = receiver.wait_logs(lambda _: True, 2)
    assert (record.attributes, record.resource) == ({"model": "gpt"}, {"region": "x"})
    assert any(headers.get("x-key") == "sekret" for headers in receiver.received.headers)
    for name, lines in (("errors", ["404 blue"]), ("json", [{"model": "gpt"}, {"model": "no"}])):
        assert _lines(folder / name, len(lines)) == lines
    statuses = [line["status"] for line in _lines(folder / "attempts", 2)]
    assert statuses == [503, 200]

    first = receiver.trace(TRACE, 4)[0]
    assert (first["team"], first["where"], first["status"]) == ("blue", "here", "200")
    assert first.resource["service.name"] == "shop"
    kept = [*receiver.received.raw, *(path.read_bytes() for path in folder.iterdir())]
    assert all(BROUGHT.encode() not in text for text in kept)
    assert not running.access_log_path.exists(), "the EnvoyProxy's settings stand in place of --access-log"


def _headers(headers: dict[str, str]) -> dict[str, Any]:
    return dict(headers)


def _lines(path: Path, count: int) -> list[Any]:
    def found() -> list[Any] | None:
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) if line.startswith("{") else line for line in lines] if len(lines) >= count else None

    return wait_until(found, f"{count} lines in {path}")
