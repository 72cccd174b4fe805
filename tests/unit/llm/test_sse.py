"""The SSE framing against the WHATWG rules."""

import tracemalloc

import pytest
from headgate.llm.errors import UpstreamError
from headgate.llm.framing.frame import Frame
from headgate.llm.framing.sse import COMMENT, SseDecoder, encode_sse


def decode(*chunks: bytes) -> list[Frame]:
    decoder = SseDecoder()
    frames = [frame for chunk in chunks for frame in decoder.feed(chunk)]
    return frames + decoder.close()


@pytest.mark.parametrize(
    ("body", "frames"),
    [
        (b"data: a\n\ndata: b\n\n", [Frame(b"a"), Frame(b"b")]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [Frame(b"a"), Frame(b"b")]),
        (b"data: a\r\rdata: b\r\r", [Frame(b"a"), Frame(b"b")]),
        (b"data: a\r\n\ndata: b\n\r\n", [Frame(b"a"), Frame(b"b")]),
        (b"data:a\n\n", [Frame(b"a")]),
        (b"data:  a\n\n", [Frame(b" a")]),
        (b"data: a\ndata: b\n\n", [Frame(b"a\nb")]),
        (b"data\ndata\n\n", [Frame(b"\n")]),
        (b"data:\n\n", [Frame(b"")]),
        (b": hello\n\ndata: a\n\n", [Frame(b"a")]),
        (b"event: ping\n\ndata: a\n\n", [Frame(b"a")]),
        (b"event: x\ndata: a\n\ndata: b\n\n", [Frame(b"a", "x"), Frame(b"b")]),
        (b"event: x\nevent\ndata: a\n\n", [Frame(b"a")]),
        (b"id: 1\nretry: 5\nunknown: 2\nnocolon\ndata: a\n\n", [Frame(b"a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [Frame(b"a")]),
        (b"\xef\xbbdata: a\n\n", []),
        (b"data: a", [Frame(b"a")]),
        (b"data: a\n", [Frame(b"a")]),
        (b"data: a\n\n\n\ndata: b\n", [Frame(b"a"), Frame(b"b")]),
        (b"data: a\n\ndata: [DONE]\n", [Frame(b"a"), Frame(b"[DONE]")]),
        (b"", []),
    ],
)
def test_frames_do_not_depend_on_the_cut(body: bytes, frames: list[Frame]) -> None:
    assert decode(body) == frames
    assert decode(*(body[i : i + 1] for i in range(len(body)))) == frames
    for cut in range(len(body)):
        assert decode(body[:cut], b"", body[cut:]) == frames


def test_an_event_is_dispatched_as_soon_as_its_blank_line_began() -> None:
    assert SseDecoder().feed(b"data: a\r\n\r") == [Frame(b"a")]


def test_comments_keep_their_place_where_they_are_kept() -> None:
    body = b": one\ndata: a\n\n:two\n\n:three"
    for cut in range(len(body)):
        decoder = SseDecoder(keep_comments=True)
        frames = [*decoder.feed(body[:cut]), *decoder.feed(body[cut:]), *decoder.close()]
        assert frames == [COMMENT, Frame(b"a"), COMMENT, COMMENT]
        assert frames[0] is COMMENT


@pytest.mark.parametrize("chunk", [b"data: aaaaaaaaaa", b"data: aaa\n", b"aaaaaaaaaa"])
def test_an_event_without_end_is_bounded(chunk: bytes) -> None:
    decoder = SseDecoder(event_bytes_max=100)

    def feed_without_end() -> None:
        for _ in range(50):
            decoder.feed(chunk)

    with pytest.raises(UpstreamError):
        feed_without_end()


def test_encoding_is_what_decoding_reads() -> None:
    assert encode_sse(b"{}") == b"data: {}\n\n"
    assert encode_sse(b"{}", "ping") == b"event: ping\ndata: {}\n\n"
    assert decode(encode_sse(b"a\nb\r\nc\rd", "x")) == [Frame(b"a\nb\nc\nd", "x")]


@pytest.mark.parametrize("piece", [b"data: ab\n" * 100, b"ab", b"data\n" * 100])
def test_what_is_held_costs_no_more_than_its_bytes(piece: bytes) -> None:
    """An object for each tiny line or chunk would cost twenty times as much."""
    decoder = SseDecoder(event_bytes_max=100_000)
    decoder.feed(b"data: ")

    def feed_endlessly() -> None:
        for _ in range(100_000):
            decoder.feed(piece)

    tracemalloc.start()
    with pytest.raises(UpstreamError, match="100000"):
        feed_endlessly()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000
