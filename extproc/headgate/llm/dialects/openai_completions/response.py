"""Whole completions, written for clients."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from headgate.llm.canonical import ChatResponse, FinishReason, Part, RefusalPart, TextPart, TokenLogprob
from headgate.llm.dialects.dialect import Memo, ReplyContext
from headgate.llm.dialects.openai_chat.response import encode_usage
from headgate.llm.errors import UpstreamError

FINISH_WORDS: Final = {
    FinishReason.LENGTH: "length",
    FinishReason.CONTEXT_WINDOW: "length",
    FinishReason.REFUSAL: "content_filter",
}
"""All others are `stop`."""

_encode = msgspec.json.Encoder().encode


def decode_response(_body: bytes, _memo: Memo) -> ChatResponse:
    """Never asked for: no backend is planned with this dialect."""
    raise UpstreamError("completions are not translated from")


def encode_response(response: ChatResponse, context: ReplyContext) -> bytes:
    """The client's whole answer; the prompt before each text where the client wants it repeated."""
    prompt = context.echo.decode()
    answers = [(response.parts, response.finish_reason, response.logprobs)]
    answers += [(each.parts, each.finish_reason, each.logprobs) for each in response.alternatives]
    choices = [
        {
            "text": prompt + text_of(parts),
            "index": index,
            "logprobs": None if logprobs is None else encode_logprobs(logprobs, len(prompt)),
            "finish_reason": FINISH_WORDS.get(reason, "stop"),
        }
        for index, (parts, reason, logprobs) in enumerate(answers)
    ]
    return _encode(
        {
            "id": completion_id(response.id, context),
            "object": "text_completion",
            "created": context.created if response.created is None else response.created,
            "model": response.model or context.model,
            "choices": choices,
            "usage": encode_usage(response.usage),
        }
    )


def completion_id(answer_id: str, context: ReplyContext) -> str:
    """The answer's id, or one made of its time."""
    return answer_id or f"cmpl-{context.created:x}"


def text_of(parts: Sequence[Part]) -> str:
    """What a completion can show of an answer."""
    return "".join(part.text for part in parts if isinstance(part, TextPart | RefusalPart))


def encode_logprobs(logprobs: Sequence[TokenLogprob], offset: int) -> dict[str, Any]:
    """Log probabilities as columns. `offset`: characters before the first token."""
    offsets: list[int] = []
    for each in logprobs:
        offsets.append(offset)
        offset += len(each.token)
    return {
        "tokens": [each.token for each in logprobs],
        "token_logprobs": [each.logprob for each in logprobs],
        "top_logprobs": [{top.token: top.logprob for top in each.top} for each in logprobs],
        "text_offset": offsets,
    }
