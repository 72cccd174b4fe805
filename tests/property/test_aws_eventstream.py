"""AWS event streams: AWS's own reader agrees about every message, whole or cut, sound or damaged."""

import json
import struct
from typing import Any
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer, EventStreamHeaderParser
from headgate.llm.errors import UpstreamError
from headgate.llm.framing.aws_eventstream import (
    HEADERS_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    AwsEventStreamDecoder,
    encode_event,
    encode_exception,
)
from headgate.llm.framing.frame import Frame
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=1, max_size=30)
MESSAGES = st.lists(
    st.tuples(st.sampled_from([encode_event, encode_exception]), NAMES, st.binary(max_size=80)), max_size=6
)


def _message(headers: bytes, payload: bytes) -> bytes:
    lengths = struct.pack(">II", len(headers) + len(payload) + 16, len(headers))
    message = lengths + struct.pack(">I", crc32(lengths)) + headers + payload
    return message + struct.pack(">I", crc32(message))


def _header(name: bytes, kind: int, value: bytes) -> bytes:
    return bytes([len(name)]) + name + bytes([kind]) + value


def _text(name: bytes, value: bytes) -> bytes:
    return _header(name, 7, struct.pack(">H", len(value)) + value)


def _cut(body: bytes, places: list[int]) -> list[bytes]:
    ends = sorted(place % (len(body) + 1) for place in places)
    return [body[start:end] for start, end in zip([0, *ends], [*ends, len(body)], strict=True)]


def _frames(chunks: list[bytes]) -> list[Frame]:
    decoder = AwsEventStreamDecoder()
    return [frame for chunk in chunks for frame in decoder.feed(chunk)] + decoder.close()


def _botocore(body: bytes) -> list[Frame]:
    buffer: Any = EventStreamBuffer()
    buffer.add_data(body)
    found: list[Frame] = []
    for event in buffer:
        headers: dict[str, Any] = event.headers
        failure = headers[":message-type"] == "exception"
        name = headers[":exception-type" if failure else ":event-type"]
        found.append(Frame(event.payload, name, failure=failure))
    return found


@given(MESSAGES, st.lists(st.integers(0, 10_000), max_size=8))
def test_what_we_write_is_read_alike_by_aws_and_by_us(messages: list[Any], cuts: list[int]) -> None:
    body = b"".join(encode(name, payload) for encode, name, payload in messages)
    expected = [Frame(payload, name, failure=encode is encode_exception) for encode, name, payload in messages]

    assert _frames([body]) == expected
    assert _frames(_cut(body, cuts)) == expected
    assert _frames([body[i : i + 1] for i in range(len(body))]) == expected
    assert _botocore(body) == expected


HEADERS = st.lists(
    st.one_of(
        st.tuples(NAMES, st.sampled_from([0, 1]), st.just(b"")),
        st.tuples(NAMES, st.just(2), st.binary(min_size=1, max_size=1)),
        st.tuples(NAMES, st.just(3), st.binary(min_size=2, max_size=2)),
        st.tuples(NAMES, st.just(4), st.binary(min_size=4, max_size=4)),
        st.tuples(NAMES, st.sampled_from([5, 8]), st.binary(min_size=8, max_size=8)),
        st.tuples(NAMES, st.just(6), st.binary(max_size=9).map(lambda value: struct.pack(">H", len(value)) + value)),
        st.tuples(NAMES, st.just(9), st.binary(min_size=16, max_size=16)),
    ),
    unique_by=lambda header: header[0],
    max_size=6,
)


@given(HEADERS, st.binary(max_size=20))
def test_headers_of_every_type_are_stepped_over(headers: list[tuple[str, int, bytes]], payload: bytes) -> None:
    raw = b"".join(_header(name.encode(), kind, value) for name, kind, value in headers)
    raw += _text(b":event-type", b"x") + _text(b":message-type", b"event")

    parser: Any = EventStreamHeaderParser()
    assert len(parser.parse(raw)) == len(headers) + 2
    assert _frames([_message(raw, payload)]) == [Frame(payload, "x")]


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_an_error_and_no_event(place: int, change: int) -> None:
    body = bytearray(encode_event("contentBlockDelta", b'{"x":1}') + encode_event("messageStop", b"{}"))
    body[place % len(body)] ^= change

    try:
        frames = _frames([bytes(body)])
    except UpstreamError:
        return
    assert len(frames) < 2  # the changed length waits for bytes that never come
    assert all(frame == Frame(b'{"x":1}', "contentBlockDelta") for frame in frames)


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_are_frames_or_our_error(chunks: list[bytes]) -> None:
    try:
        whole = _frames([b"".join(chunks)])
    except UpstreamError:
        with pytest.raises(UpstreamError):
            _frames(chunks)
        return
    assert _frames(chunks) == whole


def test_an_error_without_a_type_is_a_failure_with_its_code() -> None:
    headers = (
        _text(b":message-type", b"error")
        + _text(b":error-code", b"internalFailure")
        + _text(b":error-message", b"Something broke.")
    )
    (frame,) = _frames([_message(headers, b"")])

    assert (frame.event, frame.failure) == ("internalFailure", True)
    assert json.loads(frame.data) == {"message": "Something broke."}


@pytest.mark.parametrize(
    ("total", "headers"),
    [(HEADERS_BYTES_MAX + 17, HEADERS_BYTES_MAX + 1), (PAYLOAD_BYTES_MAX + 17, 0), (2**32 - 1, 0), (15, 0), (20, 5)],
)
def test_lengths_beyond_the_specification_are_refused_before_the_rest_is_held(total: int, headers: int) -> None:
    lengths = struct.pack(">II", total, headers)
    with pytest.raises(UpstreamError):
        AwsEventStreamDecoder().feed(lengths + struct.pack(">I", crc32(lengths)))


def test_a_large_message_in_small_pieces_is_read_once() -> None:
    payload = bytes(4_000_000)
    body = encode_event("x", payload) + encode_event("y", b"")
    assert _frames([body[i : i + 1000] for i in range(0, len(body), 1000)]) == [Frame(payload, "x"), Frame(b"", "y")]
