"""What was said in a chat, as OpenTelemetry's GenAI convention writes messages: plain JSON values.

https://opentelemetry.io/docs/specs/semconv/gen-ai/ (input, output and system instruction schemas)

Images, sounds and files are told of, not copied (but images, where that is asked for). What a dialect alone understands
is told of by its kind.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

import msgspec
from headgate.llm.canonical import (
    AnswerMembers,
    ArgumentsDelta,
    Base64Source,
    ChatRequest,
    ChatResponse,
    CitationDelta,
    DocumentPart,
    DocumentSource,
    FileSource,
    Finish,
    FinishReason,
    FunctionTool,
    ImagePart,
    LogprobsDelta,
    MediaOutput,
    MediaPart,
    OpaqueOutput,
    OpaquePart,
    OtherAnswer,
    Part,
    PartEvent,
    PartStop,
    Ping,
    RedactedThinking,
    RedactedThinkingPart,
    RefusalDelta,
    RefusalPart,
    RefusalStart,
    Sampling,
    SignatureDelta,
    Start,
    StreamEvent,
    StreamFailure,
    TextDelta,
    TextPart,
    TextSource,
    TextStart,
    ThinkingDelta,
    ThinkingPart,
    ThinkingStart,
    ToolCallPart,
    ToolCallStart,
    ToolResultPart,
    UrlSource,
    UsageUpdate,
)
from headgate.llm.dialects.dialect import NO_MEMO, ChatDialect
from headgate.llm.marks import FINISH_WORDS

Json: TypeAlias = "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | None"
Object = dict[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request."""

    system: Sequence[Json] = ()
    messages: Sequence[Json] = ()
    tools: Sequence[Json] = ()
    max_tokens: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An answer, or as much of it as came."""

    id: str = ""
    messages: Sequence[Json] = ()
    finish_reasons: Sequence[str] = ()


def asked(request: ChatRequest, image_length_max: int = 0) -> Asked:
    """System messages stand apart from the others. Images in base64 are copied up to so many characters."""
    system: list[Json] = []
    messages: list[Json] = []
    for message in request.messages:
        parts = [_part(part, image_length_max) for part in message.parts]
        if message.role in ("system", "developer"):
            system += parts
        else:
            results = bool(message.parts) and all(isinstance(part, ToolResultPart) for part in message.parts)
            messages.append({"role": "tool" if results else message.role, "parts": parts})
    return Asked(
        system=system,
        messages=messages,
        tools=[_tool(tool) for tool in request.tools if isinstance(tool, FunctionTool)],
        max_tokens=request.max_tokens,
        sampling=request.sampling,
        stop=request.stop,
    )


def answered(dialect: ChatDialect, body: bytes, *, streamed: bool) -> Answered:
    """An answer as a client of the dialect got it. UpstreamError for what is none."""
    if not streamed:
        return _whole(dialect.decode_response(body, NO_MEMO))
    frames, decoder, told = dialect.frames(), dialect.stream_decoder(NO_MEMO), _Told()
    for frame in frames.feed(body):
        for event in decoder.feed(frame):
            told.take(event)
    for event in decoder.close():
        told.take(event)
    return told.answered()


def _whole(response: ChatResponse) -> Answered:
    given = [(response.parts, response.finish_reason)]
    given += [(each.parts, each.finish_reason) for each in response.alternatives]
    messages: list[Json] = [_message([_part(part) for part in parts], reason) for parts, reason in given]
    return Answered(id=response.id, messages=messages, finish_reasons=[FINISH_WORDS[reason] for _, reason in given])


def _message(parts: Sequence[Json], reason: FinishReason | None) -> Object:
    return {
        "role": "assistant",
        "parts": parts,
        "finish_reason": FINISH_WORDS[reason] if reason is not None else "error",
    }


def _tool(tool: FunctionTool) -> Object:
    found: Object = {"type": "function", "name": tool.name}
    if tool.description:
        found["description"] = tool.description
    if tool.parameters is not None:
        found["parameters"] = _value(bytes(tool.parameters))
    return found


def _value(text: bytes | str) -> Json:
    """JSON as a value; what is none stays text."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text if isinstance(text, str) else text.decode("utf-8", "replace")


def _part(part: Part, image_length_max: int = 0) -> Object:
    match part:
        case TextPart():
            return {"type": "text", "content": part.text}
        case ThinkingPart():
            return {"type": "reasoning", "content": part.text}
        case RefusalPart():
            return {"type": "refusal", "content": part.text}
        case ToolCallPart():
            return {"type": "tool_call", "id": part.id, "name": part.name, "arguments": _value(part.arguments)}
        case ToolResultPart():
            content = [_part(each, image_length_max) for each in part.content]
            response: Json = content
            if len(content) == 1 and content[0]["type"] == "text":
                response = content[0]["content"]
            return {"type": "tool_call_response", "id": part.call_id, "response": response}
        case ImagePart():
            found = _source("image", part.source)
            if isinstance(part.source, Base64Source) and len(part.source.data) <= image_length_max:
                found["content"] = part.source.data
            return found
        case DocumentPart():
            return _source("document", part.source)
        case MediaPart():
            return _source(part.kind, part.source)
        case RedactedThinkingPart():
            return {"type": "reasoning", "content": ""}
        case OpaquePart():
            return {"type": part.kind}
        case _:
            assert_never(part)


def _source(modality: str, source: DocumentSource) -> Object:
    match source:
        case UrlSource():
            shown = source.url.partition(",")[0] if source.url.startswith("data:") else source.url
            return {"type": "uri", "modality": modality, "uri": shown}
        case Base64Source():
            size = len(source.data) * 3 // 4
            return {"type": "blob", "modality": modality, "mime_type": source.media_type, "size": size}
        case FileSource():
            return {"type": "file", "modality": modality, "file_id": source.file_id}
        case TextSource():
            return {"type": "text", "content": source.text}
        case _:
            assert_never(source)


@dataclass(slots=True)
class _Open:
    """A part that is being told."""

    kind: str
    id: str = ""
    name: str = ""
    text: list[str] = field(default_factory=list[str])

    def part(self) -> Object:
        said = "".join(self.text)
        if self.kind == "tool_call":
            return {"type": "tool_call", "id": self.id, "name": self.name, "arguments": _value(said or "{}")}
        return {"type": self.kind, "content": said}


@dataclass(slots=True)
class _Message:
    parts: dict[int, _Open | Object] = field(default_factory=dict[int, "_Open | Object"])
    reason: FinishReason | None = None

    def take(self, event: PartEvent) -> None:
        match event:
            case TextStart():
                self.parts[event.index] = _Open("text")
            case ThinkingStart():
                self.parts[event.index] = _Open("reasoning")
            case RefusalStart():
                self.parts[event.index] = _Open("refusal")
            case ToolCallStart():
                self.parts[event.index] = _Open("tool_call", event.id, event.name)
            case TextDelta() | ThinkingDelta() | RefusalDelta() | ArgumentsDelta():
                part = self.parts.get(event.index)
                if isinstance(part, _Open):
                    part.text.append(event.text)
            case RedactedThinking():
                self.parts[event.index] = {"type": "reasoning", "content": ""}
            case MediaOutput() | OpaqueOutput():
                self.parts[event.index] = _part(event.part)
            case Finish():
                self.reason = event.reason
            case SignatureDelta() | CitationDelta() | LogprobsDelta() | PartStop():
                pass
            case _:
                assert_never(event)

    def message(self) -> Object:
        parts: Iterable[Object] = (each.part() if isinstance(each, _Open) else each for each in self.parts.values())
        return _message(list(parts), self.reason)


@dataclass(slots=True)
class _Told:
    """A stream, put together."""

    id: str = ""
    messages: dict[int, _Message] = field(default_factory=dict[int, _Message])

    def take(self, event: StreamEvent) -> None:
        match event:
            case Start():
                self.id = event.id
            case OtherAnswer():
                self.messages.setdefault(event.number, _Message()).take(event.event)
            case AnswerMembers() | UsageUpdate() | StreamFailure() | Ping():
                pass
            case _:
                self.messages.setdefault(0, _Message()).take(event)

    def answered(self) -> Answered:
        given = [self.messages[number] for number in sorted(self.messages)]
        reasons = [FINISH_WORDS[each.reason] for each in given if each.reason is not None]
        return Answered(id=self.id, messages=[each.message() for each in given], finish_reasons=reasons)
