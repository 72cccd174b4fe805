"""Whole answers of the chat completions dialect.

Parts come in the order thinking, text, refusal, media, tool calls. Written members have upstream's order (compat);
texts are joined, since the message has one `content`.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, assert_never

import msgspec
from headgate.contract import metadata as keys
from headgate.llm.answer_losses import opened, own_end, own_members
from headgate.llm.canonical import (
    Alternative,
    ChatResponse,
    Citation,
    DocumentPart,
    Extras,
    FinishReason,
    ImagePart,
    MediaPart,
    OpaquePart,
    Part,
    RedactedThinkingPart,
    RefusalPart,
    StandIns,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from headgate.llm.dialects.dialect import Memo, ReplyContext
from headgate.llm.dialects.openai_chat import wire
from headgate.llm.dialects.openai_chat.annotations import (
    annotations,
    citations_of,
    cite,
    logprobs_of,
    pages_of,
    written_logprobs,
)
from headgate.llm.dialects.openai_chat.errors import detail_of
from headgate.llm.dialects.openai_chat.media import audio_of, images_of, written_audio, written_image
from headgate.llm.dialects.openai_chat.request_encoding import thinking_block
from headgate.llm.dialects.openai_chat.think_tags import ThinkTags
from headgate.llm.errors import ErrorDetail, UpstreamError
from headgate.llm.names import DialectName
from headgate.llm.stand_ins import freeform_arguments, freeform_text, told_as
from headgate.llm.usage import NO_USAGE, Apart, Usage, apart

FINISH_REASONS: Final = {
    "stop": FinishReason.STOP,
    "eos": FinishReason.STOP,  # Together
    "end_turn": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,  # Mistral
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "tool_use": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.REFUSAL,
    "sensitive": FinishReason.REFUSAL,  # GLM
    "insufficient_system_resource": FinishReason.LENGTH,  # DeepSeek
    "abort": FinishReason.LENGTH,  # vLLM, SGLang
}
_NEAREST: Final = frozenset(("insufficient_system_resource", "abort"))
"""Cut off by the server: as unfinished as what a limit cut."""
_ENDS: Final = FINISH_REASONS.keys() - _NEAREST
FINISH_WORDS: Final = {
    FinishReason.STOP: "stop",
    FinishReason.STOP_SEQUENCE: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_CALLS: "tool_calls",
    FinishReason.REFUSAL: "content_filter",
    FinishReason.PAUSE: "stop",
    FinishReason.CONTEXT_WINDOW: "length",
}
_SERVICE_TIERS: Final = frozenset(("default", "auto", "flex", "scale", "priority"))
"""Tiers that OpenAI's clients know; others are left out."""

_encode = msgspec.json.Encoder().encode


def decode_response(body: bytes, memo: Memo) -> ChatResponse:
    """The provider's whole answer. UpstreamError if it is none, or an error with a status of success."""
    completion = decode_completion(body)
    choices = completion.choices or ()
    if not choices or (choices[0].message is None and choices[0].delta is None):
        raise UpstreamError("the provider's answer has no choices[0].message")
    first, *others = _answers(completion, memo)
    return ChatResponse(
        id=completion.id or "",
        model=completion.model or "",
        parts=first.parts,
        finish_reason=first.finish_reason,
        stop_sequence=first.stop_sequence,
        logprobs=first.logprobs,
        alternatives=tuple(others),
        usage=usage_of(completion),
        created=None if completion.created is None else int(completion.created),
        service_tier=completion.service_tier or "",
        extras=extras_of(completion),
    )


def extras_of(completion: wire.Completion) -> Extras:
    """What only this dialect says of an answer."""
    members = [("moderation", completion.moderation)]
    for choice in completion.choices or ():
        if choice.logprobs is not None:
            members.append(("logprobs.refusal", choice.logprobs.refusal))
        if choice.finish_reason:
            members.append(own_end(choice.finish_reason, _ENDS))
    return own_members(DialectName.OPENAI_CHAT, *members)


def _answers(completion: wire.Completion, memo: Memo) -> Iterator[Alternative]:
    """Every choice, in the order of the answer."""
    for place, choice in enumerate(completion.choices or ()):
        message = choice.message or choice.delta or wire.Answer()
        answer_id = completion.id or ""
        parts = _parts(message, f"{answer_id}_{place}" if place else answer_id, memo)
        pages = [*citations_of(message.annotations or ()), *pages_of(() if place else completion.citations or ())]
        if pages:
            _cite(parts, pages)
        called = any(isinstance(part, ToolCallPart) for part in parts)
        refused = any(isinstance(part, RefusalPart) for part in parts)
        reason, stop_sequence = finish_of(choice, memo, called=called, refused=refused)
        yield Alternative(
            parts=tuple(parts),
            finish_reason=reason,
            stop_sequence=stop_sequence,
            logprobs=logprobs_of(choice.logprobs) or None,
        )


def _cite(parts: list[Part], citations: Sequence[Citation]) -> None:
    places = [place for place, part in enumerate(parts) if isinstance(part, TextPart)]
    texts = [part for part in parts if isinstance(part, TextPart)]
    for place, text in zip(places, cite(texts, citations), strict=True):
        parts[place] = text


def decode_completion(body: bytes) -> wire.Completion:
    """A whole answer or a chunk; an error in its place is raised as the provider's."""
    try:
        completion = wire.decode_completion(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamError(f"the provider's answer is not a chat completion: {error}") from None
    if completion.error:
        failure = failure_of(completion.error)
        raise UpstreamError(failure.message, status=failure.status, kind=failure.kind)
    return completion


def failure_of(error: str | wire.ErrorBody) -> ErrorDetail:
    """An error that came with a status of success; its `code` may tell the status (OpenRouter)."""
    body = wire.ErrorBody(message=error) if isinstance(error, str) else error
    code = body.code
    if isinstance(code, str) and code.isascii() and code.isdigit():
        code = int(code[:4])
    status = code if isinstance(code, int) and 400 <= code < 600 else 502
    return detail_of(body, status)


def finish_of(choice: wire.Choice, memo: Memo, *, called: bool, refused: bool) -> tuple[FinishReason, str]:
    """The reason and the stop sequence. A turn that called tools asks for their results, whatever the word: with a
    forced tool OpenAI says `stop`."""
    reason = FINISH_REASONS.get(choice.finish_reason or "", FinishReason.STOP)
    if reason is FinishReason.STOP:
        if called:
            return FinishReason.TOOL_CALLS, ""
        if refused:
            return FinishReason.REFUSAL, ""
        for matched in (choice.stop_reason, choice.matched_stop):
            if isinstance(matched, str) and matched in memo.stop:
                return FinishReason.STOP_SEQUENCE, matched
    elif reason is FinishReason.TOOL_CALLS and not called:
        return FinishReason.STOP, ""
    return reason, ""


def usage_of(completion: wire.Completion) -> Usage:
    """What an answer or a chunk tells of usage, wherever its vendor puts it."""
    usage = completion.usage
    if usage is None and completion.choices:
        usage = completion.choices[0].usage
    if usage is None and completion.x_groq is not None:
        usage = completion.x_groq.usage
    return NO_USAGE if usage is None else decode_usage(usage)


def decode_usage(usage: wire.WireUsage) -> Usage:
    """Usage in canonical terms; OpenAI's prompt tokens already include cached ones."""
    cached = usage.prompt_cache_hit_tokens if usage.cached_tokens is None else usage.cached_tokens
    created: int | None = None
    prompt = usage.prompt_tokens_details
    if prompt is not None:
        cached = cached if prompt.cached_tokens is None else prompt.cached_tokens
        for value in (prompt.cache_creation_input_tokens, prompt.cache_creation_tokens, prompt.cache_write_tokens):
            created = value if created is None else created
    reasoning = usage.reasoning_tokens
    completion = usage.completion_tokens_details
    if completion is not None and completion.reasoning_tokens is not None:
        reasoning = completion.reasoning_tokens
    return Usage(
        usage.prompt_tokens,
        cached,
        created,
        usage.completion_tokens,
        usage.total_tokens,
        reasoning,
        apart_of(prompt, completion),
    )


def apart_of(prompt: wire.PromptTokensDetails | None, completion: wire.CompletionTokensDetails | None) -> Apart:
    """What may have a price of its own."""
    given = prompt is not None and (prompt.audio_tokens or prompt.image_tokens)
    written = completion is not None and (completion.audio_tokens or completion.image_tokens)
    if not given and not written:
        return ()
    prompt, completion = prompt or wire.PromptTokensDetails(), completion or wire.CompletionTokensDetails()
    counts = (
        (keys.AUDIO_INPUT_TOKENS, prompt.audio_tokens),
        (keys.IMAGE_INPUT_TOKENS, prompt.image_tokens),
        (keys.AUDIO_OUTPUT_TOKENS, completion.audio_tokens),
        (keys.IMAGE_OUTPUT_TOKENS, completion.image_tokens),
    )
    return apart(counts)


def _parts(message: wire.Answer, answer_id: str, memo: Memo) -> list[Part]:
    parts: list[Part] = _thinking_parts(message)
    content = message.content
    if isinstance(content, str):
        if memo.think_tags:
            tags = ThinkTags()
            thoughts, texts = zip(tags.feed(content), tags.close(), strict=True)
            content = "".join(texts)
            if thought := "".join(thoughts):
                parts.append(ThinkingPart(thought))
        if content:
            parts.append(TextPart(content))
    else:
        for item in content or ():
            if item.type == "thinking":
                parts.append(ThinkingPart(thinking_text(item), item.signature or ""))
            elif item.text:
                parts.append(TextPart(item.text))
            elif item.refusal:
                parts.append(RefusalPart(item.refusal))
    if message.refusal:
        parts.append(RefusalPart(message.refusal))
    parts.extend(_media(message, memo))
    calls = list(message.tool_calls or ())
    if message.function_call is not None:
        calls.append(wire.AnswerToolCall(function=message.function_call))
    for position, call in enumerate(calls):
        part = _tool_call(call, answer_id, position, memo)
        if part is not None:
            parts.append(part)
    return parts


def _media(message: wire.Answer, memo: Memo) -> Iterator[Part]:
    audio = message.audio
    if audio is not None:
        if audio.transcript and not message.content:
            yield TextPart(audio.transcript)
        if audio.data:
            yield audio_of(audio.data, memo.audio_format)
    yield from images_of(message.images or [])


def _tool_call(call: wire.AnswerToolCall, answer_id: str, position: int, memo: Memo) -> ToolCallPart | None:
    call_id = call.id or made_call_id(answer_id, position)
    custom = custom_of(call)
    if custom is not None and custom.name:
        return ToolCallPart(call_id, custom.name, freeform_arguments(custom.input or ""))
    function = call.function
    if function is None or not function.name:
        return None
    name = memo.tool_names.get(function.name, function.name)
    return ToolCallPart(call_id, name, wire.arguments_text(function.arguments))


def custom_of(call: wire.AnswerToolCall) -> wire.AnswerCustomCall | None:
    """What is said of a custom tool's call, or a piece of it."""
    return None if call.custom is wire.ABSENT else opened(call.custom, _CUSTOM_CALL)


_CUSTOM_CALL: Final = msgspec.json.Decoder(wire.AnswerCustomCall).decode


def made_call_id(answer_id: str, position: int) -> str:
    """For servers that give calls no id: unlike any other turn's, and the same each time this answer is read."""
    return f"call_{answer_id.removeprefix('chatcmpl-')}_{position}" if answer_id else f"call_{position}"


def thinking_text(item: wire.AnswerPart) -> str:
    """Mistral nests text parts in a thinking part."""
    inner = item.thinking
    if inner is None:
        return item.text or ""
    return inner if isinstance(inner, str) else "".join(part.text or "" for part in inner)


def _thinking_parts(message: wire.Answer) -> list[Part]:
    text, signature, redacted = wire.reasoning_of(message.reasoning_content, message.reasoning)
    parts: list[Part] = []
    for block in message.thinking_blocks or ():
        if block.type == "redacted_thinking" or (block.data and not block.thinking):
            parts.append(RedactedThinkingPart(block.data or ""))
        else:
            parts.append(ThinkingPart(block.thinking or text, block.signature or ""))
            text = text if block.thinking else ""
    if not parts and (text or signature):
        parts.append(ThinkingPart(text, signature))
    if redacted:
        parts.append(RedactedThinkingPart(redacted))
    return parts


# --- written ---------------------------------------------------------------------------------------------------------


def encode_response(response: ChatResponse, context: ReplyContext) -> bytes:
    """The client's whole answer."""
    created = context.created if response.created is None else response.created
    made = _Made(response.id, created, context.stand_ins)
    choices = [_choice(response, 0, made)]
    if response.alternatives:
        choices += [_choice(answer, place, made) for place, answer in enumerate(response.alternatives, 1)]
    google = response.extras.get(DialectName.GEMINI, {}) if response.extras else {}
    for name, raw in google.items():
        if name in _GOOGLE_MEMBERS:
            choices[0]["message"][_GOOGLE_MEMBERS[name]] = raw
    body: dict[str, Any] = {
        "id": response.id,
        "choices": choices,
        "created": created,
        "model": response.model or context.model,
    }
    tier = service_tier_word(response.service_tier)
    if tier:
        body["service_tier"] = tier
    body["object"] = "chat.completion"
    body["usage"] = encode_usage(response.usage)
    return _encode(body)


_GOOGLE_MEMBERS: Final = {"groundingMetadata": "grounding_metadata", "safetyRatings": "safety_ratings"}
"""compat: repeated as they came, at the end of the first message."""


class _Made(NamedTuple):
    """Of the whole answer: its id, when it began, which of its calls are of a client's own kind of tool."""

    answer_id: str
    created: int
    stand_ins: StandIns


def _choice(answer: ChatResponse | Alternative, place: int, made: _Made) -> dict[str, Any]:
    return {
        "finish_reason": FINISH_WORDS[answer.finish_reason],
        "index": place,
        "logprobs": written_logprobs(answer.logprobs) if answer.logprobs else None,
        "message": _message(answer.parts, made),
    }


def service_tier_word(tier: str) -> str:
    """A tier in OpenAI's words, or empty."""
    return tier if tier in _SERVICE_TIERS else ""


def encode_usage(usage: Usage) -> dict[str, Any]:
    """The member `usage`. compat: counts of 0 are left out of the details, and details nobody gave are left out."""
    given, written = usage.input or 0, usage.output or 0
    total = given + written if usage.total is None else usage.total
    encoded: dict[str, Any] = {"prompt_tokens": given, "completion_tokens": written, "total_tokens": total}
    if usage.reasoning is not None:
        encoded["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning} if usage.reasoning else {}
    if usage.cached_input is not None or usage.cache_creation_input is not None:
        details: dict[str, int] = {}
        if usage.cached_input:
            details["cached_tokens"] = usage.cached_input
        if usage.cache_creation_input:
            details["cache_creation_input_tokens"] = usage.cache_creation_input
        encoded["prompt_tokens_details"] = details
    return encoded


def _message(parts: Sequence[Part], made: _Made) -> dict[str, Any]:
    texts: list[TextPart] = []
    images: list[dict[str, Any]] = []
    audio: dict[str, Any] | None = None
    refusals: list[str] = []
    calls: list[dict[str, Any]] = []
    thoughts: list[ThinkingPart | RedactedThinkingPart] = []
    for part in parts:
        match part:
            case TextPart():
                texts.append(part)
            case RefusalPart(text=text):
                refusals.append(text)
            case ToolCallPart():
                calls.append(_written_call(part, made.stand_ins))
            case ThinkingPart() | RedactedThinkingPart():
                thoughts.append(part)
            case ImagePart():
                image = written_image(part, len(images))
                images.extend([] if image is None else [image])
            case MediaPart():
                audio = audio or written_audio(part, f"audio_{made.answer_id}", made.created)
            case DocumentPart() | ToolResultPart() | OpaquePart():
                pass  # a provider's own blocks (server tools, their results): the text around them says what was found
            case _:
                assert_never(part)
    said = texts or not (calls or refusals or audio)
    message: dict[str, Any] = {"content": "".join([part.text for part in texts]) if said else None}
    message["role"] = "assistant"
    if refusals:
        message["refusal"] = "".join(refusals)
    if calls:
        message["tool_calls"] = calls
    cited = annotations(texts)
    if cited:
        message["annotations"] = cited
    if audio is not None:
        message["audio"] = audio
    if images:
        message["images"] = images
    if thoughts:
        text = "".join(part.text for part in thoughts if isinstance(part, ThinkingPart))
        if text:
            message["reasoning_content"] = text
        message["thinking_blocks"] = [thinking_block(part) for part in thoughts]
    return message


def _written_call(part: ToolCallPart, stand_ins: StandIns) -> dict[str, Any]:
    tool = told_as(stand_ins, part.name)
    if tool.freeform:
        custom = {"input": freeform_text(part.arguments), "name": tool.name}
        return {"id": part.id, "custom": custom, "type": "custom"}
    return {"id": part.id, "function": {"arguments": part.arguments, "name": part.name}, "type": "function"}
