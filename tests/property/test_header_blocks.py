"""Header blocks: what any encoder wrote is read as it was, and any bytes give headers or our error."""

import hpack
import pytest
from headgate.runtime.http2.header_blocks import HeaderBlockError, HeaderDecoder
from hypothesis import given
from hypothesis import strategies as st

TABLE_BYTES, LIST_BYTES = 65_536, 10_000
NAMES = st.sampled_from([":path", ":method", "te", "grpc-timeout", "x-headgate-stream"]) | st.text("abc-", min_size=1)
VALUES = st.sampled_from(["POST", "trailers", "1" * 300]) | st.text(st.characters(max_codepoint=255), max_size=60)
LISTS = st.lists(st.tuples(NAMES, VALUES), max_size=12)


def decoder() -> HeaderDecoder:
    return HeaderDecoder(table_bytes_max=TABLE_BYTES, list_bytes_max=LIST_BYTES)


@given(st.lists(st.tuples(LISTS, st.booleans(), st.none() | st.sampled_from([0, 40, 200, 4096, TABLE_BYTES]))))
def test_what_was_written_is_read(blocks: list[tuple[list[tuple[str, str]], bool, int | None]]) -> None:
    encoder, ours = hpack.Encoder(), decoder()
    for headers, huffman, table_bytes in blocks:
        if table_bytes is not None:
            encoder.header_table_size = table_bytes
        sent = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        assert ours.decode(encoder.encode(sent, huffman=huffman)) == dict(headers)


@given(st.lists(st.binary(max_size=80), max_size=4))
def test_any_bytes_are_headers_or_an_error_of_ours(blocks: list[bytes]) -> None:
    """As the library has it."""
    ours, theirs = decoder(), hpack.Decoder(max_header_list_size=LIST_BYTES)
    theirs.max_allowed_table_size = TABLE_BYTES
    for block in blocks:
        try:
            expected = {n.decode("latin-1"): v.decode("latin-1") for n, v in theirs.decode(block, raw=True)}
        except (hpack.HPACKError, IndexError):
            with pytest.raises(HeaderBlockError):
                ours.decode(block)
            return
        assert ours.decode(block) == expected


def test_the_table_is_known_to_change_or_not() -> None:
    encoder, ours = hpack.Encoder(), decoder()
    for value, changes in (("a", 1), ("a", 1), ("b", 2), ("a", 2)):
        assert ours.decode(encoder.encode([("x", value)])) == {"x": value}
        assert ours.changes == changes


def test_too_many_headers_are_refused() -> None:
    with pytest.raises(HeaderBlockError, match="larger than 10000 bytes"):
        decoder().decode(hpack.Encoder().encode([("x", "1" * 6000), ("y", "1" * 6000)]))
