"""Traces through the real Envoy: what an OTLP receiver gets, and what providers are told of it."""

import secrets
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import httpx
import pytest
from headgate.contract.otel import OPERATION_EVENT
from support import manifests
from support.manifests import backend, ref, route, rule
from support.otlp import CLIENT, ERROR, SERVER, OtlpReceiver, Span, spans_of_json
from support.ports import free_port
from support.providers import ANTHROPIC, BEDROCK, OPENAI, Answer, Delivery, Failure, Provider, ToolUse
from support.providers.cohere_api import COHERE
from support.providers.gemini_api import GEMINI
from support.stage import Stage
from support.waiting import wait_until

SERVICE = "shop"
CREDENTIALS = "[default]\naws_access_key_id = AKID\naws_secret_access_key = secret\n"
AWS = {
    **manifests.target("AIServiceBackend", "bedrock"),
    "type": "AWSCredentials",
    "awsCredentials": {"region": "us-east-1", "credentialsFile": {"secretRef": {"name": "aws"}}},
}


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def running(receiver: OtlpReceiver) -> Iterator[Stage]:
    providers = {"openai": Provider(OPENAI, key="sk-o"), "second": Provider(OPENAI, key="sk-2")}
    native = {"gemini": Provider(GEMINI, key="sk-g"), "cohere": Provider(COHERE, key="sk-c")}
    native["bedrock"] = Provider(BEDROCK, key="AKID:secret")
    with Stage(**providers, **native, anthropic=Provider(ANTHROPIC, key="sk-a")) as stage:
        documents = [
            *manifests.gateway({"port": stage.port}),
            *backend("openai", stage["openai"].port, key="sk-o"),
            *backend("second", stage["second"].port, key="sk-2"),
            *backend("anthropic", stage["anthropic"].port, "Anthropic", key="sk-a"),
            *backend("gemini", stage["gemini"].port, "Gemini", key="sk-g"),
            *backend("cohere", stage["cohere"].port, "Cohere", key="sk-c"),
            *backend("bedrock", stage["bedrock"].port, "AWSBedrock"),
            manifests.secret("aws", credentials=CREDENTIALS),
            manifests.document(f"{manifests.AI}/v1beta1", "BackendSecurityPolicy", "bedrock", AWS),
            route(
                "r",
                [
                    rule("gpt", ref("openai")),
                    rule("claude", ref("anthropic")),
                    *(rule(name, ref(name)) for name in ("gemini", "cohere", "bedrock")),
                    rule("two", ref("openai"), ref("second", priority=1)),
                    rule("mixed", ref("openai"), ref("anthropic", priority=1)),
                    rule("renamed", ref("openai", modelNameOverride="real")),
                ],
            ),
        ]
        stage.run(
            documents,
            environment={
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_url,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_HEADERS": "x-otlp-key=sekret%20one",
                "OTEL_SERVICE_NAME": SERVICE,
                "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
                "OTEL_BSP_SCHEDULE_DELAY": "100",
            },
        )
        yield stage


@pytest.fixture
def stage(running: Stage, receiver: OtlpReceiver) -> Iterator[Stage]:
    receiver.forget()
    yield running
    running.check()


class Asked:
    """The trace of a client."""

    def __init__(self) -> None:
        self.trace, self.span = secrets.token_hex(16), secrets.token_hex(8)

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace}-{self.span}-01"


def chat(stage: Stage, asked: Asked, model: str, *, path: str = "/v1/chat/completions", **more: object) -> int:
    body = {"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": "Hello!"}], **more}
    return stage.post(path, body, traceparent=asked.traceparent, agent_session_id="s-1").status_code


def the_request(spans: Sequence[Span], asked: Asked) -> Span:
    (found,) = [span for span in spans if span.parent == asked.span]
    assert found.kind == SERVER
    return found


def attempts_of(spans: Sequence[Span], request: Span) -> list[Span]:
    return [span for span in spans if span.parent == request.id and not span.name.startswith("async ")]


def test_native_request(stage: Stage, receiver: OtlpReceiver) -> None:
    asked = Asked()
    assert chat(stage, asked, "gpt") == 200
    spans = list(receiver.trace(asked.trace, 2))
    request = the_request(spans, asked)
    (attempt,) = attempts_of(spans, request)
    assert (request.name, attempt.name, attempt.kind) == ("chat gpt", "chat gpt", CLIENT)
    for span in (request, attempt):
        assert span["gen_ai.operation.name"] == "chat"
        assert span["gen_ai.provider.name"] == "openai"
        assert span["gen_ai.request.model"] == "gpt"
        assert span["gen_ai.response.model"] == "gpt-2025-01-01"
        assert (span["gen_ai.response.id"], span["gen_ai.response.finish_reasons"]) == ("chatcmpl-1", ["stop"])
        assert (span["gen_ai.usage.input_tokens"], span["gen_ai.usage.output_tokens"]) == (11, 7)
        assert (span["session.id"], span["gen_ai.conversation.id"]) == ("s-1", "s-1")
        assert span["error.type"] is None
        assert span.resource["service.name"] == SERVICE
        assert span.resource["deployment.environment.name"] == "test"
    assert stage["openai"].last.header("traceparent") == f"00-{asked.trace}-{attempt.id}-01"
    assert receiver.received.headers[-1]["x-otlp-key"] == "sekret one"


def test_translated_request(stage: Stage, receiver: OtlpReceiver) -> None:
    asked = Asked()
    assert chat(stage, asked, "claude", temperature=0.5, stop=["secret word"]) == 200
    spans = list(receiver.trace(asked.trace, 3))
    request = the_request(spans, asked)
    assert request["gen_ai.provider.name"] == "anthropic"
    assert request["headgate.lane"] == "extproc"
    assert request["gen_ai.response.id"]
    assert request["gen_ai.response.finish_reasons"] == ["stop"]
    (attempt,) = attempts_of(spans, request)
    for span in (request, attempt):
        assert (span["gen_ai.request.max_tokens"], span["gen_ai.request.temperature"]) == (64, 0.5)
    assert all(b"secret word" not in raw for raw in receiver.received.raw)
    assert stage["anthropic"].last.header("traceparent") == f"00-{asked.trace}-{attempt.id}-01"
    (processor,) = [span for span in spans if "ExternalProcessor" in span.name]
    assert processor.parent == request.id


def test_failover(stage: Stage, receiver: OtlpReceiver) -> None:
    asked = Asked()
    stage["openai"].answer(Failure(503, "away"))
    assert chat(stage, asked, "mixed") == 200
    spans = list(receiver.trace(asked.trace, 4))
    request = the_request(spans, asked)
    first, second = attempts_of(spans, request)
    assert (first["http.status_code"], first.status, second["http.status_code"]) == (503, ERROR, 200)
    assert (first["error.type"], second["error.type"]) == ("upstream_failed", None)
    assert (first["gen_ai.provider.name"], second["gen_ai.provider.name"]) == ("openai", "anthropic")
    assert request["error.type"] is None
    assert request["headgate.attempts"] == 2


def test_hang_up(stage: Stage, receiver: OtlpReceiver) -> None:
    asked = Asked()
    stage["openai"].answer(Answer(delivery=Delivery(hang_after_bytes=400)))
    body = {"model": "gpt", "stream": True, "messages": [{"role": "user", "content": "Hello!"}]}
    headers = {"traceparent": asked.traceparent}
    with httpx.stream("POST", f"{stage.url}/v1/chat/completions", json=body, headers=headers) as response:
        next(response.iter_raw())
    spans = list(receiver.trace(asked.trace, 2))
    assert the_request(spans, asked)["error.type"] == "client_gone"


def test_unknown_model(stage: Stage, receiver: OtlpReceiver) -> None:
    asked = Asked()
    assert chat(stage, asked, "nobody") == 404
    (span,) = receiver.trace(asked.trace, 1)
    assert (span["error.type"], span.name) == ("not_found", "chat nobody")


@pytest.mark.parametrize(
    ("path", "model", "name", "operation"),
    [
        ("/v1/messages", "claude", "chat claude", "chat"),
        ("/v1/messages", "gpt", "chat gpt", "chat"),
        ("/v1/embeddings", "gpt", "embeddings gpt", "embeddings"),
        ("/v1/chat/completions", "renamed", "chat renamed", "chat"),
    ],
)
def test_operations(stage: Stage, receiver: OtlpReceiver, path: str, model: str, name: str, operation: str) -> None:
    asked = Asked()
    body = {"model": model, "input": "Hello!"} if "embeddings" in path else None
    if body is None:
        body = {"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": "Hello!"}]}
    answer = stage.post(path, body, traceparent=asked.traceparent, anthropic_version="2023-06-01")
    assert answer.status_code == 200
    request = the_request(list(receiver.trace(asked.trace, 2)), asked)
    assert (request.name, request["gen_ai.operation.name"]) == (name, operation)
    assert request["gen_ai.original.model"] == model
    assert request["gen_ai.request.model"] == ("real" if model == "renamed" else model)


CHAT = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 64}
FRONTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "chat": ("/v1/chat/completions", CHAT, "chat"),
    "messages": ("/v1/messages", CHAT, "chat"),
    "responses": ("/v1/responses", {"input": "Hello!"}, "chat"),
    "completions": ("/v1/completions", {"prompt": "Hello!"}, "text_completion"),
    "cohere": ("/v2/chat", CHAT, "chat"),
    "gemini": (
        "/v1beta/models/{}:generateContent",
        {"contents": [{"role": "user", "parts": [{"text": "Hello!"}]}]},
        "generate_content",
    ),
    "converse": ("/model/{}/converse", {"messages": [{"role": "user", "content": [{"text": "Hello!"}]}]}, "chat"),
}
"""Path, body and operation of every dialect that clients may speak."""


@pytest.mark.parametrize(("model", "provider"), [("gpt", "openai"), ("claude", "anthropic")])
@pytest.mark.parametrize("front", FRONTS)
def test_every_front(stage: Stage, receiver: OtlpReceiver, front: str, model: str, provider: str) -> None:
    path, body, operation = FRONTS[front]
    asked = Asked()
    body = body if "{}" in path else {"model": model, **body}
    answer = stage.post(path.format(model), body, traceparent=asked.traceparent, anthropic_version="2023-06-01")
    assert answer.status_code == 200, answer.text
    spans = list(receiver.trace(asked.trace, 2))
    request = the_request(spans, asked)
    (attempt,) = attempts_of(receiver.wait(lambda each: each.trace == asked.trace, 2), request)
    for span in (request, attempt):
        assert span.name == f"{operation} {model}"
        assert span["gen_ai.operation.name"] == operation
        assert span["gen_ai.provider.name"] == provider
        assert (span["gen_ai.request.model"], span["gen_ai.original.model"]) == (model, model)
        assert span["gen_ai.response.model"] == f"{model}-2025-01-01"
        assert (span["gen_ai.usage.input_tokens"], span["gen_ai.usage.output_tokens"]) == (11, 7)


NATIVE = {
    "chat": ("gpt", "openai", "chatcmpl-1"),
    "messages": ("claude", "anthropic", "msg_1"),
    "responses": ("gpt", "openai", "resp_1"),
    "gemini": ("gemini", "gemini", "answer-1"),
    "cohere": ("cohere", "cohere", "a-1"),
    "converse": ("bedrock", "bedrock", None),
}
"""Model, provider and what its answer calls itself, by the dialect of both."""
STREAMED = {":generateContent": ":streamGenerateContent?alt=sse", "/converse": "/converse-stream"}


@pytest.mark.parametrize("ended", ["stop", "length", "tool_call"])
@pytest.mark.parametrize(("streams", "cut"), [(False, "bytes"), (True, "bytes"), (True, "whole")])
@pytest.mark.parametrize("front", NATIVE)
def test_what_a_relayed_chat_calls_itself(
    stage: Stage,
    receiver: OtlpReceiver,
    front: str,
    cut: Literal["bytes", "whole"],
    streams: bool,
    ended: str,
) -> None:
    model, provider, called = NATIVE[front]
    path, body, _ = FRONTS[front]
    if "{}" not in path:
        body = {"model": model, "stream": streams, **body}
    elif streams:
        path = next(path.replace(way, streamed) for way, streamed in STREAMED.items() if way in path)
    asked = Asked()
    text = '"id":"mine","finish_reason":"length","stop_reason":"max_tokens","incomplete_details":{"reason":"no"}'
    tools = (ToolUse("lookup"),) if ended == "tool_call" else ()
    stop: Literal["", "length"] = "length" if ended == "length" else ""
    stage[provider].answer(Answer(text=text, tools=tools, stop=stop, delivery=Delivery(cut=cut)))
    answer = stage.post(path.format(model), body, traceparent=asked.traceparent, anthropic_version="2023-06-01")
    assert answer.status_code == 200, answer.text
    request = the_request(list(receiver.trace(asked.trace, 2)), asked)
    assert request["headgate.lane"] == "native"
    assert (request["gen_ai.response.id"], request["gen_ai.response.finish_reasons"]) == (called, [ended])


@pytest.mark.parametrize("front", [front for front in NATIVE if front != "converse"])
def test_a_relayed_chat_that_was_cut_says_no_reason(stage: Stage, receiver: OtlpReceiver, front: str) -> None:
    model, provider, _ = NATIVE[front]
    path, body, _ = FRONTS[front]
    if "{}" in path:
        path = next(path.replace(way, streamed) for way, streamed in STREAMED.items() if way in path)
    else:
        body = {"model": model, "stream": True, **body}
    asked = Asked()
    cut = Delivery(end_after_bytes=3_000)
    stage[provider].answer(Answer(text="word " * 4_000, pieces=400, delivery=cut))
    answer = stage.post(path.format(model), body, traceparent=asked.traceparent, anthropic_version="2023-06-01")
    assert answer.status_code == 200, answer.text
    request = the_request(list(receiver.trace(asked.trace, 2)), asked)
    assert request["headgate.lane"] == "native"
    assert "gen_ai.response.finish_reasons" not in request.attributes


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("front", NATIVE)
def test_a_relayed_chat_that_came_compressed_is_counted(
    stage: Stage, receiver: OtlpReceiver, front: str, streams: bool
) -> None:
    """Nobody asked for it."""
    model, provider, _ = NATIVE[front]
    path, body, _ = FRONTS[front]
    if "{}" not in path:
        body = {"model": model, "stream": streams, **body}
    elif streams:
        path = next(path.replace(way, streamed) for way, streamed in STREAMED.items() if way in path)
    asked = Asked()
    stage[provider].answer(Answer(text="".join(map(str, range(500))), delivery=Delivery(gzip=True)))
    answer = stage.post(path.format(model), body, traceparent=asked.traceparent, anthropic_version="2023-06-01")
    assert answer.headers["content-encoding"] == "gzip"
    request = the_request(list(receiver.trace(asked.trace, 2)), asked)
    assert request["gen_ai.usage.output_tokens"] == -(-answer.num_bytes_downloaded // 4)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/gpt"])
def test_a_list_of_models_is_no_answer_of_one(stage: Stage, receiver: OtlpReceiver, path: str) -> None:
    asked = Asked()
    assert stage.http.get(f"{stage.url}{path}", headers={"traceparent": asked.traceparent}).json()["object"]
    request = the_request(list(receiver.trace(asked.trace, 1)), asked)
    assert "gen_ai.response.id" not in request.attributes


def test_keys_in_paths_are_not_told(stage: Stage, receiver: OtlpReceiver) -> None:
    asked = Asked()
    chat(stage, asked, "gpt", path="/v1/chat/completions?key=sk-in-the-path")
    request = the_request(list(receiver.trace(asked.trace, 2)), asked)
    assert str(request["http.url"]).endswith("/v1/chat/completions")
    assert all(b"sk-in-the-path" not in raw for raw in receiver.received.raw)


def test_what_the_client_does_not_trace_is_not(stage: Stage, receiver: OtlpReceiver) -> None:
    asked, traced = Asked(), Asked()
    body = {"model": "gpt", "messages": [{"role": "user", "content": "Hello!"}]}
    assert stage.post("/v1/chat/completions", body, traceparent=asked.traceparent[:-1] + "0").status_code == 200
    assert (
        stage["openai"].last.header(
            "traceparent",
        )
        is not None
    )
    assert chat(stage, traced, "gpt") == 200
    receiver.trace(traced.trace, 2)
    assert not [span for span in receiver.received.spans if span.trace == asked.trace]


@contextmanager
def small(receiver: OtlpReceiver, *arguments: str, **environment: str) -> Generator[Stage]:
    with Stage(openai=Provider(OPENAI, key="sk-o", tolerated_headers=("baggage",))) as stage:
        documents = [
            *manifests.gateway({"port": stage.port}),
            *backend("openai", stage["openai"].port, key="sk-o"),
            *backend("gone", free_port(), key="sk-o"),
            route("r", [rule("gpt", ref("openai")), rule("gone", ref("gone"), ref("openai", priority=1))]),
        ]
        receiver.forget()
        said = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url, "OTEL_BSP_SCHEDULE_DELAY": "100", **environment}
        yield stage.run(documents, *arguments, environment=said)


def test_attempt_that_reached_nobody(stage: Stage, receiver: OtlpReceiver) -> None:
    asked = Asked()
    stage["openai"].answer(Answer(delivery=Delivery(reset=True)))
    assert chat(stage, asked, "two") == 200
    spans = list(receiver.trace(asked.trace, 3))
    first, second = attempts_of(spans, the_request(spans, asked))
    assert (first["error.type"], first.status) == ("upstream_reset", ERROR)
    assert (second["error.type"], second["gen_ai.usage.output_tokens"]) == (None, 7)


def test_direct(receiver: OtlpReceiver) -> None:
    """Envoy's own, as they are: text."""
    with small(receiver, "--direct-traces", OTEL_METRICS_EXPORTER="none") as stage:
        assert "collector" not in stage.gateway.processes()
        asked = Asked()
        assert chat(stage, asked, "gpt") == 200
        spans = list(receiver.trace(asked.trace, 2))
        request = the_request(spans, asked)
        assert (request["gen_ai.usage.input_tokens"], request["headgate.attempts"]) == ("11", "1")
        assert stage.chat("gpt").status_code == 200
        for entry in stage.access(lambda entry: entry["original_model"] == "gpt", 2):
            assert (entry["metadata"]["response_id"], entry["metadata"]["finish_reasons"]) == ("chatcmpl-1", ["stop"])
        by_text = [line for line in stage.access_log_path.read_text().splitlines() if line.startswith('{"time"')]
        assert len(by_text) == 1, "without a mapped header the line is text, and has them too"
        assert receiver.received.headers[-1]["content-type"] == "application/x-protobuf"


def test_what_envoy_cannot_send_is_said(receiver: OtlpReceiver) -> None:
    environment = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_LOG_LEVEL": "debug",
    }
    with small(receiver, "--direct-traces", **environment) as stage:
        said = stage.gateway.output
        assert "http/protobuf is taken" in said
        assert "compresses no spans" in said
        assert "OTEL_LOG_LEVEL is not read" in said


def test_json_compressed_with_limits(receiver: OtlpReceiver) -> None:
    environment = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "5",
    }
    with small(receiver, **environment) as stage:
        asked = Asked()
        assert chat(stage, asked, "gpt") == 200
        spans = list(receiver.trace(asked.trace, 2))
        request = the_request(spans, asked)
        assert request["gen_ai.usage.input_tokens"] == 11
        assert request["gen_ai.response.model"] == "gpt-2"
        headers = receiver.received.headers[-1]
        assert (headers["content-type"], headers["content-encoding"]) == ("application/json", "gzip")


def test_console(receiver: OtlpReceiver) -> None:
    """A line of JSON on standard output for each message, of all three signals."""
    environment = {f"OTEL_{signal}_EXPORTER": "console" for signal in ("TRACES", "METRICS", "LOGS")}
    environment |= {"OTEL_METRIC_EXPORT_INTERVAL": "200", "OTEL_BLRP_SCHEDULE_DELAY": "100"}
    with small(receiver, **environment) as stage:
        asked = Asked()
        assert chat(stage, asked, "gpt") == 200

        def told() -> bool:
            lines = [line for line in stage.gateway.output.splitlines() if line.startswith('{"resource')]
            spans = [span for line in lines if "resourceSpans" in line for span in spans_of_json(line)]
            return (
                sum(span.trace == asked.trace for span in spans) == 2
                and any("gen_ai.client.token.usage" in line for line in lines if "resourceMetrics" in line)
                and any(f'"eventName":"{OPERATION_EVENT}"' in line for line in lines if "resourceLogs" in line)
            )

        wait_until(told, "spans, metrics and a log on standard output")
        assert not receiver.received.spans


def test_a_receiver_that_was_away_gets_what_waited(receiver: OtlpReceiver) -> None:
    port = free_port()
    with small(receiver, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}") as stage:
        asked = Asked()
        assert chat(stage, asked, "gpt") == 200
        with OtlpReceiver(http_port=port) as late:
            assert len(late.trace(asked.trace, 2)) == 2


def test_http_openinference_and_no_propagation(receiver: OtlpReceiver) -> None:
    environment = {
        "OTEL_PROPAGATORS": "none",
        "AI_GATEWAY_TRACING_SEMCONV": "openinference",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Basic%20eA==",
        "OTEL_AIGW_SPAN_REQUEST_HEADER_ATTRIBUTES": "x-team:team",
    }
    with small(receiver, **environment) as stage:
        asked = Asked()
        body = {"model": "gpt", "messages": [{"role": "user", "content": "Hello!"}]}
        answer = stage.post("/v1/chat/completions", body, traceparent=asked.traceparent, baggage="a=b", x_team="blue")
        assert answer.status_code == 200
        request, _ = sorted(receiver.wait(lambda _: True, 2), key=lambda span: span.kind)
        assert (request.trace != asked.trace, request.parent) == (True, "")
        assert (request.name, request["openinference.span.kind"]) == ("ChatCompletion", "LLM")
        assert request["llm.system"] == "openai"
        assert (request["llm.token_count.prompt"], request["llm.token_count.total"]) == (11, 18)
        assert request["llm.model_name"] == "gpt"
        assert request["team"] == "blue"
        assert receiver.received.headers[-1]["authorization"] == "Basic eA=="
        last = stage["openai"].last
        assert (last.header("traceparent"), last.header("baggage")) == (None, None)
        assert request.events == ()
        receiver.forget()
        stage["openai"].answer(Failure(429))
        assert stage.chat("gpt").status_code == 429
        request, _ = sorted(receiver.wait(lambda _: True, 2), key=lambda span: span.kind)
        assert (request["error.type"], request.events) == ("upstream_limited", ("exception",))


def test_receiver_that_is_away_costs_no_request(receiver: OtlpReceiver) -> None:
    with small(receiver, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}") as stage:
        assert [stage.chat("gpt").status_code for _ in range(20)] == [200] * 20


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_an_end_tells_of_the_last_requests(receiver: OtlpReceiver, protocol: str) -> None:
    """Of logs that Envoy itself sends, and gathers for a second before."""
    url = receiver.grpc_url if protocol == "grpc" else f"{receiver.http_url}/v1/logs"
    logs = {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": url, "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": protocol}
    with small(receiver, OTEL_TRACES_EXPORTER="none", OTEL_METRICS_EXPORTER="none", **logs) as stage:
        for model in ("gpt", "gone", "gpt"):
            assert stage.chat(model).status_code == 200
    told = Counter(record.attributes.get("original_model", "attempt") for record in receiver.received.logs)
    assert told == {"gpt": 2, "gone": 1, "attempt": 1}


def test_disabled(receiver: OtlpReceiver) -> None:
    with small(receiver, OTEL_SDK_DISABLED="true") as stage:
        assert stage.chat("gpt").status_code == 200
        assert stage["openai"].last.header("traceparent") is None
