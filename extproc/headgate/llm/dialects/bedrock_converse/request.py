"""A Converse request to the canonical model.

Decoding keeps what the client said, turn by turn. A cache point, which is a block of its own here, belongs to the part
before it. Encoding is in `request_encoding`.
"""

from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec
from headgate.llm.canonical import (
    Base64Source,
    CachePoint,
    ChatRequest,
    DocumentPart,
    FunctionTool,
    ImagePart,
    MediaPart,
    Message,
    OpaquePart,
    OpaqueTool,
    Part,
    Reasoning,
    RedactedThinkingPart,
    ResponseFormat,
    Sampling,
    TextPart,
    TextSource,
    ThinkingPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultContent,
    ToolResultPart,
)
from headgate.llm.dialects.bedrock_converse import wire
from headgate.llm.dialects.bedrock_converse.citations import decode_citation
from headgate.llm.dialects.bedrock_converse.media import (
    AUDIO_TYPES,
    DOCUMENT_TYPES,
    IMAGE_TYPES,
    VIDEO_TYPES,
    text_of_blob,
)
from headgate.llm.dialects.bedrock_converse.request_fields import Fields, decode_fields
from headgate.llm.endpoints import NO_PATH, PathFacts
from headgate.llm.errors import RequestError
from headgate.llm.names import DialectName
from headgate.llm.strict import decode_strict, text_of

NAME: Final = DialectName.BEDROCK_CONVERSE

Beyond = dict[str, msgspec.Raw]
"""What goes beyond the canonical model, by JSON path."""

_TRUE: Final = msgspec.Raw(b"true")
_NULL: Final = msgspec.Raw(b"null")


def decode_request(body: bytes, path: PathFacts = NO_PATH) -> ChatRequest:
    """See `ChatDialect.decode_request`."""
    request, members = decode_strict(wire.REQUEST_DECODER, body, conversation="messages")
    if not path.model:
        raise RequestError("the path must name the model", path="modelId", code="invalid_value")
    if not request.messages:
        raise RequestError("must hold at least one message", path="messages", code="invalid_value")
    beyond: Beyond = {name: raw for name, raw in members.items() if name not in wire.READ_MEMBERS}
    fields = decode_fields(request.additional_model_request_fields)
    beyond.update(fields.beyond)
    messages = tuple(_decode_message(message, f"messages[{i}]", beyond) for i, message in enumerate(request.messages))
    if request.system:
        messages = (_decode_system(request.system, beyond), *messages)
    inference = request.inference_config or wire.InferenceConfig()
    if inference.max_tokens is not None and inference.max_tokens < 1:
        raise RequestError("must be at least 1", path="inferenceConfig.maxTokens", code="invalid_value")
    tools, choice = _decode_tools(request.tool_config, beyond)
    output = request.output_config or wire.OutputConfig()
    return ChatRequest(
        model=path.model,
        messages=messages,
        tools=tools,
        tool_choice=choice,
        response_format=_decode_format(output.text_format),
        sampling=Sampling(temperature=inference.temperature, top_p=inference.top_p, top_k=fields.top_k),
        stop=tuple(inference.stop_sequences or ()),
        max_tokens=inference.max_tokens,
        reasoning=_decode_reasoning(fields, output.effort),
        service_tier=request.service_tier.type if request.service_tier is not None else "",
        stream=path.stream,
        include_usage=True,
        extras={NAME: beyond} if beyond else {},
    )


def _decode_reasoning(fields: Fields, effort: str | None) -> Reasoning | None:
    if not effort:
        return fields.reasoning
    known = fields.reasoning or Reasoning()
    return msgspec.structs.replace(known, effort=effort, path="outputConfig.effort")


def _decode_format(text_format: wire.TextFormat | None) -> ResponseFormat | None:
    if text_format is None:
        return None
    schema = text_format.structure.json_schema
    raw = _decode_embedded(schema.schema, "outputConfig.textFormat.structure.jsonSchema.schema")
    return ResponseFormat("json_schema", schema.name or "", schema.description or "", raw)


def _decode_embedded(text: str, path: str) -> msgspec.Raw:
    """JSON text inside a string, known to be an object."""
    try:
        _OBJECT.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise RequestError("must be a JSON object, as text", path=path, code="invalid_value") from None
    return msgspec.Raw(text)


_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


# --- messages --------------------------------------------------------------------------------------------------------


def _decode_system(blocks: list[wire.SystemBlock], beyond: Beyond) -> Message:
    parts: list[Part] = []
    for i, block in enumerate(blocks):
        path = f"system[{i}]"
        match _only(block, path):
            case "text", str(text):
                parts.append(TextPart(text))
            case "cache_point", wire.CachePoint() as point:
                _mark(parts, point, path, beyond)
            case "guard_content", wire.GuardContent() as guard:
                parts.extend(_decode_guard(guard, path, beyond))
            case _:
                raise AssertionError("one of these members is there")
    return Message("system", tuple(parts), path="system")


def _decode_message(message: wire.Message, path: str, beyond: Beyond) -> Message:
    parts: list[Part] = []
    for i, block in enumerate(message.content):
        if block.text is not None and block == wire.ContentBlock(text=block.text):  # nothing but a text, as most are
            parts.append(TextPart(block.text))
            continue
        where = f"{path}.content[{i}]"
        match _only(block, where):
            case "text", str(text):
                parts.append(TextPart(text))
            case "cache_point", wire.CachePoint() as point:
                _mark(parts, point, where, beyond)
            case member, value:
                parts.extend(_decode_block(member, value, where, beyond))
    return Message(message.role, tuple(parts), path=path)


def _only(block: msgspec.Struct, path: str) -> tuple[str, Any]:
    """The one member of a union that is there."""
    found = [
        (name, value) for name in block.__struct_fields__ if (value := getattr(block, name)) not in (None, wire.ABSENT)
    ]
    if len(found) != 1:
        known = ", ".join(block.__struct_encode_fields__)
        raise RequestError(f"must hold exactly one of {known}", path=path, code="invalid_value")
    return found[0]


def _mark(parts: list[Part], point: wire.CachePoint, path: str, beyond: Beyond) -> None:
    """Lets the part before a cache point end a cached prefix."""
    last = parts[-1] if parts else None
    if isinstance(last, TextPart | ImagePart | DocumentPart | ToolCallPart | ToolResultPart):
        parts[-1] = msgspec.structs.replace(last, cache=CachePoint(point.ttl or ""))
    else:
        beyond[f"{path}.cachePoint"] = _TRUE


def _decode_block(member: str, value: Any, path: str, beyond: Beyond) -> Iterator[Part]:
    match value:
        case wire.ToolUse(type=None):
            arguments = text_of(value.input, f"{path}.toolUse.input")
            if not arguments.startswith("{"):
                raise RequestError("must be an object", path=f"{path}.toolUse.input", code="invalid_value")
            yield ToolCallPart(value.tool_use_id, value.name, arguments)
        case wire.ToolResult(type=None):
            content = tuple(_decode_result(value, path, beyond))
            is_error = None if value.status is None else value.status == "error"
            yield ToolResultPart(value.tool_use_id, content, is_error)
        case wire.ReasoningContent():
            yield _decode_reasoning_block(value, path)
        case wire.GuardContent():
            yield from _decode_guard(value, path, beyond)
        case wire.CitationsContent():
            text = "".join(content.text or "" for content in value.content or ())
            yield TextPart(text, citations=tuple(decode_citation(each) for each in value.citations or ()))
        case wire.Media() | wire.Document() | wire.SearchResult():
            yield _decode_content(member, value, path, beyond)
        case _:
            yield OpaquePart(NAME, _camel(member))


def _camel(member: str) -> str:
    first, *rest = member.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _decode_reasoning_block(block: wire.ReasoningContent, path: str) -> Part:
    match _only(block, f"{path}.reasoningContent"):
        case _, wire.ReasoningText() as shown:
            return ThinkingPart(shown.text, shown.signature or "")
        case _, blob:
            return RedactedThinkingPart(text_of_blob(blob))


def _decode_guard(guard: wire.GuardContent, path: str, beyond: Beyond) -> Iterator[TextPart | ImagePart]:
    """What a guardrail is to look at, which is part of the prompt as well."""
    beyond[f"{path}.guardContent"] = _TRUE
    if guard.text is not None:
        yield TextPart(guard.text.text)
    if guard.image is not None and guard.image.source.bytes is not None:
        yield ImagePart(Base64Source(IMAGE_TYPES.get(guard.image.format, ""), guard.image.source.bytes))


def _decode_result(result: wire.ToolResult, path: str, beyond: Beyond) -> Iterator[ToolResultContent]:
    for i, content in enumerate(result.content):
        if content.text is not None and content == wire.ToolResultContent(text=content.text):
            yield TextPart(content.text)
            continue
        where = f"{path}.toolResult.content[{i}]"
        match _only(content, where):
            case "text", str(text):
                yield TextPart(text)
            case "json", value:
                yield TextPart(text_of(value, f"{where}.json"))
            case member, value:
                yield _decode_content(member, value, where, beyond)


def _decode_content(
    member: str, value: wire.Media | wire.Document | wire.SearchResult, path: str, beyond: Beyond
) -> ImagePart | MediaPart | DocumentPart | OpaquePart:
    match value:
        case wire.SearchResult():
            text = "\n".join(content.text for content in value.content)
            return DocumentPart(
                TextSource(text), title=value.title, context=value.source, cited=_cited(value.citations)
            )
        case wire.Document():
            return _decode_document(value)
        case wire.Media(source=wire.Source(bytes=None)):
            return OpaquePart(NAME, f"{member} in S3")
        case wire.Media(format=format_, source=wire.Source(bytes=data)):
            assert data is not None
            match member:
                case "image":
                    return ImagePart(Base64Source(IMAGE_TYPES.get(format_, f"image/{format_}"), data))
                case "video":
                    return _media("video", Base64Source(VIDEO_TYPES.get(format_, f"video/{format_}"), data), format_)
                case _:
                    return _media("audio", Base64Source(AUDIO_TYPES.get(format_, f"audio/{format_}"), data), format_)


def _media(kind: Literal["audio", "video"], source: Base64Source, format_: str) -> MediaPart:
    return MediaPart(kind, source, format_)


def _decode_document(document: wire.Document) -> DocumentPart | OpaquePart:
    cited = _cited(document.citations)
    source, title, context = document.source, document.name, document.context or ""
    if source.bytes is not None:
        media_type = DOCUMENT_TYPES.get(document.format or "", "")
        return DocumentPart(Base64Source(media_type, source.bytes), title, context, cited=cited)
    if source.text is not None:
        return DocumentPart(TextSource(source.text), title, context, cited=cited)
    if source.content is not None:
        text = "\n".join(content.text for content in source.content)
        return DocumentPart(TextSource(text), title, context, cited=cited)
    return OpaquePart(NAME, "document in S3")


def _cited(config: wire.CitationsConfig | None) -> bool:
    return config is not None and config.enabled


# --- tools -----------------------------------------------------------------------------------------------------------


def _decode_tools(config: wire.ToolConfig | None, beyond: Beyond) -> tuple[tuple[Tool, ...], ToolChoice | None]:
    if config is None:
        return (), None
    tools: list[Tool] = []
    for i, tool in enumerate(config.tools):
        path = f"toolConfig.tools[{i}]"
        match _only(tool, path):
            case _, wire.ToolSpec() as spec:
                tools.append(_decode_tool(spec, path))
            case _, wire.SystemTool(name=name):
                tools.append(OpaqueTool(NAME, name))
            case _, wire.CachePoint(ttl=ttl):
                last = tools[-1] if tools else None
                if isinstance(last, FunctionTool):
                    tools[-1] = msgspec.structs.replace(last, cache=CachePoint(ttl or ""))
                else:
                    beyond[f"{path}.cachePoint"] = _TRUE
            case _:
                raise AssertionError("one of these members is there")
    return tuple(tools), _decode_choice(config.tool_choice)


def _decode_tool(spec: wire.ToolSpec, path: str) -> FunctionTool:
    schema = spec.input_schema.json
    if not bytes(schema).startswith(b"{"):
        raise RequestError("must be an object", path=f"{path}.toolSpec.inputSchema.json", code="invalid_value")
    return FunctionTool(spec.name, spec.description or "", schema, spec.strict)


def _decode_choice(choice: wire.ToolChoice | None) -> ToolChoice | None:
    if choice is None:
        return None
    match _only(choice, "toolConfig.toolChoice"):
        case "tool", wire.ToolName(name=name):
            return ToolChoice("named", name)
        case "any", _:
            return ToolChoice("required")
        case _:
            return ToolChoice("auto")
