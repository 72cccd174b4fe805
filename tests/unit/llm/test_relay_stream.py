"""Streams of chats that stay in their dialect: kept back while they only begin, counted, ended where they are cut."""

import json
from typing import Any

import pytest
from headgate.contract.facts import BackendFacts
from headgate.llm.canonical import StreamFailure
from headgate.llm.dialects.dialect import NO_MEMO
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import lookup
from headgate.llm.errors import StreamFailed, UpstreamError
from headgate.llm.exchange import ResponseTranslation
from headgate.llm.names import DialectName
from headgate.llm.planning import plan
from headgate.llm.stream_ends import CUT, STREAM_ENDS
from support.chat_goldens import CLIENTS, CREATED, cases


def _open(dialect: str = DialectName.OPENAI_CHAT, kind: str = "text/event-stream") -> ResponseTranslation:
    row = CLIENTS[DialectName(dialect)]
    path = row.stream_path or row.path
    endpoint = lookup(path)
    assert endpoint is not None
    chosen = plan(endpoint, BackendFacts(name="b", dialect=dialect))
    request = chosen.translate_request(row.streamed, {":path": path, "content-type": "application/json"})
    return chosen.open_response(request, 200, {"content-type": kind}, CREATED)


def _chunk(**delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    body = {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


START = _chunk(role="assistant", content="")
WORDS = _chunk(content="It was a dark and stormy night. " * 10)
ENDED = b"data: [DONE]\n\n"
FAILED = b'data: {"error":{"message":"overloaded","type":"overloaded_error"}}\n\n'


def test_what_only_begins_is_kept_back_until_something_is_said() -> None:
    translation = _open()
    assert translation.hold()
    assert translation.feed(START) == b""
    assert translation.feed(WORDS) == START + WORDS
    assert translation.feed(ENDED) == ENDED
    assert translation.close() == b""


def _finish(translation: ResponseTranslation, rest: tuple[bytes, ...]) -> None:
    for data in rest:
        translation.feed(data)
    translation.close()


@pytest.mark.parametrize("rest", [(FAILED,), ()])
def test_a_stream_that_fails_before_it_says_anything_can_fail_over(rest: tuple[bytes, ...]) -> None:
    translation = _open()
    translation.hold()
    assert translation.feed(START) == b""
    with pytest.raises(StreamFailed):
        _finish(translation, rest)


def test_a_stream_that_is_cut_ends_with_an_error_and_what_it_came_to() -> None:
    translation = _open()
    translation.hold()
    passed = translation.feed(START) + translation.feed(WORDS) + translation.close()
    assert passed.startswith(START + WORDS)
    assert CUT.message.encode() in passed[len(START + WORDS) :]
    assert translation.estimated
    assert translation.usage.output == 80


USAGE = b'data: {"id":"c","model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
WHOLE = json.dumps({"id": "c", "model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})


@pytest.mark.parametrize("kind", ["text/plain; charset=utf-8", "application/json"])
@pytest.mark.parametrize("before", [b"", b"\n\n", b": hello\n\n"])
def test_a_stream_that_is_called_something_else_is_counted(kind: str, before: bytes) -> None:
    """Else it is free, and tells the model that was to be hidden and the usage that nobody asked for."""
    endpoint = lookup("/v1/chat/completions")
    assert endpoint is not None
    chosen = plan(endpoint, BackendFacts(name="b", dialect="openai-chat", model="m", response_model="requested"))
    body = before + START + WORDS + USAGE + ENDED
    for size in (1, 7, len(body)):
        request = chosen.translate_request(CLIENTS[DialectName.OPENAI_CHAT].minimal[:-1] + b',"stream":true}', {})
        translation = chosen.open_response(request, 200, {"content-type": kind}, CREATED)
        sent = b"".join(translation.feed(body[at : at + size]) for at in range(0, len(body), size))
        sent += translation.close()
        assert (translation.usage.input, translation.usage.output) == (3, 2)
        assert sent.lstrip().startswith(before.lstrip())
        assert sent.count(b'"asked"') == 2
        assert b'"m"' not in sent
        assert b"usage" not in sent


def test_json_for_a_stream_passes_as_it_came() -> None:
    body = b"\n \n" + WHOLE.encode()
    translation = _open(kind="text/plain")
    sent = b"".join(translation.feed(body[at : at + 1]) for at in range(len(body)))
    assert sent + translation.close() == body
    assert (translation.usage.input, translation.usage.output) == (3, 2)


def test_what_cannot_be_read_passes() -> None:
    translation = _open()
    translation.hold()
    nonsense = b"data: nonsense\n\n"
    assert translation.feed(nonsense) + translation.feed(WORDS) + translation.close() == nonsense + WORDS
    assert not translation.estimated


RELAYED = [
    pytest.param(dialect, path.read_bytes(), id=f"{dialect}-{path.stem}")
    for dialect, path in cases("streams", ".raw")
    if path.stat().st_size and dialect not in (DialectName.BEDROCK_CONVERSE, DialectName.OPENAI_COMPLETIONS)
]


@pytest.mark.parametrize(("dialect", "raw"), RELAYED)
def test_recorded_streams_pass_as_they_came_however_they_are_cut(dialect: DialectName, raw: bytes) -> None:
    outcomes: list[object] = []
    for size in (len(raw), 7, 1):
        translation = _open(dialect)
        held = translation.hold()
        assert held
        try:
            pieces = [translation.feed(raw[at : at + size]) for at in range(0, len(raw), size)]
            received = b"".join(pieces) + translation.close()
        except StreamFailed as error:
            outcomes.append(error.detail())
            continue
        outcomes.append((received.partition(b"\n\n" + b"{")[0], translation.usage, translation.estimated))
    assert outcomes[1:] == outcomes[:-1]


@pytest.mark.parametrize(("dialect", "raw"), RELAYED)
def test_the_words_that_scripts_look_for_are_in_every_whole_stream(dialect: DialectName, raw: bytes) -> None:
    frames, decoder = DIALECTS[dialect].frames(), DIALECTS[dialect].stream_decoder(NO_MEMO)
    try:
        events = [event for frame in frames.feed(raw) for event in decoder.feed(frame)]
    except UpstreamError:
        return  # a stream of nonsense
    if decoder.complete and not any(isinstance(event, StreamFailure) for event in events):
        text = raw.decode("utf-8", "replace")
        assert any(word in text for word in STREAM_ENDS[dialect].ends)
