"""A generateContent request, read as clients send it.

- Google's clients keep one content for each chunk of a stream and send them all back, so the model's contents that
  follow each other are one message, and their texts and thoughts that follow each other one part.
- A call need not have an id: one is made from its place in the conversation, which stays as the conversation grows. A
  response without an id answers the first open call of its name.
- A response that is `{"output": text}` or `{"result": text}` is that text, `{"error": …}` an error (what Google's own
  clients write); any other is its JSON.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal

import msgspec
from headgate.llm.canonical import (
    Base64Source,
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
    ResponseFormat,
    Role,
    Sampling,
    Source,
    TextPart,
    ThinkingPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultContent,
    ToolResultPart,
    UrlSource,
    WebSearchTool,
)
from headgate.llm.dialects.gemini import wire
from headgate.llm.dialects.gemini.proto_names import camel_body, is_snake
from headgate.llm.dialects.gemini.request_encoding import encode_request
from headgate.llm.dialects.gemini.schema import SchemaError, from_openapi
from headgate.llm.dialects.gemini.signatures import unwrap
from headgate.llm.endpoints import NO_PATH, PathFacts
from headgate.llm.errors import RequestError
from headgate.llm.names import DialectName
from headgate.llm.strict import decode_strict, text_of
from headgate.llm.unknown_members import Told, decode_known

__all__ = ["decode_request", "encode_request"]

NAME: Final = DialectName.GEMINI

Beyond = dict[str, msgspec.Raw]
"""What goes beyond the canonical model, by JSON path."""

_TRUE: Final = msgspec.Raw(b"true")
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_tools = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_decode_text = msgspec.json.Decoder(str).decode


def decode_request(body: bytes, path: PathFacts = NO_PATH) -> ChatRequest:
    """See `ChatDialect.decode_request`. The model and whether to stream are in the path."""
    request, members, config_members = _read(body)
    if not path.model:
        raise RequestError("the path names no model", path="model", code="invalid_value")
    if not request.contents:
        raise RequestError("must hold at least one content", path="contents", code="invalid_value")
    _refuse_kept(members)
    beyond = {name: raw for name, raw in members.items() if name not in wire.REQUEST_MEMBERS and name != "model"}
    beyond |= {
        f"generationConfig.{name}": raw for name, raw in config_members.items() if name not in wire.CONFIG_MEMBERS
    }
    if bytes(beyond.get("generationConfig.responseModalities", b"")).upper() == b'["TEXT"]':
        del beyond["generationConfig.responseModalities"]
    config = request.generation_config or wire.GenerationConfig()
    turns = _Turns(beyond)
    for index, content in enumerate(request.contents):
        turns.take(content, index)
    return ChatRequest(
        model=path.model,
        messages=(*_system(request.system_instruction), *turns.messages()),
        tools=tuple(_tools(request.tools, members, beyond)),
        tool_choice=_tool_choice(request.tool_config, beyond),
        response_format=_response_format(config, beyond),
        sampling=_sampling(config),
        stop=tuple(config.stop_sequences or ()),
        max_tokens=_max_tokens(config),
        reasoning=_reasoning(config.thinking_config),
        service_tier=_TIERS.get((request.service_tier or "").lower(), request.service_tier or ""),
        stream=path.stream,
        include_usage=True,
        extras={NAME: beyond} if beyond else {},
    )


_TIERS: Final[Mapping[str, str]] = MappingProxyType({"unspecified": "", "standard": "default"})
"""Google's words to OpenAI's, where they differ."""


_KEPT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cachedContent": "cached contents are kept at Google, which this backend is not: send them in `contents`",
        "continuationToken": "what an answer goes on from is kept at Google, which this backend is not: ask without it",
    }
)
"""Members that stand for what only Google has, and why they are refused."""


def _refuse_kept(members: Mapping[str, msgspec.Raw]) -> None:
    """Without it the beginning of the conversation would be missing, or of the answer that shall go on."""
    for name, reason in _KEPT.items():
        if bytes(members.get(name, b"")) not in (b"", b"null", b'""'):
            raise RequestError(reason, path=name, code="unsupported_parameter")


def _read(body: bytes) -> tuple[wire.Request, dict[str, msgspec.Raw], dict[str, msgspec.Raw]]:
    """The request, its members, those of its `generationConfig`."""
    try:
        return _read_camel(body)
    except (_SnakeError, RequestError):
        if b"_" not in body:
            raise
    return _read_camel(camel_body(body), again=True)


class _SnakeError(Exception):
    """The body has names in snake case."""


def _read_camel(
    body: bytes, *, again: bool = False
) -> tuple[wire.Request, dict[str, msgspec.Raw], dict[str, msgspec.Raw]]:
    request, members = decode_strict(wire.REQUEST_DECODER, body, conversation="contents")
    config = wire.present(members.get("generationConfig", wire.ABSENT))
    config_members = _decode_members(config) if config else {}
    names = (*members, *config_members)
    if not again and any(is_snake(name) for name in names):
        raise _SnakeError
    if not again and any(is_snake(name) for tool in _raw_tools(members) for name in tool):
        raise _SnakeError
    return request, members, config_members


def _raw_tools(members: dict[str, msgspec.Raw]) -> list[dict[str, msgspec.Raw]]:
    tools = wire.present(members.get("tools", wire.ABSENT))
    return _decode_tools(tools) if tools else []


# --- contents --------------------------------------------------------------------------------------------------------


def _system(content: wire.Content | None) -> Iterator[Message]:
    if content is None or not content.parts:
        return
    parts: list[Part] = []
    for index, part in enumerate(content.parts):
        if part.text is None:
            where = f"systemInstruction.parts[{index}]"
            raise RequestError("instructions are text", path=where, code="invalid_value")
        if part.text:
            parts.append(TextPart(part.text))
    if parts:
        yield Message("system", tuple(parts), path="systemInstruction")


_ROLES: Final[dict[str | None, Role]] = {
    None: "user",
    "": "user",
    "user": "user",
    "function": "user",
    "tool": "user",
    "model": "assistant",
}


class _Turns(msgspec.Struct, gc=False):
    """Collects contents into messages. Feed every content in order, then read `messages`."""

    beyond: Beyond
    turns: list[tuple[Role, str, list[Part]]] = []
    """Role, path, parts."""
    calls: list[tuple[str, str]] = []
    """Id and name of the calls that have no response yet."""

    def take(self, content: wire.Content, index: int) -> None:
        path = f"contents[{index}]"
        role = _ROLES.get(content.role)
        if role is None:
            raise RequestError("must be user, model or function", path=f"{path}.role", code="invalid_value")
        if role != "assistant":
            parts: list[Part] = []
            for i, part in enumerate(content.parts or ()):
                if part.text and part == wire.Part(text=part.text):  # nothing but a text, as most are
                    parts.append(TextPart(part.text))
                else:
                    parts.extend(self._part(part, f"{path}.parts[{i}]"))
            self.turns.append((role, path, parts))
            return
        if not self.turns or self.turns[-1][0] != "assistant":
            self.calls.clear()
            self.turns.append((role, path, []))
        parts = self.turns[-1][2]
        for i, part in enumerate(content.parts or ()):
            self._take_said(part, parts, f"{path}.parts[{i}]", f"call_{index}_{i}")

    def messages(self) -> Iterator[Message]:
        for role, path, parts in self.turns:
            yield Message(role, tuple(parts), path=path)

    def _take_said(self, part: wire.Part, parts: list[Part], path: str, made_id: str) -> None:
        """A part that the model said."""
        last = parts[-1] if parts else None
        if part.thought:
            signature, redacted = unwrap(part.thought_signature or "")
            if redacted:
                parts.append(RedactedThinkingPart(redacted))
            elif isinstance(last, ThinkingPart) and not last.signature:
                parts[-1] = ThinkingPart(last.text + (part.text or ""), signature)
            elif part.text or signature:
                parts.append(ThinkingPart(part.text or "", signature))
        elif part.function_call is not None:
            call = part.function_call
            if wire.present(call.partial_args):
                self.beyond[f"{path}.functionCall.partialArgs"] = call.partial_args
            if call.will_continue:
                self.beyond[f"{path}.functionCall.willContinue"] = _TRUE
            arguments = wire.present(call.args) or b"{}"
            if not arguments.startswith(b"{"):
                raise RequestError("must be an object", path=f"{path}.functionCall.args", code="invalid_value")
            call_id = call.id or made_id
            self.calls.append((call_id, call.name))
            parts.append(ToolCallPart(call_id, call.name, _compact(arguments, f"{path}.functionCall.args")))
        elif part.text is not None and type(last) is TextPart:
            parts[-1] = TextPart(last.text + part.text)
        elif part.text and part == wire.Part(text=part.text):  # nothing but a text, as most are
            parts.append(TextPart(part.text))
        else:
            parts.extend(self._part(part, path))

    def _part(self, part: wire.Part, path: str) -> Iterator[Part]:
        self._tell(part, wire.PART_SETTINGS, path)
        if part.text is not None:
            if part.text:
                yield TextPart(part.text)
        elif part.inline_data is not None:
            blob = part.inline_data
            source = Base64Source((blob.mime_type or "").lower(), _standard(blob.data))
            yield _media(source, blob.mime_type or "", blob.display_name or "", _detail(part))
        elif part.file_data is not None:
            file = part.file_data
            yield _media(_file_source(file.file_uri), file.mime_type or "", file.display_name or "", _detail(part))
        elif part.function_response is not None:
            yield self._result(part.function_response, f"{path}.functionResponse")
        elif part.function_call is not None:
            raise RequestError("only the model calls functions", path=f"{path}.functionCall", code="invalid_value")
        else:
            opaque = ((name, getattr(part, attribute)) for attribute, name in wire.OPAQUE_PARTS)
            found = next(((name, raw) for name, raw in opaque if wire.present(raw)), None)
            if found is not None:
                yield OpaquePart(NAME, found[0], found[1])
            elif part.thought_signature is None and not part.thought:
                raise RequestError("must hold text, data, a call or a response", path=path, code="invalid_value")

    def _tell(self, part: wire.Media, settings: Sequence[tuple[str, str]], path: str) -> None:
        """Notes what only this dialect can say of a part."""
        for attribute, name in settings:
            raw = getattr(part, attribute)
            if wire.present(raw):
                self.beyond[f"{path}.{name}"] = raw
        if part.media_resolution is not None and not _is_detail(part):
            self.beyond[f"{path}.mediaResolution"] = _TRUE
        for member, data in (("inlineData", part.inline_data), ("fileData", part.file_data)):
            if data is not None and data.display_name and not _is_document(data.mime_type):
                self.beyond[f"{path}.{member}.displayName"] = _TRUE

    def _result(self, response: wire.FunctionResponse, path: str) -> ToolResultPart:
        by_id = (i for i, (call_id, _) in enumerate(self.calls) if response.id and call_id == response.id)
        by_name = (i for i, (_, name) in enumerate(self.calls) if name == response.name)
        place = next(by_id, next(by_name, None))
        if place is None:
            message = f"no functionCall of {response.name[:64]} before it is still to be answered"
            raise RequestError(message, path=f"{path}.name", code="invalid_value")
        call_id, _ = self.calls.pop(place)
        text, is_error = _response_text(response.response, f"{path}.response")
        content: list[ToolResultContent] = [TextPart(text)] if text else []
        for index, part in enumerate(response.parts or ()):
            self._tell(part, wire.MEDIA_SETTINGS, f"{path}.parts[{index}]")
            if part.inline_data is not None:
                blob = part.inline_data
                source = Base64Source((blob.mime_type or "").lower(), _standard(blob.data))
                content.append(_media(source, blob.mime_type or "", blob.display_name or "", _detail(part)))
            elif part.file_data is not None:
                file = part.file_data
                source = _file_source(file.file_uri)
                content.append(_media(source, file.mime_type or "", file.display_name or "", _detail(part)))
            else:
                where = f"{path}.parts[{index}]"
                raise RequestError("must hold inlineData or fileData", path=where, code="invalid_value")
        return ToolResultPart(call_id, tuple(content), is_error)


_PLAIN_RESULTS: Final = ("output", "result")


def _response_text(raw: msgspec.Raw, path: str) -> tuple[str, bool | None]:
    """The text of a function's response, and whether it is an error."""
    response = wire.present(raw)
    text_of(response, path)
    if not response or response == b"{}":
        return "", None
    members: dict[str, msgspec.Raw] = _decode_members(response) if response.startswith(b"{") else {}
    if len(members) == 1:
        name, raw = next(iter(members.items()))
        value = bytes(raw)
        if name == "error":
            return (_decode_text(value) if value.startswith(b'"') else _compact(value, path)), True
        if name in _PLAIN_RESULTS and value.startswith(b'"'):
            return _decode_text(value), None
    return _compact(response, path), None


def _compact(json: bytes, path: str) -> str:
    """An object of ours as the text that other dialects make of it."""
    return text_of(msgspec.json.format(json, indent=-1), path)


def _standard(data: str) -> str:
    """Base64 in the standard alphabet: Google's clients write the URL's."""
    if "-" in data or "_" in data:
        data = data.translate(_ALPHABET)
    return data + "=" * (-len(data) % 4)


_ALPHABET: Final = str.maketrans("-_", "+/")

_UPLOADED: Final = ("gs://", "files/", "https://generativelanguage.googleapis.com/")


def _file_source(uri: str) -> Source:
    return FileSource(uri) if uri.startswith(_UPLOADED) else UrlSource(uri)


_VIDEO_SITES: Final = ("https://www.youtube.com/", "https://youtu.be/", "https://youtube.com/")


def _media(source: Source, media_type: str, title: str, detail: str) -> ImagePart | MediaPart | DocumentPart:
    kind, _, subtype = media_type.lower().partition("/")
    if kind == "image":
        return ImagePart(source, detail)
    if kind == "audio":
        return MediaPart("audio", source, _AUDIO_FORMATS.get(subtype, subtype))
    if kind == "video" or (isinstance(source, UrlSource) and source.url.startswith(_VIDEO_SITES)):
        return MediaPart("video", source, subtype)
    return DocumentPart(source, title)


_AUDIO_FORMATS: Final = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav"}


def _is_document(media_type: str | None) -> bool:
    return (media_type or "").lower().partition("/")[0] not in ("image", "audio", "video")


_DETAILS: Final = {
    "MEDIA_RESOLUTION_LOW": "low",
    "MEDIA_RESOLUTION_MEDIUM": "medium",
    "MEDIA_RESOLUTION_HIGH": "high",
    "MEDIA_RESOLUTION_ULTRA_HIGH": "high",
}


def _detail(part: wire.Media) -> str:
    level = part.media_resolution.level if part.media_resolution is not None else None
    return _DETAILS.get((level or "").upper(), "")


def _is_detail(part: wire.Media) -> bool:
    """Whether the resolution is said as the detail of an image, and says no more."""
    asked, data = part.media_resolution, part.inline_data or part.file_data
    if asked is None or asked.num_tokens is not None or data is None:
        return False
    known = (asked.level or "").upper() in ("MEDIA_RESOLUTION_LOW", "MEDIA_RESOLUTION_MEDIUM", "MEDIA_RESOLUTION_HIGH")
    return known and (data.mime_type or "").lower().startswith("image/")


# --- tools -----------------------------------------------------------------------------------------------------------

_SEARCHES: Final = ("googleSearch", "googleSearchRetrieval")


class _Search(Told, frozen=True, rename="camel"):
    exclude_domains: list[str] | None = None


_SEARCH: Final = msgspec.json.Decoder(_Search)


def _tools(tools: Sequence[wire.Tool] | None, members: dict[str, msgspec.Raw], beyond: Beyond) -> Iterator[Tool]:
    if not tools:
        return
    for index, (tool, raw) in enumerate(zip(tools, _raw_tools(members), strict=True)):
        path = f"tools[{index}]"
        for position, declaration in enumerate(tool.function_declarations or ()):
            yield _function_tool(declaration, f"{path}.functionDeclarations[{position}]", beyond)
        for name, value in raw.items():
            if name in wire.TOOL_MEMBERS or not wire.present(value):
                continue
            one = msgspec.Raw(msgspec.json.encode({name: value}))
            if name in _SEARCHES:
                excluded = _excluded(value, f"{path}.{name}", beyond)
                yield WebSearchTool(blocked_domains=excluded, dialect=NAME, raw=one)
            else:
                yield OpaqueTool(NAME, name, one)


def _excluded(raw: msgspec.Raw, path: str, beyond: Beyond) -> tuple[str, ...]:
    try:
        search, unknown = decode_known(_SEARCH, raw, path)
    except msgspec.ValidationError as error:
        raise RequestError(str(error), path=path, code="invalid_value") from None
    beyond.update(unknown)
    return tuple(search.exclude_domains or ())


def _function_tool(declaration: wire.FunctionDeclaration, path: str, beyond: Beyond) -> FunctionTool:
    for name, raw in (
        ("response", declaration.response),
        ("responseJsonSchema", declaration.response_json_schema),
    ):
        if wire.present(raw):
            beyond[f"{path}.{name}"] = raw
    if declaration.behavior not in (None, "", "UNSPECIFIED", "BLOCKING"):
        beyond[f"{path}.behavior"] = _TRUE
    parameters = _schema(declaration.parameters_json_schema, declaration.parameters, path, "parameters")
    return FunctionTool(declaration.name, declaration.description or "", parameters)


def _schema(json_schema: msgspec.Raw, openapi: msgspec.Raw, path: str, name: str) -> msgspec.Raw | None:
    given = wire.present(json_schema)
    if given:
        if not given.startswith(b"{"):
            raise RequestError("must be an object", path=f"{path}.{name}JsonSchema", code="invalid_value")
        return json_schema
    given = wire.present(openapi)
    if not given:
        return None
    if not given.startswith(b"{"):
        raise RequestError("must be an object", path=f"{path}.{name}", code="invalid_value")
    try:
        return from_openapi(openapi)
    except SchemaError as error:
        raise RequestError(str(error), path=f"{path}.{name}", code="invalid_value") from None


def _tool_choice(config: wire.ToolConfig | None, beyond: Beyond) -> ToolChoice | None:
    if config is None:
        return None
    if wire.present(config.retrieval_config):
        beyond["toolConfig.retrievalConfig"] = config.retrieval_config
    if config.include_server_side_tool_invocations:
        beyond["toolConfig.includeServerSideToolInvocations"] = _TRUE
    calling = config.function_calling_config
    if calling is None:
        return None
    if calling.stream_function_call_arguments:
        beyond["toolConfig.functionCallingConfig.streamFunctionCallArguments"] = _TRUE
    names = tuple(calling.allowed_function_names or ())
    match (calling.mode or "").upper():
        case "" | "MODE_UNSPECIFIED":
            return None
        case "AUTO":
            return ToolChoice("auto")
        case "NONE":
            return ToolChoice("none")
        case "ANY":
            return ToolChoice("named", names[0]) if len(names) == 1 else ToolChoice("required", allowed=names)
        case "VALIDATED":
            beyond["toolConfig.functionCallingConfig.mode"] = msgspec.Raw(b'"VALIDATED"')
            return ToolChoice("auto", allowed=names)
        case _:
            where = "toolConfig.functionCallingConfig.mode"
            raise RequestError("must be AUTO, ANY, NONE or VALIDATED", path=where, code="invalid_value")


# --- parameters ------------------------------------------------------------------------------------------------------


def _response_format(config: wire.GenerationConfig, beyond: Beyond) -> ResponseFormat | None:
    schema = _schema(config.response_json_schema, config.response_schema, "generationConfig", "responseSchema")
    match config.response_mime_type:
        case None | "" | "text/plain":
            if schema is not None:
                beyond["generationConfig.responseSchema"] = schema
            return None
        case "application/json":
            return ResponseFormat("json_object" if schema is None else "json_schema", schema=schema)
        case other:
            beyond["generationConfig.responseMimeType"] = msgspec.Raw(msgspec.json.encode(other))
            if schema is not None:
                beyond["generationConfig.responseSchema"] = schema
            return None


def _sampling(config: wire.GenerationConfig) -> Sampling:
    return Sampling(
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=None if config.top_k is None else int(config.top_k),
        frequency_penalty=config.frequency_penalty or None,
        presence_penalty=config.presence_penalty or None,
        seed=config.seed,
        candidates=None if config.candidate_count in (0, 1) else config.candidate_count,
        logprobs=config.response_logprobs or None,
        top_logprobs=config.logprobs or None,
    )


def _max_tokens(config: wire.GenerationConfig) -> int | None:
    value = config.max_output_tokens
    if value is not None and value < 1:
        raise RequestError("must be at least 1", path="generationConfig.maxOutputTokens", code="invalid_value")
    return value


_EFFORTS: Final = frozenset(("minimal", "low", "medium", "high", "xhigh"))


def _reasoning(thinking: wire.ThinkingConfig | None) -> Reasoning | None:
    if thinking is None:
        return None
    display = {True: "summarized", False: "omitted", None: ""}[thinking.include_thoughts]
    level = (thinking.thinking_level or "").lower()
    effort = level if level in _EFFORTS else ""
    mode: Literal["", "enabled", "disabled", "adaptive"]
    match thinking.thinking_budget:
        case None:
            mode, budget = "" if effort else "adaptive", None
        case 0:
            return Reasoning("disabled", effort=effort)
        case -1:
            mode, budget = "adaptive", None
        case budget if budget > 0:
            mode = "enabled"
        case _:
            where = "generationConfig.thinkingConfig.thinkingBudget"
            raise RequestError("must be -1, 0 or a number of tokens", path=where, code="invalid_value")
    return Reasoning(mode, budget, effort, display)
