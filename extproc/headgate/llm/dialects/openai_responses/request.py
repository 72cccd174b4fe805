"""Requests of the Responses API: read as clients send them.

- What a model said between two messages of others is one turn: reasoning, messages and calls are its parts, in order.
- `instructions` come first, as a system message.
- What lives at OpenAI (earlier responses, conversations, prompts, items by reference) cannot be translated: it is
  refused with the member's name, never left out, since an answer without it would be an answer to another question.
- Reasoning that OpenAI encrypted is of no use to anybody else; reasoning of other providers, sealed by us, is opened.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from headgate.llm.canonical import (
    Base64Source,
    CachePoint,
    ChatRequest,
    DocumentPart,
    Extras,
    FileSource,
    ImagePart,
    MediaPart,
    Message,
    OpaquePart,
    Part,
    Reasoning,
    RedactedThinkingPart,
    RefusalPart,
    ResponseFormat,
    Role,
    Sampling,
    Source,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultContent,
    ToolResultPart,
    UrlSource,
)
from headgate.llm.dialects.openai_chat.cache_points import point_of
from headgate.llm.dialects.openai_chat.data_uris import source_of
from headgate.llm.dialects.openai_chat.wire import present
from headgate.llm.dialects.openai_responses import client_tools, wire
from headgate.llm.dialects.openai_responses.echo import echo_of
from headgate.llm.dialects.openai_responses.request_encoding import encode_request
from headgate.llm.dialects.openai_responses.response import citation_of
from headgate.llm.dialects.openai_responses.tools import TOOL_SEARCH, ToolReader, needed, schema_of, tool_choice_of
from headgate.llm.endpoints import NO_PATH, PathFacts
from headgate.llm.errors import RequestError
from headgate.llm.members import check_utf8
from headgate.llm.names import DialectName
from headgate.llm.stand_ins import found_tools, freeform_arguments, function_name
from headgate.llm.strict import decode_strict, text_of
from headgate.llm.unknown_members import decode_known
from msgspec.structs import replace

__all__ = ["decode_request", "encode_request"]

NAME: Final = DialectName.OPENAI_RESPONSES

_ROLES: Final[dict[str, Role]] = {
    "user": "user",
    "system": "system",
    "developer": "developer",
    "assistant": "assistant",
    "critic": "assistant",
}
_DEFAULT_EXTRAS: Final = {
    "store": (b"false",),
    "truncation": (b'"disabled"',),
    "metadata": (b"{}",),
    "moderation": (b"{}",),
    "context_management": (b"[]",),
}
"""Members that say what happens anyway."""

_ASKS_FOR_NOTHING: Final = "client_metadata"
"""What Codex tells OpenAI of itself and its turn, in every call. The answer is the same without it: no loss."""

_ENCRYPTED: Final = "reasoning.encrypted_content"
_LOGPROBS: Final = "message.output_text.logprobs"

_MODELS_ITEMS: Final = frozenset(
    (
        "code_interpreter_call",
        "computer_call",
        "file_search_call",
        "image_generation_call",
        "mcp_approval_request",
        "mcp_call",
        "mcp_list_tools",
        "web_search_call",
        "compaction",
        "program",
        "program_output",
    )
)
"""Items that OpenAI's tools left in the conversation, on the model's side."""
_SEALED: Final = "gAAAA"
"""How everything begins that OpenAI has encrypted."""

_OTHERS_ITEMS: Final = frozenset(("computer_call_output", "mcp_approval_response"))
"""The same on the other side."""


def decode_request(body: bytes, _path: PathFacts = NO_PATH) -> ChatRequest:
    """The client's body. RequestError with the JSON path of the first thing wrong."""
    request, members = decode_strict(wire.REQUEST_DECODER, body, conversation="input")
    if not request.model:
        raise RequestError("must be given and not be empty", path="model", code="invalid_value")
    _refuse_what_is_elsewhere(request)
    beyond: dict[str, msgspec.Raw] = {}
    reader = ToolReader(beyond)
    if request.tools:
        reader.read(request.tools, wire.decode_raw_list(members["tools"]))
    messages, updates = _messages(request, members, reader)
    if not messages:
        raise RequestError("must hold at least one item", path="input", code="invalid_value")
    if request.max_output_tokens is not None and request.max_output_tokens < 1:
        raise RequestError("must be at least 1", path="max_output_tokens", code="invalid_value")
    include = frozenset(request.include or ())
    return ChatRequest(
        model=request.model,
        messages=messages,
        tools=tuple(reader.tools),
        stand_ins=reader.stand_ins,
        tool_choice=tool_choice_of(request.tool_choice, reader.stand_ins),
        parallel_tool_calls=request.parallel_tool_calls,
        response_format=_response_format(updates.text or request.text),
        sampling=Sampling(
            temperature=request.temperature,
            top_p=request.top_p,
            logprobs=True if _LOGPROBS in include or request.top_logprobs else None,
            top_logprobs=request.top_logprobs or None,
        ),
        max_tokens=request.max_output_tokens,
        reasoning=_reasoning(request.reasoning, updates.effort),
        user=request.user or request.safety_identifier or "",
        service_tier=request.service_tier or "",
        stream=bool(request.stream),
        include_usage=True,
        extras=_extras(request, members, include, beyond),
        echo=echo_of(request, members),
    )


_ELSEWHERE: Final = "kept at OpenAI, which this backend is not: "


def _refuse_what_is_elsewhere(request: wire.Body) -> None:
    if request.previous_response_id:
        reason = "earlier responses are " + _ELSEWHERE + "send the whole conversation in `input`"
        raise RequestError(reason, path="previous_response_id", code="unsupported_parameter")
    if present(request.conversation):
        reason = "conversations are " + _ELSEWHERE + "send the whole conversation in `input`"
        raise RequestError(reason, path="conversation", code="unsupported_parameter")
    if present(request.prompt):
        reason = "prompt templates are " + _ELSEWHERE + "send the text in `instructions` and `input`"
        raise RequestError(reason, path="prompt", code="unsupported_parameter")
    if request.background:
        reason = "this backend answers while the client waits: leave it out, or use `stream`"
        raise RequestError(reason, path="background", code="unsupported_parameter")


def _extras(
    request: wire.Body, members: dict[str, msgspec.Raw], include: frozenset[str], beyond: dict[str, msgspec.Raw]
) -> Extras:
    extras: dict[str, msgspec.Raw] = {}
    for name, raw in members.items():
        if name in wire.REQUEST_MEMBERS or name == _ASKS_FOR_NOTHING:
            continue
        value = present(raw)
        if value and value not in _DEFAULT_EXTRAS.get(name, ()):
            extras[name] = raw
    if request.text is not None and request.text.verbosity and request.text.verbosity != "medium":
        extras["text.verbosity"] = msgspec.Raw(msgspec.json.encode(request.text.verbosity))
    if include - {_ENCRYPTED, _LOGPROBS}:
        extras["include"] = members["include"]
    if request.user and request.safety_identifier:
        extras["safety_identifier"] = members["safety_identifier"]
    extras.update(beyond)
    return {NAME: extras} if extras else {}


# --- input -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Updates:
    """What the last items that update the settings say."""

    effort: str = ""
    text: wire.TextConfig | None = None


def _messages(
    request: wire.Body, members: dict[str, msgspec.Raw], reader: ToolReader
) -> tuple[tuple[Message, ...], _Updates]:
    result: list[Message] = []
    if request.instructions:
        result.append(Message("system", (TextPart(request.instructions),), path="instructions"))
    given = request.input
    if given is None:
        raise RequestError("this member is required", path="input", code="invalid_value")
    if isinstance(given, str):
        if given:
            result.append(Message("user", (TextPart(given),), path="input"))
        return tuple(result) if given else (), _Updates()
    items = _Items(members, result, reader)
    for index, item in enumerate(given):
        items.take(item, index)
    items.end_turn()
    return tuple(result) if given else (), items.updates


class _Items:
    """Makes turns of items. Feed each in order, then `end_turn`."""

    __slots__ = ("_answered", "_hosted", "_members", "_parts", "_path", "_raws", "_reader", "_result", "updates")

    def __init__(self, members: dict[str, msgspec.Raw], result: list[Message], reader: ToolReader) -> None:
        self._members = members
        self._result = result
        self._reader = reader
        self._answered: dict[str, int] = {}
        """Where the result of each call stands."""
        self._hosted: set[str] = set()
        """Calls that OpenAI has answered itself."""
        self.updates = _Updates()
        self._raws: list[msgspec.Raw] | None = None
        self._parts: list[Part] = []
        """Of the model's turn so far."""
        self._path = ""

    def take(self, item: wire.Item, index: int) -> None:
        path = f"input[{index}]"
        match item.type:
            case None | "message":
                self._take_message(item, path)
            case "agent_message":
                self._take_agents_message(item, path)
            case "function_call":
                name, call_id = needed(item.name, f"{path}.name"), needed(item.call_id, f"{path}.call_id")
                arguments = _arguments(item, path)
                self._take_models(ToolCallPart(call_id, function_name(name, item.namespace), arguments), path)
            case "custom_tool_call":
                name, call_id = needed(item.name, f"{path}.name"), needed(item.call_id, f"{path}.call_id")
                arguments = freeform_arguments(item.input or "")
                self._take_models(ToolCallPart(call_id, function_name(name, item.namespace), arguments), path)
            case "function_call_output" | "custom_tool_call_output":
                call_id = needed(item.call_id, f"{path}.call_id")
                result = ToolResultPart(call_id, _output(item.output, f"{path}.output", self._members))
                self._take_others(result, path)
            case (
                "shell_call" | "local_shell_call" | "apply_patch_call" | "shell_call_output" | "apply_patch_call_output"
            ):
                self._take_tool_of_client(item, index, path)
            case "local_shell_call_output":
                call_id = needed(item.call_id or item.id, f"{path}.id")
                self._take_others(ToolResultPart(call_id, _output(item.output, f"{path}.output", self._members)), path)
            case "reasoning":
                for part in _reasoning_parts(item, lambda: self._raw(index)):
                    self._take_models(part, path)
            case "additional_tools" | "configuration_update" | "tool_search_call" | "tool_search_output":
                self._take_setting(item, index, path)
            case "item_reference":
                reason = "items are " + _ELSEWHERE + "send the item itself, as clients do who ask with `store: false`"
                raise RequestError(reason, path=path, code="unsupported_parameter")
            case "compaction_trigger":
                reason = (
                    "OpenAI shortens conversations, this backend does not: have the client summarise it, as Codex does"
                    " for a provider of another name than OpenAI (`model_providers` in its config.toml)"
                )
                raise RequestError(reason, path=path, code="unsupported_parameter")
            case kind if kind in _MODELS_ITEMS:
                self._take_models(OpaquePart(NAME, kind, self._raw(index)), path)
            case kind if kind in _OTHERS_ITEMS:
                self._take_others(OpaquePart(NAME, kind, self._raw(index)), path)
            case kind:
                raise RequestError(f"no item is called {kind[:64]!r}", path=f"{path}.type", code="invalid_value")

    def _take_tool_of_client(self, item: wire.Item, index: int, path: str) -> None:
        """Calls and results of OpenAI's tools that a client runs; of a shell in a container OpenAI has done both."""
        kind, call_id = item.type or "", needed(item.call_id, f"{path}.call_id")
        check_utf8(bytes(self._raw(index)))  # what is skipped when it is read
        if kind.endswith("_output"):
            if call_id in self._hosted:
                self._take_others(OpaquePart(NAME, kind, self._raw(index)), path)
            else:
                self._take_others(client_tools.result_of(item, call_id, path), path)
        elif client_tools.runs_at_client(item.environment):
            call = ToolCallPart(call_id, kind.removesuffix("_call"), client_tools.arguments_of(item, path))
            self._take_models(call, path)
        else:
            self._hosted.add(call_id)
            self._take_models(OpaquePart(NAME, kind, self._raw(index)), path)

    def _take_setting(self, item: wire.Item, index: int, path: str) -> None:
        """Items that say which tools there are, or change other settings."""
        check_utf8(bytes(self._raw(index)))  # what is skipped when it is read
        if item.type == "configuration_update":
            self.updates.effort = (item.reasoning and item.reasoning.effort) or self.updates.effort
            self.updates.text = item.text or self.updates.text
        elif item.type == "additional_tools":
            self._reader.add(item.tools or (), f"{path}.tools")
        elif item.execution != "client":
            part = OpaquePart(NAME, item.type or "", self._raw(index))
            take = self._take_models if item.type == "tool_search_call" else self._take_others
            take(part, path)
        elif item.type == "tool_search_call":
            call_id = needed(item.call_id, f"{path}.call_id")
            self._take_models(ToolCallPart(call_id, TOOL_SEARCH, _search_arguments(item)), path)
        else:
            call_id = needed(item.call_id, f"{path}.call_id")
            names = self._reader.add(item.tools or (), f"{path}.tools")
            self._take_others(ToolResultPart(call_id, (TextPart(found_tools(names)),)), path)

    def end_turn(self) -> None:
        if self._parts:
            self._result.append(Message("assistant", tuple(self._parts), path=self._path))
            self._parts = []

    def _take_message(self, item: wire.Item, path: str) -> None:
        role = _ROLES.get(item.role or "")
        if role is None:
            reason = "must be user, assistant, system or developer"
            raise RequestError(reason, path=f"{path}.role", code="invalid_value")
        if item.content is None:
            raise RequestError("this member is required", path=f"{path}.content", code="invalid_value")
        parts = _content(item.content, f"{path}.content", role)
        _tell_details(item.content, f"{path}.content", self._members)
        if role == "assistant":
            for part in parts or (TextPart(""),):
                self._take_models(part, path)
            return
        self.end_turn()
        self._result.append(Message(role, tuple(parts), path=path))

    def _take_agents_message(self, item: wire.Item, path: str) -> None:
        """What another agent of the client's says: to the model, words of its user."""
        self.end_turn()
        parts = _content(item.content or "", f"{path}.content", "user")
        self._result.append(Message("user", tuple(parts), path=path))

    def _take_models(self, part: Part, path: str) -> None:
        if not self._parts:
            self._path = path
        self._parts.append(part)

    def _take_others(self, part: Part, path: str) -> None:
        self.end_turn()
        if isinstance(part, ToolResultPart):
            # Codex's scripts report on the way, each time as a result: others take one for a call.
            place = self._answered.setdefault(part.call_id, len(self._result))
            if place < len(self._result):
                self._result[place] = _joined(self._result[place], part)
                return
        self._result.append(Message("user", (part,), path=path))

    def _raw(self, index: int) -> msgspec.Raw:
        if self._raws is None:
            self._raws = wire.decode_raw_list(self._members["input"])
        return self._raws[index]


def _joined(message: Message, more: ToolResultPart) -> Message:
    """The message of a result, with what another result of the same call says."""
    (result,) = message.parts
    assert isinstance(result, ToolResultPart)
    return replace(message, parts=(replace(result, content=(*result.content, *more.content)),))


def _arguments(item: wire.Item, path: str) -> str:
    if isinstance(item.arguments, dict):
        raise RequestError("expected `str | null`, got `object`", path=f"{path}.arguments", code="invalid_value")
    return item.arguments if item.arguments and item.arguments.strip() else "{}"


def _search_arguments(item: wire.Item) -> str:
    return msgspec.json.encode(item.arguments).decode() if isinstance(item.arguments, dict) else item.arguments or "{}"


def _reasoning_parts(item: wire.Item, raw: Callable[[], msgspec.Raw]) -> Sequence[Part]:
    said = item.content if isinstance(item.content, list) and item.content else item.summary or ()
    text = "\n\n".join(part.text or "" for part in said)
    opened = wire.unsealed(item.encrypted_content or "")
    if opened is None:
        # Without a signature the text is all that others can be given.
        return (ThinkingPart(text),) if text else (OpaquePart(NAME, "reasoning", raw()),)
    signature, redacted = opened
    if redacted:
        return (RedactedThinkingPart(redacted),)
    return (ThinkingPart(text, signature),) if text or signature else ()


def _content(content: str | list[wire.ContentPart], path: str, role: Role) -> list[Part]:
    if isinstance(content, str):
        return [TextPart(content)] if content else []
    return [_part(part, f"{path}[{index}]", role) for index, part in enumerate(content)]


def _part(part: wire.ContentPart, path: str, role: Role) -> Part:
    match part.type:
        case "input_text" | "output_text" | "text":
            citations = tuple(citation_of(each) for each in part.annotations) if part.annotations else ()
            return TextPart(_text(part, path), _marked(part), citations)
        case "encrypted_content" if role == "user":
            text = part.encrypted_content or ""
            return OpaquePart(NAME, part.type) if text.startswith(_SEALED) else TextPart(text)
        case "refusal" if role == "assistant":
            return RefusalPart(part.refusal or "")
        case "input_image" | "input_file" | "input_audio" if role != "assistant":
            return _media(part, path)
        case _:
            allowed = "input_text, input_image, input_file or input_audio"
            if role == "assistant":
                allowed = "output_text or refusal"
            raise RequestError(f"must be {allowed}", path=f"{path}.type", code="invalid_value")


def _tell_details(content: str | list[wire.ContentPart] | None, path: str, members: dict[str, msgspec.Raw]) -> None:
    """How closely to look at a file: elsewhere that can be said of images alone."""
    if not isinstance(content, list):
        return
    for index, part in enumerate(content):
        if part.type == "input_file" and part.detail not in (None, "auto"):
            members[f"{path}[{index}].detail"] = _TRUE


_TRUE: Final = msgspec.Raw(b"true")


def _marked(part: wire.ContentPart) -> CachePoint | None:
    point = part.prompt_cache_breakpoint
    return None if point is None else point_of(point.ttl)


def _text(part: wire.ContentPart, path: str) -> str:
    if part.text is None:
        raise RequestError("this member is required", path=f"{path}.text", code="invalid_value")
    return part.text


def _media(part: wire.ContentPart, path: str) -> ImagePart | DocumentPart | MediaPart:
    if part.type == "input_image":
        detail = "" if part.detail in (None, "auto") else part.detail
        if part.image_url:
            return ImagePart(source_of(part.image_url, f"{path}.image_url"), detail, _marked(part))
        if part.file_id:
            return ImagePart(FileSource(part.file_id), detail, _marked(part))
        raise RequestError("must have image_url or file_id", path=path, code="invalid_value")
    if part.type == "input_audio":
        if part.input_audio is None:
            raise RequestError("this member is required", path=f"{path}.input_audio", code="invalid_value")
        audio = part.input_audio
        return MediaPart("audio", Base64Source(f"audio/{audio.format}", audio.data), audio.format)
    return DocumentPart(_file_source(part, path), part.filename or "", cache=_marked(part))


def _file_source(part: wire.ContentPart, path: str) -> Source:
    if part.file_data:
        source = source_of(part.file_data, f"{path}.file_data")
        if isinstance(source, UrlSource) and "://" not in source.url:
            return Base64Source("", source.url)  # bare base64
        return source
    if part.file_url:
        return source_of(part.file_url, f"{path}.file_url")
    if part.file_id:
        return FileSource(part.file_id)
    raise RequestError("must have file_data, file_url or file_id", path=path, code="invalid_value")


def _output(raw: msgspec.Raw, path: str, members: dict[str, msgspec.Raw]) -> tuple[ToolResultContent, ...]:
    text_of(raw, path)
    try:
        output, unknown = decode_known(wire.OUTPUT_DECODER, raw, path) if present(raw) else (None, {})
    except msgspec.DecodeError:
        raise RequestError("must be a string or a list of content parts", path=path, code="invalid_value") from None
    members.update(unknown)
    _tell_details(output, path, members)
    if isinstance(output, str):
        return (TextPart(output),) if output else ()
    result: list[ToolResultContent] = []
    for index, part in enumerate(output or ()):
        place = f"{path}[{index}]"
        if part.type in ("input_text", "output_text", "text"):
            result.append(TextPart(_text(part, place), _marked(part)))
        elif part.type in ("input_image", "input_file", "input_audio"):
            result.append(_media(part, place))
        else:
            reason = "must be input_text, input_image or input_file"
            raise RequestError(reason, path=f"{place}.type", code="invalid_value")
    return tuple(result)


# --- parameters --------------------------------------------------------------------------------------------


def _response_format(text: wire.TextConfig | None) -> ResponseFormat | None:
    wanted = None if text is None else text.format
    if wanted is None:
        return None
    match wanted.type:
        case "text":
            return None
        case "json_object":
            return ResponseFormat("json_object")
        case "json_schema":
            return ResponseFormat(
                "json_schema",
                name=wanted.name or "",
                description=wanted.description or "",
                schema=schema_of(wanted.schema, "text.format.schema"),
                strict=wanted.strict,
            )
        case _:
            reason = "must be text, json_object or json_schema"
            raise RequestError(reason, path="text.format.type", code="invalid_value")


def _reasoning(config: wire.ReasoningConfig | None, updated_effort: str) -> Reasoning | None:
    effort = updated_effort or (config.effort if config is not None else "") or ""
    summary = config is not None and (config.summary or config.generate_summary)
    if not (effort or summary):
        return None
    return Reasoning(effort=effort, display="summarized" if summary else "")
