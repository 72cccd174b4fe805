"""What a span of captured content says, in either convention."""

import json
from typing import Any

import pytest
from headgate.contract.openinference import Hiding
from headgate.contract.otel import Convention
from headgate.extproc.capture import Capture, Captured, event_of, span_of
from headgate.extproc.redaction import make_rules
from headgate.extproc.report import Report
from headgate.extproc.tap import Tap
from headgate.llm.endpoints import endpoint_named
from headgate.llm.usage import Usage
from headgate.runtime.otlp.values import Span
from support.ext_proc_streams import backend

IMAGE = "aGVsbG8="
KEY = "sk-proj-abcDEF0123456789"
TOOL = {"type": "function", "function": {"name": "pay", "parameters": {"type": "object"}}}
REQUEST = {
    "model": "gpt",
    "temperature": 0.5,
    "max_tokens": 64,
    "top_p": 0.9,
    "seed": 7,
    "stop": ["END", KEY],
    "tools": [TOOL],
    "messages": [
        {"role": "system", "content": "Be kind."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": f"See {KEY}"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}},
                {"type": "image_url", "image_url": {"url": "https://a/cat.png"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "pay", "arguments": '{"sum":5}'}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "paid"},
    ],
}
ANSWER = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Done.",
                "tool_calls": [{"id": "c2", "type": "function", "function": {"name": "pay", "arguments": "{}"}}],
            },
            "finish_reason": "tool_calls",
        }
    ],
}
SAID: dict[str, Any] = {
    "llm.input_messages.0.message.role": "system",
    "llm.input_messages.0.message.content": "Be kind.",
    "llm.input_messages.1.message.role": "user",
    "llm.input_messages.1.message.contents.0.message_content.type": "text",
    "llm.input_messages.1.message.contents.0.message_content.text": "See [redacted]",
    "llm.input_messages.1.message.contents.1.message_content.type": "image",
    "llm.input_messages.1.message.contents.2.message_content.type": "image",
    "llm.input_messages.1.message.contents.2.message_content.image.image.url": "https://a/cat.png",
    "llm.input_messages.2.message.role": "assistant",
    "llm.input_messages.2.message.tool_calls.0.tool_call.id": "c1",
    "llm.input_messages.2.message.tool_calls.0.tool_call.function.name": "pay",
    "llm.input_messages.2.message.tool_calls.0.tool_call.function.arguments": '{"sum":5}',
    "llm.input_messages.3.message.role": "tool",
    "llm.input_messages.3.message.tool_call_id": "c1",
    "llm.input_messages.3.message.content": "paid",
}
ANSWERED: dict[str, Any] = {
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.content": "Done.",
    "llm.output_messages.0.message.tool_calls.0.tool_call.id": "c2",
    "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "pay",
    "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": "{}",
}


def captured(status: int = 200, answer: object = ANSWER, first_seconds: float | None = None) -> Captured:
    path = "/v1/chat/completions"
    tap = Tap(1_000_000_000)
    headers = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", ":path": path}
    tap.asked(json.dumps(REQUEST).encode(), headers, captured=True)
    tap.answered(json.dumps(answer).encode())
    report = Report(
        facts=backend(),
        endpoint=endpoint_named("chat-completions"),
        original_model="gpt",
        request_model="gpt-sent",
        response_model="gpt-4",
        usage=Usage(input=11, output=7, total=18),
        status=status,
        error="",
        complete=True,
        first_seconds=first_seconds,
    )
    return Captured(tap, report, 5_000_000_000, "c" * 16)


def told(hiding: Hiding | None = None, **more: Any) -> Span:
    rules = make_rules({"paths": ["input.*.name"]})
    capture = Capture(
        spans=True, rules=rules, convention=Convention.OPENINFERENCE, hiding=hiding if hiding is not None else Hiding()
    )
    return span_of(captured(**more), capture)


def starting(span: Span, prefix: str) -> dict[str, Any]:
    return {name: value for name, value in span.attributes.items() if name.startswith(prefix)}


def test_openinference() -> None:
    span = told(first_seconds=0.25)
    assert span.name == "ChatCompletion"
    assert starting(span, "llm.input_messages") == SAID
    assert starting(span, "llm.output_messages") == ANSWERED
    assert json.loads(str(span.attributes["llm.tools.0.tool.json_schema"])) == TOOL
    assert json.loads(str(span.attributes["llm.invocation_parameters"])) == {
        "model": "gpt-sent",
        "max_tokens": 64,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["END", "[redacted]"],
    }
    assert span.attributes["llm.token_count.total"] == 18
    for name in ("input", "output"):
        assert span.attributes[f"{name}.mime_type"] == "application/json"
        assert KEY not in str(span.attributes[f"{name}.value"])
    assert "Done." in str(span.attributes["output.value"])
    assert not starting(span, "gen_ai.")
    assert [(event.name, event.time_ns) for event in span.events] == [
        ("First Token Stream Event", 1_250_000_000),
        ("Response Completed Event", 5_000_000_000),
    ]


@pytest.mark.parametrize(
    ("hiding", "input_value", "output_value", "messages", "parameters"),
    [
        (Hiding(inputs=True), "__REDACTED__", None, ANSWERED, True),
        (Hiding(outputs=True), None, "__REDACTED__", SAID, True),
        (Hiding(inputs=True, outputs=True, parameters=True), "__REDACTED__", "__REDACTED__", {}, False),
    ],
)
def test_what_is_hidden_whole(
    hiding: Hiding, input_value: str | None, output_value: str | None, messages: dict[str, Any], parameters: bool
) -> None:
    span = told(hiding)
    found = {**starting(span, "llm.input_messages"), **starting(span, "llm.output_messages")}
    assert found == messages
    for name, value in (("input", input_value), ("output", output_value)):
        if value is not None:
            assert span.attributes[f"{name}.value"] == value
            assert f"{name}.mime_type" not in span.attributes
    assert ("llm.invocation_parameters" in span.attributes) is parameters


def test_hidden_texts() -> None:
    span = told(Hiding(input_text=True, output_text=True))
    words = str(dict(span.attributes))
    assert all(word not in words for word in ("Be kind", "See", "paid", "Done."))
    assert span.attributes["llm.input_messages.0.message.content"] == "__REDACTED__"
    assert span.attributes["llm.input_messages.1.message.contents.0.message_content.text"] == "__REDACTED__"
    assert span.attributes["llm.input_messages.1.message.contents.2.message_content.image.image.url"]
    assert span.attributes["llm.output_messages.0.message.tool_calls.0.tool_call.id"] == "c2"


def test_images_are_told_where_they_are_asked_for() -> None:
    url = "llm.input_messages.1.message.contents.1.message_content.image.image.url"
    assert told(Hiding(image_length_max=8)).attributes[url] == f"data:image/png;base64,{IMAGE}"
    assert url not in told(Hiding(image_length_max=7)).attributes
    hidden = told(Hiding(image_length_max=8, input_images=True))
    assert IMAGE not in str(dict(hidden.attributes))
    assert "cat.png" not in str(dict(hidden.attributes))


@pytest.mark.parametrize("hiding", [Hiding(), Hiding(inputs=True), Hiding(output_text=True)])
def test_an_error_is_an_exception(hiding: Hiding) -> None:
    span = told(hiding, status=429, answer={"error": {"message": f"no more for {KEY}"}})
    (event,) = span.events
    assert (event.name, event.attributes["exception.type"]) == ("exception", "RateLimitError")
    said = "" if hiding.words else ' - {"error": {"message": "no more for [redacted]"}}'
    assert event.attributes["exception.message"] == f"Error code: 429{said}"
    assert span.failed


def test_gen_ai_parameters_and_what_is_hidden_of_events() -> None:
    span = span_of(captured(), Capture(spans=True))
    asked = starting(span, "gen_ai.request.")
    assert asked == {
        "gen_ai.request.model": "gpt-sent",
        "gen_ai.request.max_tokens": 64,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.seed": 7,
        "gen_ai.request.stop_sequences": ("END", "[redacted]"),
    }
    assert not span.events
    hiding = Hiding(inputs=True, outputs=True)
    record = event_of(captured(), Capture(events=True, convention=Convention.OPENINFERENCE, hiding=hiding))
    assert record.attributes["gen_ai.input.messages"] == '"__REDACTED__"'
    assert "gen_ai.system_instructions" not in record.attributes


def test_rules_take_out_what_they_name_whole() -> None:
    rules = make_rules({"paths": ["input", "output.*.parts", "system.*"]})
    span = span_of(captured(), Capture(spans=True, rules=rules, convention=Convention.OPENINFERENCE))
    assert span.attributes["input.value"] == "[redacted]"
    assert starting(span, "llm.input_messages") == {
        "llm.input_messages.0.message.role": "system",
        "llm.input_messages.0.message.content": "[redacted]",
    }
    assert starting(span, "llm.output_messages") == {
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": "[redacted]",
    }
