"""Answers that name the model as their client asked for it (`responseModel: Requested`), of every recorded answer."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from headgate.contract.facts import BackendFacts
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import lookup
from headgate.llm.errors import UpstreamError
from headgate.llm.exchange import ResponseTranslation
from headgate.llm.names import DialectName
from headgate.llm.planning import plan
from support.chat_goldens import CLIENTS, CREATED, TARGETS, backend_facts, cases
from support.chat_streams import read_stream

NAMED = re.compile(rb'"(?:model|modelVersion)"\s*:\s*"([^"]*)"')
NAMELESS = (DialectName.COHERE, DialectName.BEDROCK_CONVERSE)
BACKENDS = frozenset(TARGETS)


def _open(client: DialectName, provider: DialectName, *, stream: bool, requested: bool = True) -> ResponseTranslation:
    row = CLIENTS[client]
    path = (row.stream_path or row.path) if stream else row.path
    endpoint = lookup(path)
    assert endpoint is not None
    named = "requested" if requested else "provider"
    more: dict[str, Any] = {"model": "theirs", "response_model": named}
    own = BackendFacts(name="b", dialect=provider, **more)
    chosen = plan(endpoint, own if client is provider else backend_facts(client, provider, **more))
    assert chosen.lane == ("relay" if client is provider else "bridge")
    body = row.streamed if stream else row.minimal
    request = chosen.translate_request(body, {":path": path, "content-type": "application/json"})
    answering = CLIENTS[provider]
    kind = answering.stream_type if stream else "application/json"
    return chosen.open_response(request, 200, {"content-type": kind, **answering.answer_headers}, CREATED)


def _received(translation: ResponseTranslation, chunks: Iterable[bytes]) -> bytes:
    received: list[bytes] = []
    try:
        received.extend(translation.feed(chunk) for chunk in chunks)
        received.append(translation.close())
    except UpstreamError:
        pass  # of both alike
    return b"".join(received)


def _rows(kind: str, suffix: str) -> list[Any]:
    return [
        pytest.param(provider, path, client, id=f"{provider}-{path.stem}-{client}")
        for provider, path in cases(kind, suffix)
        if provider in BACKENDS
        for client in CLIENTS
    ]


def _check(
    client: DialectName, asked: tuple[bytes, ResponseTranslation], own: tuple[bytes, ResponseTranslation]
) -> None:
    (received, translation), (before, plain) = asked, own
    assert set(NAMED.findall(received)) <= {b"asked"}
    assert bool(NAMED.search(received)) == (client not in NAMELESS and bool(NAMED.search(before)))
    assert NAMED.sub(b"", received) == NAMED.sub(b"", before)
    assert (translation.response_model, translation.usage) == (plain.response_model, plain.usage)


@pytest.mark.parametrize(("provider", "path", "client"), _rows("responses", ".json"))
def test_a_whole_answer(provider: DialectName, path: Path, client: DialectName) -> None:
    raw = path.read_bytes()
    asked, own = (_open(client, provider, stream=False, requested=requested) for requested in (True, False))
    _check(client, (_received(asked, [raw]), asked), (_received(own, [raw]), own))


@pytest.mark.parametrize(("provider", "path", "client"), _rows("streams", ".raw"))
def test_a_stream(provider: DialectName, path: Path, client: DialectName) -> None:
    raw = path.read_bytes()
    asked, own = (_open(client, provider, stream=True, requested=requested) for requested in (True, False))
    received = _received(asked, [raw])
    _check(client, (received, asked), (_received(own, [raw]), own))
    if client is not provider:
        read_stream(client, received)
        return
    again = _open(client, provider, stream=True)
    assert _received(again, [raw[at : at + 1] for at in range(len(raw))]) == received


def _relayed(dialect: DialectName, content_type: str, *chunks: bytes, stream: bool = True) -> bytes:
    row = CLIENTS[dialect]
    path = (row.stream_path or row.path) if stream else row.path
    endpoint = lookup(path)
    assert endpoint is not None
    chosen = plan(endpoint, BackendFacts(name="b", dialect=dialect, response_model="requested"))
    request = chosen.translate_request(row.streamed if stream else row.minimal, {":path": path})
    translation = chosen.open_response(request, 200, {"content-type": content_type}, CREATED)
    return b"".join((*map(translation.feed, chunks), translation.close()))


CHUNK = b'{"object":"chat.completion.chunk", "model" : "gpt-4o-2024-08-06","choices":[]}'


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (
            b"\xef\xbb\xbfdata: %b\n\n" % CHUNK,
            b"\xef\xbb\xbfdata: %b\n\n" % CHUNK.replace(b"gpt-4o-2024-08-06", b"asked"),
        ),
        (
            b"id: 7\r\ndata:%b\r\n\r\n" % CHUNK,
            b"id: 7\r\ndata:%b\r\n\r\n" % CHUNK.replace(b"gpt-4o-2024-08-06", b"asked"),
        ),
        (b'data: {"model":\ndata: "m"}\nid: 1\n\n', b'data: {"model":\ndata: "asked"}\nid: 1\n\n'),
        (b'data: {"model":"m","choices":[{"delta":{"content":"\\"model\\""}}]}\n\n', None),
        (b'data: {"choices":[{"delta":{"content":"\\"model\\""}}]}\n\n', b"the same"),
        (b'data: {"model":null}\n\n', b"the same"),
        (b'data: {"model":"m","model":"n"}\n\n', b"the same"),
        (b'data: "model"\n\n: "model"\n\ndata: [DONE]\n\n', b"the same"),
    ],
)
def test_only_the_name_is_another(sent: bytes, received: bytes | None) -> None:
    if received is None:
        received = sent.replace(b'"m"', b'"asked"')
    if received == b"the same":
        received = sent
    got = _relayed(DialectName.OPENAI_CHAT, "text/event-stream", sent, b"data: [DONE]\n\n")
    assert got == received + b"data: [DONE]\n\n"


def test_a_list_of_answers_is_googles_other_stream() -> None:
    answers: Any = [{"candidates": [], "modelVersion": "gemini-3-flash-001"}, {"modelVersion": "gemini-3-flash-001"}]
    raw = json.dumps(answers).encode()
    got = _relayed(DialectName.GEMINI, "application/json", raw[:30], raw[30:])
    assert [each["modelVersion"] for each in json.loads(got)] == ["asked", "asked"]


def test_an_error_is_left_alone() -> None:
    row = CLIENTS[DialectName.OPENAI_CHAT]
    endpoint = lookup(row.path)
    assert endpoint is not None
    chosen = plan(endpoint, BackendFacts(name="b", dialect="openai-chat", response_model="requested"))
    request = chosen.translate_request(row.minimal, {})
    translation = chosen.open_response(request, 404, {"content-type": "application/json"}, CREATED)
    error = b'{"error":{"message":"no such thing"},"model":"theirs"}'
    assert translation.feed(error) + translation.close() == error


def test_every_dialect_is_looked_at() -> None:
    clients: Sequence[DialectName] = tuple(CLIENTS)
    assert set(clients) == set(DIALECTS)


@pytest.mark.parametrize(
    "event", [b'data: [{"model":"a"},{"model":"b"}]\n\n', b'data: [{"model":"a"},\ndata: {"model":"b"}]\n\n']
)
def test_a_list_in_one_event_of_a_stream_is_no_fault(event: bytes) -> None:
    """Nobody streams so; but a provider may say anything."""
    answer = _open(DialectName.OPENAI_CHAT, DialectName.OPENAI_CHAT, stream=True)
    received = _received(answer, [event, b"data: [DONE]\n\n"])
    assert received.startswith(b"data: [")
