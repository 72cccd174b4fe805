"""A whole generateContent answer to the canonical model, and back.

A signature, on whatever part it stands, is the signature of the thought before that part, which may be empty: so it
comes to clients of every dialect in the form they send back. A blocked prompt, or an answer that a filter stopped
before its first word, is a refusal that says why.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import msgspec
from headgate.contract import metadata as keys
from headgate.llm.answer_losses import SAID, own_end, own_members
from headgate.llm.canonical import (
    Alternative,
    Base64Source,
    ChatResponse,
    Citation,
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
    TokenLogprob,
    ToolCallPart,
    TopLogprob,
    UrlSource,
)
from headgate.llm.dialects.dialect import Memo, ReplyContext
from headgate.llm.dialects.gemini import wire
from headgate.llm.dialects.gemini.errors import failure_of
from headgate.llm.dialects.gemini.grounding import citations_of, grounding_of
from headgate.llm.dialects.gemini.signatures import wrap_redacted, wrap_signature
from headgate.llm.dialects.sent_text import text_sent
from headgate.llm.dialects.speech import heard
from headgate.llm.errors import UpstreamError
from headgate.llm.names import DialectName
from headgate.llm.signatures import googles
from headgate.llm.usage import NO_USAGE, Usage

FAILURES: Final = frozenset(
    (
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE",
        "NO_IMAGE",
        "IMAGE_OTHER",
        "OTHER",
    )
)
"""The model failed. With nothing said that is an error, which another attempt may mend; else an ordinary end."""

FINISH_REASONS: Final[Mapping[str, FinishReason]] = MappingProxyType(
    {
        **dict.fromkeys(FAILURES, FinishReason.STOP),
        "FINISH_REASON_UNSPECIFIED": FinishReason.STOP,
        "STOP": FinishReason.STOP,
        "MAX_TOKENS": FinishReason.LENGTH,
        "SAFETY": FinishReason.REFUSAL,
        "BLOCKLIST": FinishReason.REFUSAL,
        "PROHIBITED_CONTENT": FinishReason.REFUSAL,
        "SPII": FinishReason.REFUSAL,
        "IMAGE_SAFETY": FinishReason.REFUSAL,
        "IMAGE_PROHIBITED_CONTENT": FinishReason.REFUSAL,
        "RECITATION": FinishReason.REFUSAL,
        "IMAGE_RECITATION": FinishReason.REFUSAL,
        "LANGUAGE": FinishReason.REFUSAL,
        "MODEL_ARMOR": FinishReason.REFUSAL,
        "ESCALATION": FinishReason.REFUSAL,
        "PUP_LIMITED_DISABLED": FinishReason.REFUSAL,
        "CONTINUATION": FinishReason.LENGTH,
    }
)
_ENDS: Final = FINISH_REASONS.keys() - FAILURES - {"CONTINUATION"}

FINISH_WORDS: Final[Mapping[FinishReason, str]] = MappingProxyType(
    {
        FinishReason.STOP: "STOP",
        FinishReason.STOP_SEQUENCE: "STOP",
        FinishReason.LENGTH: "MAX_TOKENS",
        FinishReason.TOOL_CALLS: "STOP",
        FinishReason.REFUSAL: "SAFETY",
        FinishReason.PAUSE: "STOP",
        FinishReason.CONTEXT_WINDOW: "MAX_TOKENS",
    }
)

_encode = msgspec.json.Encoder().encode


def finish_of(reason: str, *, called: bool) -> FinishReason:
    """The canonical reason; one that nobody knows yet is an ordinary end, and told (`own_end`)."""
    found = FINISH_REASONS.get(reason, FinishReason.STOP)
    return FinishReason.TOOL_CALLS if found is FinishReason.STOP and called else found


def blocked_prompt(feedback: wire.PromptFeedback) -> str:
    """What is said of a prompt that a filter refused."""
    return _because(f"The prompt was blocked: {feedback.block_reason}", feedback.block_reason_message)


def blocked_answer(candidate: wire.Candidate) -> str:
    """What is said of an answer that a filter stopped before its first word."""
    return _because(f"The answer was blocked: {candidate.finish_reason}", candidate.finish_message)


def failed_answer(candidate: wire.Candidate) -> str:
    """What is said of a model that failed before its first word."""
    return _because(f"the model gave no answer: {candidate.finish_reason}", candidate.finish_message)


def _because(said: str, message: str | None) -> str:
    return f"{said}: {message}" if message else f"{said}."


def usage_of(counted: wire.UsageMetadata | None) -> Usage:
    """Google counts thoughts beside the answer, tool results beside the prompt; ours are part of output and input."""
    if counted is None:
        return NO_USAGE
    given, written = counted.prompt_token_count, counted.candidates_token_count
    if given is not None:
        given += counted.tool_use_prompt_token_count or 0
    thoughts = counted.thoughts_token_count
    if written is not None or thoughts is not None:
        written = (written or 0) + (thoughts or 0)
    elif counted.total_token_count is not None and given is not None:
        written = max(counted.total_token_count - given, 0)
    return Usage(
        input=given,
        cached_input=counted.cached_content_token_count,
        output=written,
        total=counted.total_token_count,
        reasoning=thoughts,
        apart=tuple(_apart(counted)),
    )


_TRAFFIC: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ON_DEMAND": "default",
        "ON_DEMAND_PRIORITY": "priority",
        "ON_DEMAND_FLEX": "flex",
        "PROVISIONED_THROUGHPUT": "scale",
    }
)
"""Vertex's words to OpenAI's."""
_TIERS: Final[Mapping[str, str]] = MappingProxyType({"standard": "default", "priority": "priority", "flex": "flex"})
"""AI Studio's."""
_TRAFFIC_WORDS: Final[Mapping[str, str]] = MappingProxyType({tier: word for word, tier in _TRAFFIC.items()})


def service_tier_of(counted: wire.UsageMetadata | None) -> str:
    """As what it was served."""
    if counted is None:
        return ""
    return _TRAFFIC.get(counted.traffic_type or "") or _TIERS.get((counted.service_tier or "").lower(), "")


_APART: Final = {
    "prompt": {"AUDIO": keys.AUDIO_INPUT_TOKENS, "IMAGE": keys.IMAGE_INPUT_TOKENS},
    "candidates": {"AUDIO": keys.AUDIO_OUTPUT_TOKENS, "IMAGE": keys.IMAGE_OUTPUT_TOKENS},
}


def _apart(counted: wire.UsageMetadata) -> Iterator[tuple[str, int]]:
    """What may have a price of its own: it is told once for each kind."""
    for side, details in (
        ("prompt", counted.prompt_tokens_details),
        ("candidates", counted.candidates_tokens_details),
    ):
        for each in details or ():
            key = _APART[side].get(each.modality or "")
            if key is not None and each.token_count:
                yield key, each.token_count


def made_call_id(answer_id: str, position: int) -> str:
    """For calls without id: unlike any other turn's, and the same each time this answer is read."""
    return f"call_{answer_id}_{position}" if answer_id else f"call_{position}"


def created_of(time: str | None) -> int | None:
    """Unix seconds of `createTime`."""
    if not time:
        return None
    try:
        return int(datetime.fromisoformat(time).timestamp())
    except ValueError:
        return None


def decode_answer(body: bytes) -> wire.Answer:
    """A whole answer or a chunk. UpstreamError if it is none."""
    try:
        return wire.ANSWER_DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamError(f"the provider's answer is not Gemini's: {error}") from None


def decode_response(body: bytes, memo: Memo) -> ChatResponse:
    """See `ChatDialect.decode_response`."""
    answer = decode_answer(body)
    if answer.error is not None:
        failure = failure_of(answer.error)
        raise UpstreamError(failure.message, status=failure.status, kind=failure.kind)
    if not answer.candidates:
        return _without_candidates(answer)
    first, *others = (_read(candidate, answer, memo, place) for place, candidate in enumerate(answer.candidates))
    return ChatResponse(
        id=answer.response_id or "",
        model=answer.model_version or "",
        parts=first.parts,
        finish_reason=first.finish_reason,
        logprobs=first.logprobs,
        alternatives=tuple(others),
        usage=usage_of(answer.usage_metadata),
        created=created_of(answer.create_time),
        service_tier=service_tier_of(answer.usage_metadata),
        extras=extras_of(answer, answer.candidates[0]),
    )


def _without_candidates(answer: wire.Answer) -> ChatResponse:
    feedback = answer.prompt_feedback
    if feedback is None or not feedback.block_reason:
        raise UpstreamError("the provider's answer has no candidates")
    return ChatResponse(
        id=answer.response_id or "",
        model=answer.model_version or "",
        parts=(RefusalPart(blocked_prompt(feedback)),),
        finish_reason=FinishReason.REFUSAL,
        usage=usage_of(answer.usage_metadata),
        created=created_of(answer.create_time),
        extras=extras_of(answer, None),
    )


def extras_of(answer: wire.Answer, candidate: wire.Candidate | None) -> Extras:
    """What only this dialect says of an answer, or of a prompt that it does not answer."""
    members = [("modelStatus", answer.model_status)]
    feedback = answer.prompt_feedback
    if feedback is not None:
        name = "safetyRatings" if candidate is None else "promptFeedback.safetyRatings"
        members.append((name, feedback.safety_ratings))
    if candidate is not None:
        members += (
            ("safetyRatings", candidate.safety_ratings),
            ("groundingMetadata", candidate.grounding_metadata),
            ("citationMetadata", candidate.citation_metadata),
            ("urlContextMetadata", candidate.url_context_metadata),
            ("continuationToken", candidate.continuation_token),
        )
        if candidate.finish_reason and candidate.finish_reason not in _ENDS:
            members.append(own_end(candidate.finish_reason, _ENDS))
        if candidate.finish_message and candidate.content is not None and candidate.content.parts:
            members.append(("finishMessage", SAID))  # without a word it is told as the refusal
    if all(raw is wire.ABSENT for _, raw in members):  # as nearly always
        return {}
    found = own_members(DialectName.GEMINI, *members)
    for raw in found.get(DialectName.GEMINI, {}).values():
        text_sent(raw)  # clients of one dialect are told it as it is
    return found


def _read(candidate: wire.Candidate, answer: wire.Answer, memo: Memo, place: int) -> Alternative:
    said = candidate.content.parts if candidate.content is not None else None
    answer_id = f"{answer.response_id or ''}_{place}" if place else answer.response_id or ""
    parts, texts = read_parts(said or (), answer_id, memo)
    reason = candidate.finish_reason or ""
    if not parts:
        if reason in FAILURES and not place:
            raise UpstreamError(failed_answer(candidate))
        if finish_of(reason, called=False) is FinishReason.REFUSAL:
            parts.append(RefusalPart(blocked_answer(candidate)))
    _cite(parts, texts, candidate)
    called = any(isinstance(part, ToolCallPart) for part in parts)
    return Alternative(
        parts=tuple(parts),
        finish_reason=finish_of(reason, called=called),
        logprobs=logprobs_of(candidate.logprobs_result),
    )


def read_parts(said: Sequence[wire.AnswerPart], answer_id: str, memo: Memo) -> tuple[list[Part], dict[int, int]]:
    """Canonical parts, and of the texts among them the place: theirs to ours."""
    parts: list[Part] = []
    texts: dict[int, int] = {}
    calls = 0
    for position, part in enumerate(said):
        if part.thought:
            _add_thought(parts, part.text or "", googles(part.thought_signature) if part.thought_signature else "")
            continue
        if part.thought_signature:
            _add_thought(parts, "", googles(part.thought_signature))
        if part.function_call is not None:
            parts.append(call_part(part.function_call, made_call_id(answer_id, calls), memo))
            calls += 1
        elif part.text is not None:
            if part.text:
                texts[position] = len(parts)
                parts.append(TextPart(part.text))
        else:
            other = other_part(part, memo)
            if other is not None:
                parts.append(other)
    return parts, texts


def _add_thought(parts: list[Part], text: str, signature: str) -> None:
    last = parts[-1] if parts else None
    if isinstance(last, ThinkingPart) and not last.signature:
        parts[-1] = ThinkingPart(last.text + text, signature)
    elif text or signature:
        parts.append(ThinkingPart(text, signature))


def call_part(call: wire.AnswerCall, made_id: str, memo: Memo) -> ToolCallPart:
    """A function call; its arguments on one line, since clients of other dialects store them as text."""
    name = call.name or ""
    return ToolCallPart(call.id or made_id, memo.tool_names.get(name, name), arguments_text(call.args))


def arguments_text(raw: msgspec.Raw) -> str:
    """Arguments as compact JSON text."""
    given = wire.present(raw)
    return text_sent(msgspec.json.format(given, indent=-1)) if given else "{}"


def other_part(part: wire.AnswerPart, memo: Memo) -> ImagePart | MediaPart | OpaquePart | None:
    """Media that the model made, or what only this dialect understands."""
    if part.inline_data is not None:
        media_type = part.inline_data.mime_type or "image/png"
        made = _media(Base64Source(media_type, part.inline_data.data), media_type)
        return heard(made, memo.audio_format) if isinstance(made, MediaPart) else made
    if part.file_data is not None:
        return _media(UrlSource(part.file_data.file_uri), part.file_data.mime_type or "image/png")
    for attribute, name in (*wire.OPAQUE_PARTS, ("function_response", "functionResponse")):
        raw: msgspec.Raw = getattr(part, attribute)
        if wire.present(raw):
            return OpaquePart(DialectName.GEMINI, name, raw)
    return None


def _media(source: Base64Source | UrlSource, media_type: str) -> ImagePart | MediaPart:
    kind, _, subtype = media_type.partition("/")
    if kind == "audio":
        return MediaPart("audio", source, subtype.partition(";")[0])
    return MediaPart("video", source, subtype) if kind == "video" else ImagePart(source)


def _cite(parts: list[Part], texts: Mapping[int, int], candidate: wire.Candidate) -> None:
    if not texts or not wire.present(candidate.grounding_metadata):
        return
    said = {position: parts[place] for position, place in texts.items()}
    written = {position: part.text for position, part in said.items() if isinstance(part, TextPart)}
    for position, citations in citations_of(candidate.grounding_metadata, written).items():
        place = texts[position]
        part = parts[place]
        assert isinstance(part, TextPart)
        parts[place] = TextPart(part.text, citations=citations)


def logprobs_of(result: wire.LogprobsResult | None) -> tuple[TokenLogprob, ...] | None:
    """The tokens chosen, each with what else might have stood there."""
    if result is None or not result.chosen_candidates:
        return None
    tops = result.top_candidates or []
    tokens: list[TokenLogprob] = []
    for place, chosen in enumerate(result.chosen_candidates):
        others = (tops[place].candidates or ()) if place < len(tops) else ()
        top = tuple(TopLogprob(each.token or "", each.log_probability or 0.0) for each in others)
        tokens.append(TokenLogprob(chosen.token or "", chosen.log_probability or 0.0, top))
    return tuple(tokens)


# --- encode ----------------------------------------------------------------------------------------------------------

Members = dict[str, Any]


def encode_response(response: ChatResponse, context: ReplyContext) -> bytes:
    """See `ChatDialect.encode_response`."""
    first = Alternative(parts=response.parts, finish_reason=response.finish_reason, logprobs=response.logprobs)
    candidates = [_candidate(each, place) for place, each in enumerate((first, *response.alternatives))]
    body: Members = {"candidates": candidates, "usageMetadata": written_usage(response.usage, response.service_tier)}
    body |= head_members(response.id, response.model, context)
    return _encode(body)


def head_members(answer_id: str, model: str, context: ReplyContext) -> Members:
    """What every answer and every chunk says of itself."""
    return {
        "modelVersion": model or context.model,
        "responseId": answer_id or context.request_id or f"answer-{context.created:x}",
    }


def written_usage(usage: Usage, service_tier: str) -> Members:
    """Usage as Google counts it: thoughts beside the answer. Tokens nobody counted are left out."""
    written = usage.output
    if written is not None:
        written = max(written - (usage.reasoning or 0), 0)
    total = usage.total
    if total is None and usage.input is not None and usage.output is not None:
        total = usage.input + usage.output
    members = (
        ("promptTokenCount", usage.input),
        ("candidatesTokenCount", written),
        ("totalTokenCount", total),
        ("cachedContentTokenCount", usage.cached_input),
        ("thoughtsTokenCount", usage.reasoning),
        ("trafficType", _TRAFFIC_WORDS.get(service_tier)),
    )
    return {name: value for name, value in members if value is not None}


def _candidate(answer: Alternative, place: int) -> Members:
    candidate: Members = {
        "content": {"parts": [part for each in answer.parts for part in encode_part(each)], "role": "model"},
        "finishReason": FINISH_WORDS[answer.finish_reason],
        "index": place,
    }
    grounding = grounding_of(_citations(answer.parts))
    if grounding:
        candidate["groundingMetadata"] = grounding
    if answer.logprobs:
        candidate["logprobsResult"] = written_logprobs(answer.logprobs)
        candidate["avgLogprobs"] = sum(token.logprob for token in answer.logprobs) / len(answer.logprobs)
    return candidate


def _citations(parts: Sequence[Part]) -> Iterator[tuple[int, str, Citation]]:
    """Of each citation: the place of its part as written, the part's text, itself."""
    place = 0
    for part in parts:
        written = len(list(encode_part(part)))
        if isinstance(part, TextPart):
            for citation in part.citations:
                yield place, part.text, citation
        place += written


def encode_part(part: Part) -> Iterator[Members]:
    """The part as this dialect's clients read it."""
    match part:
        case TextPart(text=text) | RefusalPart(text=text):
            if text:
                yield {"text": text}
        case ThinkingPart(text=text, signature=signature):
            thought: Members = {"text": text, "thought": True}
            if signature:
                thought["thoughtSignature"] = wrap_signature(signature)
            yield thought
        case RedactedThinkingPart(data=data):
            yield {"text": "", "thought": True, "thoughtSignature": wrap_redacted(data)}
        case ToolCallPart():
            yield {"functionCall": written_call(part.id, part.name, part.arguments)}
        case ImagePart(source=Base64Source(media_type=media_type, data=data)):
            yield {"inlineData": {"mimeType": media_type or "image/png", "data": data}}
        case ImagePart(source=UrlSource(url=url)):
            yield {"fileData": {"mimeType": "image/png", "fileUri": url}}
        case MediaPart(source=Base64Source(media_type=media_type, data=data)):
            yield {"inlineData": {"mimeType": media_type or f"{part.kind}/{part.format}", "data": data}}
        case OpaquePart(dialect=DialectName.GEMINI):
            yield {part.kind: part.raw}
        case _:
            return  # another provider's own blocks: the text around them says what was found


_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def written_call(call_id: str, name: str, arguments: str) -> Members:
    """A function call. A model may write arguments that are no object (cut off, say): then the text is handed over as
    it is under one name, so that no function runs with arguments nobody gave."""
    try:
        _decode_object(arguments)
        args = msgspec.Raw(arguments)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        args = msgspec.Raw(_encode({"raw_arguments": arguments}) if arguments.strip() else b"{}")
    return {"id": call_id, "name": name, "args": args} if call_id else {"name": name, "args": args}


def written_logprobs(tokens: Sequence[TokenLogprob]) -> Members:
    """The member `logprobsResult`."""
    return {
        "chosenCandidates": [{"token": token.token, "logProbability": token.logprob} for token in tokens],
        "topCandidates": [
            {"candidates": [{"token": each.token, "logProbability": each.logprob} for each in token.top]}
            for token in tokens
        ],
    }
