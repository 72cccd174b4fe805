"""What an answer is, is seen by how it begins, whatever its provider calls it: what it used is counted all the same."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from headgate.llm.names import DialectName
from support.chat_goldens import CLIENTS
from support.every_dialect import every_dialect
from support.manifests import costs
from support.providers import Delivery, Raw
from support.stage import Stage

pytestmark = pytest.mark.envoy

RESPONSE: dict[str, Any] = {"id": "r", "object": "response", "created_at": 1, "model": "told", "output": []}
RESPONSE_USED = {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8}
CHAT_USED = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
CHAT = {"id": "c", "created": 1, "model": "told"}
SAID = {"role": "assistant", "content": "Hi"}
CLAUDE = {"id": "m", "type": "message", "role": "assistant", "model": "told"}
GEMINI = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Hi"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8},
    "modelVersion": "told",
}


def _events(*values: Mapping[str, Any]) -> bytes:
    named = (f"event: {each['type']}\n" if "type" in each else "" for each in values)
    return b"".join(f"{name}data: {json.dumps(each)}\n\n".encode() for name, each in zip(named, values, strict=True))


@dataclass(frozen=True, slots=True)
class Told:
    whole: bytes
    stream: bytes


TOLD: Mapping[DialectName, Told] = {
    DialectName.OPENAI_CHAT: Told(
        json.dumps(
            {
                **CHAT,
                "object": "chat.completion",
                "choices": [{"index": 0, "message": SAID, "finish_reason": "stop"}],
                "usage": CHAT_USED,
            }
        ).encode(),
        _events(
            {**CHAT, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": SAID}]},
            {**CHAT, "object": "chat.completion.chunk", "choices": [], "usage": CHAT_USED},
        )
        + b"data: [DONE]\n\n",
    ),
    DialectName.OPENAI_RESPONSES: Told(
        json.dumps({**RESPONSE, "status": "completed", "usage": RESPONSE_USED, "metadata": {}}).encode(),
        _events(
            {"type": "response.created", "response": {**RESPONSE, "status": "in_progress", "usage": None}},
            {"type": "response.completed", "response": {**RESPONSE, "status": "completed", "usage": RESPONSE_USED}},
        ),
    ),
    DialectName.ANTHROPIC_MESSAGES: Told(
        json.dumps(
            {
                **CLAUDE,
                "content": [{"type": "text", "text": "Hi"}],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 5, "output_tokens": 3},
            }
        ).encode(),
        _events(
            {
                "type": "message_start",
                "message": {**CLAUDE, "content": [], "usage": {"input_tokens": 5, "output_tokens": 1}},
            },
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
            {"type": "message_stop"},
        ),
    ),
    DialectName.GEMINI: Told(json.dumps(GEMINI).encode(), _events(GEMINI)),
}
KINDS = (
    *("application/json", "text/event-stream", "TEXT/Event-Stream;Charset=UTF-8", "text/plain; charset=utf-8"),
    *("application/octet-stream", "application/x-ndjson", "text/html", ""),
)
BEFORE = {"whole": b"", "bytes": b"", "events": b"\n\r\n\n"}
"""Some servers send empty lines while they think."""
CASES = [
    (dialect, streamed, kind, cut) for dialect in TOLD for streamed in (False, True) for kind in KINDS for cut in BEFORE
]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with every_dialect(**costs(total="TotalToken", weighed="input_tokens + output_tokens")) as stage:
        yield stage
        stage.check()


def _ask(stage: Stage, dialect: DialectName, streamed: bool, kind: str, cut: Any) -> str:
    """Has a client be answered so; gives a mark."""
    told, row = TOLD[dialect], CLIENTS[dialect]
    body = told.stream if streamed else told.whole
    stage["any"].answer(Raw(body=(BEFORE[cut], body), content_type=kind, delivery=Delivery(cut=cut)))
    path = ((streamed and row.stream_path) or row.path).replace("asked", dialect)
    mark = f"mark={KINDS.index(kind)}-{dialect}-{streamed}-{cut}"
    sent = (row.streamed if streamed else row.minimal).replace(b"asked", dialect.encode())
    answer = stage.post(f"{path}{'&' if '?' in path else '?'}{mark}", content=sent, anthropic_version="2023-06-01")
    assert answer.status_code == 200, answer.text
    if dialect is not DialectName.OPENAI_CHAT:  # of which what the gateway asked for is kept back
        assert answer.content == BEFORE[cut] + body
    return mark


@pytest.fixture(scope="module")
def published(stage: Stage) -> Mapping[tuple[DialectName, bool, str, str], Mapping[str, Any]]:
    """What was published of every answer."""
    marks = {_ask(stage, *each): each for each in CASES}
    entries = stage.access(lambda entry: "mark=" in entry["path"], len(CASES))
    return {marks["mark=" + entry["path"].rpartition("mark=")[2]]: entry["metadata"] for entry in entries}


@pytest.mark.parametrize(("dialect", "streamed", "kind", "cut"), CASES)
def test_usage_is_found_whatever_an_answer_is_called(
    published: Mapping[Any, Mapping[str, Any]], dialect: DialectName, streamed: bool, kind: str, cut: str
) -> None:
    found = published[dialect, streamed, kind, cut]
    assert found["usage_source"] == "reported"
    assert (found["input_tokens"], found["output_tokens"], found["total"], found["weighed"]) == (5, 3, 8, 8)
    if cut != "bytes" or dialect is not DialectName.GEMINI:  # which names its model behind its usage
        assert found["response_model"] == "told"


def test_what_is_written_counts_whatever_an_answer_is_called(stage: Stage) -> None:
    """Nobody says what it used."""
    marks: list[str] = []
    for streamed in (False, True):
        said = {"role": "assistant", "content": "w" * 400}
        choice = {"index": 0, "delta" if streamed else "message": said, "finish_reason": "stop"}
        value = {**CHAT, "object": "chat.completion" + ".chunk" * streamed, "choices": [choice]}
        body = _events(value) + b"data: [DONE]\n\n" if streamed else json.dumps(value).encode()
        for kind in KINDS:
            stage["any"].answer(Raw(body=body, content_type=kind))
            marks.append(f"unsaid={KINDS.index(kind)}-{streamed}")
            asked: Any = {"model": "openai-chat", "messages": MESSAGES, "stream": streamed}
            answer = stage.post(f"/v1/chat/completions?{marks[-1]}", asked)
            assert (answer.status_code, answer.content) == (200, body)
    entries = stage.access(lambda entry: "unsaid=" in entry["path"], len(marks))
    found = {entry["path"].partition("?")[2]: entry["metadata"] for entry in entries}
    told = {mark: (found[mark]["usage_source"], found[mark].get("output_tokens")) for mark in marks}
    assert told == dict.fromkeys(marks, ("estimated", 100))


def _chunk(choices: list[Any], **more: Any) -> bytes:
    return _events({**CHAT, "object": "chat.completion.chunk", "choices": choices, **more})


WORDS = _chunk([{"index": 0, "delta": SAID}])
COUNTED = _chunk([], usage=CHAT_USED)


@pytest.mark.parametrize("sized", [False, True], ids=["", "with a length"])
@pytest.mark.parametrize("cut", ["events", "bytes", "whole"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_gateway_asked_for_is_kept_from_clients_whatever_a_stream_is_called(
    stage: Stage, kind: str, cut: Any, sized: bool
) -> None:
    sent = (b"\n", WORDS, COUNTED, b"data: [DONE]\n\n")
    length = {"content-length": str(len(b"".join(sent)))} if sized else {}
    stage["any"].answer(Raw(body=sent, content_type=kind, headers=length, delivery=Delivery(cut=cut)))
    mark = f"kept={KINDS.index(kind)}-{cut}-{sized}"
    asked: Any = {"model": "openai-chat", "messages": MESSAGES, "stream": True}
    answer = stage.post(f"/v1/chat/completions?{mark}", asked)
    told = [line for line in answer.content.split(b"\n") if line]
    assert told == [WORDS.strip(), b"data: [DONE]"]
    (entry,) = stage.access(lambda entry: entry["path"].endswith(mark))
    assert entry["metadata"]["total"] == 8


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_client_asked_for_is_given_whatever_a_stream_is_called(stage: Stage, kind: str) -> None:
    body = WORDS + COUNTED + b"data: [DONE]\n\n"
    stage["any"].answer(Raw(body=body, content_type=kind))
    asked: Any = {"model": "openai-chat", "messages": MESSAGES, "stream": True}
    asked["stream_options"] = {"include_usage": True}
    assert stage.post("/v1/chat/completions", asked).content == body


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"], ids=["no line", "a line", "a line of Windows"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dialect", TOLD)
def test_a_stream_that_ends_behind_its_usage_without_an_empty_line_is_counted(
    stage: Stage, dialect: DialectName, kind: str, end: bytes
) -> None:
    told, row = TOLD[dialect], CLIENTS[dialect]
    body = told.stream.removesuffix(b"data: [DONE]\n\n").removesuffix(b"\n\n")
    if dialect is DialectName.ANTHROPIC_MESSAGES:
        body = body.partition(b"\n\nevent: message_stop")[0]
    stage["any"].answer(Raw(body=body + end, content_type=kind))
    path = ((row.stream_path) or row.path).replace("asked", dialect)
    mark = f"ends={KINDS.index(kind)}-{dialect}-{len(end)}"
    sent = row.streamed.replace(b"asked", dialect.encode())
    stage.post(f"{path}{'&' if '?' in path else '?'}{mark}", content=sent, anthropic_version="2023-06-01")
    (entry,) = stage.access(lambda entry: entry["path"].endswith(mark))
    found = entry["metadata"]
    assert (found["usage_source"], found["total"]) == ("reported", 8)


@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
@pytest.mark.parametrize("dialect", TOLD)
def test_nothing_is_added_behind_the_length_that_a_client_was_told(
    stage: Stage, dialect: DialectName, kind: str
) -> None:
    """The stream holds no end; what told so would be read as the next answer of its connection."""
    row = CLIENTS[dialect]
    body = TOLD[dialect].stream.partition(b"\n\n")[0] + b"\n\n"
    stage["any"].answer(Raw(body=body, content_type=kind, headers={"content-length": str(len(body))}))
    sent = row.streamed.replace(b"asked", dialect.encode())
    path = (row.stream_path or row.path).replace("asked", dialect)
    answer = stage.post(path, content=sent, anthropic_version="2023-06-01")
    length = answer.headers.get("content-length")
    assert length is None or len(answer.content) == int(length)
    assert answer.content.startswith(body)
    assert stage.post(path, content=sent, anthropic_version="2023-06-01").status_code == 200
