"""Requests of the Responses API: written for a backend that serves it.

- Nothing is to be kept: `store` is false, and reasoning models are asked for their reasoning in encrypted form, so that
  the client can send it back and the next turn goes on from it.
- Instructions at the start of the conversation become `instructions`; later ones stay where they stood.
- What the model said goes back as text (`{"role":"assistant"}`): an output message would need the id it had.
- Function tools are not strict unless the client said so, which is what other dialects mean by saying nothing.
"""

from collections.abc import Sequence
from typing import Final, assert_never

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
    RedactedThinkingPart,
    RefusalPart,
    TextPart,
    TextSource,
    ThinkingPart,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    UrlSource,
    WebSearchTool,
    tool_path,
)
from headgate.llm.capabilities import OpenAIFacts, openai_facts
from headgate.llm.dialects.dialect import EncodedRequest, Memo, Target
from headgate.llm.dialects.openai_chat.request_parameters import (
    RENAMED,
    add_identity,
    add_reasoning,
    add_temperature,
    object_schema,
    provider_call_id,
    provider_name,
)
from headgate.llm.dialects.openai_responses import wire
from headgate.llm.dialects.openai_responses.wire import Members
from headgate.llm.dialects.turns import refuse_lost, without_blanks
from headgate.llm.dialects.unsaid import (
    report_cache_points,
    report_cited_history,
    report_names,
    report_uncited,
)
from headgate.llm.losses import Loss
from headgate.llm.names import DialectName

NAME: Final = DialectName.OPENAI_RESPONSES

OUTPUT_TOKENS_MIN: Final = 16
"""The API refuses a smaller limit."""

CHAT_MEMBERS: Final = frozenset(
    (
        "metadata",
        "store",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "top_logprobs",
    )
)
"""Members of chat completions that mean the same here."""

_encode = msgspec.json.Encoder().encode


def encode_request(request: ChatRequest, target: Target) -> EncodedRequest:
    """The provider's body and what it could not say."""
    facts = openai_facts(target.model, target.models)
    losses: list[Loss] = []
    body: Members = {"model": target.model}
    instructions, rest = _instructions(without_blanks(request.messages, losses))
    if instructions:
        body["instructions"] = instructions
    body["input"] = _Input(losses).encode(rest)
    report_uncited(request.messages, losses)
    report_cited_history(request.messages, losses)
    report_names(request.messages, losses)
    report_cache_points(request, losses)
    tool_names = _add_tools(body, request, losses)
    _add_limits(body, request, facts, losses)
    _add_sampling(body, request, facts, losses)
    _add_reasoning(body, request, facts, losses)
    text = _text(request)
    if text:
        body["text"] = text
    add_identity(body, request, facts, losses)
    body["store"] = False
    if request.stream:
        body["stream"] = True
    _add_extras(body, request, losses)
    memo = Memo(include_usage=request.include_usage, tool_names=tool_names)
    return EncodedRequest(_encode(body), memo, tuple(losses))


def _instructions(messages: Sequence[Message]) -> tuple[str, Sequence[Message]]:
    """The texts of the system messages at the start, and the messages after them."""
    texts: list[str] = []
    for index, message in enumerate(messages):
        if message.role != "system" or not all(type(part) is TextPart for part in message.parts):
            return "\n\n".join(texts), messages[index:]
        texts.extend([part.text for part in message.parts if type(part) is TextPart and part.text])
    # The API wants something to answer to: instructions alone stay messages.
    return "", messages


def _is_assistants(items: Sequence[object]) -> bool:
    """The last item is what the assistant said."""
    match items[-1:]:
        case [{"role": "assistant"}]:
            return True
        case _:
            return False


# --- input -----------------------------------------------------------------------------------------------------------


class _Input:
    """Writes messages as items."""

    __slots__ = ("_losses", "_result")

    def __init__(self, losses: list[Loss]) -> None:
        self._losses = losses
        self._result: list[object] = []

    def encode(self, messages: Sequence[Message]) -> list[object]:
        for message in messages:
            if message.role == "assistant":
                self._add_assistant(message)
            else:
                self._add_others(message)
        if messages and messages[-1].role == "user" and _is_assistants(self._result):
            refuse_lost(self._losses, messages[-1])
        if messages and messages[-1].role == "assistant":
            reason = "this dialect answers after the last message, it does not go on with it"
            self._losses.append(Loss(messages[-1].path, "changed", reason))
        return self._result

    def _add_others(self, message: Message) -> None:
        parts: list[Members] = []
        role = message.role
        for index, part in enumerate(message.parts):
            if type(part) is TextPart:
                if part.text:
                    parts.append({"type": "input_text", "text": part.text})
                continue
            path = f"{message.path}.content[{index}]"
            if type(part) is ToolResultPart:
                self._flush(role, parts)
                self._add_tool_result(part, path)
            elif isinstance(part, OpaquePart) and part.dialect is NAME:
                self._flush(role, parts)
                self._result.append(part.raw)
            else:
                parts.extend(self._part(part, path))
        self._flush(role, parts)

    def _flush(self, role: str, parts: list[Members]) -> None:
        if not parts:
            return
        alone = len(parts) == 1 and parts[0]["type"] == "input_text"
        self._result.append({"role": role, "content": parts[0]["text"] if alone else list(parts)})
        parts.clear()

    def _add_tool_result(self, part: ToolResultPart, path: str) -> None:
        parts: list[Members] = []
        if part.is_error:
            self._losses.append(Loss(f"{path}.is_error", "emulated", "said in the text of the result"))
            parts.append({"type": "input_text", "text": "Error"})
        for index, item in enumerate(part.content):
            if type(item) is TextPart:
                if item.text:
                    parts.append({"type": "input_text", "text": item.text})
            else:
                parts.extend(self._part(item, f"{path}.content[{index}]"))
        output: object = parts
        if all(item["type"] == "input_text" for item in parts):
            output = "\n".join([item["text"] for item in parts])
            if part.is_error:
                output = output.replace("Error\n", "Error: ", 1)
        call_id = provider_call_id(part.call_id)
        self._result.append({"type": "function_call_output", "call_id": call_id, "output": output})

    def _add_assistant(self, message: Message) -> None:
        for index, part in enumerate(message.parts):
            if type(part) is TextPart:
                if part.text:
                    self._result.append({"role": "assistant", "content": part.text})
                continue
            if type(part) is ToolCallPart:
                name = provider_name(part.name)
                call_id = provider_call_id(part.id)
                call = {"type": "function_call", "call_id": call_id, "name": name, "arguments": part.arguments}
                self._result.append(call)
                continue
            path = f"{message.path}.content[{index}]"
            match part:
                case RefusalPart(text=text):
                    self._losses.append(Loss(path, "changed", "a refusal goes back as text"))
                    self._result.append({"role": "assistant", "content": text})
                case ThinkingPart():
                    self._add_thinking(part, path)
                case RedactedThinkingPart():
                    self._drop(path, "reasoning that another provider encrypted")
                case OpaquePart() if part.dialect is NAME:
                    self._result.append(part.raw)
                case OpaquePart():
                    self._drop(path, f"this dialect has no {part.kind}")
                case ImagePart() | DocumentPart() | MediaPart() | ToolResultPart():
                    self._drop(path, "an assistant message holds only text and tool calls here")
                case _:
                    assert_never(part)

    def _add_thinking(self, part: ThinkingPart, path: str) -> None:
        known = wire.reasoning_of(part.signature)
        if known is None:
            self._drop(path, "reasoning goes back only where it came from")
            return
        item_id, encrypted = known
        summary = [{"type": "summary_text", "text": part.text}] if part.text else []
        self._result.append({"type": "reasoning", "id": item_id, "summary": summary, "encrypted_content": encrypted})

    def _part(self, part: Part, path: str) -> list[Members]:
        match part:
            case TextPart(text=text) | RefusalPart(text=text):
                return [{"type": "input_text", "text": text}] if text else []
            case ImagePart():
                return self._image(part)
            case DocumentPart():
                return self._document(part, path)
            case MediaPart():
                return self._drop(path, f"this dialect takes no {part.kind}")
            case OpaquePart():
                return self._drop(path, f"this dialect has no {part.kind}")
            case _:
                return self._drop(path, "a message cannot hold this here")

    def _image(self, part: ImagePart) -> list[Members]:
        encoded: Members = {"type": "input_image", "detail": part.detail or "auto"}
        match part.source:
            case UrlSource(url=url):
                encoded["image_url"] = url
            case Base64Source() as source:
                encoded["image_url"] = f"data:{source.media_type or 'image/png'};base64,{source.data}"
            case FileSource(file_id=file_id):
                encoded["file_id"] = file_id
            case _:
                assert_never(part.source)
        return [encoded]

    def _document(self, part: DocumentPart, path: str) -> list[Members]:
        encoded: Members = {"type": "input_file"}
        if part.title and isinstance(part.source, UrlSource | FileSource):
            self._drop(f"{path}.title", "files that are elsewhere have their own names")
        match part.source:
            case UrlSource(url=url):
                encoded["file_url"] = url
            case Base64Source() as source:
                encoded["filename"] = part.title or "document.pdf"
                encoded["file_data"] = f"data:{source.media_type or 'application/pdf'};base64,{source.data}"
            case FileSource(file_id=file_id):
                encoded["file_id"] = file_id
            case TextSource(text=text):
                document = "\n\n".join(filter(None, (part.title, part.context, text)))
                return [{"type": "input_text", "text": document}]
            case _:
                assert_never(part.source)
        return [{"type": "input_text", "text": part.context}, encoded] if part.context else [encoded]

    def _drop(self, path: str, reason: str) -> list[Members]:
        self._losses.append(Loss(path, "dropped", reason))
        return []


# --- parameters ------------------------------------------------------------------------------------------------------


def _add_tools(body: Members, request: ChatRequest, losses: list[Loss]) -> dict[str, str]:
    """Adds tools and the choice among them; the names that had to change, provider's to client's."""
    tools: list[object] = []
    renamed: dict[str, str] = {}
    names: set[str] = set()
    for index, tool in enumerate(request.tools):
        path = tool_path(tool, index)
        match tool:
            case FunctionTool():
                names.add(tool.name)
                if provider_name(tool.name) != tool.name:
                    renamed[provider_name(tool.name)] = tool.name
                    losses.append(Loss(f"{path}.name", "emulated", RENAMED))
                tools.append(_function_tool(tool))
            case WebSearchTool():
                names.add(WEB_SEARCH)
                tools.append(_web_search(tool, path, losses))
            case OpaqueTool() if tool.dialect is NAME:
                names.add(tool.kind)
                tools.append(tool.raw)
            case OpaqueTool():
                losses.append(Loss(path, "dropped", f"this dialect has no tool {tool.kind}"))
            case _:
                assert_never(tool)
    choice = request.tool_choice
    if not tools:
        if choice is not None and choice.mode not in ("none", "auto"):
            losses.append(Loss("tool_choice", "dropped", "there is no tool to choose"))
        return renamed
    body["tools"] = tools
    if choice is not None and (choice.mode != "named" or choice.name in names):
        body["tool_choice"] = _tool_choice(choice)
    elif choice is not None:
        losses.append(Loss("tool_choice", "dropped", "the tool it names cannot be offered here"))
    if request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = request.parallel_tool_calls
    return renamed


WEB_SEARCH: Final = "web_search"


def _function_tool(tool: FunctionTool) -> Members:
    schema = None if tool.parameters is None else object_schema(tool.parameters)
    encoded: Members = {"type": "function", "name": provider_name(tool.name)}
    if tool.description:
        encoded["description"] = tool.description
    return {**encoded, "parameters": schema, "strict": bool(tool.strict)}


def _web_search(tool: WebSearchTool, path: str, losses: list[Loss]) -> object:
    if tool.dialect is NAME and tool.raw is not None:
        return tool.raw
    encoded: Members = {"type": WEB_SEARCH}
    if tool.allowed_domains:
        encoded["filters"] = {"allowed_domains": tool.allowed_domains}
    if tool.blocked_domains:
        losses.append(Loss(f"{path}.blocked_domains", "dropped", "this dialect only takes domains that are allowed"))
    if tool.uses_max is not None:
        losses.append(Loss(f"{path}.max_uses", "dropped", "this dialect has no limit for one tool"))
    if tool.context_size:
        encoded["search_context_size"] = tool.context_size
    where = tool.location
    if where is not None:
        named = {"city": where.city, "region": where.region, "country": where.country, "timezone": where.timezone}
        location = {name: value for name, value in named.items() if value}
        encoded["user_location"] = {"type": "approximate", **location}
    return encoded


def _tool_choice(choice: ToolChoice) -> object:
    if choice.mode == "named":
        if choice.name == WEB_SEARCH:
            return {"type": "web_search_preview"}
        return {"type": "function", "name": provider_name(choice.name)}
    if choice.allowed:
        allowed = [
            {"type": WEB_SEARCH} if name == WEB_SEARCH else {"type": "function", "name": provider_name(name)}
            for name in choice.allowed
        ]
        return {"type": "allowed_tools", "mode": choice.mode, "tools": allowed}
    return choice.mode


def _add_limits(body: Members, request: ChatRequest, facts: OpenAIFacts, losses: list[Loss]) -> None:
    limit = request.max_tokens
    if limit is not None:
        most = facts.output_tokens_max
        if most is not None and limit > most:
            losses.append(Loss("max_tokens", "changed", f"this model writes at most {most}"))
            limit = most
        if limit < OUTPUT_TOKENS_MIN:
            losses.append(Loss("max_tokens", "changed", f"{OUTPUT_TOKENS_MIN} is the least this dialect takes"))
            limit = OUTPUT_TOKENS_MIN
        body["max_output_tokens"] = limit
    if request.stop:
        losses.append(Loss("stop", "dropped", "this dialect has no stop sequences"))


def _add_sampling(body: Members, request: ChatRequest, facts: OpenAIFacts, losses: list[Loss]) -> None:
    sampling = request.sampling
    add_temperature(body, sampling, facts, losses)
    if sampling.logprobs:
        body["include"] = ["message.output_text.logprobs"]
        if sampling.top_logprobs is not None:
            body["top_logprobs"] = sampling.top_logprobs
    for name, value in (
        ("top_k", sampling.top_k),
        ("frequency_penalty", sampling.frequency_penalty),
        ("presence_penalty", sampling.presence_penalty),
        ("seed", sampling.seed),
        ("n", sampling.candidates),
        ("logit_bias", sampling.logit_bias),
    ):
        if value is not None:
            losses.append(Loss(name, "dropped", "this dialect has no such parameter"))


def _add_reasoning(body: Members, request: ChatRequest, facts: OpenAIFacts, losses: list[Loss]) -> None:
    if facts.efforts and facts.own_api:
        body["include"] = [*body.get("include", ()), "reasoning.encrypted_content"]
    wanted = request.reasoning
    if wanted is None:
        return
    said: Members = {}
    add_reasoning(said, wanted, facts, losses)
    if "thinking" in said:
        losses.append(Loss("thinking", "dropped", "this dialect has efforts only"))
    reasoning: Members = {}
    if "reasoning_effort" in said:
        reasoning["effort"] = said["reasoning_effort"]
    shown = wanted.display == "summarized" or (wanted.mode in ("enabled", "adaptive") and wanted.display != "omitted")
    if shown and facts.efforts:
        reasoning["summary"] = "auto"
    if reasoning:
        body["reasoning"] = reasoning


def _text(request: ChatRequest) -> Members:
    text: Members = {}
    wanted = request.response_format
    if wanted is not None and wanted.kind != "text":
        form: Members = {"type": wanted.kind}
        if wanted.kind == "json_schema":
            form["name"] = wanted.name or "response"
            form["schema"] = msgspec.Raw(b'{"type":"object"}') if wanted.schema is None else wanted.schema
            if wanted.description:
                form["description"] = wanted.description
            # Here a schema is strict unless it is said not to be.
            form["strict"] = bool(wanted.strict)
        text["format"] = form
    verbosity = request.extras.get(DialectName.OPENAI_CHAT, {}).get("verbosity")
    if verbosity is not None:
        text["verbosity"] = verbosity
    return text


def _add_extras(body: Members, request: ChatRequest, losses: list[Loss]) -> None:
    for dialect, members in request.extras.items():
        for name, raw in members.items():
            if (dialect is NAME and "." not in name) or (dialect is DialectName.OPENAI_CHAT and name in CHAT_MEMBERS):
                body[name] = raw
            elif not (dialect is DialectName.OPENAI_CHAT and name == "verbosity"):
                losses.append(Loss(name, "dropped", "this dialect has no such parameter"))
