"""A ConverseStream to canonical events.

Blocks of text and reasoning are opened by their first delta: the service announces only tool calls and images.
`messageStop` is the message's end, `metadata` the stream's, with the usage.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from headgate.llm.canonical import (
    AnswerMembers,
    ArgumentsDelta,
    CitationDelta,
    Finish,
    ImagePart,
    MediaOutput,
    OpaqueOutput,
    OpaquePart,
    PartStop,
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
    UrlSource,
    UsageUpdate,
)
from headgate.llm.dialects.bedrock_converse import wire
from headgate.llm.dialects.bedrock_converse.citations import decode_citation
from headgate.llm.dialects.bedrock_converse.errors import decode_exception
from headgate.llm.dialects.bedrock_converse.media import join_blobs, text_of_blob
from headgate.llm.dialects.bedrock_converse.response import (
    extras_of,
    failed_answer,
    finish_reason_of,
    image_of,
    service_tier_of,
    usage_of,
)
from headgate.llm.dialects.dialect import Memo
from headgate.llm.errors import ErrorDetail, ErrorKind, UpstreamError
from headgate.llm.framing.frame import Frame
from headgate.llm.names import DialectName

HELD_BYTES_MAX: Final = 32 * 1024 * 1024
"""What blocks that are given on whole (encrypted reasoning, images) may make the decoder hold; protects memory."""

_NOTHING: Final[Sequence[StreamEvent]] = ()


@dataclass(slots=True)
class _OpenBlock:
    """A block the provider has open."""

    kind: str
    """`text`, `thinking`, `redacted`, `call`, `json` (the emulated answer's call), `image`, `refusal`."""
    index: int
    """Of the canonical part."""
    said_arguments: bool = False
    format: str = ""
    blobs: list[str] = field(default_factory=list[str])
    place: str = ""
    """Of an image that stands elsewhere."""


class StreamDecoder:
    """See `dialect.StreamDecoder`. Events and deltas of kinds nobody knows pass unread."""

    __slots__ = ("_blocks", "_called_tools", "_ended", "_finished", "_held_bytes", "_memo", "_next_index", "_started")

    def __init__(self, memo: Memo) -> None:
        self._memo = memo
        self._blocks: dict[int, _OpenBlock] = {}
        self._next_index = 0
        self._called_tools = False
        self._started = False
        self._finished = False
        self._ended = False
        self._held_bytes = 0

    @property
    def complete(self) -> bool:
        """`messageStop` came."""
        return self._finished

    @property
    def ended(self) -> bool:
        """`metadata` came after it."""
        return self._ended

    def feed(self, frame: Frame) -> Sequence[StreamEvent]:
        """The events of one frame."""
        if frame.failure:
            return (StreamFailure(decode_exception(frame.event, frame.data)),)
        match frame.event:
            case "contentBlockDelta":
                event = _decode(wire.BLOCK_DELTA_DECODER, frame)
                return self._after_start(self._on_delta(event.content_block_index, event.delta))
            case "contentBlockStart":
                event = _decode(wire.BLOCK_START_DECODER, frame)
                return self._after_start(self._on_start(event.content_block_index, event.start))
            case "contentBlockStop":
                return self._on_stop(_decode(wire.BLOCK_STOP_DECODER, frame).content_block_index)
            case "messageStart":
                return self._after_start(())
            case "messageStop":
                return self._after_start(self._on_message_stop(_decode(wire.MESSAGE_STOP_DECODER, frame)))
            case "metadata":
                return self._on_metadata(_decode(wire.METADATA_DECODER, frame))
            case _:
                return _NOTHING

    def close(self) -> Sequence[StreamEvent]:
        """Nothing that is held could still be said."""
        return _NOTHING

    def _after_start(self, events: Sequence[StreamEvent]) -> Sequence[StreamEvent]:
        if self._started:
            return events
        self._started = True
        return (Start(), *events)

    def _open(self, wire_index: int, kind: str) -> _OpenBlock:
        opened = _OpenBlock(kind, self._next_index)
        self._next_index += 1
        self._blocks[wire_index] = opened
        return opened

    def _on_start(self, wire_index: int, start: wire.BlockStart | None) -> Sequence[StreamEvent]:
        if start is None or self._finished or wire_index in self._blocks:
            return _NOTHING
        if start.image is not None:
            self._open(wire_index, "image").format = start.image.format or ""
            return _NOTHING
        if start.tool_result is not wire.ABSENT:
            return self._opaque("toolResult")
        call = start.tool_use
        if call is None:
            return _NOTHING
        if call.type is not None:
            return self._opaque(call.type)
        name = call.name or ""
        if self._memo.json_tool and name == self._memo.json_tool:
            return (TextStart(self._open(wire_index, "json").index),)
        self._called_tools = True
        index = self._open(wire_index, "call").index
        return (ToolCallStart(index, call.tool_use_id or "", self._memo.tool_names.get(name, name)),)

    def _opaque(self, kind: str) -> Sequence[StreamEvent]:
        self._next_index += 1
        return (OpaqueOutput(self._next_index - 1, OpaquePart(DialectName.BEDROCK_CONVERSE, kind)),)

    def _on_delta(self, wire_index: int, delta: wire.BlockDelta | None) -> Sequence[StreamEvent]:
        if delta is None or self._finished:
            return _NOTHING
        if delta.text is not None:
            before, opened = self._ensure(wire_index, "text")
            return (*before, TextDelta(opened.index, delta.text)) if delta.text else before
        if delta.tool_use is not None:
            return self._on_arguments(wire_index, bytes(delta.tool_use.input))
        if delta.reasoning_content is not None:
            return self._on_reasoning(wire_index, delta.reasoning_content)
        if delta.citation is not None:
            before, opened = self._ensure(wire_index, "text")
            return (*before, CitationDelta(opened.index, decode_citation(delta.citation)))
        if delta.image is not None:
            return self._on_image(wire_index, delta.image)
        return _NOTHING

    def _on_image(self, wire_index: int, image: wire.AnswerMedia) -> Sequence[StreamEvent]:
        source, opened = image.source, self._blocks.get(wire_index)
        if source is not None and source.bytes:
            return self._hold(wire_index, "image", source.bytes)
        if opened is None or opened.kind != "image":
            return _NOTHING
        if source is not None and source.s3_location is not None:
            opened.place = source.s3_location.uri or ""
        if image.error is not None and image.error.message:
            opened.kind = "refusal"
            return (RefusalStart(opened.index), RefusalDelta(opened.index, image.error.message))
        return _NOTHING

    def _ensure(self, wire_index: int, kind: str) -> tuple[Sequence[StreamEvent], _OpenBlock]:
        """The open block of that kind, after the events that open it. A block whose kind changes is stopped."""
        opened = self._blocks.get(wire_index)
        if opened is not None and opened.kind == kind:
            return _NOTHING, opened
        before = () if opened is None else self._on_stop(wire_index)
        opened = self._open(wire_index, kind)
        start = TextStart(opened.index) if kind == "text" else ThinkingStart(opened.index)
        return (*before, start), opened

    def _on_arguments(self, wire_index: int, raw: bytes) -> Sequence[StreamEvent]:
        opened = self._blocks.get(wire_index)
        if opened is None or opened.kind not in ("call", "json") or not raw:
            return _NOTHING
        try:
            text = _TEXT.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise UpstreamError("the provider's stream holds tool input that is no text") from None
        if not text:
            return _NOTHING
        opened.said_arguments = True
        return (TextDelta(opened.index, text) if opened.kind == "json" else ArgumentsDelta(opened.index, text),)

    def _on_reasoning(self, wire_index: int, said: wire.AnswerReasoning) -> Sequence[StreamEvent]:
        if said.redacted_content is not None:
            return self._hold(wire_index, "redacted", said.redacted_content)
        if not said.text and not said.signature:
            return _NOTHING
        before, opened = self._ensure(wire_index, "thinking")
        if said.text:
            return (*before, ThinkingDelta(opened.index, said.text))
        return (*before, SignatureDelta(opened.index, said.signature or ""))

    def _hold(self, wire_index: int, kind: str, blob: str) -> Sequence[StreamEvent]:
        self._held_bytes += len(blob)
        if self._held_bytes > HELD_BYTES_MAX:
            raise UpstreamError(f"the provider's stream holds a block larger than {HELD_BYTES_MAX} bytes")
        opened = self._blocks.get(wire_index)
        before: Sequence[StreamEvent] = _NOTHING
        if opened is None or opened.kind != kind:
            before = self._on_stop(wire_index)
            opened = self._open(wire_index, kind)
        opened.blobs.append(blob)
        return before

    def _on_stop(self, wire_index: int) -> Sequence[StreamEvent]:
        opened = self._blocks.pop(wire_index, None)
        if opened is None:
            return _NOTHING
        match opened.kind:
            case "redacted":
                return (RedactedThinking(opened.index, text_of_blob(self._take_blobs(opened))),)
            case "image" if opened.place:
                return (MediaOutput(opened.index, ImagePart(UrlSource(opened.place))),)
            case "image" if not opened.blobs:
                return _NOTHING
            case "image":
                return (MediaOutput(opened.index, image_of(opened.format, self._take_blobs(opened))),)
            case "call" | "json" if not opened.said_arguments:
                empty = TextDelta if opened.kind == "json" else ArgumentsDelta
                return (empty(opened.index, "{}"), PartStop(opened.index))
            case _:
                return (PartStop(opened.index),)

    def _take_blobs(self, opened: _OpenBlock) -> str:
        self._held_bytes -= sum(map(len, opened.blobs))
        return join_blobs(opened.blobs)

    def _on_message_stop(self, event: wire.MessageStopEvent) -> Sequence[StreamEvent]:
        if self._finished:
            return _NOTHING
        events: list[StreamEvent] = []
        for wire_index in tuple(self._blocks):
            events.extend(self._on_stop(wire_index))
        self._finished = True
        failure = failed_answer(event.stop_reason, said=self._next_index > 0)
        if failure:
            return (*events, StreamFailure(ErrorDetail(502, ErrorKind.INTERNAL, failure, type=event.stop_reason or "")))
        reason = finish_reason_of(event.stop_reason, called_tools=self._called_tools, memo=self._memo)
        fields = event.additional_model_response_fields
        events.append(Finish(reason, (fields.stop_sequence or "") if fields is not None else ""))
        extras = extras_of(wire.ABSENT, event.stop_reason)
        if extras:
            events.append(AnswerMembers(extras))
        return events

    def _on_metadata(self, event: wire.MetadataEvent) -> Sequence[StreamEvent]:
        self._ended = self._finished
        events: list[StreamEvent] = []
        extras = extras_of(event.trace, None)
        if extras and self._finished:
            events.append(AnswerMembers(extras))
        tier = service_tier_of(event.service_tier)
        if event.usage is not None or tier:
            events.append(UsageUpdate(usage_of(event.usage), tier))
        return self._after_start(events) if events else _NOTHING


_TEXT: Final = msgspec.json.Decoder(str)


def _decode(decoder: msgspec.json.Decoder[Any], frame: Frame) -> Any:
    try:
        return decoder.decode(frame.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamError(f"the provider's stream holds what is no {frame.event} event: {error}") from None
