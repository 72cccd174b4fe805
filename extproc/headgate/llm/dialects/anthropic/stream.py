"""A Messages stream to canonical events, and back.

<https://docs.anthropic.com/en/docs/build-with-claude/streaming>
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from headgate.llm.answer_losses import own_members
from headgate.llm.canonical import (
    AnswerMembers,
    ArgumentsDelta,
    CitationDelta,
    Finish,
    FinishReason,
    LogprobsDelta,
    MediaOutput,
    OpaqueOutput,
    OpaquePart,
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
from headgate.llm.dialects.anthropic import wire
from headgate.llm.dialects.anthropic.citations import citation_of, citations_of, written_citations
from headgate.llm.dialects.anthropic.errors import kind_of_type, status_of_type, type_of
from headgate.llm.dialects.anthropic.response import (
    NAME,
    STOP_REASON_WORDS,
    Told,
    finish_reason_of,
    message_id,
    of_block,
    of_end,
    of_message,
    of_stop,
    refusals_of,
    service_tier_of,
    stop_details,
    usage_of,
    written_usage,
)
from headgate.llm.dialects.dialect import Memo, ReplyContext
from headgate.llm.dialects.sent_text import text_sent
from headgate.llm.errors import ErrorDetail, UpstreamError
from headgate.llm.framing.frame import Frame
from headgate.llm.stand_ins import told_as
from headgate.llm.usage import NO_USAGE, Usage

HELD_BYTES_MAX: Final = 16 * 1024 * 1024
"""What interleaved tool calls may make the encoder hold; protects memory."""

_NOTHING: Final[Sequence[StreamEvent]] = ()

# --- decode ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _OpenBlock:
    """A block the provider has open."""

    kind: str
    index: int
    """Of the canonical part."""
    as_text: bool = False
    """The arguments of the emulated JSON answer: text to the client."""
    said_arguments: bool = False


class StreamDecoder:
    """See `dialect.StreamDecoder`. Blocks of kinds nobody knows, and their deltas, pass unread."""

    __slots__ = (
        "_blocks",
        "_called_tools",
        "_finished",
        "_memo",
        "_next_index",
        "_own",
        "_started",
        "_stopped",
        "_usage",
    )

    def __init__(self, memo: Memo) -> None:
        self._memo = memo
        self._blocks: dict[int, _OpenBlock] = {}
        self._next_index = 0
        self._usage = wire.AnswerUsage()
        self._own: dict[str, msgspec.Raw] = {}
        """Members that only this dialect knows, until they are told at the end."""
        self._called_tools = False
        self._started = False
        self._finished = False
        self._stopped = False

    @property
    def complete(self) -> bool:
        """`message_stop` came, or at least the stop reason (some servers send no more)."""
        return self._stopped or self._finished

    @property
    def ended(self) -> bool:
        """`message_stop` came."""
        return self._stopped

    def feed(self, frame: Frame) -> Sequence[StreamEvent]:
        """The events of one frame; what its `event:` line says is not needed."""
        try:
            event = wire.EVENT_DECODER.decode(frame.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if frame.data.strip() in (b"", b"[DONE]"):
                return _NOTHING
            raise UpstreamError(f"the provider's stream holds what is no event: {error}") from None
        match event.type:
            case "content_block_delta":
                return self._on_delta(event)
            case "content_block_start":
                return self._after_start(self._on_block_start(event))
            case "content_block_stop":
                return self._on_block_stop(event.index)
            case "message_start":
                return self._on_message_start(event)
            case "message_delta":
                return self._after_start(self._on_message_delta(event))
            case "message_stop":
                self._stopped = True
                return _NOTHING
            case "ping":
                return (Ping(),)
            case "error":
                return (StreamFailure(_failure_of(event)),)
            case _:
                return _NOTHING

    def close(self) -> Sequence[StreamEvent]:
        """Nothing is held."""
        return _NOTHING

    def _on_message_start(self, event: wire.Event) -> Sequence[StreamEvent]:
        if self._started:
            return _NOTHING
        self._started = True
        message = event.message or wire.Answer()
        usage = self._merge_usage(message.usage)
        self._keep(of_message(message.context_management, message.input_transformations))
        return (Start(id=message.id, model=message.model, usage=usage, service_tier=service_tier_of(message.usage)),)

    def _after_start(self, events: Sequence[StreamEvent]) -> Sequence[StreamEvent]:
        """The events, after a start of our own if the provider left it out."""
        if self._started or not events:
            return events
        self._started = True
        return (Start(), *events)

    def _on_block_start(self, event: wire.Event) -> Sequence[StreamEvent]:
        block = event.content_block
        if block is None:
            return _NOTHING
        index = self._next_index
        match block.type:
            case "text":
                events = _text_start(index, block)
            case "thinking":
                events = _thinking_start(index, block)
            case "redacted_thinking":
                self._next_index += 1
                return (RedactedThinking(index, block.data or ""),)
            case "tool_use":
                return self._on_tool_start(event.index, block)
            case kind:
                self._next_index += 1
                return (OpaqueOutput(index, OpaquePart(NAME, kind)),)
        self._next_index += 1
        self._blocks[event.index] = _OpenBlock(block.type, index)
        return events

    def _keep(self, members: Told) -> None:
        if members:
            self._own.update(own_members(NAME, *members).get(NAME, {}))

    def _on_tool_start(self, wire_index: int, block: wire.AnswerBlock) -> Sequence[StreamEvent]:
        index = self._next_index
        self._next_index += 1
        as_text = bool(self._memo.json_tool) and block.name == self._memo.json_tool
        opened = _OpenBlock("tool_use", index, as_text=as_text)
        self._blocks[wire_index] = opened
        self._keep(of_block(block))
        if not as_text:
            self._called_tools = True
        name = block.name or ""
        called = ToolCallStart(index, block.id or "", self._memo.tool_names.get(name, name))
        start: StreamEvent = TextStart(index) if as_text else called
        given = text_sent(block.input)
        if given in ("", "{}", "null", '""'):
            return (start,)
        opened.said_arguments = True
        return (start, TextDelta(index, given) if as_text else ArgumentsDelta(index, given))

    def _on_delta(self, event: wire.Event) -> Sequence[StreamEvent]:
        opened, delta = self._blocks.get(event.index), event.delta
        if opened is None or delta is None:
            return _NOTHING
        match delta.type:
            case "text_delta":
                return (TextDelta(opened.index, delta.text),) if delta.text else _NOTHING
            case "thinking_delta":
                return (ThinkingDelta(opened.index, delta.thinking),) if delta.thinking else _NOTHING
            case "signature_delta":
                return (SignatureDelta(opened.index, delta.signature),) if delta.signature else _NOTHING
            case "citations_delta":
                if delta.citation is None or opened.kind != "text":
                    return _NOTHING
                return (CitationDelta(opened.index, citation_of(delta.citation)),)
            case "input_json_delta":
                if not delta.partial_json or opened.kind != "tool_use":
                    return _NOTHING
                opened.said_arguments = True
                if opened.as_text:
                    return (TextDelta(opened.index, delta.partial_json),)
                return (ArgumentsDelta(opened.index, delta.partial_json),)
            case _:
                return _NOTHING

    def _on_block_stop(self, wire_index: int) -> Sequence[StreamEvent]:
        opened = self._blocks.pop(wire_index, None)
        if opened is None:
            return _NOTHING
        if opened.kind == "tool_use" and not opened.said_arguments:
            empty = TextDelta(opened.index, "{}") if opened.as_text else ArgumentsDelta(opened.index, "{}")
            return (empty, PartStop(opened.index))
        return (PartStop(opened.index),)

    def _on_message_delta(self, event: wire.Event) -> Sequence[StreamEvent]:
        events: list[StreamEvent] = []
        delta = event.delta
        if delta is not None and delta.stop_reason is not None and not self._finished:
            self._finished = True
            reason = finish_reason_of(delta.stop_reason, called_tools=self._called_tools)
            if reason is FinishReason.TOOL_CALLS and self._memo.json_tool and not self._called_tools:
                reason = FinishReason.STOP
            # A server that forgot to stop a block has stopped it now.
            events.extend(PartStop(opened.index) for opened in self._blocks.values())
            self._blocks.clear()
            details = stop_details(delta.stop_details)
            for part in refusals_of(details):
                index = self._next_index
                self._next_index += 1
                events += (RefusalStart(index), RefusalDelta(index, part.text), PartStop(index))
            events.append(Finish(reason, delta.stop_sequence or ""))
            self._keep(of_message(event.context_management, event.input_transformations))
            self._keep(of_stop(details))
            self._keep(of_end(delta.stop_reason))
            if self._own:
                events.append(AnswerMembers({NAME: self._own}))
        if event.usage is not None:
            events.append(UsageUpdate(self._merge_usage(event.usage)))
        return events

    def _merge_usage(self, counted: wire.AnswerUsage | None) -> Usage:
        """Counts are cumulative, and absent ones keep what was known. Input counts of 0 after others are not believed:
        some servers only fill them in at the start."""
        if counted is None:
            return NO_USAGE
        known = self._usage
        self._usage = wire.AnswerUsage(
            input_tokens=_newer(known.input_tokens, counted.input_tokens),
            cache_read_input_tokens=_newer(known.cache_read_input_tokens, counted.cache_read_input_tokens),
            cache_creation_input_tokens=_newer(known.cache_creation_input_tokens, counted.cache_creation_input_tokens),
            output_tokens=_newer(known.output_tokens, counted.output_tokens),
            output_tokens_details=counted.output_tokens_details or known.output_tokens_details,
            cache_creation=counted.cache_creation or known.cache_creation,
            server_tool_use=counted.server_tool_use or known.server_tool_use,
        )
        return usage_of(self._usage)


def _newer(known: int | None, counted: int | None) -> int | None:
    return counted if counted else (known if known is not None else counted)


def _text_start(index: int, block: wire.AnswerBlock) -> tuple[StreamEvent, ...]:
    events: list[StreamEvent] = [TextStart(index)]
    if block.text:
        events.append(TextDelta(index, block.text))
    events.extend(CitationDelta(index, citation) for citation in citations_of(block.citations))
    return tuple(events)


def _thinking_start(index: int, block: wire.AnswerBlock) -> tuple[StreamEvent, ...]:
    events: list[StreamEvent] = [ThinkingStart(index)]
    if block.thinking:
        events.append(ThinkingDelta(index, block.thinking))
    if block.signature:
        events.append(SignatureDelta(index, block.signature))
    return tuple(events)


def _failure_of(event: wire.Event) -> ErrorDetail:
    error = event.error or wire.ErrorObject()
    word = error.type or "api_error"
    kind = kind_of_type(word)
    return ErrorDetail(
        status=status_of_type(word), kind=kind, message=error.message or "the provider reported an error", type=word
    )


# --- encode ----------------------------------------------------------------------------------------------------------

_encode = msgspec.json.Encoder().encode

_START: Final = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":%b,"type":"message","role":"assistant",'
    b'"model":%b,"content":[],"stop_reason":null,"stop_sequence":null,"usage":%b}}\n\n'
)
_BLOCK_START: Final = (
    b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%b}\n\n'
)
_BLOCK_STOP: Final = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_DELTA: Final = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b}\n\n'
_TEXT_DELTA: Final = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
    b'"delta":{"type":"text_delta","text":%b}}\n\n'
)
_END: Final = (
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":%b,"stop_sequence":%b},"usage":%b}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
_PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'
_ERROR: Final = b'event: error\ndata: {"type":"error","error":{"type":%b,"message":%b}}\n\n'

_TEXT_BLOCK: Final = b'{"type":"text","text":""}'
_NO_INPUT: Final = msgspec.Raw(b"{}")
_THINKING_BLOCK: Final = b'{"type":"thinking","thinking":"","signature":""}'


@dataclass(slots=True)
class _HeldCall:
    """A tool call that began while another was open."""

    start: ToolCallStart
    deltas: list[str] = field(default_factory=list[str])
    stopped: bool = False


class StreamEncoder:
    """See `dialect.StreamEncoder`.

    Rule: this dialect has one block open at a time. A tool call that begins while another is open ends it if its
    arguments are a whole JSON value, for then nothing can follow; otherwise it is held until the open one stops. So
    streams that say one call after the other pass without delay, and interleaved ones come out in order.
    """

    __slots__ = ("_arguments", "_block", "_context", "_finish", "_held", "_held_bytes", "_open", "_started", "_usage")

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._started = False
        self._block = 0
        """Index of the open block, or of the next one."""
        self._open: int | None = None
        """Canonical index of the part that the open block shows."""
        self._arguments: list[str] | None = None
        """Of the open block, if it is a tool call."""
        self._held: deque[_HeldCall] = deque()
        self._held_bytes = 0
        self._finish: Finish | None = None
        self._usage = NO_USAGE

    def feed(self, event: StreamEvent) -> bytes:
        """The bytes of one event."""
        match event:
            case TextDelta() | RefusalDelta():
                return self._delta(event.index, _TEXT_DELTA % (self._block, _encode(event.text)))
            case ArgumentsDelta():
                return self._feed_arguments(event)
            case ThinkingDelta():
                text = b'{"type":"thinking_delta","thinking":%b}' % _encode(event.text)
                return self._delta(event.index, _DELTA % (self._block, text))
            case SignatureDelta():
                text = b'{"type":"signature_delta","signature":%b}' % _encode(event.signature)
                return self._delta(event.index, _DELTA % (self._block, text))
            case TextStart() | RefusalStart():
                return self._open_block(event.index, _TEXT_BLOCK)
            case ThinkingStart():
                return self._open_block(event.index, _THINKING_BLOCK)
            case ToolCallStart():
                return self._feed_tool_start(event)
            case RedactedThinking():
                block = b'{"type":"redacted_thinking","data":%b}' % _encode(event.data)
                return self._open_block(event.index, block) + self._close_block()
            case PartStop():
                return self._feed_stop(event.index)
            case Start():
                return self._start(event)
            case UsageUpdate():
                self._usage = self._usage.merge(event.usage)
            case Finish():
                self._finish = event
            case CitationDelta():
                return self._cite(event)
            case LogprobsDelta() | MediaOutput() | OpaqueOutput() | OtherAnswer() | AnswerMembers():
                return b""
            case Ping():
                return _PING if self._started else b""
            case StreamFailure():
                return self.fail(event.error)
        return b""

    def close(self) -> bytes:
        """The open block's end, the stop reason, the usage, `message_stop`."""
        parts = [self._ensure_started(), self._close_all()]
        finish = self._finish or Finish(FinishReason.STOP)
        parts.append(
            _END
            % (
                _encode(STOP_REASON_WORDS[finish.reason]),
                _encode(finish.stop_sequence or None),
                _encode(written_usage(self._usage)),
            )
        )
        return b"".join(parts)

    def fail(self, error: ErrorDetail) -> bytes:
        """The `error` event; the SDKs raise on it wherever it comes."""
        return _ERROR % (_encode(type_of(error)), _encode(error.message))

    def _start(self, event: Start) -> bytes:
        if self._started:
            return b""
        self._started = True
        self._usage = self._usage.merge(event.usage)
        return _START % (
            _encode(event.id or message_id(self._context)),
            _encode(event.model or self._context.model),
            _encode(written_usage(event.usage, event.service_tier)),
        )

    def _ensure_started(self) -> bytes:
        return b"" if self._started else self._start(Start())

    def _delta(self, index: int, data: bytes) -> bytes:
        return data if index == self._open else b""

    def _cite(self, event: CitationDelta) -> bytes:
        return b"".join(
            self._delta(
                event.index, _DELTA % (self._block, b'{"type":"citations_delta","citation":%b}' % _encode(each))
            )
            for each in written_citations((event.citation,))
        )

    def _open_block(self, index: int, block: bytes) -> bytes:
        before = self._ensure_started() + self._close_all()
        self._open = index
        return before + _BLOCK_START % (self._block, block)

    def _close_block(self) -> bytes:
        if self._open is None:
            return b""
        data = _BLOCK_STOP % self._block
        self._block += 1
        self._open = None
        self._arguments = None
        return data

    def _open_call(self, start: ToolCallStart) -> bytes:
        self._open = start.index
        self._arguments = []
        tool = told_as(self._context.stand_ins, start.name)
        block = _encode(wire.WrittenToolUse(start.id, tool.name, _NO_INPUT, tool.namespace or None))
        return _BLOCK_START % (self._block, block)

    def _feed_tool_start(self, event: ToolCallStart) -> bytes:
        if self._arguments is not None and (self._held or not _is_whole("".join(self._arguments))):
            self._held.append(_HeldCall(event))
            return b""
        return self._ensure_started() + self._close_block() + self._open_call(event)

    def _feed_arguments(self, event: ArgumentsDelta) -> bytes:
        if event.index == self._open and self._arguments is not None:
            self._arguments.append(event.text)
            return self._arguments_delta(event.text)
        for held in self._held:
            if held.start.index == event.index:
                self._held_bytes += len(event.text)
                if self._held_bytes > HELD_BYTES_MAX:
                    raise UpstreamError("the provider interleaves more tool call arguments than can be held")
                held.deltas.append(event.text)
        return b""

    def _arguments_delta(self, text: str) -> bytes:
        return _DELTA % (self._block, b'{"type":"input_json_delta","partial_json":%b}' % _encode(text))

    def _feed_stop(self, index: int) -> bytes:
        if index != self._open:
            for held in self._held:
                if held.start.index == index:
                    held.stopped = True
            return b""
        return self._close_block() + self._release()

    def _release(self) -> bytes:
        """Shows held calls up to the first that is still open."""
        parts: list[bytes] = []
        while self._held and self._open is None:
            held = self._held.popleft()
            parts.append(self._open_call(held.start))
            text = "".join(held.deltas)
            self._held_bytes -= len(text)
            if text:
                parts.append(self._arguments_delta(text))
            assert self._arguments is not None
            self._arguments.append(text)
            if held.stopped:
                parts.append(self._close_block())
        return b"".join(parts)

    def _close_all(self) -> bytes:
        """Ends whatever is open or held, in order."""
        parts = [self._close_block()]
        while self._held:
            parts.append(self._release())
            parts.append(self._close_block())
        return b"".join(parts)


def _is_whole(arguments: str) -> bool:
    try:
        _ANY.decode(arguments)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False
    return True


_ANY: Final = msgspec.json.Decoder(msgspec.Raw)
