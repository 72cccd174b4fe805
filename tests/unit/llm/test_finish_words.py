"""The words with which answers end, as the providers' own SDKs know them: each has its meaning in every other dialect,
or a loss tells that the nearest was taken. A word that is new in an SDK fails here."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest
from headgate.llm.errors import UpstreamError
from headgate.llm.marks import FINISH_WORDS
from headgate.llm.names import DialectName
from support.chat_goldens import CLIENTS, CREATED, ask, others, stream_bridge
from support.sdk_answers import ANSWERS
from support.sdk_shapes import Items, Shape, Struct, Words
from support.sdk_streams import written

PLACES: Final[Mapping[DialectName, tuple[str, ...]]] = {
    DialectName.OPENAI_CHAT: ("choices", "finish_reason"),
    DialectName.OPENAI_RESPONSES: ("incomplete_details", "reason"),
    DialectName.ANTHROPIC_MESSAGES: ("stop_reason",),
    DialectName.GEMINI: ("candidates", "finishReason"),
    DialectName.BEDROCK_CONVERSE: ("stopReason",),
    DialectName.COHERE: ("finish_reason",),
}
"""Where the word stands in a whole answer."""

NEAREST: Final[Mapping[DialectName, Mapping[str, str]]] = {
    DialectName.OPENAI_CHAT: {},
    DialectName.OPENAI_RESPONSES: {"max_messages": "length", "steered": "length"},
    DialectName.ANTHROPIC_MESSAGES: {"pause_turn": "pause", "compaction": "pause"},
    DialectName.GEMINI: {
        "CONTINUATION": "length",
        "MALFORMED_FUNCTION_CALL": "stop",
        "UNEXPECTED_TOOL_CALL": "stop",
        "TOO_MANY_TOOL_CALLS": "stop",
        "MISSING_THOUGHT_SIGNATURE": "stop",
        "MALFORMED_RESPONSE": "stop",
        "NO_IMAGE": "stop",
        "IMAGE_OTHER": "stop",
        "OTHER": "stop",
    },
    DialectName.BEDROCK_CONVERSE: {"malformed_model_output": "stop", "malformed_tool_use": "stop"},
    DialectName.COHERE: {},
}
"""Words that say more than any other dialect can: what they are taken for, with a loss."""

FAILURES: Final = frozenset(("ERROR", "TIMEOUT"))
"""Words of no answer at all."""

LOST: Final = "answer.finish_reason"
NEW: Final = "a_new_word"


def _words(dialect: DialectName) -> Sequence[str]:
    shape: Shape = ANSWERS[dialect]
    for name in PLACES[dialect]:
        assert isinstance(shape, Struct)
        member = shape.members[name].shape
        shape = member.item if isinstance(member, Items) else member
    assert isinstance(shape, Words)
    return shape.words


def _whole(dialect: DialectName, word: str, text: str) -> Any:
    match dialect:
        case DialectName.OPENAI_CHAT:
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": word}
            return {"id": "c", "model": "m", "choices": [choice]}
        case DialectName.OPENAI_RESPONSES:
            content: list[Any] = [{"type": "output_text", "text": text, "annotations": []}]
            item: Any = {"type": "message", "id": "i", "role": "assistant", "content": content}
            return {"id": "r", "output": [item], "status": "incomplete", "incomplete_details": {"reason": word}}
        case DialectName.ANTHROPIC_MESSAGES:
            return {"id": "a", "content": [{"type": "text", "text": text}] if text else [], "stop_reason": word}
        case DialectName.GEMINI:
            parts = [{"text": text}] if text else []
            return {"candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": word}]}
        case DialectName.BEDROCK_CONVERSE:
            message = {"role": "assistant", "content": [{"text": text}] if text else []}
            return {"output": {"message": message}, "stopReason": word}
        case _:
            return {"id": "c", "finish_reason": word, "message": {"content": [{"type": "text", "text": text}]}}


def _streamed(dialect: DialectName, word: str, text: str) -> list[Any]:
    whole = _whole(dialect, word, text)
    match dialect:
        case DialectName.OPENAI_CHAT:
            choice = {"index": 0, "delta": {"content": text}}
            return [{"choices": [choice]}, {"choices": [{"index": 0, "delta": {}, "finish_reason": word}]}]
        case DialectName.OPENAI_RESPONSES:
            return [{"type": "response.incomplete", "response": whole}]
        case DialectName.ANTHROPIC_MESSAGES:
            block = [{"type": "content_block_start", "index": 0, "content_block": each} for each in whole["content"]]
            stop = [{"type": "content_block_stop", "index": 0}] if block else []
            end = {"type": "message_delta", "delta": {"stop_reason": word}}
            return [{"type": "message_start", "message": {}}, *block, *stop, end, {"type": "message_stop"}]
        case DialectName.GEMINI:
            return [whole]
        case DialectName.BEDROCK_CONVERSE:
            delta = [{"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": text}}}] if text else []
            return [{"messageStart": {"role": "assistant"}}, *delta, {"messageStop": {"stopReason": word}}]
        case _:
            start = {"type": "content-start", "index": 0, "delta": {"message": {"content": {"text": text}}}}
            return [start, {"type": "message-end", "delta": {"finish_reason": word}}]


def _told(client: DialectName, provider: DialectName, word: str) -> tuple[tuple[str, bool], tuple[str, bool]]:
    """Why it ended, in OpenTelemetry's word, and whether that is said to be less than the provider's: of a whole answer
    and of a stream."""
    plan, request = ask(client, provider)
    whole = plan.open_response(request, 200, {"content-type": "application/json"}, CREATED)
    whole.feed(json.dumps(_whole(provider, word, "Hi")).encode())
    whole.close()
    plan, request = stream_bridge(client, provider)
    streamed = plan.open_response(request, 200, {"content-type": CLIENTS[provider].stream_type}, CREATED)
    streamed.feed(written(provider, _streamed(provider, word, "Hi")))
    streamed.close()
    first, second = (
        (FINISH_WORDS[each.marks.reasons[0]], any(loss.path == LOST for loss in each.losses))
        for each in (whole, streamed)
    )
    return first, second


ROWS: Final = [
    pytest.param(provider, client, word, id=f"{provider}-{client}-{word}")
    for provider in ANSWERS
    for client in others(provider)
    for word in _words(provider)
    if word not in FAILURES
]


@pytest.mark.parametrize(("provider", "client", "word"), ROWS)
def test_every_word_has_its_meaning_or_a_loss(provider: DialectName, client: DialectName, word: str) -> None:
    whole, streamed = _told(client, provider, word)
    assert whole == streamed
    assert whole[1] == (word in NEAREST[provider])
    assert whole[0] == NEAREST[provider].get(word, whole[0])


@pytest.mark.parametrize(("provider", "client"), [(each, client) for each in ANSWERS for client in others(each)])
def test_a_word_that_nobody_knows_is_an_ordinary_end_and_told(provider: DialectName, client: DialectName) -> None:
    ended = "length" if provider is DialectName.OPENAI_RESPONSES else "stop"
    assert _told(client, provider, NEW) == ((ended, True), (ended, True))


FAILED: Final = [
    (DialectName.GEMINI, "MALFORMED_FUNCTION_CALL"),
    (DialectName.BEDROCK_CONVERSE, "malformed_tool_use"),
    (DialectName.BEDROCK_CONVERSE, "malformed_model_output"),
]


@pytest.mark.parametrize(("provider", "word"), FAILED)
def test_a_model_that_failed_before_its_first_word_is_an_error(provider: DialectName, word: str) -> None:
    plan, request = ask(DialectName.ANTHROPIC_MESSAGES, provider)
    answer = plan.open_response(request, 200, {"content-type": "application/json"}, CREATED)
    answer.feed(json.dumps(_whole(provider, word, "")).encode())
    with pytest.raises(UpstreamError, match=word):
        answer.close()
    plan, request = stream_bridge(DialectName.ANTHROPIC_MESSAGES, provider)
    streamed = plan.open_response(request, 200, {"content-type": CLIENTS[provider].stream_type}, CREATED)
    sent = streamed.feed(written(provider, _streamed(provider, word, ""))) + streamed.close()
    assert b"event: error" in sent
    assert word.encode() in sent
