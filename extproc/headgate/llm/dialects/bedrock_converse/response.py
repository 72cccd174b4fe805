"""A whole Converse answer to the canonical model, and back."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec
from headgate.contract import metadata as keys
from headgate.llm.answer_losses import own_end, own_members
from headgate.llm.canonical import (
    Base64Source,
    ChatResponse,
    Extras,
    FinishReason,
    ImagePart,
    MediaPart,
    OpaquePart,
    Part,
    RedactedThinkingPart,
    RefusalPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    UrlSource,
)
from headgate.llm.dialects.bedrock_converse import wire
from headgate.llm.dialects.bedrock_converse.citations import decode_citation, encode_citation
from headgate.llm.dialects.bedrock_converse.media import (
    AUDIO_TYPES,
    IMAGE_FORMATS,
    IMAGE_TYPES,
    VIDEO_TYPES,
    blob_of_text,
    text_of_blob,
)
from headgate.llm.dialects.dialect import Memo, ReplyContext
from headgate.llm.dialects.sent_text import text_sent
from headgate.llm.dialects.speech import PCM
from headgate.llm.errors import UpstreamError
from headgate.llm.names import DialectName
from headgate.llm.usage import NO_USAGE, Apart, Usage, apart

_LONG: Final = "1h"
_SHORT: Final = "5m"
"""How long Bedrock keeps what it writes to a cache."""

_FAILURES: Final = frozenset(("malformed_model_output", "malformed_tool_use"))
"""The model failed. With nothing said that is an error, which another attempt may mend; else an ordinary end."""

STOP_REASONS: Final[Mapping[str, FinishReason]] = MappingProxyType(
    {
        **dict.fromkeys(_FAILURES, FinishReason.STOP),
        "end_turn": FinishReason.STOP,
        "stop_sequence": FinishReason.STOP_SEQUENCE,
        "max_tokens": FinishReason.LENGTH,
        "tool_use": FinishReason.TOOL_CALLS,
        "content_filtered": FinishReason.REFUSAL,
        "guardrail_intervened": FinishReason.REFUSAL,
        "model_context_window_exceeded": FinishReason.CONTEXT_WINDOW,
    }
)
_ENDS: Final = STOP_REASONS.keys() - _FAILURES

STOP_REASON_WORDS: Final[Mapping[FinishReason, str]] = MappingProxyType(
    {
        FinishReason.STOP: "end_turn",
        FinishReason.STOP_SEQUENCE: "stop_sequence",
        FinishReason.LENGTH: "max_tokens",
        FinishReason.TOOL_CALLS: "tool_use",
        FinishReason.REFUSAL: "content_filtered",
        FinishReason.PAUSE: "end_turn",
        FinishReason.CONTEXT_WINDOW: "model_context_window_exceeded",
    }
)


def finish_reason_of(stop_reason: str | None, *, called_tools: bool, memo: Memo) -> FinishReason:
    """The canonical reason; one that nobody knows yet is an ordinary end, and told (`own_end`)."""
    reason = STOP_REASONS.get(stop_reason or "")
    if reason is None or stop_reason in _FAILURES:
        return FinishReason.TOOL_CALLS if called_tools else FinishReason.STOP
    if reason is FinishReason.TOOL_CALLS and memo.json_tool and not called_tools:
        return FinishReason.STOP
    return reason


def failed_answer(stop_reason: str | None, *, said: bool) -> str:
    """What is said of a model that failed before its first word; empty of others."""
    return f"the model gave no answer: {stop_reason}" if stop_reason in _FAILURES and not said else ""


def usage_of(counted: wire.Usage | None) -> Usage:
    """Bedrock counts cached tokens beside the input; ours are part of it."""
    if counted is None:
        return NO_USAGE
    input_tokens = None
    if counted.input_tokens is not None:
        input_tokens = (
            counted.input_tokens + (counted.cache_read_input_tokens or 0) + (counted.cache_write_input_tokens or 0)
        )
    known = input_tokens is not None and counted.output_tokens is not None
    return Usage(
        input=input_tokens,
        cached_input=counted.cache_read_input_tokens,
        cache_creation_input=counted.cache_write_input_tokens,
        output=counted.output_tokens,
        total=(input_tokens or 0) + (counted.output_tokens or 0) if known else counted.total_tokens,
        apart=_kept_long(counted.cache_details) if counted.cache_details else (),
    )


def _kept_long(details: Sequence[wire.CacheDetail]) -> Apart:
    """Of what was written to a cache, what is kept for an hour, which has a price of its own."""
    long = sum(each.input_tokens or 0 for each in details if each.ttl == _LONG)
    return apart(((keys.CACHE_CREATION_1H_INPUT_TOKENS, long),))


def decode_response(body: bytes, memo: Memo) -> ChatResponse:
    """See `ChatDialect.decode_response`."""
    try:
        answer = wire.ANSWER_DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamError(f"the provider's answer is no message: {error}") from None
    message = answer.output.message if answer.output is not None else None
    if message is None or message.content is None:
        raise UpstreamError("the provider's answer is no message: it has no content")
    parts = tuple(_decode_blocks(message.content, memo))
    failure = failed_answer(answer.stop_reason, said=bool(parts))
    if failure:
        raise UpstreamError(failure)
    called_tools = any(isinstance(part, ToolCallPart) for part in parts)
    fields = answer.additional_model_response_fields
    return ChatResponse(
        parts=parts,
        finish_reason=finish_reason_of(answer.stop_reason, called_tools=called_tools, memo=memo),
        stop_sequence=(fields.stop_sequence or "") if fields is not None else "",
        usage=usage_of(answer.usage),
        service_tier=service_tier_of(answer.service_tier),
        extras=extras_of(answer.trace, answer.stop_reason),
    )


def extras_of(trace: msgspec.Raw, stop_reason: str | None) -> Extras:
    """What only this dialect says of an answer."""
    return own_members(DialectName.BEDROCK_CONVERSE, ("trace", trace), own_end(stop_reason, _ENDS))


def _decode_blocks(blocks: list[wire.AnswerBlock], memo: Memo) -> Iterator[Part]:
    for block in blocks:
        if block.text:
            yield TextPart(block.text)
        elif block.tool_use is not None:
            call = block.tool_use
            yield _decode_call(call, memo) if call.type is None else OpaquePart(DialectName.BEDROCK_CONVERSE, call.type)
        elif block.reasoning_content is not None:
            yield from _decode_reasoning(block.reasoning_content)
        elif block.citations_content is not None:
            cited = block.citations_content
            text = "".join(content.text or "" for content in cited.content or ())
            yield TextPart(text, citations=tuple(decode_citation(each) for each in cited.citations or ()))
        elif block.image is not None or block.audio is not None or block.video is not None:
            yield from _decode_media(block)
        else:
            for attribute, name in wire.OPAQUE_BLOCKS:
                if getattr(block, attribute) is not wire.ABSENT:
                    yield OpaquePart(DialectName.BEDROCK_CONVERSE, name)


def _decode_call(call: wire.AnswerToolUse, memo: Memo) -> TextPart | ToolCallPart:
    arguments = text_sent(call.input) or "{}"
    name = call.name or ""
    if memo.json_tool and name == memo.json_tool:
        return TextPart(arguments)
    return ToolCallPart(call.tool_use_id or "", memo.tool_names.get(name, name), arguments)


def _decode_reasoning(block: wire.AnswerReasoning) -> Iterator[Part]:
    if block.reasoning_text is not None:
        yield ThinkingPart(block.reasoning_text.text or "", block.reasoning_text.signature or "")
    if block.redacted_content is not None:
        yield RedactedThinkingPart(text_of_blob(block.redacted_content))


def _decode_media(block: wire.AnswerBlock) -> Iterator[Part]:
    for media in (block.image, block.audio):
        if media is not None and media.error is not None and media.error.message:
            yield RefusalPart(media.error.message)
    image = source_of(block.image, IMAGE_TYPES, "image/png")
    if image is not None:
        yield ImagePart(image)
    audio = source_of(block.audio, AUDIO_TYPES)
    if audio is not None and block.audio is not None:
        yield MediaPart("audio", audio, block.audio.format or "")
    video = source_of(block.video, VIDEO_TYPES)
    if video is not None and block.video is not None:
        yield MediaPart("video", video, block.video.format or "")


def source_of(
    media: wire.AnswerMedia | None, types: Mapping[str, str], other: str = ""
) -> Base64Source | UrlSource | None:
    """What was made, or where in S3 it is."""
    if media is None or media.source is None:
        return None
    if media.source.bytes:
        return Base64Source(types.get(media.format or "", other), media.source.bytes)
    place = media.source.s3_location
    return UrlSource(place.uri) if place is not None and place.uri else None


def image_of(word: str | None, data: str) -> ImagePart:
    """An image that the model made."""
    return ImagePart(Base64Source(IMAGE_TYPES.get(word or "", "image/png"), data))


# --- encode ----------------------------------------------------------------------------------------------------------


def encode_response(response: ChatResponse, context: ReplyContext) -> bytes:
    """See `ChatDialect.encode_response`."""
    content = list(_encode_parts(response))
    answer: dict[str, object] = {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": STOP_REASON_WORDS[response.finish_reason],
        "usage": written_usage(response.usage),
        "metrics": METRICS,
    }
    if response.stop_sequence:
        answer["additionalModelResponseFields"] = {"stop_sequence": response.stop_sequence}
    tier = SERVICE_TIERS.get(response.service_tier)
    if tier:
        answer["serviceTier"] = {"type": tier}
    return _ENCODER.encode(answer)


_ENCODER: Final = msgspec.json.Encoder()

METRICS: Final[Mapping[str, int]] = {"latencyMs": 0}
"""The service's own measurement, which clients insist on; other providers tell none."""

SERVICE_TIERS: Final[Mapping[str, str]] = MappingProxyType(
    {"default": "default", "priority": "priority", "flex": "flex", "scale": "reserved"}
)
"""OpenAI's words to Bedrock's. Others are left out."""


def service_tier_of(served: wire.AnswerServiceTier | None) -> str:
    """As what it was served."""
    tier = (served.type or "") if served is not None else ""
    return "scale" if tier == "reserved" else tier


def written_usage(usage: Usage) -> wire.WrittenUsage:
    """Usage as Bedrock counts it: cached tokens beside the input, all of them in the total."""
    cached = usage.cached_input or 0
    created = usage.cache_creation_input or 0
    input_tokens, output_tokens = usage.input or 0, usage.output or 0
    return wire.WrittenUsage(
        input_tokens=max(input_tokens - cached - created, 0),
        output_tokens=output_tokens,
        total_tokens=input_tokens + output_tokens if usage.total is None else usage.total,
        cache_read_input_tokens=usage.cached_input,
        cache_write_input_tokens=usage.cache_creation_input,
        cache_details=_cache_details(usage) if usage.apart else (),
    )


def _cache_details(usage: Usage) -> tuple[wire.CacheDetail, ...]:
    """What is kept for how long, the longest first; nothing where nobody said that any is kept for an hour."""
    long = dict(usage.apart).get(keys.CACHE_CREATION_1H_INPUT_TOKENS, 0)
    if not long:
        return ()
    counts = ((_LONG, long), (_SHORT, (usage.cache_creation_input or 0) - long))
    return tuple(wire.CacheDetail(ttl, count) for ttl, count in counts if count > 0)


def _encode_parts(response: ChatResponse) -> Iterator[wire.WrittenBlock]:
    for part in response.parts:
        match part:
            case TextPart(text=text, citations=citations) if citations:
                cited = [encode_citation(citation) for citation in citations]
                block = wire.CitationsContent([wire.SourceContent(text)], cited)
                yield wire.WrittenBlock(citations_content=block)
            case TextPart(text=text) | RefusalPart(text=text):
                if text:
                    yield wire.WrittenBlock(text=text)
            case ToolCallPart():
                yield wire.WrittenBlock(tool_use=wire.WrittenToolUse(part.id, part.name, object_of(part.arguments)))
            case ThinkingPart():
                shown = wire.ReasoningText(part.text, part.signature or None)
                yield wire.WrittenBlock(reasoning_content=wire.WrittenReasoning(shown))
            case RedactedThinkingPart():
                hidden = wire.WrittenReasoning(redacted_content=blob_of_text(part.data))
                yield wire.WrittenBlock(reasoning_content=hidden)
            case ImagePart(source=Base64Source(media_type=media_type, data=data)):
                word = IMAGE_FORMATS.get(media_type, "png")
                yield wire.WrittenBlock(image=wire.Media(word, wire.Source(data)))
            case MediaPart(kind="audio", source=Base64Source(data=data)):
                word = "pcm" if part.format == PCM else part.format or "wav"
                yield wire.WrittenBlock(audio=wire.Media(word, wire.Source(data)))
            case _:
                pass  # what only another provider's clients understand


_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def object_of(arguments: str) -> msgspec.Raw:
    """Arguments as the object that this dialect wants. A model may write what is no object (cut off, say): then the
    text is handed over as it is under one name, so that no tool runs with arguments nobody gave."""
    try:
        _OBJECT.decode(arguments)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        if not arguments.strip():
            return msgspec.Raw(b"{}")
        return msgspec.Raw(msgspec.json.encode({"raw_arguments": arguments}))
    return msgspec.Raw(arguments)
