"""What a client was told in one turn and says again in the next reaches the provider as it was."""

import json
from typing import Any

import pytest
from headgate.llm.framing.sse import SseDecoder
from headgate.llm.names import DialectName
from support.chat_goldens import CREATED, ROOT, bridge
from support.chat_streams import translate_stream

THINKING: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "I need a clock.", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "ZW5j"},
]
TEXT: dict[str, Any] = {"type": "text", "text": "Looking."}
CALLS: list[dict[str, Any]] = [
    {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"place": "Rome"}},
    {"type": "tool_use", "id": "t2", "name": "get_time", "input": {}},
]
ANSWER: dict[str, Any] = {"id": "m", "content": [*THINKING, TEXT, *CALLS], "stop_reason": "tool_use"}

OPENAI, ANTHROPIC = DialectName.OPENAI_CHAT, DialectName.ANTHROPIC_MESSAGES


def _say_again(assistant: dict[str, Any]) -> list[dict[str, Any]]:
    """The assistant's turn as the Anthropic provider gets it back, with results for its calls."""
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": "noon"} for call in assistant.get("tool_calls", ())
    ]
    history = [{"role": "user", "content": "When?"}, assistant, *results]
    body = json.dumps({"model": "claude-sonnet-4-5", "messages": history}).encode()
    request = bridge(OPENAI, ANTHROPIC).translate_request(body, {})
    return json.loads(request.body)["messages"][1]["content"]


def test_a_whole_answer() -> None:
    plan = bridge(OPENAI, ANTHROPIC)
    asked = plan.translate_request(b'{"model":"m","messages":[{"role":"user","content":"When?"}]}', {})
    translation = plan.open_response(asked, 200, {}, CREATED)
    translation.feed(json.dumps(ANSWER).encode())
    message = json.loads(translation.close())["choices"][0]["message"]

    assert _say_again(message) == ANSWER["content"]


def test_a_streamed_answer() -> None:
    raw = (ROOT / "streams" / "anthropic-messages" / "thinking_and_tools.raw").read_bytes()
    received, _ = translate_stream(OPENAI, ANTHROPIC, [raw])

    assert _say_again(_accumulate(received)) == ANSWER["content"]


def _accumulate(received: bytes) -> dict[str, Any]:
    """An assistant message put together from chunks, as clients that know `thinking_blocks` do."""
    message: dict[str, Any] = {"role": "assistant", "content": "", "thinking_blocks": []}
    calls: dict[int, dict[str, Any]] = {}
    sse = SseDecoder()
    for frame in [*sse.feed(received), *sse.close()]:
        if frame.data == b"[DONE]":
            continue
        for choice in json.loads(frame.data)["choices"]:
            delta = choice["delta"]
            message["content"] += delta.get("content") or ""
            message["thinking_blocks"] += delta.get("thinking_blocks") or []
            for each in delta.get("tool_calls") or ():
                call = calls.setdefault(each["index"], {"type": "function", "function": {"arguments": ""}})
                if each.get("id"):
                    call["id"], call["function"]["name"] = each["id"], each["function"]["name"]
                call["function"]["arguments"] += each["function"].get("arguments") or ""
    message["tool_calls"] = list(calls.values())
    return message


@pytest.mark.parametrize("calls", [[], CALLS])
def test_an_anthropic_client_and_an_openai_provider(calls: list[dict[str, Any]]) -> None:
    results = [{"type": "tool_result", "tool_use_id": call["id"], "content": "noon"} for call in calls]
    history = [
        {"role": "user", "content": "When?"},
        {"role": "assistant", "content": [TEXT, *calls]},
        {"role": "user", "content": [*results, {"type": "text", "text": "Well?"}]},
    ]
    body = json.dumps({"model": "gpt-4o", "max_tokens": 9, "messages": history}).encode()
    sent = json.loads(bridge(ANTHROPIC, OPENAI).translate_request(body, {}).body)["messages"]

    assert [message["role"] for message in sent] == ["user", "assistant", *["tool"] * len(calls), "user"]
    assert [call["id"] for call in sent[1].get("tool_calls", ())] == [call["id"] for call in calls]
    back = json.dumps({"model": "claude-sonnet-4-5", "messages": sent, "max_tokens": 9}).encode()
    again = json.loads(bridge(OPENAI, ANTHROPIC).translate_request(back, {}).body)["messages"]
    assert again[1]["content"] == ([TEXT, *calls] if calls else TEXT["text"])
    assert again[2]["content"] == (history[2]["content"] if calls else "Well?")


def test_the_same_conversation_has_the_same_prefix_on_every_turn() -> None:
    """Prompt caches hit only on equal bytes: a turn more may only add to what was sent before."""
    turns: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "A", "tool_calls": [_call("c1")]},
        {"role": "tool", "tool_call_id": "c1", "content": "noon"},
        {"role": "assistant", "content": "B"},
        {"role": "user", "content": "Two"},
    ]
    before: list[Any] = []
    for length in (2, 4, 6):
        body = json.dumps({"model": "claude-sonnet-4-5", "messages": turns[:length]}).encode()
        now = json.loads(bridge(OPENAI, ANTHROPIC).translate_request(body, {}).body)
        assert now["messages"][: len(before)] == before
        before = now["messages"]


def _call(call_id: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "f", "arguments": "{}"}}
