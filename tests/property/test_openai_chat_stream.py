"""Whatever chunks a server streams, the events keep the rules of the canonical stream; whatever events come, OpenAI's
SDK reads the chunks."""

import json
from collections.abc import Iterable
from typing import Any

from headgate.llm.canonical import (
    AnswerMembers,
    ArgumentsDelta,
    Finish,
    FinishReason,
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
    ToolCallStart,
    UsageUpdate,
)
from headgate.llm.dialects.dialect import NO_MEMO, ReplyContext
from headgate.llm.dialects.openai_chat import DIALECT
from headgate.llm.framing.frame import Frame
from headgate.llm.framing.sse import SseDecoder
from headgate.llm.usage import Usage
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

PIECE = st.sampled_from(["", "a", "b", "{", "}"])
MAYBE_TEXT = st.none() | PIECE

TOOL_CALL = st.fixed_dictionaries(
    {},
    optional={
        "index": st.none() | st.integers(0, 2),
        "id": st.none() | st.sampled_from(["", "1", "2", "3"]),
        "function": st.none() | st.fixed_dictionaries(
            {}, optional={"name": MAYBE_TEXT, "arguments": MAYBE_TEXT | st.dictionaries(PIECE, PIECE, max_size=1)}
        ),
    },
)  # fmt: skip
BLOCK = st.fixed_dictionaries(
    {"type": st.sampled_from(["thinking", "redacted_thinking"])},
    optional={"thinking": MAYBE_TEXT, "signature": MAYBE_TEXT, "data": MAYBE_TEXT},
)
DELTA = st.fixed_dictionaries(
    {},
    optional={
        "content": MAYBE_TEXT,
        "refusal": MAYBE_TEXT,
        "reasoning_content": MAYBE_TEXT,
        "reasoning": MAYBE_TEXT,
        "thinking_blocks": st.none() | st.lists(BLOCK, max_size=2),
        "tool_calls": st.none() | st.lists(TOOL_CALL, max_size=3),
        "function_call": st.none() | st.fixed_dictionaries({}, optional={"name": MAYBE_TEXT, "arguments": MAYBE_TEXT}),
    },
)
USAGE = st.none() | st.fixed_dictionaries({}, optional={"prompt_tokens": st.integers(0, 9)})
CHUNK = st.fixed_dictionaries(
    {},
    optional={
        "id": MAYBE_TEXT,
        "choices": st.none() | st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "delta": st.none() | DELTA,
                    "finish_reason": st.sampled_from([None, None, None, "", "stop", "tool_calls", "?"]),
                },
            ),
            max_size=1,
        ),
        "usage": USAGE,
    },
)  # fmt: skip


def decode(chunks: Iterable[dict[str, Any]], *, done: bool) -> tuple[list[StreamEvent], bool]:
    decoder = DIALECT.stream_decoder(NO_MEMO)
    events: list[StreamEvent] = []
    for data in [*map(json.dumps, chunks), *(["[DONE]"] if done else [])]:
        events.extend(decoder.feed(Frame(data.encode())))
    events.extend(decoder.close())
    return events, decoder.complete


class Rules:
    """The rules that `canonical.py` states for streams, as a machine that refuses what breaks them."""

    def __init__(self) -> None:
        self.started = False
        self.finished = False
        self.open: dict[int, type] = {}
        self.last_index = -1

    def check(self, event: StreamEvent) -> None:
        """One event."""
        if isinstance(event, Start):
            assert not self.started
            self.started = True
            return
        if isinstance(event, Ping | StreamFailure):
            return
        assert self.started
        if isinstance(event, UsageUpdate | AnswerMembers):
            return
        assert not self.finished
        self._check_part(event)

    def _check_part(self, event: StreamEvent) -> None:
        match event:
            case TextStart() | ThinkingStart() | RefusalStart() | ToolCallStart() | RedactedThinking():
                assert event.index > self.last_index
                self.last_index = event.index
                assert all(kind is ToolCallStart for kind in self.open.values())
                if isinstance(event, ToolCallStart):
                    assert event.id
                    assert event.name
                if not isinstance(event, RedactedThinking):
                    self.open[event.index] = type(event)
            case TextDelta(index=index, text=text):
                assert self.open[index] is TextStart
                assert text
            case RefusalDelta(index=index):
                assert self.open[index] is RefusalStart
            case ThinkingDelta(index=index) | SignatureDelta(index=index):
                assert self.open[index] is ThinkingStart
            case ArgumentsDelta(index=index, text=text):
                assert self.open[index] is ToolCallStart
                assert text
            case PartStop(index=index):
                del self.open[index]
            case Finish():
                assert not self.open
                self.finished = True
            case _:
                raise AssertionError(event)


@given(st.lists(CHUNK, max_size=8), st.booleans())
def test_events_keep_the_rules(chunks: list[dict[str, Any]], done: bool) -> None:
    events, complete = decode(chunks, done=done)
    rules = Rules()
    for event in events:
        rules.check(event)
    assert not rules.open
    assert rules.finished == complete


@given(st.lists(CHUNK, max_size=8))
def test_no_text_is_lost(chunks: list[dict[str, Any]]) -> None:
    events, _ = decode(chunks, done=True)
    sent = ""
    for chunk in chunks:
        choices: list[dict[str, Any]] = chunk.get("choices") or [{}]
        delta: dict[str, Any] = choices[0].get("delta") or {}
        sent += delta.get("content") or ""
        if choices[0].get("finish_reason"):
            break
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == sent


PARTS = st.sampled_from(["text", "thinking", "signed", "redacted", "tool", "empty tool", "refusal"])


def part_events(kind: str, index: int) -> list[StreamEvent]:
    match kind:
        case "text":
            return [TextStart(index), TextDelta(index, "é\u2028"), TextDelta(index, '"'), PartStop(index)]
        case "thinking":
            return [ThinkingStart(index), ThinkingDelta(index, "hm"), PartStop(index)]
        case "signed":
            return [ThinkingStart(index), ThinkingDelta(index, "hm"), SignatureDelta(index, "s"), PartStop(index)]
        case "redacted":
            return [RedactedThinking(index, "data")]
        case "tool":
            return [ToolCallStart(index, str(index), "f"), ArgumentsDelta(index, "{}"), PartStop(index)]
        case "empty tool":
            return [ToolCallStart(index, str(index), "f"), PartStop(index)]
        case _:
            return [RefusalStart(index), RefusalDelta(index, "no"), PartStop(index)]


@given(st.lists(PARTS, max_size=6), st.sampled_from(FinishReason), st.booleans())
def test_openais_sdk_reads_what_is_written(kinds: list[str], reason: FinishReason, include_usage: bool) -> None:
    encoder = DIALECT.stream_encoder(ReplyContext(model="m", created=1, include_usage=include_usage))
    events: list[StreamEvent] = [Start(id="c", usage=Usage(input=1))]
    for index, kind in enumerate(kinds):
        events.extend(part_events(kind, index))
    events.append(Finish(reason))
    written = b"".join(map(encoder.feed, events)) + encoder.close()
    frames = SseDecoder().feed(written)
    assert frames.pop().data == b"[DONE]"
    chunks = [ChatCompletionChunk.model_validate_json(frame.data, strict=True) for frame in frames]
    assert bool(chunks[-1].usage) == include_usage
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    assert [delta.role for delta in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
    calls = [call for delta in deltas for call in delta.tool_calls or ()]
    for position in {call.index for call in calls}:
        pieces = [call.function.arguments or "" for call in calls if call.index == position and call.function]
        assert json.loads("".join(pieces)) == {}
