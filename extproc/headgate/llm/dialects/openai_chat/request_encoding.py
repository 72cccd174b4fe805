"""Chat completion requests: written for a backend of this dialect.

What the target model takes is looked up in `capabilities`; what it does not take is a loss. How messages are written:

- Tool results come first in their turn, as `tool` messages; media they returned follow in a user turn of its own,
  after the last of them, since a `tool` message carries text only.
- Texts stay apart as parts; instructions are joined with a blank line, since many servers take only a string there.
- Equal requests give equal bytes: members have one order, JSON from the client goes out as it came.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, assert_never

import msgspec
from headgate.llm.canonical import (
    Base64Source,
    CachePoint,
    ChatRequest,
    DocumentPart,
    FileSource,
    ImagePart,
    MediaPart,
    Message,
    OpaquePart,
    Part,
    Reasoning,
    RedactedThinkingPart,
    RefusalPart,
    TextPart,
    TextSource,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    UrlSource,
)
from headgate.llm.capabilities import OpenAIFacts, openai_facts
from headgate.llm.dialects.dialect import EncodedRequest, Memo, Target
from headgate.llm.dialects.openai_chat.cache_points import BREAKPOINT, breakpoint_of
from headgate.llm.dialects.openai_chat.request_parameters import (
    Members,
    add_any_reasoning,
    add_identity,
    add_limits,
    add_reasoning,
    add_response_format,
    add_sampling,
    add_shared,
    add_speech,
    add_switched_thinking,
    add_template_switch,
    add_tools,
    cache_control,
    keep_tools,
    provider_call_id,
    provider_name,
    short_call_id,
)
from headgate.llm.dialects.openai_chat.think_tags import tagged
from headgate.llm.dialects.speech import PCM
from headgate.llm.dialects.turns import is_blank, refuse_lost, report_blank, results_at_calls, said_nothing
from headgate.llm.dialects.unsaid import report_cache_points, report_cited_history, report_uncited
from headgate.llm.losses import Loss
from headgate.llm.names import DialectName
from headgate.llm.signatures import ELSEWHERE, is_claudes
from headgate.llm.vendors import Vendor

RESULT_FOLLOWS: Final = "The result follows in the next user message."
"""Stands in a tool message whose result holds nothing but media."""

NO_REASONING: Final = " "
"""Of a turn whose reasoning nobody has: another provider's, or its client keeps none. Empty is refused as well."""

_encode = msgspec.json.Encoder().encode


def encode_request(request: ChatRequest, target: Target) -> EncodedRequest:
    """The provider's body and what it could not say."""
    facts = _facts(target)
    losses: list[Loss] = []
    body: Members = {
        "model": target.model,
        "messages": _Messages(facts, target.vendor, losses).encode(results_at_calls(request.messages)),
    }
    report_uncited(request.messages, losses)
    report_cited_history(request.messages, losses)
    if not facts.cache_control:
        report_cache_points(request, losses, except_parts=facts.cache_breakpoints)
    tool_names = add_tools(body, request, facts, losses)
    _limit_choice(body, target.vendor, losses)
    add_limits(body, request, facts, losses)
    add_sampling(body, request, facts, losses)
    _add_reasoning(body, request.reasoning, facts, target.vendor, losses)
    _keep_choice(body, request.reasoning, target.vendor, losses)
    keep_tools(body, facts, losses)
    add_response_format(body, request)
    add_identity(body, request, facts, losses)
    if request.stream:
        body["stream"] = True
        if not target.vendor.usage_unasked:
            body["stream_options"] = {"include_usage": True}
    for dialect, members in request.extras.items():
        if dialect is DialectName.OPENAI_CHAT:
            _add_own(body, members, losses)
        elif dialect is DialectName.OPENAI_RESPONSES:
            add_shared(body, members, facts, losses)
        else:
            said = add_speech(body, members, facts, losses) if dialect is DialectName.GEMINI else ()
            unknown = (name for name in members if name not in said)
            losses.extend(Loss(name, "dropped", "this dialect has no such parameter") for name in unknown)
    body = _as_vendor_takes_it(body, target.vendor, losses)
    memo = Memo(
        include_usage=request.include_usage,
        stop=request.stop,
        tool_names=tool_names,
        audio_format=PCM if "audio" in body and DialectName.GEMINI in request.extras else "",
        think_tags=facts.reasoning_history == "think_tags",
    )
    return EncodedRequest(_encode(body), memo, tuple(losses))


def _add_own(body: Members, members: Mapping[str, msgspec.Raw], losses: list[Loss]) -> None:
    """Members that only this dialect has; those of parts and tools, which are paths, have no place any more."""
    for name, raw in members.items():
        if "." in name:
            losses.append(Loss(name, "dropped", "this dialect has no such member"))
        elif name not in body:
            body[name] = raw


def _facts(target: Target) -> OpenAIFacts:
    facts = openai_facts(target.model, target.models)
    history = target.vendor.reasoning_history
    if history and facts.reasoning_history == "":
        return replace(facts, reasoning_history=history)
    return facts


def _limit_choice(body: Members, vendor: Vendor, losses: list[Loss]) -> None:
    """The choice of a tool as far as the vendor takes one: tools that must not be called are not offered."""
    choice = body.get("tool_choice")
    kind = choice if isinstance(choice, str) else "named"
    if choice is None or kind in vendor.tool_choices:
        return
    del body["tool_choice"]
    if kind == "none":
        del body["tools"]
        losses.append(Loss("tool_choice", "emulated", f"{vendor.name} cannot be told not to call: nothing is offered"))
    else:
        losses.append(Loss("tool_choice", "dropped", f"{vendor.name} leaves the choice to its models"))


def _add_reasoning(
    body: Members, reasoning: Reasoning | None, facts: OpenAIFacts, vendor: Vendor, losses: list[Loss]
) -> None:
    match vendor.reasoning:
        case "":
            add_reasoning(body, reasoning, facts, losses)
        case "reasoning":
            add_any_reasoning(body, reasoning)
        case "enable_thinking":
            add_switched_thinking(body, reasoning, losses)
        case "chat_template_kwargs" if facts.template_switch:
            add_template_switch(body, reasoning, facts.template_switch, losses)
        case "chat_template_kwargs":
            add_reasoning(body, reasoning, facts, losses)
        case _:
            assert_never(vendor.reasoning)


def _keep_choice(body: Members, reasoning: Reasoning | None, vendor: Vendor, losses: list[Loss]) -> None:
    """A call that is forced excludes thinking at some vendors, whose models think by themselves: the call is kept."""
    if vendor.forces_while_thinking or body.get("tool_choice") in (None, "auto", "none"):
        return
    if reasoning is not None and reasoning.mode != "disabled" and reasoning.effort != "none":
        path = "output_config.effort" if reasoning.effort else "thinking"
        losses.append(Loss(path, "dropped", "a tool is forced, which excludes thinking here"))
    for name in ("reasoning_effort", "thinking_budget"):
        body.pop(name, None)
    if vendor.reasoning == "enable_thinking":
        body["enable_thinking"] = False
    else:
        body["thinking"] = {"type": "disabled"}


def _as_vendor_takes_it(body: Members, vendor: Vendor, losses: list[Loss]) -> Members:
    """The body with the vendor's names, without what it refuses."""
    if not (vendor.refuses or vendor.renamed):
        return body
    losses.extend(Loss(name, "dropped", f"{vendor.name} does not take it") for name in body if name in vendor.refuses)
    return {vendor.renamed.get(name, name): value for name, value in body.items() if name not in vendor.refuses}


def _asks_nothing(messages: Sequence[Members]) -> bool:
    """Behind what the assistant said the user says nothing."""
    if len(messages) < 2:
        return False
    said, asked = messages[-2:]
    return said["role"] == "assistant" and asked["role"] == "user" and asked["content"] == ""


class _Messages:
    """Writes the messages of one request, holding media of tool results back until their user turn."""

    __slots__ = ("_call_id", "_facts", "_held", "_losses", "_reasoned", "_result", "_vendor")

    def __init__(self, facts: OpenAIFacts, vendor: Vendor, losses: list[Loss]) -> None:
        self._facts = facts
        self._vendor = vendor
        self._losses = losses
        self._call_id = short_call_id if vendor.short_call_ids else provider_call_id
        self._held: list[Members] = []
        self._result: list[Members] = []
        self._reasoned = False

    def encode(self, messages: Sequence[Message]) -> list[Members]:
        self._reasoned = self._facts.reasoning_required and any(
            type(part) is ToolCallPart for message in messages for part in message.parts
        )
        for message in messages:
            match message.role:
                case "system" | "developer":
                    self._release()
                    self._add_instruction(message)
                case "user":
                    self._add_user(message)
                case "assistant":
                    self._release()
                    self._add_assistant(message)
                case _:
                    assert_never(message.role)
        self._release()
        if not self._result and messages:
            refuse_lost(self._losses)
            self._result.append({"role": "user", "content": said_nothing(messages[-1], self._losses)})
        if messages and messages[-1].role == "user" and _asks_nothing(self._result):
            refuse_lost(self._losses, messages[-1])
        if messages and messages[-1].role == "assistant":
            reason = "this dialect answers after the last message, it does not go on with it"
            self._losses.append(Loss(messages[-1].path, "changed", reason))
        return self._result

    def _release(self) -> None:
        if self._held:
            self._result.append({"role": "user", "content": self._held})
            self._held = []

    def _add_instruction(self, message: Message) -> None:
        developer = message.role == "developer" and self._facts.developer_role
        texts = [part for part in message.parts if type(part) is TextPart]
        markable = self._facts.cache_control or self._facts.cache_breakpoints
        cached = markable and any(part.cache is not None for part in texts)
        content: object = [self._text(part) for part in texts] if cached else "\n\n".join(part.text for part in texts)
        for index, part in enumerate(message.parts):
            if type(part) is not TextPart:
                self._drop(f"{message.path}[{index}]", "instructions hold only text here")
        # Behind an answer they are the last word, though they say nothing.
        if not texts and not (is_blank(message) and self._result[-1:] and self._result[-1]["role"] == "assistant"):
            if is_blank(message):
                report_blank(message, self._losses)
            return
        self._result.append(self._named({"role": "developer" if developer else "system", "content": content}, message))

    def _add_user(self, message: Message) -> None:
        parts: list[Members] = []
        has_results = False
        for index, part in enumerate(message.parts):
            if type(part) is TextPart:
                parts.append(self._text(part))
                continue
            path = f"{message.path}.content[{index}]"
            if type(part) is ToolResultPart:
                self._add_tool_result(part, path)
                has_results = True
            else:
                parts.extend(self._user_part(part, path))
        if has_results:
            parts = [part for part in parts if part.get("text") != ""]
            if not parts:
                return
        if self._held:
            parts = [*self._held, *parts]
            self._held = []
        self._result.append(self._named({"role": "user", "content": _content(parts)}, message))

    def _add_tool_result(self, part: ToolResultPart, path: str) -> None:
        texts: list[str] = []
        media: list[Members] = []
        for index, item in enumerate(part.content):
            if type(item) is TextPart:
                texts.append(item.text)
                continue
            for encoded in self._user_part(item, f"{path}.content[{index}]"):
                if encoded["type"] == "text":
                    texts.append(encoded["text"])
                else:
                    media.append(encoded)
        if media:
            self._losses.append(Loss(path, "emulated", "media of a tool result follow in a user message"))
            self._held.append({"type": "text", "text": f"Result of tool call {self._call_id(part.call_id)}:"})
            self._held.extend(media)
        text = "\n".join(texts) or (RESULT_FOLLOWS if media else "")
        if part.is_error:
            self._losses.append(Loss(f"{path}.is_error", "emulated", "said in the text of the result"))
            text = f"Error: {text}" if text else "Error"
        self._result.append({"role": "tool", "tool_call_id": self._call_id(part.call_id), "content": text})

    def _add_assistant(self, message: Message) -> None:
        encoded: Members = {"role": "assistant"}
        contents: list[Members] = []
        calls: list[Members] = []
        refusals: list[str] = []
        thoughts: list[tuple[str, ThinkingPart | RedactedThinkingPart]] = []
        for index, part in enumerate(message.parts):
            if type(part) is TextPart:
                if part.text:
                    contents.append(self._text(part))
                continue
            if type(part) is ToolCallPart:
                function = {"name": provider_name(part.name), "arguments": part.arguments}
                calls.append({"id": self._call_id(part.id), "type": "function", "function": function})
                continue
            path = f"{message.path}.content[{index}]"
            match part:
                case ThinkingPart() | RedactedThinkingPart():
                    thoughts.append((path, part))
                case RefusalPart():
                    refusals.append(part.text)
                case OpaquePart() if part.dialect is DialectName.OPENAI_CHAT:
                    encoded[part.kind] = part.raw
                case OpaquePart():
                    self._drop(path, f"this dialect has no {part.kind}")
                case ImagePart() | DocumentPart() | MediaPart() | ToolResultPart():
                    self._drop(path, "an assistant message holds only text and tool calls here")
                case _:
                    assert_never(part)
        if not (contents or calls or refusals or thoughts or len(encoded) > 1):
            # nothing is left of it, and several servers refuse an empty turn
            if is_blank(message):
                report_blank(message, self._losses)
            return
        encoded["content"] = _content(contents) if contents or not (calls or refusals) else None
        if refusals:
            encoded["refusal"] = "".join(refusals)
        if calls:
            encoded["tool_calls"] = calls
        if thoughts:
            self._add_thoughts(encoded, thoughts)
            if encoded == {"role": "assistant", "content": ""}:
                return  # nothing is left of it, either
        if self._reasoned:
            encoded.setdefault("reasoning_content", NO_REASONING)
        self._result.append(self._named(encoded, message))

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
            case "reasoning":
                text = "".join(part.text for _, part in thoughts if isinstance(part, ThinkingPart))
                if text:
                    encoded["reasoning"] = text
            case "think_tags":
                text = "".join(part.text for _, part in thoughts if isinstance(part, ThinkingPart))
                if text:
                    content = encoded["content"] or ""
                    said = content if isinstance(content, str) else "".join(part["text"] for part in content)
                    encoded["content"] = tagged(text) + said
            case "thinking_blocks":
                blocks: list[Members] = []
                for path, part in thoughts:
                    if isinstance(part, ThinkingPart) and not is_claudes(part.signature):
                        self._drop(path, ELSEWHERE)
                    else:
                        blocks.append(thinking_block(part))
                if blocks:
                    encoded["thinking_blocks"] = blocks

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
            case FileSource(file_id=file_id) if "/" not in file_id:
                file = {"file_id": file_id}
                if part.title:
                    self._drop(f"{path}.title", "an uploaded file has its own name")
            case FileSource():
                return self._drop(path, "files uploaded to one provider are unknown to another")
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
        if self._facts.own_api and (part.kind == "video" or not isinstance(part.source, Base64Source)):
            return self._drop(path, f"this provider takes no {part.kind} here")
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
        elif cache is not None and self._facts.cache_breakpoints:
            encoded[BREAKPOINT] = breakpoint_of(cache)
        return encoded

    def _named(self, encoded: Members, message: Message) -> Members:
        if message.name and self._vendor.named_messages:
            encoded["name"] = message.name
        elif message.name:
            self._drop(f"{message.path}.name", f"{self._vendor.name} takes no names of messages")
        return encoded

    def _drop(self, path: str, reason: str) -> list[Members]:
        self._losses.append(Loss(path, "dropped", reason))
        return []


def thinking_block(part: ThinkingPart | RedactedThinkingPart) -> Members:
    """A reasoning part as the extension member `thinking_blocks` carries it."""
    if isinstance(part, RedactedThinkingPart):
        return {"type": "redacted_thinking", "data": part.data}
    if part.signature:
        return {"type": "thinking", "thinking": part.text, "signature": part.signature}
    return {"type": "thinking", "thinking": part.text}


def _content(parts: list[Members]) -> object:
    """One plain text as a string, the form every server takes."""
    if not parts:
        return ""
    if len(parts) == 1 and parts[0]["type"] == "text" and len(parts[0]) == len(("type", "text")):
        return parts[0]["text"]
    return parts


def _data_uri(source: Base64Source, media_type: str) -> str:
    return f"data:{source.media_type or media_type};base64,{source.data}"
