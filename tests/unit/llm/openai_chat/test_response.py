"""Whole answers of the chat dialect, from many servers, and as OpenAI's SDK reads them."""

import json
from typing import Any

import pytest
from headgate.llm.canonical import (
    ChatResponse,
    FinishReason,
    Part,
    RedactedThinkingPart,
    RefusalPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)
from headgate.llm.dialects.dialect import NO_MEMO, Memo, ReplyContext
from headgate.llm.dialects.openai_chat import DIALECT
from headgate.llm.errors import ErrorKind, UpstreamError
from headgate.llm.usage import Usage
from openai.types.chat import ChatCompletion


def decode(message: dict[str, Any], finish: str | None = "stop", memo: Memo = NO_MEMO, **members: Any) -> ChatResponse:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    choice.update(members.pop("choice", {}))
    body = {"id": "chatcmpl-1", "model": "m", "created": 7, "choices": [choice], **members}
    return DIALECT.decode_response(json.dumps(body).encode(), memo)


def call(name: str = "f", arguments: Any = "{}", **members: Any) -> dict[str, Any]:
    return {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}, **members}


def test_a_plain_answer() -> None:
    assert decode({"content": "hi", "refusal": None}, service_tier="default") == ChatResponse(
        id="chatcmpl-1", model="m", parts=(TextPart("hi"),), created=7, service_tier="default"
    )


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ({"content": ""}, ()),
        ({"content": None, "tool_calls": []}, ()),
        ({"content": None, "refusal": "no"}, (RefusalPart("no"),)),
        (
            {"content": None, "tool_calls": [call(), call("g")]},
            (ToolCallPart("1", "f", "{}"), ToolCallPart("1", "g", "{}")),
        ),
        ({"tool_calls": [call(arguments="")]}, (ToolCallPart("1", "f", "{}"),)),
        ({"tool_calls": [call(arguments={"a": 1})]}, (ToolCallPart("1", "f", '{"a":1}'),)),
        ({"tool_calls": [call(arguments=None)]}, (ToolCallPart("1", "f", "{}"),)),
        (
            {"tool_calls": [call(id=None), call(id="")]},
            (ToolCallPart("call_1_0", "f", "{}"), ToolCallPart("call_1_1", "f", "{}")),
        ),
        ({"function_call": {"name": "f", "arguments": "{}"}}, (ToolCallPart("call_1_0", "f", "{}"),)),
        ({"reasoning_content": "why", "content": "x"}, (ThinkingPart("why"), TextPart("x"))),
        ({"reasoning": "why", "content": "x"}, (ThinkingPart("why"), TextPart("x"))),
        (
            {
                "reasoning_content": "why",
                "thinking_blocks": [
                    {"type": "thinking", "thinking": "why", "signature": "s"},
                    {"type": "redacted_thinking", "data": "d"},
                ],
            },
            (ThinkingPart("why", "s"), RedactedThinkingPart("d")),
        ),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "why"}]},
                    {"type": "text", "text": "x"},
                ]
            },
            (ThinkingPart("why"), TextPart("x")),
        ),
    ],
)
def test_parts(message: dict[str, Any], parts: tuple[Part, ...]) -> None:
    assert decode(message).parts == parts


@pytest.mark.parametrize(
    ("finish", "message", "reason"),
    [
        ("stop", {"content": "x"}, FinishReason.STOP),
        ("length", {"content": "x"}, FinishReason.LENGTH),
        ("content_filter", {"content": "x"}, FinishReason.REFUSAL),
        ("tool_calls", {"tool_calls": [call()]}, FinishReason.TOOL_CALLS),
        ("stop", {"tool_calls": [call()]}, FinishReason.TOOL_CALLS),
        ("function_call", {"function_call": {"name": "f"}}, FinishReason.TOOL_CALLS),
        ("tool_calls", {"content": "x"}, FinishReason.STOP),
        ("stop", {"refusal": "no"}, FinishReason.REFUSAL),
        ("surprise", {"content": "x"}, FinishReason.STOP),
        (None, {"content": "x"}, FinishReason.STOP),
        (None, {"tool_calls": [call()]}, FinishReason.TOOL_CALLS),
    ],
)
def test_finish_reasons(finish: str | None, message: dict[str, Any], reason: FinishReason) -> None:
    assert decode(message, finish).finish_reason is reason


def test_a_renamed_tool_has_its_own_name_again() -> None:
    response = decode({"tool_calls": [call("short")]}, memo=Memo(tool_names={"short": "long"}))
    assert response.parts == (ToolCallPart("1", "long", "{}"),)


@pytest.mark.parametrize("member", ["stop_reason", "matched_stop"])
def test_servers_that_tell_the_stop_sequence_are_heard(member: str) -> None:
    response = decode({"content": "x"}, memo=Memo(stop=("END",)), choice={member: "END"})
    assert (response.finish_reason, response.stop_sequence) == (FinishReason.STOP_SEQUENCE, "END")
    assert decode({"content": "x"}, choice={member: 128_001}).finish_reason is FinishReason.STOP


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}, Usage(input=1, output=2, total=3)),
        (
            {
                "prompt_tokens": 1,
                "prompt_tokens_details": {"cached_tokens": 4, "cache_creation_input_tokens": 5},
                "completion_tokens_details": {"reasoning_tokens": 6},
            },
            Usage(input=1, cached_input=4, cache_creation_input=5, reasoning=6),
        ),
        ({"prompt_tokens": 1, "prompt_cache_hit_tokens": 4}, Usage(input=1, cached_input=4)),
        ({"prompt_tokens": 1, "cached_tokens": 4}, Usage(input=1, cached_input=4)),
        ({"prompt_tokens": 1, "prompt_tokens_details": None}, Usage(input=1)),
        (
            {"prompt_tokens": 1, "prompt_tokens_details": {"cache_write_tokens": 5}},
            Usage(input=1, cache_creation_input=5),
        ),
    ],
)
def test_usage(usage: dict[str, Any], expected: Usage) -> None:
    assert decode({"content": "x"}, usage=usage).usage == expected


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"choices":[]}', b'{"choices":[{}]}', b'{"choices":1}', b"\xff"]
)
def test_what_is_no_answer_is_the_providers_fault(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        DIALECT.decode_response(body, NO_MEMO)
    assert caught.value.status == 502


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        ({"message": "slow", "code": 429}, 429, ErrorKind.RATE_LIMIT),
        ({"message": "slow", "code": "429"}, 429, ErrorKind.RATE_LIMIT),
        ({"message": "oops", "code": "x"}, 502, ErrorKind.INTERNAL),
        ("oops", 502, ErrorKind.INTERNAL),
    ],
)
def test_an_error_with_a_status_of_success_is_an_error(error: Any, status: int, kind: ErrorKind) -> None:
    with pytest.raises(UpstreamError) as caught:
        DIALECT.decode_response(json.dumps({"error": error}).encode(), NO_MEMO)
    assert (caught.value.status, caught.value.kind) == (status, kind)


def encode(*parts: Part, **members: Any) -> tuple[bytes, ChatCompletion]:
    body = DIALECT.encode_response(
        ChatResponse(id="msg_1", model="m", parts=parts, **members), ReplyContext(model="asked", created=9)
    )
    return body, ChatCompletion.model_validate_json(body, strict=True)


def test_members_come_in_upstreams_order() -> None:
    body, _ = encode(
        TextPart("a"),
        ToolCallPart("1", "f", "{}"),
        usage=Usage(10, 4, 2, 5, 15, 3),
        service_tier="default",
        finish_reason=FinishReason.TOOL_CALLS,
    )
    assert body == (
        b'{"id":"msg_1","choices":[{"finish_reason":"tool_calls","index":0,"logprobs":null,"message":{"content":"a",'
        b'"role":"assistant","tool_calls":[{"id":"1","function":{"arguments":"{}","name":"f"},"type":"function"}]}}],'
        b'"created":9,"model":"m","service_tier":"default","object":"chat.completion","usage":{"prompt_tokens":10,'
        b'"completion_tokens":5,"total_tokens":15,"completion_tokens_details":{"reasoning_tokens":3},'
        b'"prompt_tokens_details":{"cached_tokens":4,"cache_creation_input_tokens":2}}}'
    )


def test_thinking_is_shown_and_kept_whole() -> None:
    _, completion = encode(
        ThinkingPart("a", "s1"), RedactedThinkingPart("d"), ThinkingPart("b", "s2"), TextPart("x"), TextPart("y")
    )
    message = completion.choices[0].message
    assert message.content == "xy"
    assert message.model_extra == {
        "reasoning_content": "ab",
        "thinking_blocks": [
            {"type": "thinking", "thinking": "a", "signature": "s1"},
            {"type": "redacted_thinking", "data": "d"},
            {"type": "thinking", "thinking": "b", "signature": "s2"},
        ],
    }


@pytest.mark.parametrize(
    ("parts", "content"),
    [((), ""), ((ToolCallPart("1", "f", "{}"),), None), ((RefusalPart("no"),), None), ((TextPart(""),), "")],
)
def test_content_is_null_only_beside_something_else(parts: tuple[Part, ...], content: str | None) -> None:
    _, completion = encode(*parts)
    assert completion.choices[0].message.content == content
    assert completion.model == "m"


@pytest.mark.parametrize("reason", list(FinishReason))
def test_every_finish_reason_is_one_openai_knows(reason: FinishReason) -> None:
    encode(TextPart("x"), finish_reason=reason, stop_sequence="END")


def test_what_is_written_is_read_back() -> None:
    response = ChatResponse(
        id="1",
        model="m",
        parts=(ThinkingPart("a", "s"), RedactedThinkingPart("d"), TextPart("x"), ToolCallPart("1", "f", '{"a":1}')),
        finish_reason=FinishReason.TOOL_CALLS,
        usage=Usage(10, 4, 2, 5, 15, 3),
        created=3,
    )
    body = DIALECT.encode_response(response, ReplyContext(model="x", created=9))
    assert DIALECT.decode_response(body, NO_MEMO) == response
