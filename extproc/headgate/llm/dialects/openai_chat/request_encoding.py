"""Chat completion requests: written for a backend of this dialect.

What the target model takes is looked up in `capabilities`; what it does not take is a loss. How messages are written:

- Tool results come first in their turn, as `tool` messages; media they returned follow in a user turn of its own,
  after the last of them, since a `tool` message carries text only.
- Texts stay apart as parts; instructions are joined with a blank line, since many servers take only a string there.
- Equal requests give equal bytes: members have one order, JSON from the client goes out as it came.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final, Literal, assert_never

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
    Role,
    TextPart,
    TextSource,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    UrlSource,
)
from headgate.llm.capabilities import OpenAIFacts, openai_facts
from headgate.llm.dialects.dialect import EncodedRequest, Memo, Target
from headgate.llm.losses import Loss
from headgate.llm.names import DialectName

Members = dict[str, Any]
"""Members of a JSON object about to be encoded."""

RESULT_FOLLOWS: Final = "The result follows in the next user message."
"""Stands in a tool message whose result holds nothing but media."""

USER_CHARACTERS_MAX: Final = 64
"""OpenAI refuses a longer `user`."""

BUDGET_EFFORTS: Final = ((4_096, "low"), (16_384, "medium"))
"""Thinking budgets below these count as this effort; above them as high."""

_encode = msgspec.json.Encoder().encode


def encode_request(request: ChatRequest, target: Target) -> EncodedRequest:
    """The provider's body and what it could not say."""
    facts = openai_facts(target.model)
    losses: list[Loss] = []
    body: Members = {"model": target.model, "messages": _Messages(facts, losses).encode(request.messages)}
    _add_tools(body, request, facts, losses)
    _add_limits(body, request, facts, losses)
    _add_sampling(body, request, facts, losses)
    _add_reasoning(body, request.reasoning, facts, losses)
    _add_response_format(body, request)
    _add_identity(body, request, facts, losses)
    if request.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    for dialect, members in request.extras.items():
        if dialect is DialectName.OPENAI_CHAT:
            body.update((name, raw) for name, raw in members.items() if name not in body)
        else:
            losses.extend(Loss(name, "dropped", "this dialect has no such parameter") for name in members)
    memo = Memo(include_usage=request.include_usage, stop=request.stop)
    return EncodedRequest(_encode(body), memo, tuple(losses))


class _Messages:
    """Writes the messages of one request, holding media of tool results back until their user turn."""

    __slots__ = ("_facts", "_held", "_losses", "_result")

    def __init__(self, facts: OpenAIFacts, losses: list[Loss]) -> None:
        self._facts = facts
        self._losses = losses
        self._held: list[Members] = []
        self._result: list[Members] = []

    def encode(self, messages: Sequence[Message]) -> list[Members]:
        for message in messages:
            match message.role:
                case Role.SYSTEM | Role.DEVELOPER:
                    self._release()
                    self._add_instruction(message)
                case Role.USER:
                    self._add_user(message)
                case Role.ASSISTANT:
                    self._release()
                    self._add_assistant(message)
                case _:
                    assert_never(message.role)
        self._release()
        self._report_cache_points(messages)
        return self._result

    def _release(self) -> None:
        if self._held:
            self._result.append({"role": "user", "content": self._held})
            self._held = []

    def _add_instruction(self, message: Message) -> None:
        developer = message.role is Role.DEVELOPER and self._facts.developer_role
        texts = [part for part in message.parts if isinstance(part, TextPart)]
        cached = self._facts.cache_control and any(part.cache is not None for part in texts)
        content: object = [self._text(part) for part in texts] if cached else "\n\n".join(part.text for part in texts)
        for index, part in enumerate(message.parts):
            if not isinstance(part, TextPart):
                self._drop(f"{message.path}[{index}]", "instructions hold only text here")
        self._result.append(_named({"role": "developer" if developer else "system", "content": content}, message))

    def _add_user(self, message: Message) -> None:
        parts: list[Members] = []
        for index, part in enumerate(message.parts):
            path = f"{message.path}.content[{index}]"
            if isinstance(part, ToolResultPart):
                self._add_tool_result(part, path)
            else:
                parts.extend(self._user_part(part, path))
        has_results = any(isinstance(part, ToolResultPart) for part in message.parts)
        if not parts and has_results:
            return
        if self._held:
            parts = [*self._held, *parts]
            self._held = []
        self._result.append(_named({"role": "user", "content": _content(parts)}, message))

    def _add_tool_result(self, part: ToolResultPart, path: str) -> None:
        texts: list[str] = []
        media: list[Members] = []
        for index, item in enumerate(part.content):
            if isinstance(item, TextPart):
                texts.append(item.text)
            else:
                media.extend(self._user_part(item, f"{path}.content[{index}]"))
        if media:
            self._losses.append(Loss(path, "emulated", "media of a tool result follow in a user message"))
            self._held.append({"type": "text", "text": f"Result of tool call {part.call_id}:"})
            self._held.extend(media)
        text = "\n".join(texts) or (RESULT_FOLLOWS if media else "")
        if part.is_error:
            self._losses.append(Loss(f"{path}.is_error", "emulated", "said in the text of the result"))
            text = f"Error: {text}" if text else "Error"
        self._result.append({"role": "tool", "tool_call_id": part.call_id, "content": text})

    def _add_assistant(self, message: Message) -> None:
        encoded: Members = {"role": "assistant"}
        contents: list[Members] = []
        calls: list[Members] = []
        refusals: list[str] = []
        thoughts: list[tuple[str, ThinkingPart | RedactedThinkingPart]] = []
        for index, part in enumerate(message.parts):
            path = f"{message.path}.content[{index}]"
            match part:
                case TextPart():
                    if part.text:
                        contents.append(self._text(part))
                case ToolCallPart():
                    calls.append(_tool_call(part))
                case ThinkingPart() | RedactedThinkingPart():
                    thoughts.append((path, part))
                case RefusalPart():
                    refusals.append(part.text)
                case OpaquePart() if part.dialect is DialectName.OPENAI_CHAT:
                    _add_opaque(encoded, calls, part)
                case OpaquePart():
                    self._drop(path, f"this dialect has no {part.kind}")
                case ImagePart() | DocumentPart() | MediaPart() | ToolResultPart():
                    self._drop(path, "an assistant message holds only text and tool calls here")
                case _:
                    assert_never(part)
        encoded["content"] = _content(contents) if contents or not (calls or refusals) else None
        if refusals:
            encoded["refusal"] = "".join(refusals)
        if calls:
            encoded["tool_calls"] = calls
        self._add_thoughts(encoded, thoughts)
        self._result.append(_named(encoded, message))

    def _add_thoughts(
        self, encoded: Members, thoughts: Sequence[tuple[str, ThinkingPart | RedactedThinkingPart]]
    ) -> None:
        match self._facts.reasoning_history:
            case "":
                for path, _ in thoughts:
                    self._drop(path, "this model does not take its reasoning back")
            case "reasoning_content":
                text = "".join(part.text for _, part in thoughts if isinstance(part, ThinkingPart))
                if text:
                    encoded["reasoning_content"] = text
                for path, part in thoughts:
                    if isinstance(part, RedactedThinkingPart):
                        self._drop(path, "this model does not take encrypted reasoning")
            case "thinking_blocks":
                if thoughts:
                    encoded["thinking_blocks"] = [thinking_block(part) for _, part in thoughts]

    def _user_part(self, part: Part, path: str) -> list[Members]:
        match part:
            case TextPart():
                return [self._text(part)]
            case ImagePart():
                return self._image(part, path)
            case DocumentPart():
                return self._document(part, path)
            case MediaPart():
                return self._media(part, path)
            case RefusalPart():
                return [{"type": "text", "text": part.text}]
            case OpaquePart() if part.dialect is not DialectName.OPENAI_CHAT:
                return self._drop(path, f"this dialect has no {part.kind}")
            case _:
                return self._drop(path, "a user message cannot hold this here")

    def _text(self, part: TextPart) -> Members:
        return self._cached({"type": "text", "text": part.text}, part.cache)

    def _image(self, part: ImagePart, path: str) -> list[Members]:
        match part.source:
            case UrlSource(url=url):
                pass
            case Base64Source() as source:
                url = _data_uri(source, "image/png")
            case FileSource():
                return self._drop(path, "an uploaded image cannot be named to this provider")
            case _:
                assert_never(part.source)
        image: Members = {"url": url}
        if part.detail:
            image["detail"] = part.detail
        return [self._cached({"type": "image_url", "image_url": image}, part.cache)]

    def _document(self, part: DocumentPart, path: str) -> list[Members]:
        match part.source:
            case Base64Source() as source:
                file: Members = {"filename": part.title or "document.pdf"}
                file["file_data"] = _data_uri(source, "application/pdf")
            case FileSource(file_id=file_id):
                file = {"file_id": file_id}
            case TextSource(text=text):
                document = "\n\n".join(filter(None, (part.title, part.context, text)))
                return [self._cached({"type": "text", "text": document}, part.cache)]
            case UrlSource():
                return self._drop(path, "this dialect takes no documents by URL")
            case _:
                assert_never(part.source)
        if part.context:
            return [{"type": "text", "text": part.context}, self._cached({"type": "file", "file": file}, part.cache)]
        return [self._cached({"type": "file", "file": file}, part.cache)]

    def _media(self, part: MediaPart, path: str) -> list[Members]:
        match part.source:
            case Base64Source() as source:
                if part.kind == "audio":
                    audio_format = part.format or source.media_type.rpartition("/")[2] or "wav"
                    return [{"type": "input_audio", "input_audio": {"data": source.data, "format": audio_format}}]
                url = _data_uri(source, "video/mp4")
            case UrlSource(url=url):
                pass
            case FileSource():
                return self._drop(path, "uploaded media cannot be named to this provider")
            case _:
                assert_never(part.source)
        return [{"type": f"{part.kind}_url", f"{part.kind}_url": {"url": url}}]

    def _cached(self, encoded: Members, cache: CachePoint | None) -> Members:
        if cache is not None and self._facts.cache_control:
            encoded["cache_control"] = cache_control(cache)
        return encoded

    def _drop(self, path: str, reason: str) -> list[Members]:
        self._losses.append(Loss(path, "dropped", reason))
        return []

    def _report_cache_points(self, messages: Sequence[Message]) -> None:
        if self._facts.cache_control:
            return
        for message in messages:
            for part in message.parts:
                if not isinstance(part, _UNCACHED_PARTS) and part.cache is not None:
                    self._losses.append(Loss("cache_control", "emulated", "providers of this dialect cache by prefix"))
                    return


_UNCACHED_PARTS: Final = (MediaPart, ThinkingPart, RedactedThinkingPart, RefusalPart, OpaquePart)


def thinking_block(part: ThinkingPart | RedactedThinkingPart) -> Members:
    """A reasoning part as the extension member `thinking_blocks` carries it."""
    if isinstance(part, RedactedThinkingPart):
        return {"type": "redacted_thinking", "data": part.data}
    if part.signature:
        return {"type": "thinking", "thinking": part.text, "signature": part.signature}
    return {"type": "thinking", "thinking": part.text}


def cache_control(cache: CachePoint) -> Members:
    """A cache point as the extension member `cache_control`."""
    return {"type": "ephemeral", "ttl": cache.ttl} if cache.ttl else {"type": "ephemeral"}


def _content(parts: list[Members]) -> object:
    """One plain text as a string, the form every server takes."""
    if not parts:
        return ""
    if len(parts) == 1 and parts[0]["type"] == "text" and "cache_control" not in parts[0]:
        return parts[0]["text"]
    return parts


def _named(encoded: Members, message: Message) -> Members:
    if message.name:
        encoded["name"] = message.name
    return encoded


def _data_uri(source: Base64Source, media_type: str) -> str:
    return f"data:{source.media_type or media_type};base64,{source.data}"


def _tool_call(part: ToolCallPart) -> Members:
    return {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}


def _add_opaque(encoded: Members, calls: list[Members], part: OpaquePart) -> None:
    if part.kind == "custom_tool_call":
        calls.append(msgspec.json.decode(part.raw))
    else:
        encoded[part.kind] = part.raw


# --- parameters ------------------------------------------------------------------------------------------------------


def _add_tools(body: Members, request: ChatRequest, facts: OpenAIFacts, losses: list[Loss]) -> None:
    tools: list[object] = []
    names: set[str] = set()
    for index, tool in enumerate(request.tools):
        match tool:
            case FunctionTool():
                names.add(tool.name)
                tools.append(_function_tool(tool, facts))
            case OpaqueTool() if tool.dialect is DialectName.OPENAI_CHAT:
                tools.append(tool.raw)
            case OpaqueTool():
                losses.append(Loss(f"tools[{index}]", "dropped", f"this dialect has no tool {tool.kind}"))
            case _:
                assert_never(tool)
    if not tools:
        if request.tool_choice is not None and request.tool_choice.mode not in ("none", "auto"):
            losses.append(Loss("tool_choice", "dropped", "there is no tool to choose"))
        return
    body["tools"] = tools
    choice = request.tool_choice
    if choice is not None:
        if choice.mode == "named" and choice.name not in names and len(names) == len(tools):
            losses.append(Loss("tool_choice", "dropped", "the tool it names cannot be offered here"))
        elif choice.mode == "named":
            body["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
        elif choice.allowed:
            allowed = [{"type": "function", "function": {"name": name}} for name in choice.allowed]
            body["tool_choice"] = {
                "type": "allowed_tools",
                "allowed_tools": {"mode": choice.mode, "tools": allowed},
            }
        else:
            body["tool_choice"] = choice.mode
    if request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = request.parallel_tool_calls


def _function_tool(tool: FunctionTool, facts: OpenAIFacts) -> Members:
    function: Members = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    encoded: Members = {"type": "function", "function": function}
    if tool.cache is not None and facts.cache_control:
        encoded["cache_control"] = cache_control(tool.cache)
    return encoded


def _add_limits(body: Members, request: ChatRequest, facts: OpenAIFacts, losses: list[Loss]) -> None:
    if request.max_tokens is not None:
        most = facts.output_tokens_max
        if most is not None and request.max_tokens > most:
            losses.append(Loss("max_tokens", "changed", f"this model writes at most {most}"))
        limit = request.max_tokens if most is None else min(request.max_tokens, most)
        body["max_completion_tokens" if facts.max_completion_tokens else "max_tokens"] = limit
    if request.stop:
        stop = request.stop[: facts.stop_max]
        if stop:
            body["stop"] = stop
        if len(stop) < len(request.stop):
            action: Literal["changed", "dropped"] = "changed" if stop else "dropped"
            losses.append(Loss("stop", action, f"this model takes {facts.stop_max} stop sequences"))


def _add_sampling(body: Members, request: ChatRequest, facts: OpenAIFacts, losses: list[Loss]) -> None:
    sampling = request.sampling
    for name, value in (("temperature", sampling.temperature), ("top_p", sampling.top_p)):
        if value is None or (value == 1 and not facts.sampling):
            continue
        if facts.sampling:
            body[name] = value
        else:
            losses.append(Loss(name, "dropped", "this model takes only 1"))
    if sampling.top_k is not None:
        losses.append(Loss("top_k", "dropped", "this dialect has no such parameter"))
    for name, value in (
        ("frequency_penalty", sampling.frequency_penalty),
        ("presence_penalty", sampling.presence_penalty),
        ("seed", sampling.seed),
        ("n", sampling.candidates),
        ("logprobs", sampling.logprobs),
        ("top_logprobs", sampling.top_logprobs),
        ("logit_bias", sampling.logit_bias),
    ):
        if value is not None:
            body[name] = value


def _add_response_format(body: Members, request: ChatRequest) -> None:
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return
    if wanted.kind == "json_object":
        body["response_format"] = {"type": "json_object"}
        return
    schema: Members = {"name": wanted.name or "response"}
    if wanted.description:
        schema["description"] = wanted.description
    if wanted.schema is not None:
        schema["schema"] = wanted.schema
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    body["response_format"] = {"type": "json_schema", "json_schema": schema}


_SERVICE_TIERS: Final = {"standard_only": "default", "standard": "default"}
"""Anthropic's words to OpenAI's, where they differ."""
_KNOWN_TIERS: Final = frozenset(("auto", "default", "flex", "priority", "scale"))


def _add_identity(body: Members, request: ChatRequest, facts: OpenAIFacts, losses: list[Loss]) -> None:
    if len(request.user) > USER_CHARACTERS_MAX:
        # A digest tells users apart as well as the name does; agents send session ids longer than OpenAI takes.
        body["user"] = sha256(request.user.encode()).hexdigest()
        losses.append(Loss("user", "emulated", f"said as a digest: more than {USER_CHARACTERS_MAX} characters"))
    elif request.user:
        body["user"] = request.user
    tier = _SERVICE_TIERS.get(request.service_tier, request.service_tier)
    if not tier:
        return
    if facts.own_api and tier in _KNOWN_TIERS:
        body["service_tier"] = tier
    elif tier not in ("auto", "default"):
        losses.append(Loss("service_tier", "dropped", f"this provider has no tier {tier[:32]}"))


def _add_reasoning(body: Members, reasoning: Reasoning | None, facts: OpenAIFacts, losses: list[Loss]) -> None:
    if reasoning is None:
        return
    if facts.thinking:
        _add_thinking(body, reasoning, facts, losses)
        return
    path = "output_config.effort" if reasoning.effort else "thinking"
    if not facts.efforts:
        if reasoning.mode == "disabled" or reasoning.effort == "none":
            return  # it does not think anyway
        losses.append(Loss(path, "dropped", "this model is not known to take reasoning parameters"))
        return
    wanted = reasoning.effort or _effort_of_mode(reasoning)
    if not wanted:
        return  # adaptive: the model decides, which is what it does by itself
    effort = _nearest(wanted, facts.efforts)
    body["reasoning_effort"] = effort
    if effort != wanted:
        losses.append(Loss(path, "changed", f"the nearest effort this model takes is {effort}"))
    elif reasoning.budget_tokens is not None:
        losses.append(Loss("thinking.budget_tokens", "changed", f"said as effort {effort}"))


def _effort_of_mode(reasoning: Reasoning) -> str:
    match reasoning.mode:
        case "disabled":
            return "none"
        case "enabled":
            budget = reasoning.budget_tokens
            if budget is None:
                return "medium"
            return next((effort for limit, effort in BUDGET_EFFORTS if budget < limit), "high")
        case "adaptive" | "":
            return ""
        case _:
            assert_never(reasoning.mode)


_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def _nearest(wanted: str, efforts: Sequence[str]) -> str:
    """The effort taken that is nearest to the wanted one; of two, the lower. A word nobody knows goes out as it is."""
    if wanted in efforts or wanted not in _EFFORTS:
        return wanted
    place = _EFFORTS.index(wanted)
    return min(efforts, key=lambda effort: (abs(_EFFORTS.index(effort) - place), _EFFORTS.index(effort)))


def _add_thinking(body: Members, reasoning: Reasoning, facts: OpenAIFacts, losses: list[Loss]) -> None:
    mode = reasoning.mode
    if not mode:
        mode = "disabled" if reasoning.effort == "none" else "enabled"
        if reasoning.effort not in ("none", "high") and "adaptive" not in facts.thinking:
            losses.append(Loss("output_config.effort", "changed", "this model only thinks or does not"))
        if "adaptive" in facts.thinking and mode == "enabled":
            body["reasoning_effort"] = reasoning.effort
            return
    if mode not in facts.thinking:
        return  # adaptive where the model knows only on and off: its own default
    thinking: Members = {"type": mode}
    if reasoning.budget_tokens is not None:
        if facts.thinking_budget:
            thinking["budget_tokens"] = reasoning.budget_tokens
        else:
            losses.append(Loss("thinking.budget_tokens", "dropped", "this model takes no thinking budget"))
    body["thinking"] = thinking
