"""Whole answers of the v2 chat, to the canonical model and back.

A refusal has no word in this dialect: it ends with `ERROR`, the only finish that tells clients not to take the text
for an answer.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar, cast

import msgspec
from headgate.llm.answer_losses import own_end, own_members
from headgate.llm.canonical import (
    ChatResponse,
    Citation,
    Extras,
    FinishReason,
    Part,
    RefusalPart,
    TextPart,
    ThinkingPart,
    TokenLogprob,
    ToolCallPart,
)
from headgate.llm.dialects.cohere import wire
from headgate.llm.dialects.cohere.citations import citations_of, written_citations
from headgate.llm.dialects.dialect import Memo, ReplyContext
from headgate.llm.errors import ErrorDetail, ErrorKind, UpstreamError
from headgate.llm.names import DialectName
from headgate.llm.usage import NO_USAGE, Usage

Members = dict[str, Any]
T = TypeVar("T")

FINISH_REASONS: Final = {
    "COMPLETE": FinishReason.STOP,
    "STOP_SEQUENCE": FinishReason.STOP_SEQUENCE,
    "MAX_TOKENS": FinishReason.LENGTH,
    "TOOL_CALL": FinishReason.TOOL_CALLS,
    "ERROR_TOXIC": FinishReason.REFUSAL,
    "ERROR_LIMIT": FinishReason.CONTEXT_WINDOW,
}
_ENDS: Final = FINISH_REASONS.keys()
_FAILURES: Final = {"ERROR": (502, ErrorKind.INTERNAL), "TIMEOUT": (504, ErrorKind.TIMEOUT)}
FINISH_WORDS: Final = {
    FinishReason.STOP: "COMPLETE",
    FinishReason.STOP_SEQUENCE: "STOP_SEQUENCE",
    FinishReason.LENGTH: "MAX_TOKENS",
    FinishReason.TOOL_CALLS: "TOOL_CALL",
    FinishReason.REFUSAL: "ERROR",
    FinishReason.PAUSE: "COMPLETE",
    FinishReason.CONTEXT_WINDOW: "MAX_TOKENS",
}

_encode = msgspec.json.Encoder().encode


def finish_of(word: str | None, memo: Memo, *, called: bool) -> tuple[FinishReason, str]:
    """The reason and the stop sequence: this dialect does not tell which, but one alone needs no telling."""
    reason = FINISH_REASONS.get(word or "", FinishReason.STOP)
    if reason is FinishReason.STOP and called:
        return FinishReason.TOOL_CALLS, ""
    if reason is FinishReason.TOOL_CALLS and not called:
        return FinishReason.STOP, ""
    if reason is FinishReason.STOP_SEQUENCE and len(memo.stop) == 1:
        return reason, memo.stop[0]
    return reason, ""


def failure_of(word: str | None, message: str | None = None) -> ErrorDetail | None:
    """What a finish reason says went wrong, or a message alone, if it does."""
    failure = _FAILURES.get(word or ("ERROR" if message else ""))
    if failure is None:
        return None
    said = message or f"the provider could not finish its answer: {word}"
    return ErrorDetail(status=failure[0], kind=failure[1], message=said)


def usage_of(counted: wire.AnswerUsage | None) -> Usage:
    """Tokens where they are told, else the units that are billed."""
    if counted is None:
        return NO_USAGE
    told = counted.tokens or counted.billed_units
    if told is None or (told.input_tokens is None and told.output_tokens is None):
        return NO_USAGE
    given, written = _count(told.input_tokens), _count(told.output_tokens)
    return Usage(
        input=given,
        cached_input=None if counted.cached_tokens is None else _count(counted.cached_tokens),
        output=written,
        total=given + written,
    )


def _count(told: float | None) -> int:
    return int(told) if told is not None and 0 <= told < 2**53 else 0


def logprobs_of(items: Sequence[wire.Logprob]) -> tuple[TokenLogprob, ...]:
    """One for each piece of text; of one made of several tokens the probability of all."""
    return tuple(TokenLogprob(item.text or "", sum(item.logprobs or ())) for item in items)


def decode_response(body: bytes, memo: Memo) -> ChatResponse:
    """See `ChatDialect.decode_response`."""
    try:
        answer = wire.ANSWER_DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamError(f"the provider's answer is not Cohere's: {error}") from None
    message = answer.message
    if message is None or isinstance(message, str):
        raise UpstreamError(message or "the provider's answer has no message")
    failure = failure_of(answer.finish_reason)
    if failure is not None:
        raise UpstreamError(failure.message, status=failure.status, kind=failure.kind)
    parts = tuple(_parts(message, answer.id or ""))
    called = any(isinstance(part, ToolCallPart) for part in parts)
    reason, stop_sequence = finish_of(answer.finish_reason, memo, called=called)
    return ChatResponse(
        id=answer.id or "",
        parts=parts,
        finish_reason=reason,
        stop_sequence=stop_sequence,
        logprobs=None if answer.logprobs is None else logprobs_of(answer.logprobs),
        usage=usage_of(answer.usage),
        extras=extras_of(answer.finish_reason),
    )


def extras_of(finish_reason: str | None) -> Extras:
    """What only this dialect says of an answer."""
    return own_members(DialectName.COHERE, own_end(finish_reason, _ENDS))


def _parts(message: wire.AnswerMessage, answer_id: str) -> Iterator[Part]:
    items = items_of(message.content)
    texts = [i for i, item in enumerate(items) if item.text and not item.thinking]
    cited: dict[int, list[Citation]] = {}
    for place, citation in citations_of(listed(message.citations)):
        if texts:
            cited.setdefault(place if place in texts else texts[-1], []).append(citation)
    for item in items:
        if item.thinking:
            yield ThinkingPart(item.thinking)
    if message.tool_plan:
        yield TextPart(message.tool_plan)
    for index in texts:
        yield TextPart(items[index].text or "", citations=tuple(cited.get(index, ())))
    for position, call in enumerate(listed(message.tool_calls)):
        if call.function is not None and call.function.name:
            call_id = call.id or made_call_id(answer_id, position)
            yield ToolCallPart(call_id, call.function.name, call.function.arguments or "{}")


def made_call_id(answer_id: str, position: int) -> str:
    """For calls without id: unlike any other turn's, and the same each time this answer is read."""
    return f"call_{answer_id}_{position}" if answer_id else f"call_{position}"


def items_of(content: str | list[wire.AnswerItem] | wire.AnswerItem | None) -> list[wire.AnswerItem]:
    """Contents, whichever way they are written."""
    if isinstance(content, str):
        return [wire.AnswerItem("text", content)]
    return listed(content)


def listed(value: "list[T] | T | None") -> list[T]:
    """A list of what a stream tells alone."""
    if value is None:
        return []
    return cast("list[T]", value) if isinstance(value, list) else [value]


# --- written ---------------------------------------------------------------------------------------------------------


def encode_response(response: ChatResponse, context: ReplyContext) -> bytes:
    """See `ChatDialect.encode_response`."""
    body: Members = {
        "id": response.id or answer_id(context),
        "finish_reason": FINISH_WORDS[response.finish_reason],
        "message": _message(response.parts),
        "usage": written_usage(response.usage),
    }
    if response.logprobs is not None:
        body["logprobs"] = [written_logprob((token,)) for token in response.logprobs]
    return _encode(body)


def answer_id(context: ReplyContext) -> str:
    """For providers that give none; this dialect's clients insist on one."""
    return context.request_id or f"chat_{context.created:x}"


def written_usage(usage: Usage) -> Members:
    """Tokens and, since nobody knows what the provider bills, the same as billed units."""
    counted = {"input_tokens": usage.input or 0, "output_tokens": usage.output or 0}
    written: Members = {"billed_units": counted, "tokens": counted}
    if usage.cached_input is not None:
        written["cached_tokens"] = usage.cached_input
    return written


def written_logprob(tokens: Sequence[TokenLogprob]) -> Members:
    """Token ids are numbers of the provider's own: not known here, and never guessed."""
    text = "".join(token.token for token in tokens)
    return {"text": text, "token_ids": [], "logprobs": [token.logprob for token in tokens]}


def _message(parts: Sequence[Part]) -> Members:
    message: Members = {"role": "assistant"}
    contents: list[Members] = []
    citations: list[Members] = []
    calls: list[Members] = []
    for part in parts:
        match part:
            case TextPart():
                citations.extend(written_citations(part.citations, part.text, len(contents)))
                contents.append({"type": "text", "text": part.text})
            case RefusalPart():
                contents.append({"type": "text", "text": part.text})
            case ThinkingPart(text=text):
                if text:
                    contents.append({"type": "thinking", "thinking": text})
            case ToolCallPart():
                function = {"name": part.name, "arguments": part.arguments}
                calls.append({"id": part.id, "type": "function", "function": function})
            case _:
                pass  # other providers' own blocks, and reasoning that they encrypted: this dialect has no place
    if contents:
        message["content"] = contents
    if calls:
        message["tool_calls"] = calls
    if citations:
        message["citations"] = citations
    return message
