"""Calls of custom tools, which take a text, as OpenAI's models make them: clients of other dialects get calls of
functions with that text, whole and streamed alike."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pytest
from headgate.llm.names import DialectName
from support.chat_goldens import CREATED, ask, others
from support.chat_streams import read_stream, translate_stream
from support.sdk_streams import written

CHAT, RESPONSES = DialectName.OPENAI_CHAT, DialectName.OPENAI_RESPONSES
PATCH: Final = '*** Begin Patch\n+"hello"\\\n\N{GRINNING FACE}*** End Patch\n'
ARGUMENTS: Final = {"input": PATCH}


def _pieces(text: str) -> Iterator[str]:
    return (text[place : place + 3] for place in range(0, len(text), 3))


def _chunk(delta: Any, finish: str | None = None) -> Any:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def _chat_call(**members: Any) -> Any:
    return _chunk({"tool_calls": [members]})


def _chat(*, indexed: bool) -> Sequence[Any]:
    first: Any = {"index": 0} if indexed else {}
    second: Any = {"index": 1} if indexed else {}
    return [
        _chat_call(**first, id="t1", type="custom", custom={"name": "apply_patch", "input": ""}),
        *(_chat_call(**first, custom={"input": piece}) for piece in _pieces(PATCH)),
        _chat_call(**second, id="t2", type="custom", custom={"name": "sh"}),
        _chunk({}, "tool_calls"),
    ]


ITEMS: Final[list[Any]] = [
    {"type": "custom_tool_call", "id": "ctc_1", "call_id": "t1", "name": "apply_patch", "input": PATCH},
    {"type": "custom_tool_call", "id": "ctc_2", "call_id": "t2", "name": "sh", "input": ""},
]
COMPLETED: Final[Any] = {"type": "response.completed", "response": {"status": "completed", "output": ITEMS}}


def _event(kind: str, place: int, **members: Any) -> Any:
    return {"type": f"response.{kind}", "output_index": place, **members}


def _responses(*, done: bool) -> Iterator[Any]:
    yield {"type": "response.created", "response": {"id": "resp_1", "model": "m"}}
    for place, item in enumerate(ITEMS):
        yield _event("output_item.added", place, item={**item, "input": ""})
        for piece in _pieces(item["input"]):
            yield _event("custom_tool_call_input.delta", place, item_id=item["id"], delta=piece)
        yield _event("custom_tool_call_input.done", place, item_id=item["id"], input=item["input"])
        if done:
            yield _event("output_item.done", place, item=item)
    yield COMPLETED


STREAMS: Final[dict[str, tuple[DialectName, Sequence[Any]]]] = {
    "chat": (CHAT, _chat(indexed=True)),
    "chat-without-indexes": (CHAT, _chat(indexed=False)),
    "responses": (RESPONSES, [*_responses(done=True)]),
    "responses-without-ends": (RESPONSES, [*_responses(done=False)]),
    "responses-at-the-end": (RESPONSES, [COMPLETED]),
}


@pytest.mark.parametrize(
    ("name", "client"),
    [(name, client) for name, (provider, _) in STREAMS.items() for client in others(provider)],
)
def test_a_streamed_call_has_its_text(name: str, client: DialectName) -> None:
    provider, events = STREAMS[name]
    received, translation = translate_stream(client, provider, [written(provider, events)])
    found = read_stream(client, received)

    if client is DialectName.OPENAI_COMPLETIONS:
        assert "answer.tool_calls" in [loss.path for loss in translation.losses]
        return
    assert [(called, name) for called, name, _ in found.calls] == [("t1", "apply_patch"), ("t2", "sh")]
    assert [json.loads(arguments) for *_, arguments in found.calls] == [ARGUMENTS, {"input": ""}]
    assert not any(loss.path.startswith("answer.") for loss in translation.losses)


@pytest.mark.parametrize("client", [*others(RESPONSES)])
def test_a_whole_response_calls_a_function(client: DialectName) -> None:
    plan, request = ask(client, RESPONSES)
    answer = plan.open_response(request, 200, {"content-type": "application/json"}, CREATED)
    answer.feed(json.dumps({"id": "resp_1", "status": "completed", "output": ITEMS}).encode())
    received = answer.close()

    if client is DialectName.OPENAI_COMPLETIONS:
        assert "answer.tool_calls" in [loss.path for loss in answer.losses]
        return
    assert b"apply_patch" in received
    assert b"Begin Patch" in received
    assert not any(loss.path.startswith("answer.") for loss in answer.losses)


def test_a_text_is_told_as_it_comes() -> None:
    """The client sees a piece for each of the provider's."""
    events = [*_responses(done=True)]
    received, _ = translate_stream(CHAT, RESPONSES, [written(RESPONSES, events)])

    assert received.count(b'"tool_calls"') > len([*_pieces(PATCH)])


def test_a_function_whose_call_names_no_custom_tool_is_called() -> None:
    """As servers write it that leave no member out."""
    function = {"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":'}}
    rest = {"index": 0, "id": None, "type": None, "function": {"name": None, "arguments": "1}"}}
    events = [_chat_call(**function, custom=None), _chat_call(**rest, custom=None), _chunk({}, "tool_calls")]
    received, _ = translate_stream(DialectName.ANTHROPIC_MESSAGES, CHAT, [written(CHAT, events)])

    assert [*read_stream(DialectName.ANTHROPIC_MESSAGES, received).calls] == [("t1", "f", '{"a":1}')]


def test_a_call_is_told_once_where_the_whole_response_has_other_places() -> None:
    """Servers leave reasoning out of it."""
    reasoning: Any = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}]}
    call: Any = {"type": "function_call", "id": "fc_1", "call_id": "t1", "name": "f", "arguments": "{}"}
    events = [
        _event("output_item.added", 0, item={**reasoning, "summary": []}),
        _event("reasoning_summary_text.delta", 0, summary_index=0, delta="Hm"),
        _event("output_item.done", 0, item=reasoning),
        _event("output_item.added", 1, item={**call, "arguments": ""}),
        _event("function_call_arguments.delta", 1, delta="{}"),
        _event("output_item.done", 1, item=call),
        {"type": "response.completed", "response": {"status": "completed", "output": [call]}},
    ]
    received, _ = translate_stream(CHAT, RESPONSES, [written(RESPONSES, events)])

    assert [*read_stream(CHAT, received).calls] == [("t1", "f", "{}")]


@pytest.mark.parametrize("client", [DialectName.ANTHROPIC_MESSAGES, DialectName.BEDROCK_CONVERSE, RESPONSES])
def test_a_call_is_whole_where_a_text_follows(client: DialectName) -> None:
    """Some dialects end a call where the next part begins."""
    events = [
        _chat_call(index=0, id="t1", type="custom", custom={"name": "sh", "input": "l"}),
        _chat_call(index=0, custom={"input": "s"}),
        _chunk({"content": "Done."}),
        _chunk({}, "tool_calls"),
    ]
    received, _ = translate_stream(client, CHAT, [written(CHAT, events)])

    assert [*read_stream(client, received).calls] == [("t1", "sh", '{"input":"ls"}')]
