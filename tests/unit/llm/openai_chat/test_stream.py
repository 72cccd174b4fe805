"""Streams of the chat dialect, from many servers, and as OpenAI's SDK reads them."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from headgate.llm.canonical import (
    ArgumentsDelta,
    Finish,
    FinishReason,
    LogprobsDelta,
    PartStop,
    Ping,
    RedactedThinking,
    RefusalDelta,
    RefusalStart,
    SignatureDelta,
    Start,
    StreamEvent,
    StreamFailure,
    TextDelta,
    TextStart,
    ThinkingDelta,
    ThinkingStart,
    TokenLogprob,
    ToolCallStart,
    UsageUpdate,
)
from headgate.llm.dialects.dialect import NO_MEMO, Memo, ReplyContext
from headgate.llm.dialects.openai_chat import DIALECT
from headgate.llm.errors import ErrorDetail, ErrorKind, UpstreamError
from headgate.llm.framing.frame import Frame
from headgate.llm.framing.sse import SseDecoder
from headgate.llm.usage import Usage
from openai.types.chat import ChatCompletionChunk

DONE = "[DONE]"
START = Start(id="c", model="m", created=7)


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **members: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"id": "c", "model": "m", "created": 7, "choices": choices, **members}


def piece(arguments: Any = None, **members: Any) -> dict[str, Any]:
    """A delta with one tool call; `name` belongs to its function."""
    function = {"name": members.pop("name", None), "arguments": arguments}
    return {"tool_calls": [{"function": function, **members}]}


def decode(*chunks: dict[str, Any] | str, memo: Memo = NO_MEMO) -> list[StreamEvent]:
    decoder = DIALECT.stream_decoder(memo)
    events: list[StreamEvent] = []
    for each in chunks:
        data = each if isinstance(each, str) else json.dumps(each)
        events.extend(decoder.feed(Frame(data.encode())))
    complete = decoder.complete
    closing = decoder.close()
    assert not (complete and closing)
    return [*events, *closing]


def text_events(*texts: str, index: int = 0) -> list[StreamEvent]:
    return [TextStart(index), *(TextDelta(index, text) for text in texts), PartStop(index)]


def test_openais_own_stream() -> None:
    assert decode(
        chunk({"role": "assistant", "content": "", "refusal": None}, logprobs=None),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, "stop"),
        chunk(None, usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}),
        DONE,
    ) == [
        START,
        *text_events("Hel", "lo"),
        Finish(FinishReason.STOP),
        UsageUpdate(Usage(input=1, output=2, total=3)),
    ]


def _likely(delta: dict[str, Any], *tokens: str) -> dict[str, Any]:
    """A chunk that tells how likely its tokens were."""
    content: list[dict[str, Any]] = [{"token": token, "logprob": -1.0, "top_logprobs": []} for token in tokens]
    return chunk() | {"choices": [{"index": 0, "delta": delta, "logprobs": {"content": content}}]}


def test_a_first_token_without_text_is_told() -> None:
    """Half a character is no text until its other half comes: the server says how likely it was and nothing else."""
    first, second = r"bytes:\xf0\x9f", r"bytes:\x98\x80"
    assert decode(
        _likely({"role": "assistant", "content": ""}),
        _likely({"content": ""}, first),
        _likely({"content": "😀"}, second),
        _likely({"content": "!"}, "!"),
        chunk({}, "stop"),
        DONE,
    ) == [
        START,
        TextStart(0),
        TextDelta(0, "😀"),
        LogprobsDelta(0, (TokenLogprob(first, -1.0), TokenLogprob(second, -1.0))),
        TextDelta(0, "!"),
        LogprobsDelta(0, (TokenLogprob("!", -1.0),)),
        PartStop(0),
        Finish(FinishReason.STOP),
    ]


def test_tokens_of_thoughts_are_none_of_the_text() -> None:
    assert decode(
        _likely({"content": ""}, "<"),
        _likely({"reasoning_content": "Hm"}, "Hm"),
        _likely({"content": "Hi"}, "Hi"),
        chunk({}, "stop"),
        DONE,
    ) == [
        START,
        ThinkingStart(0),
        ThinkingDelta(0, "Hm"),
        PartStop(0),
        TextStart(1),
        TextDelta(1, "Hi"),
        LogprobsDelta(1, (TokenLogprob("Hi", -1.0),)),
        PartStop(1),
        Finish(FinishReason.STOP),
    ]


def test_parallel_tool_calls_may_interleave() -> None:
    assert decode(
        chunk({"role": "assistant", "content": "look"}),
        chunk(piece("", index=0, id="1", name="f", type="function")),
        chunk(piece('{"a"', index=0)),
        chunk(piece("", index=1, id="2", name="g", type="function")),
        chunk(piece("{}", index=1)),
        chunk(piece(":1}", index=0)),
        chunk({}, "tool_calls"),
        DONE,
    ) == [
        START,
        TextStart(0),
        TextDelta(0, "look"),
        PartStop(0),
        ToolCallStart(1, "1", "f"),
        ArgumentsDelta(1, '{"a"'),
        ToolCallStart(2, "2", "g"),
        ArgumentsDelta(2, "{}"),
        ArgumentsDelta(1, ":1}"),
        PartStop(1),
        PartStop(2),
        Finish(FinishReason.TOOL_CALLS),
    ]


ONE_CALL = [START, ToolCallStart(0, "1", "get"), ArgumentsDelta(0, "{}"), PartStop(0), Finish(FinishReason.TOOL_CALLS)]
TWO_CALLS = [
    START,
    ToolCallStart(0, "1", "get"),
    ArgumentsDelta(0, "{}"),
    ToolCallStart(1, "2", "put"),
    ArgumentsDelta(1, "[]"),
    PartStop(0),
    PartStop(1),
    Finish(FinishReason.TOOL_CALLS),
]


@pytest.mark.parametrize(
    ("deltas", "events"),
    [
        ([piece("{}", index=0, id="1", name="get")], ONE_CALL),
        ([piece(index=0, id="1"), piece(index=0, name="get"), piece("{}", index=0)], ONE_CALL),
        ([piece(index=0, id="1", name="ge"), piece(index=0, name="t"), piece("{}", index=0)], ONE_CALL),
        ([piece(index=0, id="1", name="get"), piece("{}", index=0, id="1", name="get")], ONE_CALL),
        ([piece("{", index=0, id="1"), piece("", index=0, name="get"), piece("}", index=0)], [
            START, ToolCallStart(0, "1", "get"), ArgumentsDelta(0, "{"), ArgumentsDelta(0, "}"), PartStop(0),
            Finish(FinishReason.TOOL_CALLS),
        ]),
        ([piece({}, index=0, id="1", name="get")], ONE_CALL),
        ([piece({"a": 1}, index=0, id="1", name="get")], [
            START, ToolCallStart(0, "1", "get"), ArgumentsDelta(0, '{"a":1}'), PartStop(0),
            Finish(FinishReason.TOOL_CALLS),
        ]),
        ([piece("{}", id="1", name="get"), piece("[]", id="2", name="put")], TWO_CALLS),
        ([piece("{}", index=0, id="1", name="get"), piece("[]", index=0, id="2", name="put")], TWO_CALLS),
        ([piece(id="1", name="get"), piece("{}"), piece(id="2", name="put"), piece("[]")], TWO_CALLS),
        ([piece("{}", index=5, id="1", name="get"), piece("[]", index=9, id="2", name="put")], TWO_CALLS),
        ([piece("{}", index=0, name="get")], [
            START, ToolCallStart(0, "call_c_0", "get"), ArgumentsDelta(0, "{}"), PartStop(0),
            Finish(FinishReason.TOOL_CALLS),
        ]),
        ([piece(index=0, id="1", name="get")], ONE_CALL),
        ([piece(" ", index=0, id="1", name="get")], [
            START, ToolCallStart(0, "1", "get"), ArgumentsDelta(0, " "), *ONE_CALL[2:],
        ]),
        ([piece("", index=0, id="1", name="get"), piece("", index=1, id="2", name="put")], [
            *ONE_CALL[:3], ToolCallStart(1, "2", "put"), ArgumentsDelta(1, "{}"), PartStop(0), PartStop(1),
            Finish(FinishReason.TOOL_CALLS),
        ]),
        ([{"function_call": {"name": "get", "arguments": ""}}, {"function_call": {"arguments": "{}"}}], [
            START, ToolCallStart(0, "call_c_0", "get"), ArgumentsDelta(0, "{}"), PartStop(0),
            Finish(FinishReason.TOOL_CALLS),
        ]),
    ],
)  # fmt: skip
def test_tool_calls_in_every_split(deltas: list[dict[str, Any]], events: list[StreamEvent]) -> None:
    assert decode(*(chunk(delta) for delta in deltas), chunk({}, "stop"), DONE) == events


def test_a_call_that_the_limit_cut_gets_no_arguments_that_nobody_gave() -> None:
    events = decode(chunk(piece("", index=0, id="1", name="get")), chunk({}, "length"), DONE)
    assert events == [START, ToolCallStart(0, "1", "get"), PartStop(0), Finish(FinishReason.LENGTH)]


def test_a_renamed_tool_has_its_own_name_again() -> None:
    memo = Memo(tool_names={"get": "get_by_a_long_name"})
    events = decode(chunk(piece("{}", index=0, id="1", name="get")), chunk({}, "tool_calls"), memo=memo)
    assert events[1] == ToolCallStart(0, "1", "get_by_a_long_name")


@pytest.mark.parametrize(
    ("deltas", "events"),
    [
        (
            [{"reasoning_content": "a"}, {"reasoning_content": "b"}, {"content": "x"}],
            [ThinkingStart(0), ThinkingDelta(0, "a"), ThinkingDelta(0, "b"), PartStop(0), *text_events("x", index=1)],
        ),
        (
            [{"reasoning": "a", "content": ""}, {"content": "x"}],
            [ThinkingStart(0), ThinkingDelta(0, "a"), PartStop(0), *text_events("x", index=1)],
        ),
        (
            [{"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}]}, {"content": "x"}],
            [ThinkingStart(0), ThinkingDelta(0, "a"), PartStop(0), *text_events("x", index=1)],
        ),
        (  # upstream: text as a string, the signature in a block
            [{"reasoning_content": "a"}, {"thinking_blocks": [{"type": "thinking", "signature": "s"}]}],
            [ThinkingStart(0), ThinkingDelta(0, "a"), SignatureDelta(0, "s"), PartStop(0)],
        ),
        (  # ours: the block is repeated whole
            [
                {"reasoning_content": "a"},
                {"thinking_blocks": [{"type": "thinking", "thinking": "a", "signature": "s"}]},
            ],
            [ThinkingStart(0), ThinkingDelta(0, "a"), SignatureDelta(0, "s"), PartStop(0)],
        ),
        (  # LiteLLM: both members in each chunk
            [
                {"reasoning_content": "a", "thinking_blocks": [{"type": "thinking", "thinking": "a", "signature": ""}]},
                {"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "s"}]},
                {"thinking_blocks": [{"type": "redacted_thinking", "data": "d"}]},
            ],
            [ThinkingStart(0), ThinkingDelta(0, "a"), SignatureDelta(0, "s"), PartStop(0), RedactedThinking(1, "d")],
        ),
        (
            [{"thinking_blocks": [{"type": "thinking", "thinking": "a", "signature": "s"}]}, {"content": "x"}],
            [ThinkingStart(0), ThinkingDelta(0, "a"), SignatureDelta(0, "s"), PartStop(0), *text_events("x", index=1)],
        ),
    ],
)
def test_reasoning(deltas: list[dict[str, Any]], events: list[StreamEvent]) -> None:
    assert decode(*(chunk(delta) for delta in deltas), chunk({}, "stop"), DONE) == [
        START,
        *events,
        Finish(FinishReason.STOP),
    ]


def test_a_refusal_is_a_part() -> None:
    assert decode(chunk({"refusal": "n"}), chunk({"refusal": "o"}), chunk({}, "stop"), DONE) == [
        START,
        RefusalStart(0),
        RefusalDelta(0, "n"),
        RefusalDelta(0, "o"),
        PartStop(0),
        Finish(FinishReason.REFUSAL),
    ]


USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


@pytest.mark.parametrize(
    "last",
    [
        chunk({}, "stop", usage=USAGE),
        {**chunk(), "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}]},
        chunk({}, "stop", x_groq={"usage": USAGE}),
    ],
)
def test_usage_on_the_last_chunk(last: dict[str, Any]) -> None:
    assert decode(chunk({"content": "x"}), last, DONE) == [
        START,
        *text_events("x"),
        Finish(FinishReason.STOP),
        UsageUpdate(Usage(input=1, output=2, total=3)),
    ]


def test_chunks_that_say_nothing() -> None:
    assert decode(
        {"id": "", "model": "", "choices": [], "prompt_filter_results": [{}]},  # Azure
        "",
        chunk({"role": "assistant", "content": None, "tool_calls": None}, ""),
        chunk({"content": "x"}),
        {"id": "c", "choices": [{"index": 0, "delta": None, "finish_reason": None}]},
        {"object": "something new"},
        chunk({"content": ""}, "stop"),
        chunk({"content": "too late"}, "stop"),
        DONE,
        chunk({"content": "later still"}),
    ) == [START, *text_events("x"), Finish(FinishReason.STOP)]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("length", FinishReason.LENGTH), ("content_filter", FinishReason.REFUSAL), ("?", FinishReason.STOP)],
)
def test_finish_reasons(finish: str, reason: FinishReason) -> None:
    assert Finish(reason) in decode(chunk({"content": "x"}, finish))


def test_the_stop_sequence_where_it_is_told() -> None:
    last: dict[str, Any] = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "END"}]}
    assert decode(chunk({"content": "x"}), last, memo=Memo(stop=("END",)))[-1] == Finish(
        FinishReason.STOP_SEQUENCE, "END"
    )


def test_done_without_a_finish_reason_is_an_end() -> None:
    assert decode(chunk({"content": "x"}), DONE) == [START, *text_events("x"), Finish(FinishReason.STOP)]
    assert decode(chunk(piece("{}", index=0, id="1", name="get")), DONE) == ONE_CALL
    assert decode(DONE) == [Start(), Finish(FinishReason.STOP)]


def test_a_cut_stream_is_not_complete() -> None:
    decoder = DIALECT.stream_decoder(NO_MEMO)
    decoder.feed(Frame(json.dumps(chunk({"content": "x"})).encode()))
    assert not decoder.complete
    assert list(decoder.close()) == [PartStop(0)]
    assert not decoder.complete


def test_an_error_inside_the_stream_ends_it() -> None:
    events = decode(chunk({"content": "x"}), {"error": {"message": "slow", "code": 429}}, chunk({"content": "y"}))
    failure = StreamFailure(ErrorDetail(429, ErrorKind.RATE_LIMIT, "slow"))
    assert events == [START, TextStart(0), TextDelta(0, "x"), failure]


@pytest.mark.parametrize("data", ["x", "[]", '{"choices":1}', '{"choices":[{"delta":{"content":5}}]}'])
def test_what_is_no_chunk_is_the_providers_fault(data: str) -> None:
    with pytest.raises(UpstreamError):
        decode(data)


def test_tool_calls_are_bounded() -> None:
    with pytest.raises(UpstreamError, match="1024"):
        decode(*(chunk(piece("", index=index, id=str(index), name="f")) for index in range(2_000)))


# --- written ---------------------------------------------------------------------------------------------------------


def encode(events: Iterable[StreamEvent], *, include_usage: bool = True) -> bytes:
    encoder = DIALECT.stream_encoder(ReplyContext(model="asked", created=9, include_usage=include_usage))
    return b"".join(encoder.feed(event) for event in events) + encoder.close()


def chunks_of(stream: bytes) -> list[ChatCompletionChunk]:
    frames = SseDecoder().feed(stream)
    assert frames[-1].data == b"[DONE]"
    return [ChatCompletionChunk.model_validate_json(frame.data, strict=True) for frame in frames[:-1]]


HEAD = b'data: {"id":"msg","choices":['
TAIL = b'],"created":9,"model":"m","object":"chat.completion.chunk"'
EVERYTHING: Sequence[StreamEvent] = (
    Start(id="msg", model="m", usage=Usage(input=10, cached_input=4)),
    Ping(),
    ThinkingStart(0),
    ThinkingDelta(0, "a"),
    ThinkingDelta(0, "b"),
    SignatureDelta(0, "sig"),
    PartStop(0),
    RedactedThinking(1, "data"),
    TextStart(2),
    TextDelta(2, 'é"\n'),
    PartStop(2),
    ToolCallStart(3, "1", "f"),
    ArgumentsDelta(3, '{"a":'),
    ToolCallStart(4, "2", "g"),
    ArgumentsDelta(3, "1}"),
    PartStop(3),
    PartStop(4),
    Finish(FinishReason.TOOL_CALLS),
    UsageUpdate(Usage(output=5, reasoning=3)),
)


def test_chunks_have_upstreams_member_order() -> None:
    deltas = [
        b'{"role":"assistant","reasoning_content":"a"}',
        b'{"reasoning_content":"b"}',
        b'{"thinking_blocks":[{"index":0,"type":"thinking","thinking":"ab","signature":"sig"}]}',
        b'{"thinking_blocks":[{"index":1,"type":"redacted_thinking","data":"data"}]}',
        '{"content":"é\\"\\n"}'.encode(),
        b'{"tool_calls":[{"index":0,"id":"1","function":{"arguments":"","name":"f"},"type":"function"}]}',
        b'{"tool_calls":[{"index":0,"id":null,"function":{"arguments":"{\\"a\\":","name":""}}]}',
        b'{"tool_calls":[{"index":1,"id":"2","function":{"arguments":"","name":"g"},"type":"function"}]}',
        b'{"tool_calls":[{"index":0,"id":null,"function":{"arguments":"1}","name":""}}]}',
        b'{"tool_calls":[{"index":1,"id":null,"function":{"arguments":"{}","name":""}}]}',
    ]
    expected = b": ping\n\n"
    for delta in deltas:
        expected += HEAD + b'{"index":0,"delta":' + delta + b"}" + TAIL + b"}\n\n"
    expected += HEAD + b'{"index":0,"delta":{},"finish_reason":"tool_calls"}' + TAIL + b"}\n\n"
    expected += (
        HEAD
        + TAIL
        + (
            b',"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"completion_tokens_details":{"reasoning_tokens":3},'
            b'"prompt_tokens_details":{"cached_tokens":4}}}\n\n'
        )
    )
    assert encode(EVERYTHING) == expected + b"data: [DONE]\n\n"
    assert len(chunks_of(encode(EVERYTHING))) == 12


def test_the_role_is_said_once_and_first() -> None:
    stream = encode([Start(id="c"), TextStart(0), TextDelta(0, "a"), TextDelta(0, "b"), Finish(FinishReason.STOP)])
    assert [chunk.choices[0].delta.role for chunk in chunks_of(stream)] == ["assistant", None, None]
    assert b'{"content":"a","role":"assistant"}' in stream
    assert b'{"delta":{"role":"assistant"},' not in stream
    empty = chunks_of(encode([Start(id="c"), Finish(FinishReason.STOP)]))
    assert (empty[0].choices[0].delta.role, empty[0].choices[0].finish_reason) == ("assistant", "stop")


def test_usage_only_where_it_was_asked_for() -> None:
    assert all(chunk.usage is None for chunk in chunks_of(encode(EVERYTHING, include_usage=False)))
    usage = chunks_of(encode(EVERYTHING))[-1]
    assert usage.choices == []
    assert usage.usage is not None
    assert usage.usage.total_tokens == 15


def test_refusals_are_said_in_their_member() -> None:
    stream = encode([Start(id="c"), RefusalStart(0), RefusalDelta(0, "no"), PartStop(0), Finish(FinishReason.REFUSAL)])
    first, last = chunks_of(stream)
    assert first.choices[0].delta.refusal == "no"
    assert last.choices[0].finish_reason == "content_filter"


def test_a_failure_is_an_error_and_no_end() -> None:
    encoder = DIALECT.stream_encoder(ReplyContext(model="m", created=9))
    encoder.feed(Start(id="c"))
    failed = encoder.fail(ErrorDetail(529, ErrorKind.OVERLOADED, "busy"))
    assert b"[DONE]" not in failed
    assert json.loads(failed.removeprefix(b"data: "))["error"]["message"] == "busy"


def test_what_is_written_is_read_back() -> None:
    decoder = DIALECT.stream_decoder(NO_MEMO)
    events = [event for frame in SseDecoder().feed(encode(EVERYTHING)) for event in decoder.feed(frame)]
    again = encode(events).split(b"\n\n")
    once = encode(EVERYTHING).removeprefix(b": ping\n\n").split(b"\n\n")
    # A call is told when its name is complete, so a start may move behind another call's arguments; nothing else moves.
    assert sorted(again) == sorted(once)
