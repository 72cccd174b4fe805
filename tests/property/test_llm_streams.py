"""Streams are the same however they are cut, and end as their dialect says wherever they are cut off."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from headgate.llm.names import DialectName
from hypothesis import given, settings
from hypothesis import strategies as st
from support.arbitrary_json import replace_somewhere
from support.chat_goldens import CLIENTS, PAIRS, answer_cells
from support.chat_streams import read_stream, translate_stream

STREAMS: list[Any] = [
    pytest.param(client, provider, path, id=f"{provider}-{path.stem}-{client}")
    for provider, path, client in answer_cells("streams", ".raw")
]


def _cut(raw: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(raw) + 1) for cut in cuts), len(raw)]
    return [raw[start:end] for start, end in pairwise(places)]


@pytest.mark.parametrize(("client", "provider", "path"), STREAMS)
def test_byte_by_byte_is_the_same_as_whole(client: str, provider: str, path: Path) -> None:
    raw = path.read_bytes()
    whole, of_whole = translate_stream(client, provider, [raw])
    pieces, of_pieces = translate_stream(client, provider, [raw[i : i + 1] for i in range(len(raw))])

    assert pieces == whole
    assert of_pieces.usage == of_whole.usage
    assert of_pieces.response_model == of_whole.response_model


@pytest.mark.parametrize(("client", "provider", "path"), STREAMS)
@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(min_value=0, max_value=100_000), max_size=12))
def test_random_cuts_are_the_same_as_whole(client: str, provider: str, path: Path, cuts: list[int]) -> None:
    raw = path.read_bytes()

    assert translate_stream(client, provider, _cut(raw, cuts))[0] == translate_stream(client, provider, [raw])[0]


@pytest.mark.parametrize(("client", "provider", "path"), STREAMS)
def test_a_stream_cut_off_anywhere_ends_or_fails_but_never_both(client: str, provider: str, path: Path) -> None:
    raw = path.read_bytes()
    step = max(1, len(raw) // 150)

    for end in range(0, len(raw), step):
        received, translation = translate_stream(client, provider, [raw[:end]])
        result = read_stream(client, received)
        assert result.ended != result.failed
        assert (translation.usage.output or 0) >= 0


@pytest.mark.parametrize(("client", "provider"), PAIRS)
@settings(max_examples=150, deadline=None)
@given(chunks=st.lists(st.binary(max_size=80), max_size=6))
def test_any_bytes_make_a_stream_the_client_understands(client: str, provider: str, chunks: list[bytes]) -> None:
    received, _ = translate_stream(client, provider, chunks)

    read_stream(client, received)


@pytest.mark.parametrize(("client", "provider", "path"), STREAMS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_stream_with_anything_in_place_of_a_value_is_still_a_stream(
    client: str, provider: str, path: Path, data: st.DataObject
) -> None:
    if CLIENTS[DialectName(provider)].stream_type != "text/event-stream":
        return  # its frames are binary: see the tests of that framing
    frames = path.read_bytes().decode().replace("\r\n", "\n").split("\n\n")
    if len(frames) < 2:
        return
    which = data.draw(st.integers(0, len(frames) - 1))
    lines = frames[which].split("\n")
    if not lines[-1].startswith("data: {"):
        return
    try:
        document = json.loads(lines[-1][6:])
    except ValueError:
        return
    replace_somewhere(document, data)
    frames[which] = "\n".join([*lines[:-1], "data: " + json.dumps(document)])

    received, _ = translate_stream(client, provider, ["\n\n".join(frames).encode()])

    read_stream(client, received)
