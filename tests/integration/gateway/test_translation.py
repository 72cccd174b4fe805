"""The extproc lane, seen by the official clients: OpenAI's in front of Claude and Anthropic's in front of GPT."""

import gzip
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import httpx
import openai
import pytest
from pydantic import BaseModel
from support.providers import Answer, Delivery, Failure, Raw, ToolUse, Usage
from support.stage import Stage

pytestmark = pytest.mark.envoy

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
OPENAI_TOOLS: Any = [{"type": "function", "function": {"name": "weather", "description": "now", "parameters": CITY}}]
ANTHROPIC_TOOLS: Any = [{"name": "weather", "description": "now", "input_schema": CITY}]
TWO_TOOLS = (
    ToolUse("weather", '{"city": "Bern"}', "call_1"),
    ToolUse("weather", '{"city": "Genève"}', "call_2"),
)
USAGE = Usage(input=100, output=20, cached=60, cache_creation=10)

# --- OpenAI's client, Claude behind it


def test_openai_client_has_a_conversation_with_claude(stage: Stage) -> None:
    stage["anthropic"].answer(Answer(text="Bonjour", usage=Usage(input=21, output=9)))
    messages: Any = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "developer", "content": "Speak French."},
        {"role": "user", "content": [{"type": "text", "text": "And now?"}]},
    ]
    answer = stage.openai().chat.completions.create(
        model="claude", messages=messages, temperature=0.5, top_p=0.9, stop=["END"], max_completion_tokens=50, user="u1"
    )
    assert answer.choices[0].message.content == "Bonjour"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (21, 9, 30)
    received = stage["anthropic"].last
    assert received.path == "/v1/messages"
    assert received.header("anthropic-version") == "2023-06-01"
    assert received.json["max_tokens"] == 50
    assert received.json["stop_sequences"] == ["END"]
    assert "Be brief." in json.dumps(received.json["system"])


def test_openai_client_streams_from_claude(stage: Stage) -> None:
    stage["anthropic"].answer(Answer(text="one two three", usage=USAGE))
    stream = stage.openai().chat.completions.create(
        model="claude", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "one two three"
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (100, 20)
    assert chunks[-1].usage.prompt_tokens_details is not None
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens == 60
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"


def test_openai_client_sees_no_usage_it_did_not_ask_for(stage: Stage) -> None:
    chunks = list(stage.openai().chat.completions.create(model="claude", messages=MESSAGES, stream=True))
    assert all(chunk.choices for chunk in chunks)


def test_openai_client_calls_tools_of_claude_in_parallel(stage: Stage) -> None:
    client = stage.openai()
    stage["anthropic"].answer(Answer(text="", tools=TWO_TOOLS), Answer(text="Rain."))
    messages: Any = [*MESSAGES]
    answer = client.chat.completions.create(
        model="claude", messages=messages, tools=OPENAI_TOOLS, tool_choice="required", parallel_tool_calls=True
    )
    assert answer.choices[0].finish_reason == "tool_calls"
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert [(call.id, json.loads(call.function.arguments)) for call in calls if call.type == "function"] == [
        ("call_1", {"city": "Bern"}),
        ("call_2", {"city": "Genève"}),
    ]
    messages.append(answer.choices[0].message.model_dump(exclude_none=True))
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in calls]
    answer = client.chat.completions.create(model="claude", messages=messages, tools=OPENAI_TOOLS)
    assert answer.choices[0].message.content == "Rain."
    results = stage["anthropic"].last.json["messages"][-1]["content"]
    assert [block["tool_use_id"] for block in results] == ["call_1", "call_2"]


@pytest.mark.parametrize("cut", ["events", "bytes", "whole"])
def test_openai_client_streams_parallel_tools_of_claude(stage: Stage, cut: Any) -> None:
    stage["anthropic"].answer(Answer(text="Let me see.", tools=TWO_TOOLS, delivery=Delivery(cut=cut)))
    with stage.openai().chat.completions.stream(model="claude", messages=MESSAGES, tools=OPENAI_TOOLS) as stream:
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert calls is not None
    assert [json.loads(call.function.arguments) for call in calls] == [{"city": "Bern"}, {"city": "Genève"}]
    assert final.choices[0].message.content == "Let me see."


def test_openai_client_shows_claude_images(stage: Stage) -> None:
    content: Any = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
    ]
    stage.openai().chat.completions.create(model="claude", messages=[{"role": "user", "content": content}])
    sources = [each["source"] for each in stage["anthropic"].last.json["messages"][0]["content"][1:]]
    assert sources[0] == {"type": "base64", "media_type": "image/png", "data": PIXEL}
    assert sources[1] == {"type": "url", "url": "https://example.com/cat.png"}


def test_openai_client_asks_claude_to_think(stage: Stage) -> None:
    stage["anthropic"].answer(Answer(thinking="Hm.", text="Yes."))
    answer = stage.openai().chat.completions.create(model="claude", messages=MESSAGES, reasoning_effort="high")
    assert stage["anthropic"].last.json["thinking"]["type"] in ("enabled", "adaptive")
    message: Any = answer.choices[0].message
    assert message.content == "Yes."
    assert message.reasoning_content == "Hm."


class Place(BaseModel):
    city: str


def test_openai_client_parses_structured_output_of_claude(stage: Stage) -> None:
    stage["anthropic"].answer(Answer(text='{"city": "Bern"}'))
    parsed = stage.openai().chat.completions.parse(model="claude", messages=MESSAGES, response_format=Place)
    assert parsed.choices[0].message.parsed == Place(city="Bern")


def test_openai_client_reads_claudes_cached_usage(stage: Stage) -> None:
    stage["anthropic"].answer(Answer(usage=USAGE))
    usage = stage.openai().chat.completions.create(model="claude", messages=MESSAGES).usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert (usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens) == (100, 60)


@pytest.mark.parametrize(
    ("stop", "reason"), [("length", "length"), ("refusal", "content_filter"), ("stop_sequence", "stop")]
)
def test_openai_client_learns_why_claude_stopped(stage: Stage, stop: Any, reason: str) -> None:
    stage["anthropic"].answer(Answer(stop=stop, stop_sequence="END" if stop == "stop_sequence" else ""))
    answer = stage.openai().chat.completions.create(model="claude", messages=MESSAGES)
    assert answer.choices[0].finish_reason == reason


def test_what_claude_cannot_express_is_told(stage: Stage) -> None:
    body: Any = {"model": "claude", "messages": MESSAGES, "seed": 1, "logit_bias": {"1": 5}}
    losses = stage.post("/v1/chat/completions", body).headers["x-headgate-losses"]
    assert "seed" in losses
    assert "logit_bias" in losses
    assert "x-headgate-losses" not in stage.chat("claude").headers


# --- legacy completions, Claude behind them


def test_a_completion_of_claude(stage: Stage) -> None:
    stage["anthropic"].answer(Answer(text=" a time", usage=USAGE))
    answer = stage.openai().completions.create(model="claude", prompt="Once upon", echo=True, stop=["END"])
    assert answer.choices[0].text == "Once upon a time"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (100, 20)
    received = stage["anthropic"].last
    assert received.json["messages"] == [{"role": "user", "content": "Once upon"}]
    assert received.json["max_tokens"] == 16


def test_a_completion_streams_from_claude(stage: Stage) -> None:
    stage["anthropic"].answer(Answer(text="one two three", usage=USAGE))
    chunks = list(
        stage.openai().completions.create(
            model="claude", prompt="Count", stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "one two three"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 20


def test_a_completion_that_no_chat_can_give_is_refused(stage: Stage) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        stage.openai().completions.create(model="claude", prompt=["one", "two"])
    assert raised.value.param == "prompt"
    assert not stage["anthropic"].requests


# --- Anthropic's client, GPT behind it


def test_anthropic_client_has_a_conversation_with_gpt(stage: Stage) -> None:
    stage["openai"].answer(Answer(text="Hello there", usage=Usage(input=21, output=9, cached=5)))
    messages: Any = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello."}]},
        {"role": "user", "content": [{"type": "text", "text": "And now?"}]},
    ]
    answer = stage.anthropic().messages.create(
        model="gpt", max_tokens=50, messages=messages, system="Be brief.", stop_sequences=["END"]
    )
    assert [block.text for block in answer.content if block.type == "text"] == ["Hello there"]
    assert answer.stop_reason == "end_turn"
    assert (answer.usage.input_tokens, answer.usage.cache_read_input_tokens, answer.usage.output_tokens) == (16, 5, 9)
    received = stage["openai"].last.json
    assert received["messages"][0] == {"role": "system", "content": "Be brief."}
    assert received["stop"] == ["END"]


@pytest.mark.parametrize("cut", ["events", "bytes", "whole"])
def test_anthropic_client_streams_from_gpt(stage: Stage, cut: Any) -> None:
    stage["openai"].answer(Answer(text="one two", tools=TWO_TOOLS, usage=USAGE, delivery=Delivery(cut=cut)))
    with stage.anthropic().messages.stream(
        model="gpt", max_tokens=9, messages=MESSAGES, tools=ANTHROPIC_TOOLS
    ) as stream:
        final = stream.get_final_message()
    assert [block.type for block in final.content] == ["text", "tool_use", "tool_use"]
    assert [block.input for block in final.content if block.type == "tool_use"] == [
        {"city": "Bern"},
        {"city": "Genève"},
    ]
    assert final.stop_reason == "tool_use"
    assert (final.usage.input_tokens, final.usage.cache_read_input_tokens, final.usage.output_tokens) == (40, 60, 20)


def test_anthropic_client_returns_tool_results_with_images_to_gpt(stage: Stage) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    result = {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "a map"}, image]}
    call = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Bern"}}
    messages: Any = [
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]
    stage.anthropic().messages.create(model="gpt", max_tokens=9, messages=messages, tools=ANTHROPIC_TOOLS)
    sent = stage["openai"].last.json["messages"]
    assert sent[2]["tool_call_id"] == "call_1"
    assert PIXEL in json.dumps(sent)


def test_anthropic_client_shows_gpt_images(stage: Stage) -> None:
    content: Any = [
        {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}},
        {"type": "text", "text": "What is this?"},
    ]
    stage.anthropic().messages.create(model="gpt", max_tokens=9, messages=[{"role": "user", "content": content}])
    parts = stage["openai"].last.json["messages"][0]["content"]
    assert parts[0]["image_url"]["url"] == "https://example.com/cat.png"


def test_anthropic_client_sees_gpt_think(stage: Stage) -> None:
    stage["openai"].answer(Answer(thinking="Hm.", text="Yes."))
    answer = stage.anthropic().messages.create(model="gpt", max_tokens=9, messages=MESSAGES)
    assert [block.type for block in answer.content] == ["thinking", "text"]


def test_anthropic_client_reaches_azure(stage: Stage) -> None:
    answer = stage.anthropic().messages.create(model="renamed-azure", max_tokens=9, messages=MESSAGES)
    assert answer.content[0].type == "text"
    assert stage["azure"].last.path == "/openai/deployments/my%20deployment%2F1/chat/completions"


def test_anthropic_client_reaches_a_prefixed_backend(stage: Stage) -> None:
    assert stage.messages("deployed").status_code == 200
    assert stage["deployed"].last.path == "/llm/api/chat/completions"


def test_body_and_header_mutations_apply_to_translated_requests(stage: Stage) -> None:
    assert stage.messages("mutated").status_code == 200
    received = stage["openai"].last
    assert received.json["service_tier"] == "flex"
    assert received.json["temperature"] == 0.5
    assert received.header("x-team") == "blue"


# --- both


def test_equal_requests_give_equal_bytes(stage: Stage) -> None:
    for _ in range(3):
        assert stage.chat("claude", tools=OPENAI_TOOLS).status_code == 200
        assert stage.messages("gpt", tools=ANTHROPIC_TOOLS).status_code == 200
    assert len({request.body for request in stage["anthropic"].requests}) == 1
    assert len({request.body for request in stage["openai"].requests}) == 1


def test_request_ids_come_through(stage: Stage) -> None:
    assert stage.chat("claude").headers["request-id"].startswith("req_anthropic_")
    assert stage.messages("gpt").headers["x-request-id"].startswith("req_openai_")


def test_no_credential_of_the_client_is_forwarded(stage: Stage) -> None:
    stage.openai(api_key="mine", default_headers={"x-api-key": "mine", "cookie": "a=mine"}).chat.completions.create(
        model="claude", messages=MESSAGES
    )
    stage.anthropic(api_key="mine").messages.create(model="gpt", max_tokens=9, messages=MESSAGES)
    for name in ("openai", "anthropic"):
        assert not [value for _, value in stage[name].last.headers if "mine" in value]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (529, openai.InternalServerError),
    ],
)
def test_openai_client_gets_claudes_errors(stage: Stage, status: int, kind: Any, streamed: bool) -> None:
    stage["anthropic"].answer(Failure(status, "own words", retry_after_seconds=7))
    with pytest.raises(kind, match="own words") as error:
        stage.openai().chat.completions.create(model="claude", messages=MESSAGES, stream=streamed)
    assert error.value.response.headers["retry-after"] == "7"
    assert error.value.response.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize("streamed", [False, True])
def test_anthropic_client_tells_quota_from_rate(stage: Stage, streamed: bool) -> None:
    stage["openai"].answer(
        Failure(429, "slow down", kind="requests", code="rate_limit_exceeded", retry_after_seconds=7),
        Failure(429, "pay first", kind="insufficient_quota", code="insufficient_quota"),
    )
    found: list[Any] = []
    for _ in range(2):
        with pytest.raises(anthropic.RateLimitError) as error:
            stage.anthropic().messages.create(model="gpt", max_tokens=9, messages=MESSAGES, stream=streamed)
        found.append(error.value.body)
    assert [each["error"]["message"] for each in found] == ["slow down", "pay first"]
    assert found[0]["error"]["type"] != found[1]["error"]["type"]


def test_openai_client_sees_an_error_in_claudes_stream(stage: Stage) -> None:
    stream = (
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant",'
        b'"model":"c","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}}\n\n',
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"too busy"}}\n\n',
    )
    stage["anthropic"].answer(Raw(body=stream, content_type="text/event-stream"))
    with pytest.raises(openai.APIError, match="too busy"):
        list(stage.openai().chat.completions.create(model="claude", messages=MESSAGES, stream=True))


def test_anthropic_client_sees_an_error_in_gpts_stream(stage: Stage) -> None:
    stream = (
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"g","choices":[{"index":0,"delta":'
        b'{"role":"assistant","content":"He"},"finish_reason":null}]}\n\n',
        b'data: {"error":{"message":"too busy","type":"server_error","code":null,"param":null}}\n\n',
    )
    stage["openai"].answer(Raw(body=stream, content_type="text/event-stream"))
    with pytest.raises(anthropic.APIStatusError, match="too busy"):
        list(stage.anthropic().messages.create(model="gpt", max_tokens=9, messages=MESSAGES, stream=True))


def test_a_stream_that_ends_early_is_an_error(stage: Stage) -> None:
    early = Answer(text="word " * 30, pieces=9, delivery=Delivery(end_after_bytes=700))
    stage["anthropic"].answer(early)
    with pytest.raises(openai.APIError):
        list(stage.openai().chat.completions.create(model="claude", messages=MESSAGES, stream=True))
    stage["openai"].answer(early)
    with pytest.raises(anthropic.APIError):
        list(stage.anthropic().messages.create(model="gpt", max_tokens=9, messages=MESSAGES, stream=True))


BROKEN = 0


def _ending(call: Callable[[], httpx.Response]) -> int:
    """The status, or `BROKEN` where the answer began and its end is missing."""
    try:
        return call().status_code
    except httpx.RemoteProtocolError:
        return BROKEN


def test_a_stream_whose_connection_breaks_is_not_passed_off_as_complete(stage: Stage) -> None:
    broken = Answer(text="word " * 30, pieces=9, delivery=Delivery(abort_after_bytes=700))
    stage["anthropic"].answer(broken)
    stage["openai"].answer(broken)
    assert _ending(lambda: stage.chat("claude", stream=True)) in (BROKEN, 502)
    assert _ending(lambda: stage.messages("gpt", stream=True)) in (BROKEN, 502)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("status", [200, 502])
def test_html_is_a_clean_502(stage: Stage, status: int, streamed: bool) -> None:
    page = Raw(body=b"<html>bad gateway</html>", status=status, content_type="text/html")
    stage["anthropic"].answer(page)
    stage["openai"].answer(page)
    failed = stage.chat("claude", stream=streamed)
    assert failed.status_code == 502
    assert failed.headers["content-type"].startswith("application/json")
    assert failed.json()["error"]["type"] == "server_error"
    failed = stage.messages("gpt", stream=streamed)
    assert failed.status_code == 502
    assert failed.json()["type"] == "error"


@pytest.mark.parametrize("kind", ["application/json", "text/plain; charset=utf-8"])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"id": 7}', b"\xff", b"away"])
def test_nonsense_is_a_clean_502(stage: Stage, body: bytes, kind: str) -> None:
    stage["anthropic"].answer(Raw(body=body, content_type=kind))
    failed = stage.chat("claude")
    assert (failed.status_code, failed.json()["error"]["type"]) == (502, "server_error")


@pytest.mark.parametrize("streamed", [False, True])
def test_json_that_its_provider_calls_text_is_read(stage: Stage, streamed: bool) -> None:
    content = [{"type": "text", "text": "Hi"}]
    usage = {"input_tokens": 5, "output_tokens": 3}
    said = {"id": "m", "type": "message", "role": "assistant", "model": "c", "content": content, "usage": usage}
    body = json.dumps({**said, "stop_reason": "end_turn"}).encode()
    stage["anthropic"].answer(Raw(body=body, content_type="text/plain; charset=utf-8"))
    answer = stage.chat("claude", stream=streamed)
    assert answer.status_code == 200
    assert '"content":"Hi"' in answer.text
    assert answer.headers["content-type"] == ("text/event-stream" if streamed else "application/json")


@pytest.mark.parametrize("kind", ["text/plain; charset=utf-8", "application/json"])
def test_a_stream_that_its_provider_calls_something_else_is_read(stage: Stage, kind: str) -> None:
    events = (
        {"type": "message_start", "message": {"id": "m", "model": "c", "usage": {"input_tokens": 5}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    )
    body = b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in events)
    stage["anthropic"].answer(Raw(body=body, content_type=kind))
    answer = stage.chat("claude", stream=True)
    assert answer.status_code == 200
    assert '"content":"Hi"' in answer.text
    assert answer.text.endswith("data: [DONE]\n\n")
    assert answer.headers["content-type"] == "text/event-stream"


def test_a_silent_provider_is_a_504_in_the_clients_dialect(stage: Stage) -> None:
    stage["openai"].answer(Answer(delivery=Delivery(delay_seconds=20)))
    stage["anthropic"].answer(Answer(delivery=Delivery(delay_seconds=20)))
    for streamed in (False, True):
        failed = stage.chat("slow-claude", stream=streamed)
        assert (failed.status_code, failed.json()["error"]["code"]) == (504, "timeout")
        failed = stage.messages("slow", stream=streamed)
        assert (failed.status_code, failed.json()["error"]["type"]) == (504, "timeout_error")


def test_first_words_do_not_wait_and_hanging_up_is_passed_on(stage: Stage) -> None:
    provider = stage["anthropic"]
    gone = provider.disconnects
    provider.answer(Answer(text="first words", delivery=Delivery(hang_after_bytes=600)))
    with stage.openai().chat.completions.create(model="claude", messages=MESSAGES, stream=True) as stream:
        assert next(iter(stream)).choices[0].delta.role == "assistant"
    provider.wait_for_disconnects(gone + 1)


def test_five_megabytes_pass_both_ways(stage: Stage) -> None:
    text = "x" * 5_000_000
    messages: Any = [{"role": "user", "content": text}]
    for name in ("openai", "anthropic"):
        stage[name].answer(Answer(text=text))
    answer = stage.openai().chat.completions.create(model="claude", messages=messages)
    assert answer.choices[0].message.content == text
    assert len(stage["anthropic"].last.body) > 5_000_000
    spoken = stage.anthropic().messages.create(model="gpt", max_tokens=9, messages=messages)
    assert [block.text for block in spoken.content if block.type == "text"] == [text]


def _clients(count: int, url: str, body: Any) -> list[int]:
    """The statuses that as many clients get at once, each on a connection of its own."""

    def call(_: int) -> int:
        with httpx.Client(timeout=60) as client:
            return client.post(f"{url}/v1/chat/completions", json=body).status_code

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


def test_many_large_bodies_at_once_do_not_kill_envoy(stage: Stage) -> None:
    """ext_proc among upstream filters crashed Envoy when more was to be sent to the processor than may wait."""
    text = "x" * 3_000_000
    stage["anthropic"].answer(Answer(text=text))
    body = {"model": "claude", "messages": [{"role": "user", "content": text}]}
    assert _clients(24, stage.url, body) == [200] * 24


@pytest.mark.parametrize("pieces", [3, 1000])
def test_large_streams_do_not_kill_envoy(stage: Stage, pieces: int) -> None:
    """Envoy crashed when a client was behind a stream whose provider had ended: so it must never be told to wait."""
    stage["anthropic"].answer(Answer(text="word " * 2_000_000, pieces=pieces))
    body = {"model": "claude", "messages": MESSAGES, "stream": True}
    for _ in range(3):
        assert _clients(4, stage.url, body) == [200] * 4


def test_a_slow_reader_of_a_large_stream_gets_it_whole(stage: Stage) -> None:
    stage["anthropic"].answer(Answer(text="word " * 2_000_000, pieces=1000))
    body = {"model": "claude", "messages": MESSAGES, "stream": True}
    with stage.http.stream("POST", f"{stage.url}/v1/chat/completions", json=body) as answer:
        stage["anthropic"].wait_for_requests(1)
        assert len(answer.read()) > 10_000_000
    assert answer.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("model", ["claude", "renamed-claude"])
def test_compressed_and_chunked_requests_are_translated(stage: Stage, model: str) -> None:
    body = json.dumps({"model": model, "messages": MESSAGES}).encode()
    packed = gzip.compress(body)
    assert stage.post("/v1/chat/completions", content=packed, content_encoding="gzip").status_code == 200
    headers = {"content-type": "application/json"}
    parts = (part for part in (body[:9], body[9:]))
    answer = stage.http.post(f"{stage.url}/v1/chat/completions", content=parts, headers=headers)
    assert answer.status_code == 200
    assert len({request.body for request in stage["anthropic"].requests}) == 1


def test_an_answer_that_is_too_large_is_a_502(stage: Stage) -> None:
    stage["anthropic"].answer(Answer(text="x" * 53_000_000))
    failed = stage.chat("claude")
    assert failed.status_code == 502
    assert "52428800" in failed.json()["error"]["message"]


def test_a_compressed_answer_is_translated(stage: Stage) -> None:
    stage["anthropic"].answer(Answer(text="small", delivery=Delivery(gzip=True)))
    assert stage.chat("claude").json()["choices"][0]["message"]["content"] == "small"


def test_the_first_requests_on_new_connections_are_translated(stage: Stage) -> None:
    """Were the headers to reach a connection in the making before the body is translated, the client's body would go
    out as it came, and the provider refuse it."""
    for _ in range(10):
        with httpx.Client() as client:
            body = {"model": "claude", "messages": MESSAGES}
            assert client.post(f"{stage.url}/v1/chat/completions", json=body).status_code == 200


# --- OpenAI's client, by the Responses API


def test_responses_client_talks_to_claude(stage: Stage) -> None:
    stage["anthropic"].answer(Answer(text="Bonjour", usage=Usage(input=21, output=9)))
    answer = stage.openai().responses.create(model="claude", input="Hi", instructions="Speak French.")
    assert answer.output_text == "Bonjour"
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (21, 9)
    assert "Speak French." in json.dumps(stage["anthropic"].last.json["system"])


def test_responses_client_streams_from_claude(stage: Stage) -> None:
    stage["anthropic"].answer(Answer(text="one two three", usage=USAGE))
    with stage.openai().responses.stream(model="claude", input="Hi") as stream:
        said = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert said == final.output_text == "one two three"
    assert final.status == "completed"
