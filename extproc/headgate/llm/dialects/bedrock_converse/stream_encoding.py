"""Canonical events to a ConverseStream."""

from collections.abc import Sequence
from typing import Final

import msgspec
from headgate.llm.call_order import CallOrder
from headgate.llm.canonical import (
    AnswerMembers,
    ArgumentsDelta,
    Base64Source,
    CitationDelta,
    Finish,
    FinishReason,
    ImagePart,
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
from headgate.llm.dialects.bedrock_converse.citations import encode_citation
from headgate.llm.dialects.bedrock_converse.errors import exception_name
from headgate.llm.dialects.bedrock_converse.media import IMAGE_FORMATS, blob_of_text
from headgate.llm.dialects.bedrock_converse.response import METRICS, SERVICE_TIERS, STOP_REASON_WORDS, written_usage
from headgate.llm.dialects.dialect import ReplyContext
from headgate.llm.errors import ErrorDetail
from headgate.llm.framing.aws_eventstream import encode_event, encode_exception
from headgate.llm.usage import NO_USAGE

_encode = msgspec.json.Encoder().encode

_DELTA: Final = b'{"contentBlockIndex":%d,"delta":%b}'
_MESSAGE_START: Final = encode_event("messageStart", b'{"role":"assistant"}')


class StreamEncoder:
    """See `dialect.StreamEncoder`.

    Rule: one block is open at a time, as at the service; calls that overlap are put in order (`CallOrder`).
    """

    __slots__ = ("_block", "_finish", "_open", "_order", "_started", "_tier", "_usage")

    def __init__(self, context: ReplyContext) -> None:
        del context  # a stream of this dialect names neither id nor model
        self._order = CallOrder()
        self._started = False
        self._block = 0
        """Index of the open block, or of the next one."""
        self._open: int | None = None
        """Canonical index of the part that the open block shows."""
        self._finish: Finish | None = None
        self._usage = NO_USAGE
        self._tier = ""

    def feed(self, event: StreamEvent) -> bytes:
        """The bytes of one event."""
        if isinstance(event, StreamFailure):
            return self.fail(event.error)
        return self._write(self._order.feed(event))

    def close(self) -> bytes:
        """Held calls, the open block's end, the stop reason, the usage."""
        finish = self._finish or Finish(FinishReason.STOP)
        stop: dict[str, object] = {"stopReason": STOP_REASON_WORDS[finish.reason]}
        if finish.stop_sequence:
            stop["additionalModelResponseFields"] = {"stop_sequence": finish.stop_sequence}
        metadata: dict[str, object] = {"usage": written_usage(self._usage), "metrics": METRICS}
        tier = SERVICE_TIERS.get(self._tier)
        if tier:
            metadata["serviceTier"] = {"type": tier}
        return b"".join(
            (
                self._write(self._order.close()),
                self._ensure_started(),
                self._close_block(),
                encode_event("messageStop", _encode(stop)),
                encode_event("metadata", _encode(metadata)),
            )
        )

    def fail(self, error: ErrorDetail) -> bytes:
        """The exception; the SDKs raise it wherever it comes."""
        return encode_exception(exception_name(error), _encode({"message": error.message}))

    def _write(self, events: Sequence[StreamEvent]) -> bytes:
        if len(events) == 1:
            return self._write_event(events[0])
        return b"".join(map(self._write_event, events))

    def _write_event(self, event: StreamEvent) -> bytes:
        match event:
            case TextDelta(text=text) | RefusalDelta(text=text):
                return self._delta(event.index, b'{"text":%b}' % _encode(text))
            case ArgumentsDelta(text=text):
                return self._delta(event.index, b'{"toolUse":{"input":%b}}' % _encode(text))
            case ThinkingDelta(text=text):
                return self._delta(event.index, b'{"reasoningContent":{"text":%b}}' % _encode(text))
            case SignatureDelta(signature=signature):
                return self._delta(event.index, b'{"reasoningContent":{"signature":%b}}' % _encode(signature))
            case CitationDelta(citation=citation):
                return self._delta(event.index, b'{"citation":%b}' % _encode(encode_citation(citation)))
            case TextStart() | RefusalStart() | ThinkingStart():
                return self._open_block(event.index)
            case ToolCallStart():
                start = b'{"toolUse":{"toolUseId":%b,"name":%b}}' % (_encode(event.id), _encode(event.name))
                return self._open_block(event.index) + self._start_event(start)
            case PartStop():
                return self._close_block() if event.index == self._open else b""
            case RedactedThinking():
                blob = b'{"reasoningContent":{"redactedContent":%b}}' % _encode(blob_of_text(event.data))
                return self._open_block(event.index) + self._delta(event.index, blob) + self._close_block()
            case MediaOutput():
                return self._media(event)
            case Start():
                return self._note_start(event)
            case UsageUpdate():
                self._usage = self._usage.merge(event.usage)
                self._tier = event.service_tier or self._tier
            case Finish():
                self._finish = event
            case LogprobsDelta() | OpaqueOutput() | OtherAnswer() | AnswerMembers() | Ping() | StreamFailure():
                pass
        return b""

    def _note_start(self, event: Start) -> bytes:
        self._usage = self._usage.merge(event.usage)
        self._tier = event.service_tier
        return self._ensure_started()

    def _media(self, event: MediaOutput) -> bytes:
        if not isinstance(event.part, ImagePart) or not isinstance(event.part.source, Base64Source):
            return b""  # a stream of this dialect carries no sound
        source = event.part.source
        start = b'{"image":{"format":%b}}' % _encode(IMAGE_FORMATS.get(source.media_type, "png"))
        delta = b'{"image":{"source":{"bytes":%b}}}' % _encode(source.data)
        opened = self._open_block(event.index) + self._start_event(start)
        return opened + self._delta(event.index, delta) + self._close_block()

    def _ensure_started(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        return _MESSAGE_START

    def _open_block(self, index: int) -> bytes:
        before = self._ensure_started() + self._close_block()
        self._open = index
        return before

    def _start_event(self, start: bytes) -> bytes:
        return encode_event("contentBlockStart", b'{"contentBlockIndex":%d,"start":%b}' % (self._block, start))

    def _delta(self, index: int, delta: bytes) -> bytes:
        if index != self._open:
            return b""
        return encode_event("contentBlockDelta", _DELTA % (self._block, delta))

    def _close_block(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        self._block += 1
        return encode_event("contentBlockStop", b'{"contentBlockIndex":%d}' % (self._block - 1))
