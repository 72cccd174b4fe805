"""Thoughts between tags in the text, which MiniMax's models tell: read whole and in pieces, and sent back."""

import json
from typing import Any

import pytest
from headgate.contract.facts import BackendFacts
from headgate.llm.dialects.openai_chat.think_tags import ThinkTags, tagged
from headgate.llm.endpoints import endpoint_named
from headgate.llm.planning import plan
from support.chat_goldens import CREATED

THOUGHT, TEXT = "Hm.\n\nIt is </b> 4\n", "The answer\nis 4. <think>"


@pytest.mark.parametrize(
    ("said", "thought", "text"),
    [
        (f"<think>\n{THOUGHT}\n</think>\n\n{TEXT}", THOUGHT, TEXT),
        (f"\n <think>{THOUGHT}\n</think>{TEXT}", THOUGHT, TEXT),
        ("<think>\n\n</think>\n\nYes", "", "Yes"),
        ("<think>a</think>", "a", ""),
        ("<think>cut off\n</thi", "cut off\n</thi", ""),
        ("<thin", "", "<thin"),
        ("<thinking>", "", "<thinking>"),
        ("Say <think>a</think>", "", "Say <think>a</think>"),
        ("\n\nYes\n", "", "\n\nYes\n"),
        ("", "", ""),
    ],
)
def test_thoughts_are_told_from_text_wherever_they_are_cut(said: str, thought: str, text: str) -> None:
    for cut in range(len(said) + 1):
        tags = ThinkTags()
        pieces = (tags.feed(said[:cut]), tags.feed(said[cut:]), tags.close())
        assert tuple("".join(piece) for piece in zip(*pieces, strict=True)) == (thought, text)
    tags = ThinkTags()
    pieces = (*map(tags.feed, said), tags.close())
    assert tuple("".join(piece) for piece in zip(*pieces, strict=True)) == (thought, text)


def test_thoughts_are_told_as_they_come() -> None:
    tags = ThinkTags()
    assert [tags.feed(piece) for piece in ("<think>\nOne", " two\n", "three", "\n</think>\n\nA", "B")] == [
        ("One", ""),
        (" two", ""),
        ("\nthree", ""),
        ("", "A"),
        ("", "B"),
    ]


SAID = f"{tagged(THOUGHT)}Yes"


def _asked(stream: bool, vendor: str = "MiniMax") -> tuple[dict[str, Any], bytes]:
    row = endpoint_named("messages")
    assert row is not None
    chosen = plan(row, BackendFacts(name="b", dialect="openai-chat", vendor=vendor))
    history = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": THOUGHT, "signature": ""}, *TEXTS]},
        {"role": "user", "content": "Sure?"},
    ]
    body = {"model": "MiniMax-M2.5", "max_tokens": 9, "messages": history, "stream": stream}
    request = chosen.translate_request(json.dumps(body).encode(), {})
    kind = "text/event-stream" if stream else "application/json"
    translation = chosen.open_response(request, 200, {"content-type": kind}, CREATED)
    if stream:
        chunks: list[Any] = [{"delta": {"content": letter}} for letter in SAID]
        chunks.append({"delta": {}, "finish_reason": "stop"})
        events = [b"data: %b\n\n" % json.dumps({"choices": [{"index": 0, **each}]}).encode() for each in chunks]
        answer = b"".join(events) + b"data: [DONE]\n\n"
    else:
        message = {"role": "assistant", "content": SAID}
        answer = json.dumps({"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}).encode()
    return json.loads(request.body), translation.feed(answer) + translation.close()


TEXTS = [{"type": "text", "text": "Yes"}]


def test_thoughts_go_back_as_they_came() -> None:
    body, received = _asked(stream=False)

    assert body["messages"][1] == {"role": "assistant", "content": SAID}
    assert [(block["type"], block.get("thinking") or block["text"]) for block in json.loads(received)["content"]] == [
        ("thinking", THOUGHT),
        ("text", "Yes"),
    ]


def test_thoughts_are_streamed_as_thoughts() -> None:
    _, received = _asked(stream=True)
    events = [json.loads(line[6:]) for line in received.decode().splitlines() if line.startswith("data: ")]
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]

    assert "".join(delta.get("thinking", "") for delta in deltas) == THOUGHT
    assert "".join(delta.get("text", "") for delta in deltas) == "Yes"


def test_elsewhere_tags_are_text() -> None:
    _, received = _asked(stream=False, vendor="Groq")

    assert [block["type"] for block in json.loads(received)["content"]] == ["text"]
