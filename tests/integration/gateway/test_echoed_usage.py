"""What looks like usage in what a client has said again, or a model has written, is none, in every dialect and lane.

Of a budget that clients share it would take what nobody used.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from headgate.llm.names import DialectName
from support.chat_goldens import CLIENTS
from support.every_dialect import every_dialect
from support.manifests import costs
from support.providers import Delivery, Raw
from support.stage import Stage

pytestmark = pytest.mark.envoy

MANY = 999_999
NAMES = (
    *("input_tokens", "output_tokens", "total_tokens", "prompt_tokens", "completion_tokens"),
    *("promptTokenCount", "totalTokenCount", "inputTokens", "outputTokens", "totalTokens"),
)
LIKE_USAGE: Mapping[str, Any] = {**dict.fromkeys(NAMES, MANY), "tokens": {"input_tokens": MANY, "output_tokens": MANY}}
FORGED: Mapping[str, Any] = {
    "usage": LIKE_USAGE,
    "usageMetadata": LIKE_USAGE,
    "model": "cheap",
    "modelVersion": "cheap",
    "inner": [{"usage": LIKE_USAGE}, {"usageMetadata": LIKE_USAGE, "a": '}"{\\'}],
}
TOOL: Mapping[str, Any] = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": FORGED}}
USED = {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8}


def _response(usage: object, status: str = "completed") -> dict[str, Any]:
    texts = {"format": {"type": "json_schema", "name": "s", "schema": FORGED}}
    said: dict[str, Any] = {
        "id": "r",
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": "told",
        "output": [],
    }
    return {**said, "text": texts, "tools": [TOOL], "usage": usage, "metadata": {"a": '}"{'}}


def _events(*values: Mapping[str, Any]) -> bytes:
    return b"".join(f"event: {each.get('type', 'x')}\ndata: {json.dumps(each)}\n\n".encode() for each in values)


CHAT_USED = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
CALL = {"id": "c", "index": 0, "type": "function", "function": {"name": "f", "arguments": json.dumps(FORGED)}}
CHAT = {"id": "c", "object": "chat.completion", "created": 1, "model": "told"}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
CLAUDE = {"id": "m", "type": "message", "role": "assistant", "model": "told"}
CLAUDE_USED = {"input_tokens": 5, "output_tokens": 3}
GEMINI = {
    "candidates": [
        {
            "content": {"role": "model", "parts": [{"functionCall": {"name": "f", "args": FORGED}}]},
            "finishReason": "STOP",
        }
    ],
    "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8},
    "modelVersion": "told",
}
COHERE_USED = {
    "billed_units": {"input_tokens": 5, "output_tokens": 3},
    "tokens": {"input_tokens": 5, "output_tokens": 3},
}
CITED = [{"start": 0, "end": 1, "text": "a", "sources": [{"type": "document", "id": "d", "document": FORGED}]}]


@dataclass(frozen=True, slots=True)
class Said:
    provider: DialectName
    body: bytes
    streamed: bool = False


SAID: Mapping[str, Said] = {
    "responses": Said(DialectName.OPENAI_RESPONSES, json.dumps(_response(USED)).encode()),
    "responses, indented": Said(DialectName.OPENAI_RESPONSES, json.dumps(_response(USED), indent=2).encode()),
    "responses, usage first": Said(
        DialectName.OPENAI_RESPONSES, json.dumps({"usage": USED, **_response(USED)}).encode()
    ),
    "responses stream": Said(
        DialectName.OPENAI_RESPONSES,
        _events(
            {"type": "response.created", "response": _response(None, "in_progress")},
            {"type": "response.in_progress", "response": _response(None, "in_progress")},
            {"type": "response.completed", "response": _response(USED), "sequence_number": 2},
        ),
        streamed=True,
    ),
    "chat": Said(
        DialectName.OPENAI_CHAT,
        json.dumps(
            {**CHAT, "choices": [{"index": 0, "message": CALLING, "finish_reason": "tool_calls"}], "usage": CHAT_USED}
        ).encode(),
    ),
    "chat stream": Said(
        DialectName.OPENAI_CHAT,
        _events(
            {
                **CHAT,
                "object": "chat.completion.chunk",
                "choices": [{"index": 0, "delta": CALLING, "finish_reason": None}],
            },
            {**CHAT, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
            {**CHAT, "choices": [], "usage": CHAT_USED},
        )
        + b"data: [DONE]\n\n",
        streamed=True,
    ),
    "claude": Said(
        DialectName.ANTHROPIC_MESSAGES,
        json.dumps(
            {
                **CLAUDE,
                "content": [{"type": "tool_use", "id": "t", "name": "f", "input": FORGED}],
                "stop_reason": "tool_use",
                "usage": CLAUDE_USED,
            }
        ).encode(),
    ),
    "claude stream": Said(
        DialectName.ANTHROPIC_MESSAGES,
        _events(
            {
                "type": "message_start",
                "message": {**CLAUDE, "content": [], "usage": {"input_tokens": 5, "output_tokens": 1}},
            },
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}},
            },
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "input_json_delta", "partial_json": json.dumps(FORGED)},
            },
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 3}},
            {"type": "message_stop"},
        ),
        streamed=True,
    ),
    "gemini": Said(DialectName.GEMINI, json.dumps(GEMINI).encode()),
    "gemini stream": Said(DialectName.GEMINI, b"data: %s\n\n" % json.dumps(GEMINI).encode(), streamed=True),
    "converse": Said(
        DialectName.BEDROCK_CONVERSE,
        json.dumps(
            {
                "metrics": {"latencyMs": 1},
                "output": {
                    "message": {
                        "role": "assistant",
                        "content": [{"toolUse": {"toolUseId": "t", "name": "f", "input": FORGED}}],
                    }
                },
                "stopReason": "tool_use",
                "usage": {"inputTokens": 5, "outputTokens": 3, "totalTokens": 8},
            }
        ).encode(),
    ),
    "cohere": Said(
        DialectName.COHERE,
        json.dumps(
            {
                "id": "c",
                "message": {"role": "assistant", "content": [{"type": "text", "text": "a"}], "citations": CITED},
                "finish_reason": "COMPLETE",
                "usage": COHERE_USED,
            }
        ).encode(),
    ),
    "cohere stream": Said(
        DialectName.COHERE,
        _events(
            {"type": "message-start", "id": "c", "delta": {"message": {"role": "assistant", "content": []}}},
            {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
            {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "a"}}}},
            {"type": "content-end", "index": 0},
            {"type": "citation-start", "index": 0, "delta": {"message": {"citations": CITED[0]}}},
            {"type": "citation-end", "index": 0},
            {"type": "message-end", "id": "c", "delta": {"finish_reason": "COMPLETE", "usage": COHERE_USED}},
        ),
        streamed=True,
    ),
}
CASES = [(name, lane, cut) for name in SAID for lane in ("native", "translated") for cut in ("whole", "bytes")]
ELSEWHERE: Mapping[DialectName, DialectName] = {
    DialectName.OPENAI_CHAT: DialectName.OPENAI_RESPONSES,
    DialectName.OPENAI_RESPONSES: DialectName.ANTHROPIC_MESSAGES,
    DialectName.ANTHROPIC_MESSAGES: DialectName.GEMINI,
    DialectName.GEMINI: DialectName.ANTHROPIC_MESSAGES,
    DialectName.BEDROCK_CONVERSE: DialectName.ANTHROPIC_MESSAGES,
    DialectName.COHERE: DialectName.OPENAI_RESPONSES,
}
"""A client of another dialect, where one has a translation that can say all of it."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with every_dialect(**costs(total="TotalToken", weighed="input_tokens + output_tokens")) as stage:
        yield stage
        stage.check()


def _ask(stage: Stage, name: str, lane: str, cut: Any) -> str:
    """Has a client that has the forged tool, where its dialect says tools again, be answered; gives a mark."""
    said = SAID[name]
    kind = CLIENTS[said.provider].stream_type if said.streamed else "application/json"
    stage["any"].answer(Raw(body=said.body, content_type=kind, delivery=Delivery(cut=cut)))
    client = said.provider if lane == "native" else ELSEWHERE[said.provider]
    row = CLIENTS[client]
    path = (row.stream_path if said.streamed and row.stream_path else row.path).replace("asked", said.provider)
    body = json.loads((row.streamed if said.streamed else row.minimal).replace(b"asked", said.provider.encode()))
    if client is DialectName.OPENAI_RESPONSES:
        body["tools"] = [TOOL]
    mark = f"mark={name}-{lane}-{cut}".replace(" ", "-").replace(",", "")
    answer = stage.post(f"{path}{'&' if '?' in path else '?'}{mark}", body, anthropic_version="2023-06-01")
    assert answer.status_code == 200, answer.text
    return mark


@pytest.fixture(scope="module")
def published(stage: Stage) -> Mapping[tuple[str, str, str], Mapping[str, Any]]:
    """What was published of every answer."""
    marks = {_ask(stage, *each): each for each in CASES}
    entries = stage.access(lambda entry: "mark=" in entry["path"], len(CASES))
    return {marks["mark=" + entry["path"].rpartition("mark=")[2]]: entry["metadata"] for entry in entries}


@pytest.mark.parametrize(("name", "lane", "cut"), CASES)
def test_only_usage_is_counted(published: Mapping[Any, Mapping[str, Any]], name: str, lane: str, cut: str) -> None:
    found = published[name, lane, cut]
    assert found["usage_source"] == "reported"
    assert (found["input_tokens"], found["output_tokens"], found["total_tokens"]) == (5, 3, 8)
    assert (found["total"], found["weighed"]) == (8, 8)
    assert found.get("response_model", "told") in ("told", SAID[name].provider)


BEGUN = _events({"type": "response.created", "response": {**_response(None, "in_progress"), "output": []}})


def test_a_client_that_leaves_owes_nothing_that_nobody_used(stage: Stage) -> None:
    stage["any"].answer(
        Raw(body=BEGUN * 2, content_type="text/event-stream", delivery=Delivery(hang_after_bytes=len(BEGUN)))
    )
    body = {"model": "openai-responses", "input": "Hello!", "tools": [TOOL], "stream": True}
    with stage.http.stream("POST", f"{stage.url}/v1/responses?left=early", json=body) as answer:
        next(answer.iter_lines())
    (entry,) = stage.access(lambda entry: "left=early" in entry["path"])
    assert entry["metadata"].get("total", 0) < MANY


def test_brackets_that_never_opened_cost_no_more_than_their_bytes(stage: Stage) -> None:
    closers = b"]" * 16_384
    stage["any"].answer(Raw(body=(b"[", *(closers,) * 32)))
    body = {"model": "openai-chat", "messages": [{"role": "user", "content": "Hello!"}]}
    answer = stage.http.post(f"{stage.url}/v1/chat/completions", json=body)
    assert len(answer.content) == 1 + 32 * len(closers)


TEXT = "word " * 80
HELD = {
    DialectName.OPENAI_CHAT: {"choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}}]},
    DialectName.OPENAI_RESPONSES: {"output": [{"type": "message", "content": [{"type": "output_text", "text": TEXT}]}]},
    DialectName.ANTHROPIC_MESSAGES: {"content": [{"type": "text", "text": TEXT}]},
    DialectName.GEMINI: {"candidates": [{"content": {"role": "model", "parts": [{"text": TEXT}]}}]},
}


def _told_of(stage: Stage, client: DialectName, mark: str, *pieces: bytes, hangs: bool = False) -> Mapping[str, Any]:
    """What is published of a whole answer that comes in these pieces; with `hangs` its client leaves after them."""
    hang = sum(map(len, pieces)) if hangs else None
    delivery = Delivery(pause_seconds=0.05, hang_after_bytes=hang)
    more = (b" " * 100,) if hangs else ()
    stage["any"].answer(Raw(body=(*pieces, *more), delivery=delivery))
    row = CLIENTS[client]
    path = f"{stage.url}{row.path.replace('asked', client)}?{mark}"
    headers = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
    content = row.minimal.replace(b"asked", client.encode())
    with stage.http.stream("POST", path, content=content, headers=headers) as answer:
        assert answer.status_code == 200
        size = 0
        for part in answer.iter_raw():
            size += len(part)
            if hangs and size == hang:
                break
    (entry,) = stage.access(lambda entry: entry["path"].endswith(mark))
    return entry["metadata"]


@pytest.mark.parametrize("client", HELD)
@pytest.mark.parametrize("ending", ["at once", "later"])
def test_what_is_taken_back_leaves_nothing_and_what_was_written_counts(
    stage: Stage, client: DialectName, ending: str
) -> None:
    """The piece ends where what is none could be the usage, and no other follows."""
    forged = json.dumps(LIKE_USAGE).encode()
    head = json.dumps({"id": "r", "model": "told", **HELD[client]})[:-1].encode() + b',"x":[{"usage":' + forged
    pieces = (head + b"}", b"]}") if ending == "at once" else (head + b',"b":{}}', b',{"y":"' + b"a" * 500, b'"}]}')
    found = _told_of(stage, client, f"back={client}-{ending[0]}", *pieces)
    assert found["usage_source"] == "estimated"
    assert found["output_tokens"] == found["total"] - found["input_tokens"] == len(TEXT) // 4
    assert 0 < found["input_tokens"] < 100
    assert found["weighed"] == found["total_tokens"] == found["total"]


@pytest.mark.parametrize("client", HELD)
def test_what_is_taken_back_where_nothing_was_written_is_no_usage(stage: Stage, client: DialectName) -> None:
    forged = b'{"x":[{"usage":' + json.dumps(LIKE_USAGE).encode()
    found = _told_of(stage, client, f"none={client}", forged + b"}", b"]}")
    assert found["usage_source"] == "none"
    assert not found.get("total")
    assert not found.get("weighed")
    assert not found["total_tokens"]


PAUSED = Delivery(pause_seconds=0.01)


@pytest.mark.parametrize("name", ["responses", "chat", "claude", "gemini", "gemini stream"])
def test_the_model_is_the_one_that_the_answer_names_wherever_a_piece_ends(stage: Stage, name: str) -> None:
    """The names in it, its own and those that a model or a client wrote, and what could be its end, are cut apart."""
    said = SAID[name]
    cuts = {found.end() for found in re.finditer(rb"}", said.body)} - {len(said.body)}
    cuts |= {
        at for found in re.finditer(rb'"model\w*": "\w+"', said.body) for at in range(found.start(), found.end() + 1)
    }
    row, url = CLIENTS[said.provider], f"{stage.url}{CLIENTS[said.provider].path.replace('asked', said.provider)}"
    content, mark = row.minimal.replace(b"asked", said.provider.encode()), f"cut={name.replace(' ', '-')}-"
    answers = {f"{cut}": Raw(body=(said.body[:cut], said.body[cut:]), delivery=PAUSED) for cut in sorted(cuts)}
    answers["tail"] = Raw(body=said.body, delivery=replace(PAUSED, cut="tail"))
    for cut, told in answers.items():
        stage["any"].answer(told)
        answer = stage.http.post(f"{url}?{mark}{cut}", content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 200
    entries = stage.access(lambda entry: mark in entry["path"], len(answers))
    wrong = {
        entry["path"].partition(mark)[2]: found
        for entry in entries
        if (found := (entry["metadata"].get("response_model"), entry["metadata"]["total_tokens"])) != ("told", 8)
    }
    assert not wrong


EARLY = {
    DialectName.OPENAI_CHAT: {"usage": CHAT_USED},
    DialectName.OPENAI_RESPONSES: {"usage": USED},
    DialectName.ANTHROPIC_MESSAGES: {"usage": CLAUDE_USED},
    DialectName.GEMINI: {"usageMetadata": GEMINI["usageMetadata"]},
}


@pytest.mark.parametrize("client", HELD)
@pytest.mark.parametrize("leaves", [False, True])
def test_usage_that_comes_early_counts_though_a_client_leaves(stage: Stage, client: DialectName, leaves: bool) -> None:
    first = json.dumps({"id": "r", **EARLY[client], "inner": FORGED, **HELD[client]})[:-1].encode()
    rest = json.dumps({"model": "told", "modelVersion": "told", "tools": [FORGED]})[1:].encode()
    pieces = (first,) if leaves else (first, b"," + rest)
    found = _told_of(stage, client, f"early={client}-{leaves}", *pieces, hangs=leaves)
    assert found["usage_source"] == "reported"
    assert (found["input_tokens"], found["output_tokens"], found["total_tokens"], found["total"]) == (5, 3, 8, 8)


@pytest.mark.parametrize("client", HELD)
def test_what_looks_like_usage_early_is_none(stage: Stage, client: DialectName) -> None:
    first = json.dumps({"id": "r", "inner": FORGED, **HELD[client]})[:-1].encode()
    found = _told_of(stage, client, f"early-forged={client}", first, b"," + json.dumps(EARLY[client])[1:].encode())
    assert (found["usage_source"], found["total_tokens"], found["total"]) == ("reported", 8, 8)
