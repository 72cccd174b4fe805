"""What a long stream costs: work per chunk and memory do not grow along it. By counts, not by clocks."""

import sys
import tracemalloc
from collections.abc import Callable, Iterator
from types import FrameType

import pytest
from bench.llm import provider_stream
from headgate.llm.exchange import ResponseTranslation
from headgate.llm.names import DialectName
from support.chat_goldens import CLIENTS, CREATED, PAIRS, stream_bridge

CHUNKS = 100_000
WINDOW = 50
SLACK_BYTES = 65_536
"""Of caches, arenas and what a measurement itself needs."""
CHARACTER_BYTES = 10
"""A text that must be repeated, or counted into, at the end of its stream is held once on each side, in the widest form
and with room to grow; its pieces would take eleven bytes more a character."""

WORD = len(" word")


def _open(client: DialectName, provider: DialectName) -> ResponseTranslation:
    row = CLIENTS[provider]
    plan, asked = stream_bridge(client, provider)
    return plan.open_response(asked, 200, {"content-type": row.stream_type, **row.answer_headers}, CREATED)


def _calls(run: Callable[[], object]) -> int:
    count = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


def _feed(answer: ResponseTranslation, chunks: Iterator[bytes], count: int) -> int:
    """Feeds so many chunks; how many bytes came out."""
    written = 0
    for _ in range(count):
        written += len(answer.feed(next(chunks)))
    return written


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_the_last_of_many_chunks_costs_what_the_first_did(client: DialectName, provider: DialectName) -> None:
    answer, chunks = _open(client, provider), provider_stream(provider, CHUNKS + 2 * WINDOW)
    _feed(answer, chunks, WINDOW)
    pieces = [next(chunks) for _ in range(WINDOW)]
    first = _calls(lambda: _feed(answer, iter(pieces), WINDOW))
    _feed(answer, chunks, CHUNKS - 2 * WINDOW)
    pieces = [next(chunks) for _ in range(WINDOW)]

    tracemalloc.start()
    last = _calls(lambda: _feed(answer, iter(pieces), WINDOW))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert last <= first  # fewer where a bound was reached
    # Nothing copies what came before: half a megabyte of text has passed.
    assert peak < 2 * SLACK_BYTES


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_a_long_stream_holds_no_more_than_a_short_one(client: DialectName, provider: DialectName) -> None:
    answer, chunks = _open(client, provider), iter(list(provider_stream(provider, 10_000)))  # made before it counts
    tracemalloc.start()
    _feed(answer, chunks, 1_000)
    early, _ = tracemalloc.get_traced_memory()
    _feed(answer, chunks, 9_000)
    late, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert late - early < CHARACTER_BYTES * WORD * 9_000 + SLACK_BYTES
