"""A stream of the Responses API to canonical events. Its other direction: `stream_encoding`.

Parts are told by their item and their place in it. What an item's deltas left out is taken from its end, and what the
events left out from the whole response at the end, for servers that stream less than OpenAI.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec
from headgate.llm.answer_losses import SAID
from headgate.llm.canonical import (
    AnswerMembers,
    ArgumentsDelta,
    CitationDelta,
    Finish,
    ImagePart,
    LogprobsDelta,
    MediaOutput,
    OpaqueOutput,
    OpaquePart,
    PartStop,
    Ping,
    RefusalDelta,
    RefusalPart,
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
from headgate.llm.dialects.dialect import Memo
from headgate.llm.dialects.openai_responses import wire
from headgate.llm.dialects.openai_responses.errors import event_failure, failure_of
from headgate.llm.dialects.openai_responses.response import (
    CALLS,
    NAME,
    citation_of,
    created_of,
    extras_of,
    finish_of,
    image_of,
    logprobs_of,
    thinking_of,
    tool_call_of,
    usage_of,
)
from headgate.llm.dialects.openai_responses.stream_encoding import ResponsesStreamEncoder
from headgate.llm.errors import UpstreamError
from headgate.llm.framing.frame import Frame
from headgate.llm.stand_ins import FreeformArguments
from headgate.llm.usage import NO_USAGE

__all__ = ["ResponsesStreamDecoder", "ResponsesStreamEncoder"]

ITEMS_MAX: Final = 4_096
"""Items of one answer that are remembered: the provider chooses their indexes."""

_NOTHING: Final[Sequence[StreamEvent]] = ()
_Kind = Literal["text", "refusal", "thinking"]
_KINDS: Final[Mapping[str, _Kind]] = {"output_text": "text", "refusal": "refusal"}
_STARTS: Final = {"text": TextStart, "refusal": RefusalStart, "thinking": ThinkingStart}


class _Call:
    """A call being read."""

    __slots__ = ("index", "said", "stopped", "text")

    def __init__(self, index: int, text: FreeformArguments | None) -> None:
        self.index = index
        self.said = False
        """Arguments have been told."""
        self.stopped = False
        self.text = text
        """What writes the arguments of a custom tool's call."""


class ResponsesStreamDecoder:
    """See `dialect.StreamDecoder`."""

    __slots__ = (
        "_answered",
        "_calls",
        "_cited",
        "_done",
        "_failed",
        "_finished",
        "_heard",
        "_memo",
        "_next",
        "_open",
        "_refused",
        "_said",
        "_started",
        "_summary",
    )

    def __init__(self, memo: Memo) -> None:
        self._memo = memo
        self._started = False
        self._finished = False
        self._done = False
        self._next = 0
        """Canonical index of the next part."""
        self._open: tuple[_Kind, int, int, int] | None = None
        """Kind, item, place and canonical index of the open part."""
        self._summary = 0
        """Paragraph of the open reasoning."""
        self._cited = 0
        """Citations of the open text."""
        self._calls: dict[int, _Call] = {}
        self._said: set[int] = set()
        """Items of which something was told."""
        self._answered = False
        """A text or a picture was told."""
        self._refused = False
        self._failed = False
        """A picture was not made, which refuses nothing beside an answer."""
        self._heard = False
        """Sound came, which no request asks for: only that it did is told."""

    @property
    def complete(self) -> bool:
        """The response's last event, or `[DONE]`."""
        return self._finished or self._done

    @property
    def ended(self) -> bool:
        """Nothing follows the response's last event."""
        return self._finished or self._done

    def feed(self, frame: Frame) -> Sequence[StreamEvent]:
        """The events of one frame; what its `event:` line says is not needed."""
        data = frame.data
        if not data or self.ended:
            return _NOTHING
        if data.startswith(b"[DONE]"):
            return self._on_done()
        try:
            event = wire.decode_event(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamError(f"the provider's stream holds what is no event: {error}") from None
        events: list[StreamEvent] = []
        self._on_event(event, events)
        if events and not self._started and not isinstance(events[0], Start | Ping | StreamFailure):
            self._started = True
            events.insert(0, Start())
        return events

    def close(self) -> Sequence[StreamEvent]:
        """Parts that a cut left open are stopped; no finish is made up."""
        events: list[StreamEvent] = []
        if not self.ended:
            self._stop_all(events)
        return events

    def _on_event(self, event: wire.Event, events: list[StreamEvent]) -> None:
        match event.type:
            case "response.output_text.delta":
                self._on_text("text", event, events)
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                self._on_arguments(event.output_index, event.piece, events)
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                self._on_thinking(event, events)
            case "response.refusal.delta":
                self._on_text("refusal", event, events)
            case "response.created" | "response.in_progress" | "response.queued":
                self._on_created(event, events)
            case "response.output_item.added":
                self._on_item(event, events)
            case "response.output_item.done":
                self._on_item_done(event, events)
            case "response.output_text.annotation.added":
                if event.annotation is not None:
                    index = self._part("text", event.output_index, event.content_index, events)
                    self._cited += 1
                    events.append(CitationDelta(index, citation_of(event.annotation)))
            case "response.content_part.done":
                self._on_part_done(event, events)
            case "response.completed" | "response.incomplete":
                self._on_end(event, events)
            case "response.failed" | "response.cancelled":
                self._finished = True
                events.append(StreamFailure(failure_of(None if event.response is None else event.response.error)))
            case "error":
                self._finished = True
                events.append(StreamFailure(event_failure(event)))
            case "response.audio.delta" | "response.audio.transcript.delta":
                self._heard = True
            case "keepalive":
                events.append(Ping())
            case _:
                if event.error:
                    self._finished = True
                    events.append(StreamFailure(event_failure(event)))

    def _on_created(self, event: wire.Event, events: list[StreamEvent]) -> None:
        if self._started or event.response is None:
            return
        self._started = True
        answer = event.response
        events.append(
            Start(
                id=answer.id or "",
                model=answer.model or "",
                created=created_of(answer),
                usage=usage_of(answer),
                service_tier=answer.service_tier or "",
            )
        )

    def _on_text(self, kind: Literal["text", "refusal"], event: wire.Event, events: list[StreamEvent]) -> None:
        text = event.piece
        if not text and (kind == "refusal" or not event.logprobs):  # (a token may be a piece of a character)
            return
        index = self._part(kind, event.output_index, event.content_index, events)
        if kind == "refusal":
            self._refused = True
            events.append(RefusalDelta(index, text))
            return
        if text:
            events.append(TextDelta(index, text))
        if event.logprobs:
            events.append(LogprobsDelta(index, logprobs_of(event.logprobs)))

    def _on_thinking(self, event: wire.Event, events: list[StreamEvent]) -> None:
        text = event.piece
        if not text:
            return
        known = self._open
        index = self._part("thinking", event.output_index, 0, events)
        if known is not None and known is self._open and event.summary_index != self._summary:
            events.append(ThinkingDelta(index, "\n\n"))
        self._summary = event.summary_index
        events.append(ThinkingDelta(index, text))

    def _on_part_done(self, event: wire.Event, events: list[StreamEvent]) -> None:
        """The end of a content part."""
        part = event.part
        if part is None:
            return
        kind = _KINDS.get(part.type)
        if kind is None:
            return
        if self._open is None or self._open[:3] != (kind, event.output_index, event.content_index):
            return
        # what servers tell of a text only when it is whole
        index, rest = self._open[3], (part.annotations or ())[self._cited :]
        events.extend(CitationDelta(index, citation_of(annotation)) for annotation in rest)
        self._stop_open(events)

    def _on_item(self, event: wire.Event, events: list[StreamEvent]) -> None:
        item = event.item
        if item is not None and item.type in CALLS:
            self._call(event.output_index, item, events)

    def _call(self, place: int, item: wire.AnswerItem, events: list[StreamEvent]) -> _Call:
        known = self._calls.get(place)
        if known is not None:
            return known
        if len(self._calls) >= ITEMS_MAX:
            raise UpstreamError(f"the provider streamed more than {ITEMS_MAX} tool calls")
        self._stop_open(events)
        text = FreeformArguments() if item.type == "custom_tool_call" else None
        call = self._calls[place] = _Call(self._take_index(), text)
        part = tool_call_of(item, self._memo)
        self._note(place)
        events.append(ToolCallStart(call.index, part.id, part.name))
        return call

    def _on_arguments(self, place: int, text: str, events: list[StreamEvent]) -> None:
        call = self._calls.get(place)
        if call is not None and text and not call.stopped:
            call.said = True
            events.append(ArgumentsDelta(call.index, text if call.text is None else call.text.feed(text)))

    def _on_item_done(self, event: wire.Event, events: list[StreamEvent]) -> None:
        if event.item is not None:
            self._end_item(event.output_index, event.item, events)

    def _end_item(self, place: int, item: wire.AnswerItem, events: list[StreamEvent]) -> None:
        match item.type:
            case "function_call" | "custom_tool_call":
                self._end_call(self._call(place, item, events), tool_call_of(item, self._memo).arguments, events)
            case "reasoning":
                self._end_reasoning(place, item, events)
            case "message":
                if place not in self._said:
                    self._tell_message(place, item, events)
                self._stop_open(events)
            case "image_generation_call":
                image = image_of(item)
                self._stop_open(events)
                if isinstance(image, RefusalPart) and place not in self._said:
                    self._failed = True
                    events.append(RefusalDelta(self._part("refusal", place, 0, events), image.text))
                    self._stop_open(events)
                elif isinstance(image, ImagePart) and self._note(place):
                    self._answered = True
                    events.append(MediaOutput(self._take_index(), image))
            case kind:
                self._stop_open(events)
                if self._note(place):
                    events.append(OpaqueOutput(self._take_index(), OpaquePart(NAME, kind)))

    def _end_call(self, call: _Call, arguments: str, events: list[StreamEvent]) -> None:
        if call.stopped:
            return
        call.stopped = True
        if not call.said:
            events.append(ArgumentsDelta(call.index, arguments))
        elif call.text is not None:
            events.append(ArgumentsDelta(call.index, call.text.close()))
        events.append(PartStop(call.index))

    def _end_reasoning(self, place: int, item: wire.AnswerItem, events: list[StreamEvent]) -> None:
        text, signature = thinking_of(item)
        is_open = self._open is not None and self._open[:2] == ("thinking", place)
        if place in self._said and not is_open:
            return
        if place not in self._said and text:
            events.append(ThinkingDelta(self._part("thinking", place, 0, events), text))
        if signature:
            events.append(SignatureDelta(self._part("thinking", place, 0, events), signature))
        self._stop_open(events)

    def _tell_message(self, place: int, item: wire.AnswerItem, events: list[StreamEvent]) -> None:
        for number, content in enumerate(item.content or ()):
            if content.type == "refusal" and content.refusal:
                self._refused = True
                events.append(RefusalDelta(self._part("refusal", place, number, events), content.refusal))
            elif content.text:
                index = self._part("text", place, number, events)
                events.append(TextDelta(index, content.text))
                if content.logprobs:
                    events.append(LogprobsDelta(index, logprobs_of(content.logprobs)))
                events.extend(CitationDelta(index, citation_of(each)) for each in content.annotations or ())

    def _on_end(self, event: wire.Event, events: list[StreamEvent]) -> None:
        answer = event.response or wire.Answer()
        if not self._started:
            self._on_created(event, events)
        for place, item in enumerate(answer.output or ()):
            if place not in self._said or (place in self._calls and item.type in CALLS):
                self._end_item(place, item, events)
        self._stop_all(events)
        self._finished = True
        if answer.error:
            events.append(StreamFailure(failure_of(answer.error)))
            return
        if event.type == "response.incomplete" and answer.status != "incomplete":
            answer = msgspec.structs.replace(answer, status="incomplete")
        events.append(self._finish(answer))
        extras = extras_of(answer)
        if self._heard:
            extras = {NAME: {**extras.get(NAME, {}), "audio": SAID}}
        if extras:
            events.append(AnswerMembers(extras))
        usage = usage_of(answer)
        if usage is not NO_USAGE or answer.service_tier:
            events.append(UsageUpdate(usage, answer.service_tier or ""))

    def _on_done(self) -> Sequence[StreamEvent]:
        """Some servers end as chat completions do."""
        events: list[StreamEvent] = []
        if not self._started:
            events.append(Start())
        for call in self._calls.values():
            self._end_call(call, "{}" if call.text is None else call.text.close(), events)
        self._stop_all(events)
        self._done = True
        events.append(self._finish(wire.Answer()))
        return events

    def _finish(self, answer: wire.Answer) -> Finish:
        refused = self._refused or (self._failed and not self._answered)
        return Finish(finish_of(answer, called=bool(self._calls), refused=refused))

    def _part(self, kind: _Kind, place: int, number: int, events: list[StreamEvent]) -> int:
        """The canonical index of that part, opened if need be."""
        known = self._open
        if known is not None and known[:3] == (kind, place, number):
            return known[3]
        self._stop_open(events)
        index = self._take_index()
        self._open = (kind, place, number, index)
        self._summary = self._cited = 0
        self._note(place)
        self._answered = self._answered or kind == "text"
        events.append(_STARTS[kind](index))
        return index

    def _note(self, place: int) -> bool:
        """Remembers that something of the item was told; whether it is news."""
        if place in self._said:
            return False
        if len(self._said) >= ITEMS_MAX:
            raise UpstreamError(f"the provider streamed more than {ITEMS_MAX} items")
        self._said.add(place)
        return True

    def _take_index(self) -> int:
        index = self._next
        self._next += 1
        return index

    def _stop_open(self, events: list[StreamEvent]) -> None:
        if self._open is not None:
            events.append(PartStop(self._open[3]))
            self._open = None

    def _stop_all(self, events: list[StreamEvent]) -> None:
        self._stop_open(events)
        for call in self._calls.values():
            if not call.stopped:
                call.stopped = True
                events.append(PartStop(call.index))
