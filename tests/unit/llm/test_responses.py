"""The Responses API: what cannot be translated is refused with its place; reasoning goes back where it came from."""

import json
from typing import Any

import openai.types.responses
import pytest
from headgate.llm.canonical import FinishReason
from headgate.llm.dialects.openai_responses import DIALECT
from headgate.llm.errors import RequestError, UpstreamError
from headgate.llm.exchange import ResponseTranslation
from headgate.llm.names import DialectName
from support.chat_goldens import CREATED, bridge

RESPONSES, ANTHROPIC, CHAT = DialectName.OPENAI_RESPONSES, DialectName.ANTHROPIC_MESSAGES, DialectName.OPENAI_CHAT


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"background": True}, "background"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": "Hi"}, {"type": "telepathy"}]}, "input[1].type"),
        ({"input": [{"role": "robot", "content": "Hi"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_video"}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": 5}]}, "input[0].output"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": 5}, "input"),
        ({"input": None}, "input"),
        ({"model": ""}, "model"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "function", "name": "f", "parameters": 5}]}, "tools[0].parameters"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "mode": "never", "tools": []}}, "tool_choice.mode"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
    ],
)
def test_what_is_wrong_is_named(members: dict[str, Any], path: str) -> None:
    body = json.dumps({"model": "m", "input": "Hi", **members}).encode()

    with pytest.raises(RequestError) as raised:
        DIALECT.decode_request(body)

    assert raised.value.path == path
    assert raised.value.status == 400


def _answer(client: DialectName, provider: DialectName, asked: dict[str, Any], answer: dict[str, Any]) -> Any:
    plan = bridge(client, provider)
    request = plan.translate_request(json.dumps(asked).encode(), {})
    translation = plan.open_response(request, 200, {"content-type": "application/json"}, CREATED)
    translation.feed(json.dumps(answer).encode())
    return json.loads(translation.close())


CLAUDES: dict[str, Any] = {
    "id": "msg_1",
    "content": [
        {"type": "thinking", "thinking": "A clock.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZW5j"},
        {"type": "text", "text": "Looking."},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
    ],
    "stop_reason": "tool_use",
}


def test_another_providers_reasoning_comes_back_to_it() -> None:
    told = _answer(RESPONSES, ANTHROPIC, {"model": "m", "input": "When?"}, CLAUDES)
    history = [
        {"role": "user", "content": "When?"},
        *told["output"],
        {"type": "function_call_output", "call_id": "t1", "output": "noon"},
    ]
    body = json.dumps({"model": "claude-sonnet-4-5", "input": history}).encode()

    request = bridge(RESPONSES, ANTHROPIC).translate_request(body, {})

    assert json.loads(request.body)["messages"][1]["content"] == CLAUDES["content"]


@pytest.mark.parametrize("client", [CHAT, ANTHROPIC])
def test_openais_reasoning_comes_back_to_it(client: DialectName) -> None:
    thought = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "A clock."}],
        "encrypted_content": "gAAAA",
    }
    call = {"type": "function_call", "id": "fc_1", "call_id": "t1", "name": "f", "arguments": "{}"}
    asked: dict[str, Any] = {"model": "gpt-5", "max_tokens": 99, "messages": [{"role": "user", "content": "When?"}]}
    told = _answer(client, RESPONSES, asked, {"id": "resp_1", "output": [thought, call]})
    if client is CHAT:
        turn, result = told["choices"][0]["message"], {"role": "tool", "tool_call_id": "t1", "content": "noon"}
    else:
        turn = {"role": "assistant", "content": told["content"]}
        blocks = [{"type": "tool_result", "tool_use_id": "t1", "content": "noon"}]
        result = {"role": "user", "content": blocks}
    asked["messages"] += [turn, result]

    request = bridge(client, RESPONSES).translate_request(json.dumps(asked).encode(), {})

    assert json.loads(request.body)["input"][1] == thought


def test_a_thought_without_a_signature_can_be_sent_back() -> None:
    """Clients that keep the conversation themselves send back only what has encrypted content."""
    asked: dict[str, Any] = {"model": "deepseek-reasoner", "input": [{"role": "user", "content": "When?"}]}
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    said = {"role": "assistant", "content": None, "reasoning_content": "A clock.", "tool_calls": [call]}
    choice = {"index": 0, "finish_reason": "tool_calls", "message": said}
    told = _answer(RESPONSES, CHAT, asked, {"id": "c1", "choices": [choice]})
    thought = told["output"][0]
    assert thought["encrypted_content"]
    asked["input"] += [*told["output"], {"type": "function_call_output", "call_id": "t1", "output": "noon"}]

    back = bridge(RESPONSES, CHAT).translate_request(json.dumps(asked).encode(), {}).body
    del thought["encrypted_content"]

    assert back == bridge(RESPONSES, CHAT).translate_request(json.dumps(asked).encode(), {}).body
    assert json.loads(back)["messages"][1]["tool_calls"]


@pytest.mark.parametrize("thought", [{}, {"encrypted_content": "hg1."}])
def test_an_empty_thought_says_nothing(thought: dict[str, str]) -> None:
    history: Any = [
        {"role": "user", "content": "When?"},
        {"type": "reasoning", "id": "rs_1", "summary": [], **thought},
        {"role": "user", "content": "Now?"},
    ]
    body = json.dumps({"model": "claude-sonnet-4-5", "input": history}).encode()

    request = bridge(RESPONSES, ANTHROPIC).translate_request(body, {})

    said = [block["text"] for turn in json.loads(request.body)["messages"] for block in turn["content"]]
    assert said == ["When?", "Now?"]


def test_an_answer_repeats_what_was_asked() -> None:
    tools = [{"type": "function", "name": "f", "parameters": {"type": "object"}}, {"type": "mcp", "server_label": "m"}]
    asked: dict[str, Any] = {
        "model": "m",
        "input": "Hi",
        "instructions": "Be brief.",
        "tools": tools,
        "tool_choice": {"type": "function", "name": "f"},
        "metadata": {"a": "b"},
        "temperature": 0.5,
    }

    told = _answer(RESPONSES, ANTHROPIC, asked, CLAUDES)

    openai.types.responses.Response.model_validate(told, strict=True)
    assert told["instructions"] == "Be brief."
    assert told["metadata"] == {"a": "b"}
    assert told["temperature"] == 0.5
    assert told["tools"] == [{**tools[0], "strict": None}, tools[1]]
    assert told["tool_choice"] == asked["tool_choice"]
    assert told["store"] is False


def test_what_codex_tells_openai_of_itself_is_no_loss() -> None:
    asked = {"model": "m", "input": "Hi", "client_metadata": {"session_id": "s"}, "prompt_cache_key": "k"}
    request = bridge(RESPONSES, ANTHROPIC).translate_request(json.dumps(asked).encode(), {})

    assert [loss.path for loss in request.losses] == ["prompt_cache_key"]


def test_a_conversation_is_not_shortened_and_who_can_do_so_is_told() -> None:
    asked = {"model": "m", "input": [{"role": "user", "content": "Hi"}, {"type": "compaction_trigger"}]}
    with pytest.raises(RequestError, match=r"model_providers") as refused:
        DIALECT.decode_request(json.dumps(asked).encode())

    assert refused.value.path == "input[1]"


def _provided(stream: bool, **members: Any) -> ResponseTranslation:
    """What a Messages client gets of a response, fed and not yet closed."""
    plan = bridge(ANTHROPIC, RESPONSES)
    asked = {"model": "m", "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}
    request = plan.translate_request(json.dumps(asked).encode(), {})
    kind = "text/event-stream" if stream else "application/json"
    translation = plan.open_response(request, 200, {"content-type": kind}, CREATED)
    answer: dict[str, Any] = {"id": "resp_1", "object": "response", "model": "m", "output": [], **members}
    event = {"type": f"response.{answer['status']}", "response": answer}
    translation.feed(f"data: {json.dumps(event)}\n\n".encode() if stream else json.dumps(answer).encode())
    return translation


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_sold_at_a_price_of_its_own_is_counted(stream: bool) -> None:
    usage: dict[str, Any] = {
        "input_tokens": 20,
        "input_tokens_details": {"cached_tokens": 2, "audio_tokens": 7, "image_tokens": 5},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 1, "image_tokens": 4},
        "total_tokens": 29,
    }
    translation = _provided(stream, status="completed", usage=usage)
    translation.close()
    counts = {"audio_input_tokens": 7, "image_input_tokens": 5, "image_output_tokens": 4}
    assert dict(translation.usage.apart) == counts
    assert (translation.usage.input, translation.usage.cached_input, translation.usage.reasoning) == (20, 2, 1)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_response_that_failed_is_no_answer(status: str) -> None:
    """Whole it can fail over; of a stream it is the client's error event."""
    with pytest.raises(UpstreamError):
        _provided(stream=False, status=status).close()
    translation = _provided(stream=True, status=status)
    assert translation.close() == b""
    assert translation.marks.reasons == ()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("reason", "finish"),
    [("max_output_tokens", FinishReason.LENGTH), ("content_filter", FinishReason.REFUSAL)],
)
def test_why_a_response_is_incomplete_is_told(stream: bool, reason: str, finish: FinishReason) -> None:
    translation = _provided(stream, status="incomplete", incomplete_details={"reason": reason})
    translation.close()
    assert translation.marks.reasons == (finish,)


def test_a_filtered_answer_is_incomplete() -> None:
    told = _answer(RESPONSES, ANTHROPIC, {"model": "m", "input": "Hi"}, {"content": [], "stop_reason": "refusal"})

    assert told["status"] == "incomplete"
    assert told["incomplete_details"] == {"reason": "content_filter"}
