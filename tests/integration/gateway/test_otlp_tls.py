"""OTLP to a receiver that hears only clients with a certificate: of every process that sends, as variables say."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from headgate.contract import otel
from headgate.contract.otel import Signal
from headgate.runtime.otlp.transport import SendError, open_transport
from headgate.runtime.otlp.values import Span
from headgate.runtime.otlp.wire import encode_spans
from support import manifests
from support.limiter import LimiterProcess, client_limits
from support.manifests import backend, ref, route, rule
from support.otlp import OtlpReceiver
from support.providers import ANTHROPIC, OPENAI, Provider
from support.stage import Stage
from support.tls import MutualTls, mutual_tls
from support.waiting import wait_until

PROTOCOLS = ("grpc", "http/protobuf", "http/json")
SPAN = Span(trace="0a" * 16, id="0b" * 8, parent="", name="n", start_ns=1, end_ns=2, attributes={})


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> MutualTls:
    return mutual_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def receiver(tls: MutualTls) -> Iterator[OtlpReceiver]:
    with OtlpReceiver(tls=tls) as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def forgotten(receiver: OtlpReceiver) -> None:
    receiver.forget()


def variables(receiver: OtlpReceiver, tls: MutualTls, protocol: str = "grpc", *, known: bool = True) -> dict[str, str]:
    found = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_url if protocol == "grpc" else receiver.http_url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(tls.ca),
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
    }
    client = {
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(tls.client_certificate),
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(tls.client_key),
    }
    return {**found, **client} if known else found


async def _send(environment: Mapping[str, str]) -> None:
    destination = otel.destination(environment, Signal.TRACES, [])
    assert destination is not None
    transport = open_transport(destination, Signal.TRACES)
    try:
        await transport.send(encode_spans([SPAN], {}, "headgate"))
    finally:
        await transport.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_sender_shows_its_certificate(receiver: OtlpReceiver, tls: MutualTls, protocol: str) -> None:
    await _send(variables(receiver, tls, protocol))
    assert [span.trace for span in receiver.received.spans] == [SPAN.trace]


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_who_shows_none_is_not_heard(receiver: OtlpReceiver, tls: MutualTls, protocol: str) -> None:
    with pytest.raises(SendError):
        await _send(variables(receiver, tls, protocol, known=False))
    assert not receiver.received.raw


def test_the_limiter_shows_its_certificate(receiver: OtlpReceiver, tls: MutualTls, short_path: Path) -> None:
    limiter = LimiterProcess(short_path, client_limits(2), "--tracing", environment=variables(receiver, tls))
    try:
        limiter.ask()
        receiver.wait(lambda span: "ShouldRateLimit" in span.name)
    finally:
        limiter.close()


@pytest.mark.envoy
@pytest.mark.parametrize("direct", [False, True], ids=["collector", "envoy"])
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_whole_gateway_shows_its_certificate(
    receiver: OtlpReceiver, tls: MutualTls, protocol: str, direct: bool
) -> None:
    with Stage(openai=Provider(OPENAI, key="sk-o"), anthropic=Provider(ANTHROPIC, key="sk-a")) as stage:
        documents = [
            *manifests.gateway({"port": stage.port}),
            *backend("openai", stage["openai"].port, key="sk-o"),
            *backend("anthropic", stage["anthropic"].port, "Anthropic", key="sk-a"),
            route("r", [rule("gpt", ref("openai")), rule("claude", ref("anthropic"))]),
        ]
        environment = variables(receiver, tls, protocol) | {
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_BLRP_SCHEDULE_DELAY": "100",
            otel.CAPTURE_VARIABLE: "span_and_event",
        }
        stage.run(documents, "--metrics", *(("--direct-traces",) if direct else ()), environment=environment)
        assert stage.chat("claude").status_code == 200
        receiver.wait(lambda span: span["gen_ai.response.model"] is not None and span.kind == 2)  # the request's
        receiver.wait(lambda span: span["gen_ai.output.messages"] is not None)  # the processor's
        receiver.wait_logs(lambda record: "gen_ai.output.messages" in record.attributes)
        receiver.wait_logs(lambda record: "headgate.record.id" in record.attributes)  # the collector's
        wait_until(lambda: any(b"gen_ai.server.request.duration" in data for data in receiver.received.raw), "metrics")
        stage.check()
