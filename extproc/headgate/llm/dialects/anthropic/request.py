"""A Messages request to the canonical model: what the client said, turn by turn."""

from collections.abc import Iterator, Sequence
from typing import Final, assert_never

import msgspec
from headgate.llm.canonical import (
    Base64Source,
    CachePoint,
    ChatRequest,
    DocumentPart,
    DocumentSource,
    FileSource,
    FunctionTool,
    ImagePart,
    Message,
    OpaquePart,
    OpaqueTool,
    Part,
    RedactedThinkingPart,
    ResponseFormat,
    Sampling,
    Source,
    StandIn,
    StandIns,
    TextPart,
    TextSource,
    ThinkingPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultContent,
    ToolResultPart,
    UrlSource,
    UserLocation,
    WebSearchTool,
)
from headgate.llm.dialects.anthropic import client_tools, toolsets, wire
from headgate.llm.dialects.anthropic.citations import citations_of
from headgate.llm.dialects.anthropic.errors import refuse_thread
from headgate.llm.dialects.anthropic.settings import reasoning_of
from headgate.llm.endpoints import NO_PATH, PathFacts
from headgate.llm.errors import RequestError
from headgate.llm.names import DialectName
from headgate.llm.stand_ins import function_name
from headgate.llm.strict import decode_strict, text_of

NAME: Final = DialectName.ANTHROPIC_MESSAGES


def decode_request(body: bytes, _path: PathFacts = NO_PATH) -> ChatRequest:
    """See `ChatDialect.decode_request`."""
    request, members = decode_strict(wire.REQUEST_DECODER, body, conversation="messages")
    if not request.model:
        raise RequestError("must not be empty", path="model", code="invalid_value")
    if not request.messages:
        raise RequestError("must hold at least one message", path="messages", code="invalid_value")
    if request.max_tokens < 1:
        raise RequestError("must be at least 1", path="max_tokens", code="invalid_value")
    refuse_thread(members.get("thread"))
    _refuse_compaction(members.get("compaction"))
    extras = {name: raw for name, raw in members.items() if name not in wire.REQUEST_MEMBERS}
    _tell_thinking(request.thinking, extras)
    messages = tuple([_decode_message(message, f"messages[{i}]", extras) for i, message in enumerate(request.messages)])
    if request.cache_control is not None:
        messages = _marked_last(messages, request.cache_control)
    if request.system:
        messages = (Message("system", _decode_system(request.system), path="system"), *messages)
    output = request.output_config
    output_format = output.format if output is not None and output.format is not None else request.output_format
    tools, stand_ins = _decode_tools(request.tools or (), members, extras)
    choice, parallel = _decode_tool_choice(request.tool_choice)
    return ChatRequest(
        model=request.model,
        messages=messages,
        tools=tools,
        stand_ins=stand_ins,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        response_format=None if output_format is None else _decode_format(output_format),
        sampling=Sampling(temperature=request.temperature, top_p=request.top_p, top_k=request.top_k),
        stop=tuple(request.stop_sequences or ()),
        max_tokens=request.max_tokens,
        reasoning=reasoning_of(request.thinking, output),
        user=(request.metadata.user_id or "") if request.metadata is not None else "",
        service_tier="fast" if request.speed == "fast" else request.service_tier or "",
        stream=bool(request.stream),
        include_usage=True,
        extras={NAME: extras} if extras else {},
    )


def _refuse_compaction(compaction: msgspec.Raw | None) -> None:
    """Without the member the conversation would be answered, not summed up."""
    if compaction and bytes(compaction) != b"null":
        reason = "conversations are summed up by Anthropic, which this backend is not: ask for a summary in `messages`"
        raise RequestError(reason, path="compaction", code="unsupported_parameter")


def _marked_last(messages: tuple[Message, ...], mark: wire.CacheControl) -> tuple[Message, ...]:
    """The messages with the mark on the last block that takes one, unless that has its own."""
    for turn in range(len(messages) - 1, -1, -1):
        parts = messages[turn].parts
        for place in range(len(parts) - 1, -1, -1):
            part = parts[place]
            if not isinstance(part, TextPart | ImagePart | DocumentPart | ToolCallPart | ToolResultPart):
                continue
            if part.cache is not None:
                return messages
            marked = msgspec.structs.replace(part, cache=CachePoint(mark.ttl or "", path="cache_control"))
            message = msgspec.structs.replace(messages[turn], parts=(*parts[:place], marked, *parts[place + 1 :]))
            return (*messages[:turn], message, *messages[turn + 1 :])
    return messages


Beyond = dict[str, msgspec.Raw]
"""What goes beyond the canonical model, by JSON path: top-level members, and members of parts and tools."""

_TRUE: Final = msgspec.Raw(b"true")


def _tell_thinking(thinking: wire.Thinking | None, beyond: Beyond) -> None:
    """What only this API can say of thinking."""
    if thinking is not None and thinking.type == "between_tools":
        beyond["thinking.type"] = _TRUE
    if thinking is not None and thinking.display not in (None, "summarized", "omitted"):
        beyond["thinking.display"] = _TRUE


def _decode_system(system: str | list[wire.TextBlock]) -> tuple[Part, ...]:
    if isinstance(system, str):
        return (TextPart(system),)
    return tuple(TextPart(block.text, _decode_cache(block.cache_control)) for block in system)


def _decode_message(message: wire.Message, path: str, beyond: Beyond) -> Message:
    role = message.role
    if isinstance(message.content, str):
        return Message(role, (TextPart(message.content),), path=path)
    if message.content is None:
        if role != "system":
            raise RequestError("this member is required", path=f"{path}.content", code="invalid_value")
        return Message(role, (), path=path)
    parts: list[Part] = []
    for i, block in enumerate(message.content):
        if type(block) is wire.TextBlock:
            citations = citations_of(block.citations) if block.citations else ()
            parts.append(TextPart(block.text, _decode_cache(block.cache_control), citations))
        elif type(block) is wire.ToolUseBlock:
            parts.append(_decode_call(block, f"{path}.content[{i}].input"))
            if block.caller is not None and block.caller.type != "direct":
                beyond[f"{path}.content[{i}].caller"] = _TRUE
        elif type(block) is wire.ToolResultBlock:
            content = _decode_result_content(block.content)
            parts.append(ToolResultPart(block.tool_use_id, content, block.is_error, _decode_cache(block.cache_control)))
        else:
            parts.extend(_decode_block(block, f"{path}.content[{i}]", beyond))
    return Message(role, tuple(parts), path=path)


def _decode_call(block: wire.ToolUseBlock, path: str) -> ToolCallPart:
    arguments = text_of(block.input, path)
    if not arguments.startswith("{"):
        raise RequestError("must be an object", path=path, code="invalid_value")
    name = function_name(block.name, block.toolset_name)
    return ToolCallPart(block.id, name, arguments, _decode_cache(block.cache_control))


def _decode_block(block: wire.RareBlock, path: str, beyond: Beyond) -> Iterator[Part]:
    match block:
        case wire.ThinkingBlock():
            yield ThinkingPart(block.thinking, block.signature or "")
        case wire.RedactedThinkingBlock():
            yield RedactedThinkingPart(block.data)
        case wire.ImageBlock() | wire.DocumentBlock() | wire.SearchResultBlock():
            yield from _decode_media(block)
        case _:
            yield OpaquePart(NAME, _tag_of(block))


def _decode_result_content(content: str | list[wire.ToolResultItem] | None) -> tuple[ToolResultContent, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (TextPart(content),)
    parts: list[ToolResultContent] = []
    for item in content:
        if type(item) is wire.TextBlock:
            parts.append(TextPart(item.text, _decode_cache(item.cache_control)))
        elif isinstance(item, wire.ToolReferenceBlock):
            # Elsewhere all tools are there from the start: the model needs to read which one was found.
            parts.append(TextPart(f"Found the tool {item.tool_name}.", _decode_cache(item.cache_control)))
        elif isinstance(item, wire.ImageBlock | wire.DocumentBlock | wire.SearchResultBlock):
            parts.extend(_decode_media(item))
        else:
            parts.append(OpaquePart(NAME, _tag_of(item)))
    return tuple(parts)


def _decode_media(
    block: wire.ImageBlock | wire.DocumentBlock | wire.SearchResultBlock,
) -> Iterator[ImagePart | DocumentPart]:
    cache = _decode_cache(block.cache_control) or _last_mark(block)
    match block:
        case wire.ImageBlock():
            yield ImagePart(_decode_source(block.source), cache=cache)
        case wire.SearchResultBlock():
            text = "\n".join(item.text for item in block.content)
            cited = _cited(block.citations)
            yield DocumentPart(TextSource(text), title=block.title, context=block.source, cache=cache, cited=cited)
        case wire.DocumentBlock(source=wire.ContentSource(content=content)):
            yield from _decode_content_document(block, content)
        case wire.DocumentBlock(source=wire.TextSource(data=text)):
            yield _document(block, TextSource(text))
        case wire.DocumentBlock():
            assert not isinstance(block.source, wire.TextSource | wire.ContentSource)
            yield _document(block, _decode_source(block.source))
        case _:
            assert_never(block)


def _last_mark(block: wire.ImageBlock | wire.DocumentBlock | wire.SearchResultBlock) -> CachePoint | None:
    """A mark on a text or an image inside ends a cached prefix with what holds it: elsewhere it is one piece."""
    match block:
        case wire.DocumentBlock(source=wire.ContentSource(content=list(inner))) | wire.SearchResultBlock(content=inner):
            marks = [item.cache_control for item in inner if item.cache_control is not None]
            return _decode_cache(marks[-1]) if marks else None
        case _:
            return None


def _document(block: wire.DocumentBlock, source: DocumentSource) -> DocumentPart:
    return DocumentPart(
        source,
        title=block.title or "",
        context=block.context or "",
        cache=_decode_cache(block.cache_control) or _last_mark(block),
        cited=_cited(block.citations),
    )


def _cited(citations: wire.Citations | None) -> bool:
    return citations is not None and bool(citations.enabled)


def _decode_content_document(
    block: wire.DocumentBlock, content: str | list[wire.TextBlock | wire.ImageBlock]
) -> Iterator[DocumentPart | ImagePart]:
    """A document made of blocks: its text as one document, its images after it."""
    blocks = [wire.TextBlock(content)] if isinstance(content, str) else content
    text = "\n".join(item.text for item in blocks if isinstance(item, wire.TextBlock))
    yield _document(block, TextSource(text))
    for item in blocks:
        if isinstance(item, wire.ImageBlock):
            yield ImagePart(_decode_source(item.source))


def _decode_source(source: wire.Base64Source | wire.UrlSource | wire.FileSource) -> Source:
    match source:
        case wire.Base64Source():
            return Base64Source(source.media_type, source.data)
        case wire.UrlSource():
            return UrlSource(source.url)
        case wire.FileSource():
            return FileSource(source.file_id)


def _decode_cache(control: wire.CacheControl | None) -> CachePoint | None:
    return None if control is None else CachePoint(control.ttl or "")


def _decode_tools(
    tools: Sequence[wire.Tool], members: dict[str, msgspec.Raw], beyond: Beyond
) -> tuple[tuple[Tool, ...], StandIns]:
    result: list[Tool] = []
    stand_ins: StandIns = {}
    for i, tool in enumerate(tools):
        path = f"tools[{i}]"
        if tool.type in (None, "custom"):
            result.append(_decode_tool(tool, path, beyond))
        elif tool.type.startswith(WEB_SEARCH):
            result.append(_decode_search(tool, wire.RAW_LIST_DECODER.decode(members["tools"])[i], path, beyond))
        elif toolsets.family_of(tool):
            result.extend(_decode_toolset(tool, path, beyond, stand_ins))
        elif (function := client_tools.function_of(tool, _decode_cache(tool.cache_control), path)) is not None:
            result.append(function)
            stand_ins[function.name] = StandIn(function.name, kind="client_tool", path=path)
            _tell_beyond(tool, path, (*_BEYOND_FUNCTIONS, "strict"), beyond)
        else:
            result.append(OpaqueTool(NAME, tool.type))
    return tuple(result), stand_ins


def _decode_toolset(tool: wire.Tool, path: str, beyond: Beyond, stand_ins: StandIns) -> Iterator[FunctionTool]:
    family = toolsets.family_of(tool)
    offered = [*toolsets.members_of(tool, family)]
    cache = _decode_cache(tool.cache_control)
    for member in offered:
        name = function_name(member.name, family)
        stand_ins[name] = StandIn(member.name, family, "client_tool", path=path)
        last = cache if member is offered[-1] else None
        yield FunctionTool(name, member.description, member.parameters, cache=last, path=path)
    beyond.update((f"{path}.{member}", _TRUE) for member in toolsets.unsaid_of(tool, family))


_BEYOND_FUNCTIONS: Final = ("defer_loading", "allowed_callers", "input_examples", "eager_input_streaming")
"""What this API can say of a tool and others cannot."""


def _tell_beyond(tool: wire.Tool, path: str, names: Sequence[str], beyond: Beyond) -> None:
    beyond.update((f"{path}.{name}", _TRUE) for name in names if getattr(tool, name))


WEB_SEARCH: Final = "web_search_"
"""What the types of every version of the web search begin with."""


def _decode_search(tool: wire.Tool, raw: msgspec.Raw, path: str, beyond: Beyond) -> WebSearchTool:
    _tell_beyond(tool, path, ("defer_loading", "allowed_callers", "cache_control", "strict"), beyond)
    where = tool.user_location
    location = None
    if where is not None:
        location = UserLocation(where.city or "", where.region or "", where.country or "", where.timezone or "")
    return WebSearchTool(
        allowed_domains=tuple(tool.allowed_domains or ()),
        blocked_domains=tuple(tool.blocked_domains or ()),
        uses_max=tool.max_uses,
        location=location,
        dialect=NAME,
        raw=raw,
    )


def _decode_format(wanted: wire.OutputFormat) -> ResponseFormat:
    _check_object(bytes(wanted.schema), "output_config.format.schema")
    return ResponseFormat("json_schema", schema=wanted.schema)


def _check_object(schema: bytes, path: str) -> None:
    if not schema.startswith(b"{"):
        raise RequestError("must be an object", path=path, code="invalid_value")


def _decode_tool(tool: wire.Tool, path: str, beyond: Beyond) -> FunctionTool:
    if not tool.name:
        raise RequestError("this member is required", path=f"{path}.name", code="invalid_value")
    schema = bytes(tool.input_schema)
    if schema:
        _check_object(schema, f"{path}.input_schema")
    _tell_beyond(tool, path, _BEYOND_FUNCTIONS, beyond)
    parameters = msgspec.Raw(schema) if schema else None
    return FunctionTool(tool.name, tool.description or "", parameters, tool.strict, _decode_cache(tool.cache_control))


def _decode_tool_choice(choice: wire.ToolChoice | None) -> tuple[ToolChoice | None, bool | None]:
    match choice:
        case None:
            return None, None
        case wire.NoChoice():
            return ToolChoice("none"), None
        case wire.AutoChoice():
            result = ToolChoice("auto")
        case wire.AnyChoice():
            result = ToolChoice("required")
        case wire.NamedChoice():
            result = ToolChoice("named", choice.name)
    disabled = choice.disable_parallel_tool_use
    return result, None if disabled is None else not disabled


def _tag_of(block: msgspec.Struct) -> str:
    return str(block.__struct_config__.tag)
