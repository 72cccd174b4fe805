"""Chat completion requests: read as clients send them.

How messages are read:

- Parts of one assistant message come in the order thinking, text and refusals, tool calls, whatever the member order.
- A `tool` message is a user message with one tool result; nothing is merged.
- `reasoning_content` and `thinking_blocks` together are one reasoning, told twice: blocks win, and those that carry a
  signature only (compat: how upstream streams them) take the text.
- A tool result whose text is a JSON object with a truthy `error` member is an error (compat).
- A default that is spelled out (`n: 1`, a penalty of 0, `null`) is as good as not said.
"""

import re
from collections.abc import Sequence
from typing import Final, Literal, assert_never

import msgspec
from headgate.llm.canonical import (
    Base64Source,
    CachePoint,
    ChatRequest,
    DocumentPart,
    FileSource,
    FunctionTool,
    ImagePart,
    MediaPart,
    Message,
    OpaquePart,
    OpaqueTool,
    Part,
    Reasoning,
    RedactedThinkingPart,
    RefusalPart,
    ResponseFormat,
    Sampling,
    StandIn,
    StandIns,
    TextPart,
    ThinkingPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultContent,
    ToolResultPart,
    UrlSource,
)
from headgate.llm.dialects.openai_chat import wire
from headgate.llm.dialects.openai_chat.annotations import citations_of, cite
from headgate.llm.dialects.openai_chat.cache_points import point_of
from headgate.llm.dialects.openai_chat.data_uris import source_of
from headgate.llm.dialects.openai_chat.request_encoding import encode_request
from headgate.llm.dialects.openai_chat.web_search import PATH, TOOLS, search_of, search_tool
from headgate.llm.endpoints import NO_PATH, PathFacts
from headgate.llm.errors import RequestError
from headgate.llm.names import DialectName
from headgate.llm.stand_ins import freeform_arguments, freeform_function
from headgate.llm.strict import decode_strict, text_of

__all__ = ["decode_request", "encode_request"]

_ALLOWED_WORDS: Final = (
    (re.compile(r"^messages\[\d+\]\.role$"), "system, developer, user, assistant, tool or function"),
    (
        re.compile(r"\.content\[\d+\]\.type$"),
        "a content part that this role takes: text, and for users image_url, input_audio, file, audio_url, video_url",
    ),
)
_DEFAULT_EXTRAS: Final = {"store": b"false", "modalities": b'["text"]', "metadata": b"{}"}
"""Defaults spelled out."""

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_error_member = msgspec.json.Decoder(wire.ToolError).decode


def decode_request(body: bytes, _path: PathFacts = NO_PATH) -> ChatRequest:
    """The client's body. RequestError with the JSON path of the first thing wrong."""
    chat, members = decode_strict(wire.REQUEST_DECODER, body, conversation="messages", allowed=_ALLOWED_WORDS)
    if not chat.model:
        raise RequestError("must not be empty", path="model")
    if not chat.messages:
        raise RequestError("must hold at least one message", path="messages")
    tools, stand_ins = _tools(chat, members)
    extras = _extras(members, chat)
    return ChatRequest(
        model=chat.model,
        messages=_messages(chat.messages),
        tools=tools,
        stand_ins=stand_ins,
        tool_choice=_tool_choice(chat),
        parallel_tool_calls=chat.parallel_tool_calls,
        response_format=_response_format(chat.response_format) or _guided(extras),
        sampling=_sampling(chat),
        stop=_stop(chat.stop),
        max_tokens=_max_tokens(chat),
        reasoning=_reasoning(chat),
        user=chat.user or chat.safety_identifier or "",
        service_tier=chat.service_tier or "",
        stream=bool(chat.stream),
        include_usage=chat.stream_options is not None and bool(chat.stream_options.include_usage),
        extras={DialectName.OPENAI_CHAT: extras} if extras else {},
    )


def _extras(members: dict[str, msgspec.Raw], chat: wire.ChatBody) -> dict[str, msgspec.Raw]:
    twice = bool(chat.user and chat.safety_identifier)
    if wire.KNOWN_MEMBERS.issuperset(members) and not twice:
        return {}
    extras: dict[str, msgspec.Raw] = {}
    for name, raw in members.items():
        if name in wire.KNOWN_MEMBERS and not (name == "safety_identifier" and twice):
            continue
        value = wire.present(raw)
        if value and _DEFAULT_EXTRAS.get(name) != value:
            extras[name] = raw
    return extras


# --- messages --------------------------------------------------------------------------------------------------------


def _messages(messages: Sequence[wire.ChatMessage]) -> tuple[Message, ...]:
    legacy_calls: dict[str, str] = {}
    return tuple([_message(message, index, legacy_calls) for index, message in enumerate(messages)])


def _message(message: wire.ChatMessage, index: int, legacy_calls: dict[str, str]) -> Message:
    path = f"messages[{index}]"
    if type(message) is wire.UserMessage:
        parts = _with_cache(_user_parts(message.content, path), message.cache_control)
        return Message("user", parts, message.name or "", path)
    if type(message) is wire.AssistantMessage:
        if message.function_call is not None:
            legacy_calls[message.function_call.name] = _legacy_id(index)
        parts = _with_cache(_assistant_parts(message, index), message.cache_control)
        return Message("assistant", parts, message.name or "", path)
    if type(message) is wire.ToolMessage:
        return Message("user", (_tool_result(message, path),), path=path)
    match message:
        case wire.SystemMessage():
            parts = _with_cache(_texts(message.content), message.cache_control)
            return Message("system", parts, message.name or "", path)
        case wire.DeveloperMessage():
            parts = _with_cache(_texts(message.content), message.cache_control)
            return Message("developer", parts, message.name or "", path)
        case wire.FunctionMessage():
            call_id = legacy_calls.get(message.name)
            if call_id is None:
                raise RequestError(f"no function_call before it names {message.name}", path=f"{path}.name")
            content = (TextPart(message.content),) if message.content else ()
            return Message("user", (ToolResultPart(call_id, content),), path=path)
        case _:
            assert_never(message)


def _legacy_id(index: int) -> str:
    """Calls of the deprecated kind have no id; their place in the conversation is stable from turn to turn."""
    return f"call_legacy_{index}"


def _cache(control: wire.CacheControl | None) -> CachePoint | None:
    return None if control is None else CachePoint(control.ttl or "")


def _marked(part: wire.TextContent | wire.ImageContent | wire.FileContent) -> CachePoint | None:
    point = part.prompt_cache_breakpoint
    return _cache(part.cache_control) if point is None else point_of(point.ttl)


def _with_cache(parts: tuple[Part, ...], control: wire.CacheControl | None) -> tuple[Part, ...]:
    """A message's own cache point ends up on its last part that can have one."""
    if control is None:
        return parts
    for index in range(len(parts) - 1, -1, -1):
        part = parts[index]
        if isinstance(part, TextPart | ImagePart | DocumentPart | ToolCallPart):
            cached = msgspec.structs.replace(part, cache=_cache(control))
            return (*parts[:index], cached, *parts[index + 1 :])
    return parts


def _texts(content: wire.InstructionContent) -> tuple[Part, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (TextPart(content),) if content else ()
    return tuple(TextPart(part.text, _marked(part)) for part in content)


def _user_parts(content: str | list[wire.UserContent] | None, path: str) -> tuple[Part, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (TextPart(content),) if content else ()
    return tuple([_user_part(part, path, index) for index, part in enumerate(content)])


def _user_part(part: wire.UserContent, path: str, index: int) -> Part:
    if type(part) is wire.TextContent:
        return TextPart(part.text, _marked(part))
    path = f"{path}.content[{index}]"
    match part:
        case wire.ImageContent():
            return _image(part, path)
        case wire.AudioContent():
            return _audio(part)
        case wire.AudioUrlContent():
            return MediaPart("audio", source_of(part.audio_url.url, f"{path}.audio_url.url"))
        case wire.VideoUrlContent():
            return MediaPart("video", source_of(part.video_url.url, f"{path}.video_url.url"))
        case wire.FileContent():
            return _file(part, path)
        case wire.RefusalContent():
            return RefusalPart(part.refusal)
        case _:
            assert_never(part)


def _image(part: wire.ImageContent, path: str) -> ImagePart | DocumentPart:
    """compat: an `image_url` that names a PDF is a document."""
    source = source_of(part.image_url.url, f"{path}.image_url.url")
    cache = _marked(part)
    pdf_data = isinstance(source, Base64Source) and source.media_type == "application/pdf"
    pdf_url = isinstance(source, UrlSource) and source.url.partition("?")[0].lower().endswith(".pdf")
    if pdf_data or pdf_url:
        return DocumentPart(source, cache=cache)
    return ImagePart(source, part.image_url.detail or "", cache)


def _audio(part: wire.AudioContent) -> MediaPart:
    audio_format = part.input_audio.format
    return MediaPart("audio", Base64Source(f"audio/{audio_format}", part.input_audio.data), audio_format)


def _file(part: wire.FileContent, path: str) -> DocumentPart:
    file = part.file
    cache = _marked(part)
    if file.file_data:
        data_path = f"{path}.file.file_data"
        source = source_of(file.file_data, data_path)
        if isinstance(source, UrlSource) and "://" not in source.url:
            source = Base64Source("", source.url)  # OpenAI takes bare base64 as well
        return DocumentPart(source, file.filename or "", cache=cache)
    if file.file_id:
        return DocumentPart(FileSource(file.file_id), file.filename or "", cache=cache)
    raise RequestError("must have file_data or file_id", path=f"{path}.file")


def _assistant_parts(message: wire.AssistantMessage, index: int) -> tuple[Part, ...]:
    parts: list[Part] = []
    if message.reasoning_content or message.reasoning or message.thinking_blocks:
        parts = _thinking_parts(message)
    content = message.content
    if isinstance(content, str):
        if content:
            parts.append(TextPart(content))
    elif content is not None:
        parts.extend(_assistant_part(part) for part in content)
    if message.annotations:
        _cite(parts, message.annotations)
    if message.refusal:
        parts.append(RefusalPart(message.refusal))
    if wire.present(message.audio):
        parts.append(OpaquePart(DialectName.OPENAI_CHAT, "audio", message.audio))
    for position, call in enumerate(message.tool_calls or ()):
        parts.append(_tool_call(call, f"messages[{index}].tool_calls[{position}]"))
    if message.function_call is not None:
        legacy = message.function_call
        arguments = _arguments(legacy, f"messages[{index}].function_call")
        parts.append(ToolCallPart(_legacy_id(index), legacy.name, arguments))
    return tuple(parts)


def _cite(parts: list[Part], annotations: Sequence[wire.Annotation]) -> None:
    places = [place for place, part in enumerate(parts) if isinstance(part, TextPart)]
    texts = [part for part in parts if isinstance(part, TextPart)]
    for place, text in zip(places, cite(texts, list(citations_of(annotations))), strict=True):
        parts[place] = text


def _assistant_part(part: wire.AssistantContent) -> Part:
    match part:
        case wire.TextContent():
            return TextPart(part.text, _marked(part))
        case wire.RefusalContent():
            return RefusalPart(part.refusal)
        case wire.ThinkingContent():
            return ThinkingPart(part.thinking or part.text or "", part.signature or "")
        case wire.RedactedThinkingContent():
            return RedactedThinkingPart(part.data or part.redacted_content or "")
        case _:
            assert_never(part)


def _thinking_parts(message: wire.AssistantMessage) -> list[Part]:
    text, signature, redacted = wire.reasoning_of(message.reasoning_content, message.reasoning)
    parts: list[Part] = []
    for block in message.thinking_blocks or ():
        if block.type == "redacted_thinking" or (block.data and not block.thinking):
            parts.append(RedactedThinkingPart(block.data or ""))
        else:
            parts.append(ThinkingPart(block.thinking or text, block.signature or ""))
            if not block.thinking:
                text = ""
    if parts:
        return parts
    if text or signature:
        parts.append(ThinkingPart(text, signature))
    if redacted:
        parts.append(RedactedThinkingPart(redacted))
    return parts


def _tool_call(call: wire.ToolCall, path: str) -> Part:
    if call.function is not None:
        arguments = _arguments(call.function, f"{path}.function")
        return ToolCallPart(call.id, call.function.name, arguments, _cache(call.cache_control))
    if call.custom is not None:
        return ToolCallPart(call.id, call.custom.name, freeform_arguments(call.custom.input))
    raise RequestError("is required", path=f"{path}.function")


def _arguments(call: wire.FunctionCall, path: str) -> str:
    given = call.arguments
    if isinstance(given, dict):
        return text_of(msgspec.json.encode(given), f"{path}.arguments")
    return wire.arguments_text(given)


def _tool_result(message: wire.ToolMessage, path: str) -> ToolResultPart:
    content = message.content
    cache = _cache(message.cache_control)
    if content is None or content == "":
        return ToolResultPart(message.tool_call_id, cache=cache)
    if isinstance(content, str):
        is_error = True if _is_error(content) else None
        return ToolResultPart(message.tool_call_id, (TextPart(content),), is_error, cache)
    parts: list[ToolResultContent] = []
    for index, part in enumerate(content):
        if type(part) is wire.TextContent:
            parts.append(TextPart(part.text, _marked(part)))
            continue
        part_path = f"{path}.content[{index}]"
        match part:
            case wire.ImageContent():
                parts.append(_image(part, part_path))
            case wire.FileContent():
                parts.append(_file(part, part_path))
            case wire.AudioContent():
                parts.append(_audio(part))
            case _:
                assert_never(part)
    return ToolResultPart(message.tool_call_id, tuple(parts), cache=cache)


def _is_error(text: str) -> bool:
    if not text.startswith("{") or '"error"' not in text:
        return False
    try:
        return _decode_error_member(text).is_error
    except (msgspec.DecodeError, RecursionError):
        return False


# --- tools and parameters --------------------------------------------------------------------------------------------


def _tools(chat: wire.ChatBody, members: dict[str, msgspec.Raw]) -> tuple[tuple[Tool, ...], StandIns]:
    tools: list[Tool] = []
    stand_ins: StandIns = {}
    raws: list[msgspec.Raw] | None = None
    for index, tool in enumerate(chat.tools or ()):
        path = f"tools[{index}]"
        if tool.type == "function":
            if tool.function is None:
                raise RequestError("is required", path=f"{path}.function")
            tools.append(_function_tool(tool.function, tool.cache_control, f"{path}.function"))
        elif tool.type == "custom":
            if tool.custom is None:
                raise RequestError("is required", path=f"{path}.custom")
            tools.append(_custom_tool(tool.custom, path, stand_ins))
        else:
            raws = wire.decode_raw_list(members["tools"]) if raws is None else raws
            if tool.type in TOOLS:
                tools.append(search_tool(tool.type, raws[index], path, members))
            else:
                tools.append(OpaqueTool(DialectName.OPENAI_CHAT, tool.type, raws[index]))
    for index, function in enumerate(chat.functions or ()):
        tools.append(_function_tool(function, None, f"functions[{index}]"))
    if chat.web_search_options is not None:
        tools.append(search_of(chat.web_search_options, members[PATH]))
    return tuple(tools), stand_ins


def _custom_tool(tool: wire.CustomTool, path: str, stand_ins: StandIns) -> FunctionTool:
    rule = None if tool.format is None else tool.format.grammar
    grammar = ("", "") if rule is None else (rule.syntax, rule.definition)
    stand_ins[tool.name] = StandIn(tool.name, kind="custom", grammar=bool(grammar[1]), path=path)
    return freeform_function(tool.name, tool.description or "", grammar)


def _function_tool(function: wire.Function, control: wire.CacheControl | None, path: str) -> FunctionTool:
    return FunctionTool(
        name=function.name,
        description=function.description or "",
        parameters=_schema(function.parameters, f"{path}.parameters"),
        strict=function.strict,
        cache=_cache(function.cache_control or control),
    )


_CHOICE_WORDS: Final[dict[str, Literal["auto", "none", "required"]]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
    "any": "required",  # Mistral, and upstream's spelling
}


def _tool_choice(chat: wire.ChatBody) -> ToolChoice | None:
    choice = chat.tool_choice
    if choice is None:
        legacy = chat.function_call
        if isinstance(legacy, wire.Named):
            return ToolChoice("named", legacy.name)
        return None if legacy is None else _choice_word(legacy, "function_call")
    if isinstance(choice, str):
        return _choice_word(choice, "tool_choice")
    match choice.type:
        case "function" if choice.function is not None:
            return ToolChoice("named", choice.function.name)
        case "custom" if choice.custom is not None:
            return ToolChoice("named", choice.custom.name)
        case "allowed_tools" if choice.allowed_tools is not None:
            return _allowed_tools(choice.allowed_tools)
        case "function" | "custom" | "allowed_tools":
            raise RequestError("is required", path=f"tool_choice.{choice.type}")
        case _:
            raise RequestError("must be function, custom or allowed_tools", path="tool_choice.type")


def _choice_word(word: str, path: str) -> ToolChoice:
    mode = _CHOICE_WORDS.get(word)
    if mode is None:
        raise RequestError("must be auto, none, required or an object that names a function", path=path)
    return ToolChoice(mode)


def _allowed_tools(allowed: wire.AllowedTools) -> ToolChoice:
    if allowed.mode not in ("auto", "required"):
        raise RequestError("must be auto or required", path="tool_choice.allowed_tools.mode")
    named = (tool.function or tool.custom for tool in allowed.tools)
    names = tuple(tool.name for tool in named if tool is not None)
    return ToolChoice(_CHOICE_WORDS[allowed.mode], allowed=names)


def _response_format(response_format: wire.ResponseFormatObject | None) -> ResponseFormat | None:
    if response_format is None:
        return None
    match response_format.type:
        case "text":
            return None  # the default
        case "json_object":
            return ResponseFormat("json_object")
        case "json_schema":
            schema = response_format.json_schema
            if schema is None:
                raise RequestError("is required", path="response_format.json_schema")
            return ResponseFormat(
                "json_schema",
                name=schema.name,
                description=schema.description or "",
                schema=_schema(schema.schema, "response_format.json_schema.schema"),
                strict=schema.strict,
            )
        case _:
            raise RequestError("must be text, json_object or json_schema", path="response_format.type")


def _guided(extras: dict[str, msgspec.Raw]) -> ResponseFormat | None:
    """compat: what vLLM's clients say of the answer's JSON (`guided_json`; since 0.12 in `structured_outputs`). What
    else they hold it to (choices, patterns, grammars) is no JSON and stays among the extras."""
    if not extras:
        return None
    if "guided_json" in extras:
        return _guided_schema(extras.pop("guided_json"), "guided_json")
    raw = bytes(extras.get("structured_outputs", b""))
    rules = _decode_object(raw) if raw.startswith(b"{") else {}
    said = {name for name, value in rules.items() if wire.present(value)}
    if said == {"json"}:
        del extras["structured_outputs"]
        return _guided_schema(rules["json"], "structured_outputs.json")
    if said == {"json_object"} and bytes(rules["json_object"]) == b"true":
        del extras["structured_outputs"]
        return ResponseFormat("json_object")
    return None


def _guided_schema(raw: msgspec.Raw, path: str) -> ResponseFormat:
    """A schema, or its text."""
    if bytes(raw).startswith(b'"'):
        raw = msgspec.Raw(_decode_text(raw).encode())
        try:
            _decode_object(raw)
        except (msgspec.DecodeError, RecursionError):
            raise RequestError("must be a JSON schema object", path=path, code="invalid_value") from None
    return ResponseFormat("json_schema", schema=_schema(raw, path))


def _schema(schema: msgspec.Raw, path: str) -> msgspec.Raw | None:
    text = wire.present(schema)
    if not text:
        return None
    if not text.startswith(b"{"):
        raise RequestError("must be a JSON schema object", path=path)
    return schema


def _sampling(chat: wire.ChatBody) -> Sampling:
    bias = wire.present(chat.logit_bias)
    return Sampling(
        temperature=chat.temperature,
        top_p=chat.top_p,
        top_k=chat.top_k,
        frequency_penalty=chat.frequency_penalty or None,
        presence_penalty=chat.presence_penalty or None,
        seed=chat.seed,
        candidates=None if chat.n == 1 else chat.n,
        logprobs=chat.logprobs or None,
        top_logprobs=chat.top_logprobs or None,
        logit_bias=chat.logit_bias if bias and bias != b"{}" else None,
    )


def _max_tokens(chat: wire.ChatBody) -> int | None:
    newer = chat.max_completion_tokens is not None
    value = chat.max_completion_tokens if newer else chat.max_tokens
    if value is not None and value < 1:
        raise RequestError("must be at least 1", path="max_completion_tokens" if newer else "max_tokens")
    return value


def _stop(stop: str | list[str] | None) -> tuple[str, ...]:
    if stop is None:
        return ()
    return (stop,) if isinstance(stop, str) else tuple(stop)


def _reasoning(chat: wire.ChatBody) -> Reasoning | None:
    thinking = chat.thinking
    effort = chat.reasoning_effort or ""
    if thinking is None:
        return Reasoning(effort=effort) if effort else None
    display = thinking.display or {True: "summarized", False: "omitted", None: ""}[thinking.include_thoughts]
    budget = thinking.budget_tokens
    match thinking.type:
        case "enabled":
            return Reasoning("enabled", budget, effort, display)
        case "disabled":
            return Reasoning("disabled", effort=effort)
        case "adaptive":
            return Reasoning("adaptive", budget, effort, display)
        case _:
            raise RequestError("must be enabled, disabled or adaptive", path="thinking.type")
