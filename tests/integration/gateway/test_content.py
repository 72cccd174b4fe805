"""Captured content through the real Envoy: what is told, where, and what never is."""

import json
import re
import secrets
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import manifests
from support.ledger import LedgerFile
from support.manifests import backend, ref, route, rule
from support.otlp import ERROR, OtlpReceiver, Span, Value
from support.providers import ANTHROPIC, OPENAI, Answer, Failure, Provider
from support.providers.answers import ToolUse
from support.stage import Stage

KEY = "sk-written-into-a-prompt-0123456789"
CARD = "4111-1111-1111-1111"
RULES = """
regexes: ['\\d{4}-\\d{4}-\\d{4}-\\d{4}']
paths: [input.*.name, "**.arguments.pin"]
"""
SECRETS = (KEY, CARD, "sk-o-provider", "sk-a-provider", "12-34-56")


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@contextmanager
def capturing(receiver: OtlpReceiver, folder: Path, mode: str, *arguments: str, **variables: str) -> Generator[Stage]:
    rules = folder / "rules.yaml"
    rules.write_text(RULES)
    providers = {"openai": Provider(OPENAI, key="sk-o-provider"), "anthropic": Provider(ANTHROPIC, key="sk-a-provider")}
    with Stage(**providers) as stage:
        documents = [
            *manifests.gateway({"port": stage.port}),
            *backend("openai", stage["openai"].port, key="sk-o-provider"),
            *backend("anthropic", stage["anthropic"].port, "Anthropic", key="sk-a-provider"),
            route("r", [rule("gpt", ref("openai")), rule("claude", ref("anthropic"))]),
        ]
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": mode,
            **variables,
        }
        receiver.forget()
        yield stage.run(documents, "--capture-rules", str(rules), *arguments, environment=environment)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> LedgerFile:
    return LedgerFile(tmp_path_factory.mktemp("ledger") / "usage.db")


@pytest.fixture(scope="module")
def running(receiver: OtlpReceiver, ledger: LedgerFile, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("rules")
    with capturing(receiver, folder, "span_and_event", "--ledger", str(ledger.path), "--observe") as stage:
        yield stage


@pytest.fixture
def stage(running: Stage, receiver: OtlpReceiver) -> Iterator[Stage]:
    receiver.forget()
    yield running
    running.check()


def ask(stage: Stage, model: str, text: str, path: str = "/v1/chat/completions", **more: Any) -> str:
    """The trace's id."""
    trace = secrets.token_hex(16)
    body = {"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": text}], **more}
    headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    answer = stage.post(path, body, traceparent=headers["traceparent"], anthropic_version="2023-06-01")
    assert answer.status_code == 200, answer.text
    return trace


def content_span(receiver: OtlpReceiver, trace: str) -> Span:
    (found,) = receiver.wait(lambda span: span.trace == trace and "gen_ai.input.messages" in span.attributes)
    return found


def messages(value: Value) -> Any:
    assert isinstance(value, str)
    return json.loads(value)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gpt", "/v1/chat/completions"),
        ("gpt", "/v1/messages"),
        ("claude", "/v1/messages"),
        ("claude", "/v1/chat/completions"),
    ],
)
def test_content_of_every_lane(stage: Stage, receiver: OtlpReceiver, model: str, path: str, streamed: bool) -> None:
    provider = stage["openai" if model == "gpt" else "anthropic"]
    provider.answer(Answer(text="Good day!"))
    trace = ask(stage, model, "Hello there!", path, stream=streamed)
    span = content_span(receiver, trace)
    (attempt,) = receiver.wait(lambda each: each.id == span.parent)
    assert (attempt.trace, attempt.kind, attempt["gen_ai.operation.name"]) == (trace, 3, "chat")
    assert messages(span["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "Hello there!"}]}
    ]
    assert messages(span["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Good day!"}], "finish_reason": "stop"}
    ]
    assert (span["gen_ai.usage.input_tokens"], span["gen_ai.usage.output_tokens"]) == (11, 7)
    assert span["gen_ai.response.finish_reasons"] == ["stop"]
    assert span["gen_ai.request.max_tokens"] == 64
    (record,) = receiver.wait_logs(lambda each: each.trace == trace)
    assert record.event == "gen_ai.client.inference.operation.details"
    assert record.attributes["gen_ai.output.messages"] == span["gen_ai.output.messages"]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_what_must_not_be_told_is_nowhere(
    stage: Stage, receiver: OtlpReceiver, ledger: LedgerFile, model: str, streamed: bool
) -> None:
    before = len(ledger.rows())
    call = ToolUse("pay", json.dumps({"pin": "12-34-56", "card": CARD}))
    provider = stage["openai" if model == "gpt" else "anthropic"]
    provider.answer(Answer(text=f"Your key is {KEY}.", tools=(call,), pieces=7))
    said = f"My key is {KEY}, my card {CARD}; Authorization: Bearer {KEY}"
    trace = ask(stage, model, said, tools=[{"type": "function", "function": {"name": "pay"}}], stream=streamed)
    assert KEY in provider.last.body.decode(), "the provider is told all of it"
    span = content_span(receiver, trace)
    receiver.wait_logs(lambda each: each.trace == trace)
    (asked,) = messages(span["gen_ai.input.messages"])
    assert asked["parts"][0]["content"].startswith("My key is [redacted], my card [redacted];")
    (answer,) = messages(span["gen_ai.output.messages"])
    (paid,) = [part for part in answer["parts"] if part["type"] == "tool_call"]
    assert paid["arguments"] == {"pin": "[redacted]", "card": "[redacted]"}

    assert ledger.wait(before + 1)[-1]["original_model"] == model
    admin = stage.gateway.wait_output(r"admin +(http://\S+)").group(1)
    pages = [stage.http.get(f"{admin}/{page}").text for page in ("metrics", "status", "")]
    with stage.http.stream("GET", f"{admin}/events") as events:
        pages.append(next(events.iter_text()))
    assert f'"{model}"' in pages[-1], "the page tells of the request"
    kept = [*pages, stage.gateway.output, _read(stage.access_log_path)]
    kept += [path.read_bytes().decode("latin-1") for path in ledger.path.parent.glob("usage.db*")]
    kept += [raw.decode("latin-1") for raw in receiver.received.raw]
    for secret in SECRETS:
        assert all(secret not in text for text in kept), secret


def test_failed_attempts_are_told(stage: Stage, receiver: OtlpReceiver) -> None:
    stage["openai"].answer(Failure(400, "no"))
    trace = secrets.token_hex(16)
    body = {"model": "gpt", "messages": [{"role": "user", "content": "Hello!"}]}
    answer = stage.post("/v1/chat/completions", body, traceparent=f"00-{trace}-{secrets.token_hex(8)}-01")
    assert answer.status_code == 400
    span = content_span(receiver, trace)
    assert (span["error.type"], span["gen_ai.output.messages"]) == ("400", None)


def test_what_is_not_traced_is_not_captured(stage: Stage, receiver: OtlpReceiver) -> None:
    untraced = secrets.token_hex(16)
    body = {"model": "gpt", "messages": [{"role": "user", "content": "Hello!"}]}
    stage.post("/v1/chat/completions", body, traceparent=f"00-{untraced}-{secrets.token_hex(8)}-00")
    content_span(receiver, ask(stage, "gpt", "Hello!"))
    assert not [each for each in receiver.received.spans if each.trace == untraced]


def test_nothing_is_captured_unasked(receiver: OtlpReceiver, tmp_path: Path) -> None:
    with capturing(receiver, tmp_path, "false") as stage:
        trace = ask(stage, "gpt", "Hello, whoever reads this!")
        receiver.trace(trace, 2)
        assert stage.access(lambda line: line["rule"].endswith("/openai/match/0") or "chat" in line["rule"])
        assert all(b"whoever" not in raw for raw in receiver.received.raw)
        # of this request: another gateway's spans may still come
        assert not _processed([span for span in receiver.received.spans if span.trace == trace])


@pytest.fixture(scope="module")
def named(receiver: OtlpReceiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A gateway whose spans have OpenInference's names, less what was drawn."""
    folder = tmp_path_factory.mktemp("rules")
    variables = {"AI_GATEWAY_TRACING_SEMCONV": "openinference", "OPENINFERENCE_HIDE_OUTPUT_TEXT": "true"}
    with capturing(receiver, folder, "true", **variables) as stage:
        yield stage


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("model", "name"), [("gpt", "ChatCompletion"), ("claude", "Message")])
def test_openinference(named: Stage, receiver: OtlpReceiver, model: str, name: str, streamed: bool) -> None:
    """In both lanes, whole and streamed; rules and variables take out what they name."""
    provider = named["openai" if model == "gpt" else "anthropic"]
    provider.answer(Answer(text="Good day!", tools=(ToolUse("pay", json.dumps({"pin": "12-34-56"})),)))
    path = "/v1/messages" if name == "Message" else "/v1/chat/completions"
    trace = ask(named, model, f"My card is {CARD}", path, stream=streamed)
    (span,) = receiver.wait(lambda each: each.trace == trace and "input.value" in each.attributes)
    (attempt,) = receiver.wait(lambda each: each.id == span.parent)
    assert (span.name, attempt.name, attempt["openinference.span.kind"]) == (name, name, "LLM")
    assert span["llm.input_messages.0.message.role"] == "user"
    assert span["llm.input_messages.0.message.content"] == "My card is [redacted]"
    said = "llm.output_messages.0.message"
    assert (span[f"{said}.role"], span[f"{said}.content"]) == ("assistant", "__REDACTED__")
    assert span[f"{said}.tool_calls.0.tool_call.function.name"] == "pay"
    assert json.loads(str(span[f"{said}.tool_calls.0.tool_call.function.arguments"])) == {"pin": "[redacted]"}
    assert json.loads(str(span["llm.invocation_parameters"]))["max_tokens"] == 64
    assert (span["llm.token_count.prompt"], span["llm.token_count.total"]) == (11, 18)
    first = ["First Token Stream Event"] if streamed else []
    assert span.events == (*first, "Response Completed Event")
    raw = [each.decode("latin-1") for each in receiver.received.raw]
    assert all(secret not in text for text in raw for secret in (*SECRETS, "Good day!"))


def test_openinference_tells_an_error_as_an_exception(named: Stage, receiver: OtlpReceiver) -> None:
    named["openai"].answer(Failure(429, f"no more for {KEY}"))
    trace = secrets.token_hex(16)
    body = {"model": "gpt", "messages": [{"role": "user", "content": "Hello!"}]}
    answer = named.post("/v1/chat/completions", body, traceparent=f"00-{trace}-{secrets.token_hex(8)}-01")
    assert answer.status_code == 429
    (span,) = receiver.wait(lambda each: each.trace == trace and "input.value" in each.attributes)
    assert (span.events, span.status, span["error.type"]) == (("exception",), ERROR, "429")
    assert all(KEY.encode() not in raw for raw in receiver.received.raw)


def _processed(spans: Sequence[Span]) -> list[Span]:
    return [span for span in spans if re.search("ExternalProcessor", span.name)]


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
