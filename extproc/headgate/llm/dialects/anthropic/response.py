"""A whole Messages answer to the canonical model, and back."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec
from headgate.contract import metadata as keys
from headgate.llm.answer_losses import opened, own_end, own_members, says
from headgate.llm.canonical import (
    ChatResponse,
    Extras,
    FinishReason,
    OpaquePart,
    Part,
    RedactedThinkingPart,
    RefusalPart,
    StandIns,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)
from headgate.llm.dialects.anthropic import wire
from headgate.llm.dialects.anthropic.citations import citations_of, written_citations
from headgate.llm.dialects.dialect import Memo, ReplyContext
from headgate.llm.dialects.sent_text import text_sent
from headgate.llm.errors import UpstreamError
from headgate.llm.names import DialectName
from headgate.llm.stand_ins import told_as
from headgate.llm.usage import NO_USAGE, Apart, Usage, apart

STOP_REASONS: Final[Mapping[str, FinishReason]] = MappingProxyType(
    {
        "end_turn": FinishReason.STOP,
        "stop_sequence": FinishReason.STOP_SEQUENCE,
        "max_tokens": FinishReason.LENGTH,
        "tool_use": FinishReason.TOOL_CALLS,
        "refusal": FinishReason.REFUSAL,
        "compaction": FinishReason.PAUSE,
        "pause_turn": FinishReason.PAUSE,
        "model_context_window_exceeded": FinishReason.CONTEXT_WINDOW,
    }
)
_ENDS: Final = STOP_REASONS.keys() - {"compaction", "pause_turn"}
"""No other dialect's clients send an answer back to have it go on."""

STOP_REASON_WORDS: Final[Mapping[FinishReason, str]] = MappingProxyType(
    {reason: word for word, reason in STOP_REASONS.items() if word != "compaction"}
)


def finish_reason_of(stop_reason: str | None, *, called_tools: bool) -> FinishReason:
    """The canonical reason; one that nobody knows yet is an ordinary end, and told (`own_end`)."""
    reason = STOP_REASONS.get(stop_reason or "")
    if reason is None:
        return FinishReason.TOOL_CALLS if called_tools else FinishReason.STOP
    return reason


_STANDARD: Final = "standard"
_SERVICE_TIERS: Final[Mapping[str, str]] = MappingProxyType(
    {"default": _STANDARD, "priority": "priority", "scale": "priority", "batch": "batch"}
)
"""OpenAI's words to Anthropic's, whose priority is bought ahead. Others are left out."""


def service_tier_of(counted: wire.AnswerUsage | None) -> str:
    """As what it was served."""
    tier = (counted.service_tier or "") if counted is not None else ""
    return "default" if tier == _STANDARD else tier


def usage_of(counted: wire.AnswerUsage | None) -> Usage:
    """Anthropic counts cached tokens beside the input; ours are part of it."""
    if counted is None:
        return NO_USAGE
    details = counted.output_tokens_details
    input_tokens = None
    if counted.input_tokens is not None:
        input_tokens = (
            counted.input_tokens + (counted.cache_read_input_tokens or 0) + (counted.cache_creation_input_tokens or 0)
        )
    total = None
    if input_tokens is not None and counted.output_tokens is not None:
        total = input_tokens + counted.output_tokens
    return Usage(
        input=input_tokens,
        cached_input=counted.cache_read_input_tokens,
        cache_creation_input=counted.cache_creation_input_tokens,
        output=counted.output_tokens,
        total=total,
        reasoning=details.thinking_tokens if details is not None else None,
        apart=apart_of(counted.cache_creation, counted.server_tool_use),
    )


def apart_of(created: wire.CacheCreation | None, tools: wire.ServerToolUse | None) -> Apart:
    """What is sold at prices of its own."""
    if created is None and tools is None:
        return ()
    written = None if created is None else created.ephemeral_1h_input_tokens
    searches = None if tools is None else tools.web_search_requests
    return apart(((keys.CACHE_CREATION_1H_INPUT_TOKENS, written), (keys.WEB_SEARCHES, searches)))


def decode_response(body: bytes, memo: Memo) -> ChatResponse:
    """See `ChatDialect.decode_response`."""
    try:
        answer = wire.ANSWER_DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamError(f"the provider's answer is no message: {error}") from None
    if answer.content is None:
        raise UpstreamError("the provider's answer is no message: it has no content")
    details = stop_details(answer.stop_details)
    parts = (*_decode_blocks(answer.content, memo), *refusals_of(details))
    called_tools = ToolCallPart in map(type, parts)
    reason = finish_reason_of(answer.stop_reason, called_tools=called_tools)
    if reason is FinishReason.TOOL_CALLS and memo.json_tool and not called_tools:
        reason = FinishReason.STOP
    return ChatResponse(
        id=answer.id,
        model=answer.model,
        parts=parts,
        finish_reason=reason,
        stop_sequence=answer.stop_sequence or "",
        usage=usage_of(answer.usage),
        service_tier=service_tier_of(answer.usage),
        extras=_own_of(answer, details),
    )


def _own_of(answer: wire.Answer, details: wire.StopDetails) -> Extras:
    told = [member for block in answer.content or () for member in of_block(block)]
    told += (*of_message(answer.context_management, answer.input_transformations), *of_stop(details))
    if answer.stop_reason and answer.stop_reason not in _ENDS:
        told += of_end(answer.stop_reason)
    return own_members(NAME, *told) if told else {}


Told = Sequence[tuple[str, msgspec.Raw]]
"""Members that only this dialect has."""


def of_block(block: wire.AnswerBlock) -> Told:
    """Of a call: which group of tools it is of, and that no model but a program asks for it."""
    if block.type == "tool_use" and says(block.caller):
        caller = opened(block.caller, _CALLER)
        if caller is None or caller.type != "direct":
            return (("tool_calls.toolset_name", block.toolset_name), ("tool_calls.caller", block.caller))
    return (("tool_calls.toolset_name", block.toolset_name),) if block.toolset_name else ()


def of_message(edits: msgspec.Raw, transformations: msgspec.Raw = wire.ABSENT) -> Told:
    """What the provider took out of the conversation."""
    applied = opened(edits, _EDITS)
    found = (("context_management", applied.applied_edits),) if applied is not None else ()
    return (*found, ("input_transformations", transformations)) if transformations else found


def of_stop(details: wire.StopDetails) -> Told:
    """Of a refusal, all but its words."""
    if details is _NOT_SAID:
        return ()
    return (
        ("stop_details.category", details.category),
        ("stop_details.recommended_model", details.recommended_model),
        ("stop_details.fallback_credit_token", details.fallback_credit_token),
    )


def of_end(stop_reason: str) -> Told:
    """Of why it ended."""
    return (own_end(stop_reason, _ENDS),)


def stop_details(member: msgspec.Raw) -> wire.StopDetails:
    """Why an answer was refused, where that is said."""
    return opened(member, _STOP_DETAILS) or _NOT_SAID


def refusals_of(details: wire.StopDetails) -> Sequence[RefusalPart]:
    """What the provider says of a refusal, in words."""
    return (RefusalPart(details.explanation),) if details.explanation else ()


_CALLER: Final = msgspec.json.Decoder(wire.AnswerCaller).decode
_EDITS: Final = msgspec.json.Decoder(wire.AppliedEdits).decode
_STOP_DETAILS: Final = msgspec.json.Decoder(wire.StopDetails).decode
_NOT_SAID: Final = wire.StopDetails()
NAME: Final = DialectName.ANTHROPIC_MESSAGES


def _decode_blocks(blocks: list[wire.AnswerBlock], memo: Memo) -> Iterator[Part]:
    for block in blocks:
        match block.type:
            case "text":
                if block.text:
                    yield TextPart(block.text, citations=citations_of(block.citations))
            case "tool_use":
                arguments = _text_of(block.input)
                if memo.json_tool and block.name == memo.json_tool:
                    yield TextPart(arguments)
                else:
                    name = block.name or ""
                    yield ToolCallPart(block.id or "", memo.tool_names.get(name, name), arguments)
            case "thinking":
                yield ThinkingPart(block.thinking or "", block.signature or "")
            case "redacted_thinking":
                yield RedactedThinkingPart(block.data or "")
            case kind:
                yield OpaquePart(NAME, kind)


def _text_of(arguments: msgspec.Raw) -> str:
    return text_sent(arguments) or "{}"


# --- encode ----------------------------------------------------------------------------------------------------------


def encode_response(response: ChatResponse, context: ReplyContext) -> bytes:
    """See `ChatDialect.encode_response`."""
    message = wire.WrittenMessage(
        id=response.id or message_id(context),
        type="message",
        role="assistant",
        model=response.model or context.model,
        content=list(_encode_parts(response, context.stand_ins)),
        stop_reason=STOP_REASON_WORDS[response.finish_reason],
        stop_sequence=response.stop_sequence or None,
        usage=written_usage(response.usage, response.service_tier),
    )
    return _ENCODER.encode(message)


_ENCODER: Final = msgspec.json.Encoder()


def message_id(context: ReplyContext) -> str:
    """For the rare provider that gives none; clients insist on one."""
    return f"msg_{context.created:x}"


def written_usage(usage: Usage, service_tier: str = "") -> wire.WrittenUsage:
    """Usage as Anthropic counts it: cached tokens beside the input. Tokens nobody counted are 0 where clients
    insist."""
    cached = usage.cached_input or 0
    created = usage.cache_creation_input or 0
    return wire.WrittenUsage(
        input_tokens=max((usage.input or 0) - cached - created, 0),
        output_tokens=usage.output or 0,
        cache_creation_input_tokens=usage.cache_creation_input,
        cache_read_input_tokens=usage.cached_input,
        server_tool_use=_searches(usage.apart) if usage.apart else msgspec.UNSET,
        service_tier=_SERVICE_TIERS.get(service_tier, msgspec.UNSET),
    )


def _searches(counted: Apart) -> wire.WrittenServerToolUse | msgspec.UnsetType:
    searches = dict(counted).get(keys.WEB_SEARCHES)
    return wire.WrittenServerToolUse(searches) if searches else msgspec.UNSET


def _encode_parts(response: ChatResponse, stand_ins: StandIns) -> Iterator[wire.WrittenBlock]:
    for part in response.parts:
        match part:
            case TextPart(text=text, citations=citations):
                if text:
                    yield wire.WrittenText(text, list(written_citations(citations)) or None)
            case RefusalPart(text=text):
                if text:
                    yield wire.WrittenText(text)
            case ToolCallPart():
                tool = told_as(stand_ins, part.name)
                yield wire.WrittenToolUse(part.id, tool.name, object_of(part.arguments), tool.namespace or None)
            case ThinkingPart():
                yield wire.ThinkingBlock(part.text, part.signature)
            case RedactedThinkingPart():
                yield wire.RedactedThinkingBlock(part.data)
            case _:
                pass  # answers hold nothing else


_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def object_of(arguments: str) -> msgspec.Raw:
    """Arguments as the object that this dialect wants. A model may write what is no object (cut off, say): then the
    text is handed over as it is under one name, so that no tool runs with arguments nobody gave."""
    try:
        _OBJECT.decode(arguments)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        if not arguments.strip():
            return _EMPTY
        return msgspec.Raw(msgspec.json.encode({"raw_arguments": arguments}))
    return msgspec.Raw(arguments)


_EMPTY: Final = msgspec.Raw(b"{}")
