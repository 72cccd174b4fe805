"""A v2 chat stream to canonical events, and back. <https://docs.cohere.com/v2/docs/streaming>

Read: contents and calls are opened and closed by events of their own; the plan of calls is not, and ends where the next
thing begins. Citations of a text may come after its end, so its stop is held until something else comes.

Written: contents are numbered apart from calls, each from 0, as the whole answer has them.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from headgate.llm.canonical import (
    AnswerMembers,
    ArgumentsDelta,
    CitationDelta,
    Finish,
    FinishReason,
    LogprobsDelta,
    MediaOutput,
    OpaqueOutput,
    OtherAnswer,
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
from headgate.llm.dialects.cohere import wire
from headgate.llm.dialects.cohere.citations import citations_of, written_citations
from headgate.llm.dialects.cohere.response import (
    FINISH_WORDS,
    answer_id,
    extras_of,
    failure_of,
    finish_of,
    items_of,
    listed,
    logprobs_of,
    made_call_id,
    usage_of,
    written_logprob,
    written_usage,
)
from headgate.llm.dialects.dialect import Memo, ReplyContext
from headgate.llm.errors import ErrorDetail, ErrorKind, UpstreamError
from headgate.llm.framing.frame import Frame
from headgate.llm.held_text import held_text
from headgate.llm.usage import NO_USAGE, Usage

CITED_CHARACTERS_MAX: Final = 262_144
"""Of the text kept to quote the passages of citations; protects memory."""

_NOTHING: Final[Sequence[StreamEvent]] = ()


class StreamDecoder:
    """See `dialect.StreamDecoder`. Events nobody knows pass unread."""

    __slots__ = ("_calls", "_ended", "_id", "_kind", "_memo", "_next", "_open", "_open_calls", "_started")

    def __init__(self, memo: Memo) -> None:
        self._memo = memo
        self._started = False
        self._ended = False
        self._id = ""
        self._next = 0
        self._open = -1
        self._kind: type[TextStart] | type[ThinkingStart] | None = None
        self._open_calls: dict[int, tuple[int, bool]] = {}
        """The call's number in the stream to its canonical index, and whether it has arguments."""
        self._calls = 0

    @property
    def complete(self) -> bool:
        """`message-end` came."""
        return self._ended

    @property
    def ended(self) -> bool:
        """`message-end` came: only usage could follow, and it brings that itself."""
        return self._ended

    def feed(self, frame: Frame) -> Sequence[StreamEvent]:
        """Events of one frame."""
        data = frame.data
        if self._ended or data.strip() in (b"", b"[DONE]"):
            return _NOTHING
        try:
            event = wire.EVENT_DECODER.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamError(f"the provider's stream holds what is no event: {error}") from None
        events: list[StreamEvent] = []
        delta = event.delta or wire.Delta()
        message = delta.message or wire.AnswerMessage()
        match event.type:
            case "content-delta":
                self._on_content(message, event.logprobs, events)
            case "tool-call-delta":
                self._on_arguments(event.index or 0, message, events)
            case "content-start":
                self._on_content_start(message, events)
            case "tool-plan-delta":
                if message.tool_plan:
                    events.append(TextDelta(self._part(TextStart, events), message.tool_plan))
            case "tool-call-start":
                self._on_call(event.index or 0, message, events)
            case "tool-call-end":
                self._on_call_end(event.index or 0, events)
            case "citation-start":
                self._on_citation(message, events)
            case "message-start":
                self._start(event.id or "", events)
            case "message-end":
                self._on_end(delta, events)
            case None if event.message:
                events.append(StreamFailure(ErrorDetail(502, ErrorKind.INTERNAL, event.message)))
            case _:
                pass  # content-end: citations of it may still come; citation-end, debug, and what is not known yet
        return events

    def close(self) -> Sequence[StreamEvent]:
        """Parts that a cut left open are stopped; no finish is made up."""
        events: list[StreamEvent] = []
        if not self._ended:
            self._stop_all(events)
        return events

    def _start(self, said_id: str, events: list[StreamEvent]) -> None:
        if not self._started:
            self._started = True
            self._id = said_id
            events.append(Start(id=said_id))

    def _on_content_start(self, message: wire.AnswerMessage, events: list[StreamEvent]) -> None:
        for item in items_of(message.content)[:1]:
            self._stop_open(events)
            thinking = item.type == "thinking" or bool(item.thinking)
            self._part(ThinkingStart if thinking else TextStart, events)
            self._say(item, events)

    def _on_content(
        self, message: wire.AnswerMessage, logprobs: wire.Logprob | None, events: list[StreamEvent]
    ) -> None:
        for item in items_of(message.content):
            self._say(item, events)
        if logprobs is not None and self._kind is TextStart:
            events.append(LogprobsDelta(self._open, logprobs_of((logprobs,))))

    def _say(self, item: wire.AnswerItem, events: list[StreamEvent]) -> None:
        if item.thinking:
            events.append(ThinkingDelta(self._part(ThinkingStart, events), item.thinking))
        if item.text:
            events.append(TextDelta(self._part(TextStart, events), item.text))

    def _on_call(self, number: int, message: wire.AnswerMessage, events: list[StreamEvent]) -> None:
        for call in listed(message.tool_calls)[:1]:
            function = call.function or wire.AnswerFunction()
            self._stop_open(events)
            self._on_call_end(number, events)
            index = self._take_index(events)
            events.append(ToolCallStart(index, call.id or made_call_id(self._id, self._calls), function.name or ""))
            self._calls += 1
            if function.arguments:
                events.append(ArgumentsDelta(index, function.arguments))
            self._open_calls[number] = (index, bool(function.arguments))

    def _on_arguments(self, number: int, message: wire.AnswerMessage, events: list[StreamEvent]) -> None:
        opened = self._open_calls.get(number)
        for call in listed(message.tool_calls)[:1]:
            if opened is not None and call.function is not None and call.function.arguments:
                events.append(ArgumentsDelta(opened[0], call.function.arguments))
                self._open_calls[number] = (opened[0], True)

    def _on_call_end(self, number: int, events: list[StreamEvent]) -> None:
        opened = self._open_calls.pop(number, None)
        if opened is None:
            return
        index, said = opened
        if not said:
            events.append(ArgumentsDelta(index, "{}"))
        events.append(PartStop(index))

    def _on_citation(self, message: wire.AnswerMessage, events: list[StreamEvent]) -> None:
        if self._kind is TextStart:
            found = citations_of(listed(message.citations))
            events.extend(CitationDelta(self._open, citation) for _, citation in found)

    def _on_end(self, delta: wire.Delta, events: list[StreamEvent]) -> None:
        self._start("", events)
        failure = failure_of(delta.finish_reason, delta.error)
        self._stop_all(events)
        usage = usage_of(delta.usage)
        if failure is not None:
            if usage != NO_USAGE:
                events.append(UsageUpdate(usage))
            events.append(StreamFailure(failure))
            return
        self._ended = True
        reason, stop_sequence = finish_of(delta.finish_reason, self._memo, called=self._calls > 0)
        events.append(Finish(reason, stop_sequence))
        extras = extras_of(delta.finish_reason)
        if extras:
            events.append(AnswerMembers(extras))
        if usage != NO_USAGE:
            events.append(UsageUpdate(usage))

    def _part(self, kind: type[TextStart] | type[ThinkingStart], events: list[StreamEvent]) -> int:
        if self._kind is not kind:
            self._stop_open(events)
            self._open = self._take_index(events)
            self._kind = kind
            events.append(kind(self._open))
        return self._open

    def _take_index(self, events: list[StreamEvent]) -> int:
        self._start("", events)
        index = self._next
        self._next += 1
        return index

    def _stop_open(self, events: list[StreamEvent]) -> None:
        if self._kind is not None:
            self._kind = None
            events.append(PartStop(self._open))

    def _stop_all(self, events: list[StreamEvent]) -> None:
        self._stop_open(events)
        for number in list(self._open_calls):
            self._on_call_end(number, events)


# --- encode ----------------------------------------------------------------------------------------------------------

_encode = msgspec.json.Encoder().encode

_START: Final = (
    b'event: message-start\ndata: {"type":"message-start","id":%b,"delta":{"message":{"role":"assistant","content":[],'
    b'"tool_plan":"","tool_calls":[],"citations":[]}}}\n\n'
)
_CONTENT_START: Final = (
    b'event: content-start\ndata: {"type":"content-start","index":%d,"delta":{"message":{"content":%b}}}\n\n'
)
_CONTENT_DELTA: Final = (
    b'event: content-delta\ndata: {"type":"content-delta","index":%d,"delta":{"message":{"content":{"%b":%b}}}%b}\n\n'
)
_CONTENT_END: Final = b'event: content-end\ndata: {"type":"content-end","index":%d}\n\n'
_CALL_START: Final = (
    b'event: tool-call-start\ndata: {"type":"tool-call-start","index":%d,"delta":{"message":{"tool_calls":{"id":%b,'
    b'"type":"function","function":{"name":%b,"arguments":""}}}}}\n\n'
)
_CALL_DELTA: Final = (
    b'event: tool-call-delta\ndata: {"type":"tool-call-delta","index":%d,"delta":{"message":{"tool_calls":{"function":'
    b'{"arguments":%b}}}}}\n\n'
)
_CALL_END: Final = b'event: tool-call-end\ndata: {"type":"tool-call-end","index":%d}\n\n'
_CITATION: Final = (
    b'event: citation-start\ndata: {"type":"citation-start","index":%d,"delta":{"message":{"citations":%b}}}\n\n'
    b'event: citation-end\ndata: {"type":"citation-end","index":%d}\n\n'
)
_END: Final = b'event: message-end\ndata: {"type":"message-end","delta":{"finish_reason":%b,"usage":%b}}\n\n'
_ERROR: Final = b'event: message-end\ndata: {"type":"message-end","delta":{"finish_reason":"ERROR","error":%b}}\n\n'
_DONE: Final = b"data: [DONE]\n\n"

_TEXT: Final = b'{"type":"text","text":""}'
_THINKING: Final = b'{"type":"thinking","thinking":""}'


class StreamEncoder:
    """See `dialect.StreamEncoder`."""

    __slots__ = (
        "_calls",
        "_citations",
        "_contents",
        "_context",
        "_finish",
        "_next_call",
        "_next_content",
        "_quoted",
        "_started",
        "_text",
        "_text_size",
        "_usage",
    )

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._started = False
        self._contents: dict[int, int] = {}
        """Open contents: canonical index to number."""
        self._calls: dict[int, int] = {}
        self._next_call = 0
        self._next_content = 0
        self._citations = 0
        self._text = held_text()
        self._quoted: str | None = ""
        self._text_size = 0
        self._finish: Finish | None = None
        self._usage: Usage = NO_USAGE

    def feed(self, event: StreamEvent) -> bytes:
        """The bytes of one event."""
        match event:
            case TextDelta() | RefusalDelta():
                return self._on_text(event.index, event.text)
            case ThinkingDelta(index=index, text=text):
                number = self._contents.get(index)
                return b"" if number is None else _CONTENT_DELTA % (number, b"thinking", _encode(text), b"")
            case ArgumentsDelta(index=index, text=text):
                number = self._calls.get(index)
                return b"" if number is None else _CALL_DELTA % (number, _encode(text))
            case TextStart() | RefusalStart():
                return self._open(event.index, _TEXT)
            case ThinkingStart():
                return self._open(event.index, _THINKING)
            case ToolCallStart():
                return self._on_call(event)
            case CitationDelta():
                return self._on_citation(event)
            case LogprobsDelta():
                return self._on_logprobs(event)
            case PartStop():
                return self._stop(event.index)
            case _:
                return self._note(event)

    def _note(self, event: StreamEvent) -> bytes:
        match event:
            case Start():
                self._usage = self._usage.merge(event.usage)
                return self._start(event.id)
            case UsageUpdate():
                self._usage = self._usage.merge(event.usage)
            case Finish():
                self._finish = event
            case StreamFailure():
                return self.fail(event.error)
            case RedactedThinking() | SignatureDelta() | MediaOutput() | OpaqueOutput():
                pass
            case OtherAnswer() | AnswerMembers() | Ping():
                pass
            case _:
                raise AssertionError(f"{type(event).__name__} is said at once")
        return b""

    def close(self) -> bytes:
        """What is open ends; the finish reason with the usage."""
        parts = [self._start("")]
        parts.extend(self._stop(index) for index in [*self._contents, *self._calls])
        reason = self._finish.reason if self._finish is not None else FinishReason.STOP
        parts.append(_END % (_encode(FINISH_WORDS[reason]), _encode(written_usage(self._usage))))
        parts.append(_DONE)
        return b"".join(parts)

    def fail(self, error: ErrorDetail) -> bytes:
        """The end that says it is none: the one place of this dialect's streams for an error."""
        return _ERROR % _encode(error.message)

    def _start(self, said_id: str) -> bytes:
        if self._started:
            return b""
        self._started = True
        return _START % _encode(said_id or answer_id(self._context))

    def _open(self, index: int, content: bytes) -> bytes:
        before = self._start("")
        number = self._next_content
        self._contents[index] = number
        self._next_content += 1
        if self._text_size:
            self._text = held_text()
            self._text_size = 0
        return before + _CONTENT_START % (number, content)

    def _on_text(self, index: int, text: str) -> bytes:
        number = self._contents.get(index)
        if number is None:
            return b""
        if self._text_size <= CITED_CHARACTERS_MAX:
            self._text.write(text)
            self._quoted = None
            self._text_size += len(text)
        return _CONTENT_DELTA % (number, b"text", _encode(text), b"")

    def _on_call(self, event: ToolCallStart) -> bytes:
        before = self._start("")
        number = self._next_call
        self._next_call += 1
        self._calls[event.index] = number
        return before + _CALL_START % (number, _encode(event.id), _encode(event.name))

    def _on_citation(self, event: CitationDelta) -> bytes:
        number = self._contents.get(event.index)
        if number is None:
            return b""
        if self._quoted is None:  # joined once, however many citations follow
            self._quoted = self._text.getvalue() if self._text_size <= CITED_CHARACTERS_MAX else ""
        text = self._quoted
        said = b""
        for citation in written_citations((event.citation,), text, number):
            said += _CITATION % (self._citations, _encode(citation), self._citations)
            self._citations += 1
        return said

    def _on_logprobs(self, event: LogprobsDelta) -> bytes:
        """Said with an empty text: the text they belong to is out already, or is still to come."""
        number = self._contents.get(event.index)
        if number is None or not event.tokens:
            return b""
        logprobs = b',"logprobs":%b' % _encode(written_logprob(event.tokens))
        return _CONTENT_DELTA % (number, b"text", b'""', logprobs)

    def _stop(self, index: int) -> bytes:
        number = self._contents.pop(index, None)
        if number is not None:
            return _CONTENT_END % number
        number = self._calls.pop(index, None)
        return b"" if number is None else _CALL_END % number
