"""Whatever clients put into headers, what Envoy tells of them is read."""

import contextlib

import pytest
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct
from headgate.pb.received import parse
from hypothesis import given
from hypothesis import strategies as st

TOLD = "x" * 4


def _asked(value: bytes) -> bytes:
    message = RateLimitRequest(domain="d", hits_addend=300)
    message.descriptors.add().entries.add(key="user", value=TOLD * (len(value) // 4) + "x" * (len(value) % 4))
    message.descriptors.add().entries.add(key="client", value="acme")
    data = message.SerializeToString()
    return data.replace(b"x" * len(value), value)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (b"\xff", "?"),
        (b"a\xc3\x28b\x80", "a?(b?"),
        (b"\xed\xa0\x80", "???"),
        ("é€😀".encode() + b"\xf5", "é€😀?"),
    ],
)
def test_a_text_that_is_no_utf_8_costs_nothing_else(value: bytes, read: str) -> None:
    first, second = parse(RateLimitRequest, _asked(value)).descriptors
    assert [(entry.key, entry.value) for entry in (*first.entries, *second.entries)] == [
        ("user", read),
        ("client", "acme"),
    ]


def test_texts_are_found_in_maps_and_deep_inside() -> None:
    message = StreamAccessLogsMessage()
    message.identifier.log_name = "headgate"
    for value in ("good", "xbad"):
        entry = message.http_logs.log_entry.add()
        entry.common_properties.duration.nanos = 2**30
        entry.common_properties.metadata.filter_metadata["headgate"].update({"model": value, "number": 1.5})
        entry.request.request_headers["agent-session-id"] = value
    data = message.SerializeToString().replace(b"xbad", b"\xffbad")
    with pytest.raises(DecodeError):
        StreamAccessLogsMessage.FromString(data)
    good, bad = parse(StreamAccessLogsMessage, data).http_logs.log_entry
    assert good == message.http_logs.log_entry[0]
    assert bad.request.request_headers["agent-session-id"] == "?bad"
    assert dict(bad.common_properties.metadata.filter_metadata["headgate"]) == {"model": "?bad", "number": 1.5}


@given(st.binary(max_size=100))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        parse(StreamAccessLogsMessage, data)


def test_structs_in_structs_without_end_are_refused() -> None:
    data = b"\xff"
    for _ in range(1000):
        inner = b"\x2a" + _length(data) + data  # Value.struct_value
        entry = b"\x12" + _length(inner) + inner
        data = b"\x0a" + _length(entry) + entry
    with pytest.raises(DecodeError):
        parse(Struct, data)


def _length(data: bytes) -> bytes:
    number, found = len(data), bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*found, number))
