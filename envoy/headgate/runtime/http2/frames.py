"""HTTP/2 frames (RFC 9113) and gRPC's message prefix, as bytes. Encoders only; `connection` decodes."""

from enum import IntEnum
from struct import Struct
from typing import Final
from urllib.parse import quote

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER_BYTES: Final = 9
FRAME_BYTES_MAX: Final = 16_384
"""SETTINGS_MAX_FRAME_SIZE's default, which we keep: what a peer may send us."""
WINDOW_DEFAULT: Final = 65_535
WINDOW_MAX: Final = 2**31 - 1
STREAM_ID_MAX: Final = 2**31 - 1
MESSAGE_PREFIX: Final = Struct(">BI")
"""gRPC: compressed flag, length."""

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY: Final = 0x20


class FrameType(IntEnum):
    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class ErrorCode(IntEnum):
    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class Setting(IntEnum):
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class GrpcStatus(IntEnum):
    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


HEADER: Final = Struct(">IBI")
"""Of a frame: length (24 bits) and kind (8), flags, stream."""
_SETTING: Final = Struct(">HI")
_U32: Final = Struct(">I")
_GOAWAY: Final = Struct(">II")


def frame_header(kind: int, flags: int, stream_id: int, length: int) -> bytes:
    """The nine bytes before a payload."""
    return HEADER.pack(length << 8 | kind, flags, stream_id)


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return frame_header(kind, flags, stream_id, len(payload)) + payload


def settings(values: dict[Setting, int]) -> bytes:
    return frame(FrameType.SETTINGS, 0, 0, b"".join(_SETTING.pack(name, value) for name, value in values.items()))


SETTINGS_ACK: Final = frame(FrameType.SETTINGS, ACK, 0, b"")


def window_update(stream_id: int, increment: int) -> bytes:
    return frame(FrameType.WINDOW_UPDATE, 0, stream_id, _U32.pack(increment))


def reset(stream_id: int, code: ErrorCode) -> bytes:
    return frame(FrameType.RST_STREAM, 0, stream_id, _U32.pack(code))


def ping_ack(payload: bytes) -> bytes:
    return frame(FrameType.PING, ACK, 0, payload)


def goaway(last_stream_id: int, code: ErrorCode) -> bytes:
    return frame(FrameType.GOAWAY, 0, 0, _GOAWAY.pack(last_stream_id, code))


def parse_settings(payload: bytes) -> list[tuple[int, int]]:
    """Identifiers and values; the payload's length is a multiple of six."""
    return list(_SETTING.iter_unpack(payload))


def _literal(name: bytes, value: bytes) -> bytes:
    """HPACK: literal without indexing, new name, no Huffman. Both shorter than 127 bytes, or chunked by `_length`."""
    return b"\x00" + _length(name) + name + _length(value) + value


def _length(text: bytes) -> bytes:
    size = len(text)
    if size < 127:
        return bytes((size,))
    encoded = bytearray((127,))
    size -= 127
    while size >= 128:
        encoded.append(size & 0x7F | 0x80)
        size >>= 7
    encoded.append(size)
    return bytes(encoded)


RESPONSE_HEADERS: Final = b"\x88" + _literal(b"content-type", b"application/grpc")
""":status 200 from the static table, then the content type. Stateless: our encoder uses no dynamic table."""


def trailers(status: GrpcStatus, message: str) -> bytes:
    """The header block that ends a call; the message is percent-encoded and cut at 1,000 characters."""
    block = _literal(b"grpc-status", str(int(status)).encode())
    if message:
        block += _literal(b"grpc-message", quote(message[:1000], safe=" !#$&'()*+,/:;=?@[]~").encode())
    return block


OK_TRAILERS: Final = trailers(GrpcStatus.OK, "")

MESSAGE_HEADER: Final = Struct(">IBIBI")
"""What comes before a message in one DATA frame, whose kind and flags are 0: `HEADER` and `MESSAGE_PREFIX`."""

# A frame's header up to the stream, for blocks that are always the same.
_ANSWER_HEADERS: Final = frame_header(FrameType.HEADERS, END_HEADERS, 0, len(RESPONSE_HEADERS))[:5]
_ANSWER_TRAILERS: Final = frame_header(FrameType.HEADERS, END_HEADERS | END_STREAM, 0, len(OK_TRAILERS))[:5]


def response_headers(stream_id: int) -> bytes:
    """The frame that begins every call's answer."""
    return b"".join((_ANSWER_HEADERS, stream_id.to_bytes(4, "big"), RESPONSE_HEADERS))


def ok_trailers(stream_id: int) -> bytes:
    """The frame that ends a successful call's answer."""
    return b"".join((_ANSWER_TRAILERS, stream_id.to_bytes(4, "big"), OK_TRAILERS))


def answer(stream_id: int, message: bytes) -> bytes:
    """All of a successful unary call's answer: response headers, the message in one frame, trailers."""
    stream = stream_id.to_bytes(4, "big")
    size = len(message)
    data = MESSAGE_HEADER.pack(size + MESSAGE_PREFIX.size << 8, 0, stream_id, 0, size)
    return b"".join((_ANSWER_HEADERS, stream, RESPONSE_HEADERS, data, message, _ANSWER_TRAILERS, stream, OK_TRAILERS))
