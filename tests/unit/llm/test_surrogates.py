"""Characters that a provider cuts into halves (`"\\ud83d"`, `"\\ude00"`) reach the client whole, and no stream dies of
a half."""

import json
from typing import Any

import pytest
from headgate.contract.facts import BackendFacts
from headgate.llm.endpoints import lookup
from headgate.llm.framing.sse import SseDecoder
from headgate.llm.framing.surrogates import Halves, whole_characters
from headgate.llm.planning import plan
from support.chat_goldens import CREATED

CHAT = BackendFacts(name="b", dialect="openai-chat", vendor="ChatCompletions")


def _translation(*, stream: bool) -> Any:
    endpoint = lookup("/v1/messages")
    assert endpoint is not None
    chosen = plan(endpoint, CHAT)
    body = {"model": "m", "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}
    request = chosen.translate_request(json.dumps(body).encode(), {})
    kind = "text/event-stream" if stream else "application/json"
    return chosen.open_response(request, 200, {"content-type": kind}, CREATED)


def _chunk(written: str) -> bytes:
    return b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % written.encode()


END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["a\\ud83d", "\\ude00b"], "a😀b"),
        (["\\uD83D\\uDE00"], "😀"),
        (["\\ud83d", "", "\\ude00"], "😀"),
        (["\\ud83d", "\\ude00\\ud83d", "\\ude01"], "😀😁"),
        (["a\\ud83db", "c"], "a\ufffdbc"),
        (["a\\ude00"], "a\ufffd"),
        (["a\\ud83d"], "a"),
        (["\\\\ud83d", "\\\\ude00"], "\\ud83d\\ude00"),
        (["\\u00e9\\ud83d", "\\ude00\\n"], "é😀\n"),
    ],
)
def test_halves_of_a_stream_come_together(pieces: list[str], text: str) -> None:
    translation = _translation(stream=True)
    received = b"".join(translation.feed(_chunk(piece)) for piece in pieces) + translation.feed(END)
    received += translation.close()
    sse = SseDecoder()
    events = [json.loads(frame.data) for frame in [*sse.feed(received), *sse.close()]]
    assert [event["type"] for event in events][-1] == "message_stop"
    told = (event["delta"]["text"] for event in events if event.get("delta", {}).get("type") == "text_delta")
    assert "".join(told) == text


def test_a_half_in_a_whole_answer_is_no_character() -> None:
    translation = _translation(stream=False)
    body = b'{"id":"x","choices":[{"index":0,"finish_reason":"length","message":{"content":"cut \\ud83d"}}]}'
    assert translation.feed(body) == b""
    assert json.loads(translation.close())["content"][0]["text"] == "cut \ufffd"


def test_what_has_no_halves_is_the_very_same() -> None:
    for body in (b'{"a":"\\u00e9"}', b'{"a":"\\\\ud83d"}', b'{"a":"\\ud83d\\ude00"}'):
        assert whole_characters(body) == body
        assert Halves().feed(body) == body
