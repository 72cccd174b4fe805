"""Members of answers that other clients are told of and nothing else: answers do without them, whatever they hold."""

import json
from typing import Any

import pytest
from headgate.llm.names import DialectName
from support.chat_goldens import CREATED, ask, others, stream_bridge
from support.eventstream import event

CALL = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SAID: dict[DialectName, Any] = {
    DialectName.ANTHROPIC_MESSAGES: {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "x",
        "content": [{"type": "text", "text": "hi"}, {"type": "tool_use", "id": "t", "name": "f", "input": {}}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    DialectName.OPENAI_RESPONSES: {
        "id": "r",
        "object": "response",
        "status": "completed",
        "model": "x",
        "output": [{"type": "function_call", "id": "f", "call_id": "t", "name": "f", "arguments": "{}"}],
    },
    DialectName.OPENAI_CHAT: {
        "id": "c",
        "object": "chat.completion",
        "model": "x",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "", "tool_calls": [CALL]}}
        ],
    },
}
PLACES: dict[DialectName, tuple[tuple[str | int, ...], ...]] = {
    DialectName.ANTHROPIC_MESSAGES: (
        ("stop_details",),
        ("context_management",),
        ("input_transformations",),
        ("content", 1, "caller"),
        ("content", 1, "toolset_name"),
    ),
    DialectName.OPENAI_RESPONSES: (
        ("moderation",),
        ("output", 0, "caller"),
        ("output", 0, "async"),
        ("output", 0, "namespace"),
        ("output", 0, "revised_prompt"),
    ),
    DialectName.OPENAI_CHAT: (("choices", 0, "logprobs"), ("choices", 0, "message", "tool_calls", 0, "custom")),
}


def _answered(client: DialectName, provider: DialectName, document: Any) -> tuple[bytes, list[str]]:
    plan, request = ask(client, provider)
    answer = plan.open_response(request, 200, {"content-type": "application/json"}, CREATED)
    sent = answer.feed(json.dumps(document, indent=1).encode()) + answer.close()
    return sent, [loss.path for loss in answer.losses]


def _with(document: Any, place: tuple[str | int, ...], value: Any) -> Any:
    copied = json.loads(json.dumps(document))
    holder = copied
    for step in place[:-1]:
        holder = holder[step]
    holder[place[-1]] = value
    return copied


@pytest.mark.parametrize("value", [None, [], {}], ids=repr)
@pytest.mark.parametrize(("provider", "place"), [(each, place) for each in PLACES for place in PLACES[each]])
def test_members_that_say_nothing_are_no_losses(
    provider: DialectName, place: tuple[str | int, ...], value: Any
) -> None:
    if place[-1] == "logprobs":
        value = {"content": None, "refusal": value}
    for client in others(provider):
        plain = _answered(client, provider, SAID[provider])
        assert _answered(client, provider, _with(SAID[provider], place, value)) == plain


@pytest.mark.parametrize("value", ["x", 7, True, ["x"], {"x": 1}], ids=repr)
@pytest.mark.parametrize(("provider", "place"), [(each, place) for each in PLACES for place in PLACES[each]])
def test_members_of_another_kind_fail_no_answer(
    provider: DialectName, place: tuple[str | int, ...], value: Any
) -> None:
    if place[-1] == "logprobs":
        value = {"refusal": value}
    for client in others(provider):
        sent, _ = _answered(client, provider, _with(SAID[provider], place, value))
        assert sent == _answered(client, provider, SAID[provider])[0]


def test_a_search_without_pages_is_told_as_what_it_is() -> None:
    candidate = {"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP"}
    for grounding, told in (({}, []), ({"webSearchQueries": ["q"]}, ["answer.groundingMetadata"])):
        document = {"candidates": [{**candidate, "groundingMetadata": grounding}]}
        assert _answered(DialectName.ANTHROPIC_MESSAGES, DialectName.GEMINI, document)[1] == told


def _streamed(*deltas: dict[str, Any], start: dict[str, Any]) -> tuple[bytes, list[str]]:
    plan, request = stream_bridge(DialectName.OPENAI_CHAT, DialectName.BEDROCK_CONVERSE)
    kind = {"content-type": "application/vnd.amazon.eventstream"}
    answer = plan.open_response(request, 200, kind, CREATED)
    events = [
        ("messageStart", {"role": "assistant"}),
        ("contentBlockStart", {"contentBlockIndex": 0, "start": start}),
        *(("contentBlockDelta", {"contentBlockIndex": 0, "delta": delta}) for delta in deltas),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
    ]
    sent = answer.feed(b"".join(event(name, said) for name, said in events)) + answer.close()
    return sent, [loss.path for loss in answer.losses]


def test_why_a_streamed_picture_was_not_made_is_told() -> None:
    sent, _ = _streamed({"image": {"error": {"message": "blocked"}}}, start={"image": {"format": "png"}})
    assert b'"refusal":"blocked"' in sent
    assert b"base64," not in sent


def test_where_a_streamed_picture_stands_is_told() -> None:
    source = {"s3Location": {"uri": "s3://bucket/picture.png"}}
    sent, losses = _streamed({"image": {"source": source}}, start={"image": {"format": "png"}})
    assert b"s3://bucket/picture.png" in sent or losses


def test_a_tools_result_in_a_stream_is_told_as_lost() -> None:
    sent, losses = _streamed({"toolResult": [{"text": "x"}]}, start={"toolResult": {"toolUseId": "t"}})
    assert losses == ["answer.provider_tools"], sent


_FAILED: dict[str, Any] = {
    "type": "image_generation_call",
    "id": "ig_1",
    "status": "failed",
    "result": None,
    "error": {"code": "moderation_blocked", "message": "The picture was blocked."},
}
_TEXT: dict[str, Any] = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Here is the plan.", "annotations": []}],
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("output", "reason"), [([_TEXT, _FAILED], "end_turn"), ([_FAILED, _TEXT], "end_turn"), ([_FAILED], "refusal")]
)
def test_a_picture_that_was_not_made_refuses_nothing_beside_a_text(
    output: list[dict[str, Any]], reason: str, streamed: bool
) -> None:
    plan, request = (stream_bridge if streamed else ask)(DialectName.ANTHROPIC_MESSAGES, DialectName.OPENAI_RESPONSES)
    answer: dict[str, Any] = {"id": "r", "object": "response", "status": "completed", "model": "m", "output": output}
    if streamed:
        events: list[dict[str, Any]] = [{"type": "response.created", "response": {**answer, "output": []}}]
        events += [
            {"type": "response.output_item.done", "output_index": index, "item": item}
            for index, item in enumerate(output)
        ]
        events += [{"type": "response.completed", "response": answer}]
        body = b"".join(b"data: %s\n\n" % json.dumps(each).encode() for each in events)
    else:
        body = json.dumps(answer).encode()
    kind = {"content-type": "text/event-stream" if streamed else "application/json"}
    translation = plan.open_response(request, 200, kind, CREATED)
    sent = translation.feed(body) + translation.close()

    assert f'"stop_reason":"{reason}"'.encode() in sent
    assert b"The picture was blocked." in sent
