"""AWS event streams (`application/vnd.amazon.eventstream`): decoder and encoder.

Source: Amazon Event Stream Specification, <https://smithy.io/2.0/aws/amazon-eventstream.html>. A message is

    total length (4) | headers length (4) | CRC of these 8 (4) | headers | payload | CRC of all before it (4)

numbers big-endian, CRCs the common CRC-32. A header is a name, a type and a value; only strings matter here, the
others are stepped over. Both CRCs are checked: a frame that arrives changed is an error, not an event.

A message that ends the stream with an error (`:message-type` `exception`, or `error` where the service has no type for
it) is a frame with `failure` set: its event is the exception's type, its data the JSON of the exception.
"""

import struct
from typing import Final
from zlib import crc32

import msgspec
from headgate.llm.errors import UpstreamError
from headgate.llm.framing.frame import Frame

CONTENT_TYPE: Final = "application/vnd.amazon.eventstream"

HEADERS_BYTES_MAX: Final = 128 * 1024
"""Largest headers of a message that the specification allows."""

PAYLOAD_BYTES_MAX: Final = 24 * 1024 * 1024
"""Largest payload that the specification allows; protects memory, for a message is held until it is whole."""

_PRELUDE: Final = struct.Struct(">III")
_LENGTHS: Final = struct.Struct(">II")
_WORD: Final = struct.Struct(">I")
_SHORT: Final = struct.Struct(">H")
_PRELUDE_BYTES: Final = _PRELUDE.size
_CRC_BYTES: Final = _WORD.size
_MESSAGE_BYTES_MIN: Final = _PRELUDE_BYTES + _CRC_BYTES
_COMPACT_BYTES: Final = 65_536
"""Read bytes are dropped from the buffer when they are this many: moving the rest costs, keeping it costs memory."""

_BYTES: Final = 6
_STRING: Final = 7
_FIXED: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of the values of header types that have one size."""

_MESSAGE_TYPE: Final = ":message-type"
_EVENT_TYPE: Final = ":event-type"
_EXCEPTION_TYPE: Final = ":exception-type"
_ERROR_CODE: Final = ":error-code"
_ERROR_MESSAGE: Final = ":error-message"


class AwsEventStreamDecoder:
    """Cuts a body into frames. What the end of the body leaves unfinished is no frame.

    Cost: each byte is copied into the buffer once and out of it once, and its CRC taken once.
    """

    __slots__ = ("_broken", "_buffer", "_headers_bytes", "_needed", "_offset")

    def __init__(self) -> None:
        self._broken: UpstreamError | None = None
        self._buffer = bytearray()
        self._offset = 0
        """Where the next message begins."""
        self._needed = _PRELUDE_BYTES
        """Bytes from there that must have come before anything can be done."""
        self._headers_bytes = -1
        """Of the message whose prelude is read; -1 before."""

    def feed(self, chunk: bytes) -> list[Frame]:
        """Frames that `chunk` completes, in order. UpstreamError for a message that is damaged or too large, once the
        frames before it have been given: what is read does not depend on the cut."""
        if self._broken is not None:
            raise self._broken
        buffer = self._buffer
        buffer += chunk
        frames: list[Frame] = []
        try:
            while len(buffer) - self._offset >= self._needed:
                if self._headers_bytes < 0:
                    self._read_prelude()
                else:
                    frames.append(self._read_message())
        except UpstreamError as error:
            self._broken = error
            buffer.clear()
            if not frames:
                raise
            return frames
        if self._offset == len(buffer):
            buffer.clear()
            self._offset = 0
        elif self._offset >= _COMPACT_BYTES:
            del buffer[: self._offset]
            self._offset = 0
        return frames

    def close(self) -> list[Frame]:
        """Nothing: a message without its checksum cannot be trusted. UpstreamError if a damaged one has been found."""
        if self._broken is not None:
            raise self._broken
        return []

    def _read_prelude(self) -> None:
        start = self._offset
        total, headers, checksum = _PRELUDE.unpack_from(self._buffer, start)
        if crc32(self._buffer[start : start + _LENGTHS.size]) != checksum:
            raise UpstreamError("the provider's stream holds a message with a wrong checksum of its lengths")
        payload = total - headers - _MESSAGE_BYTES_MIN
        if headers > HEADERS_BYTES_MAX or payload > PAYLOAD_BYTES_MAX:
            raise UpstreamError(f"the provider sent a stream message larger than {PAYLOAD_BYTES_MAX} bytes")
        if payload < 0:
            raise UpstreamError("the provider's stream holds a message shorter than its headers")
        self._headers_bytes = headers
        self._needed = total

    def _read_message(self) -> Frame:
        end = self._offset + self._needed
        message = bytes(self._buffer[self._offset : end])
        split = _PRELUDE_BYTES + self._headers_bytes
        self._offset, self._needed, self._headers_bytes = end, _PRELUDE_BYTES, -1
        if crc32(message[:-_CRC_BYTES]) != _WORD.unpack_from(message, len(message) - _CRC_BYTES)[0]:
            raise UpstreamError("the provider's stream holds a message with a wrong checksum")
        return _frame_of(_decode_headers(message[_PRELUDE_BYTES:split]), message[split:-_CRC_BYTES])


def _frame_of(headers: dict[str, str], payload: bytes) -> Frame:
    match headers.get(_MESSAGE_TYPE, "event"):
        case "exception":
            return Frame(payload, headers.get(_EXCEPTION_TYPE, ""), failure=True)
        case "error":
            text = msgspec.json.encode({"message": headers.get(_ERROR_MESSAGE, "")})
            return Frame(text, headers.get(_ERROR_CODE, ""), failure=True)
        case _:
            return Frame(payload, headers.get(_EVENT_TYPE, ""))


def _decode_headers(data: bytes) -> dict[str, str]:
    """The headers that are strings."""
    found: dict[str, str] = {}
    try:
        position = 0
        while position < len(data):
            name_end = position + 1 + data[position]
            kind, position, start = data[name_end], name_end + 1, position + 1
            if kind in _FIXED:
                position += _FIXED[kind]
            elif kind in (_BYTES, _STRING):
                value = position + _SHORT.size
                position = value + _SHORT.unpack_from(data, position)[0]
                if kind == _STRING:
                    found[data[start:name_end].decode()] = data[value:position].decode()
            else:
                raise ValueError(kind)
        if position != len(data):
            raise ValueError(position)
    except (IndexError, ValueError, struct.error):
        raise UpstreamError("the provider's stream holds a message whose headers cannot be read") from None
    return found


# --- encode ----------------------------------------------------------------------------------------------------------


def encode_event(event: str, payload: bytes) -> bytes:
    """One event with a JSON payload. The event's name is at most 65,535 bytes."""
    return _encode_message(_event_headers(_EVENT_TYPE, event, "event"), payload)


def encode_exception(kind: str, payload: bytes) -> bytes:
    """One exception: clients raise it, and read no further."""
    return _encode_message(_event_headers(_EXCEPTION_TYPE, kind, "exception"), payload)


def _event_headers(name: str, value: str, message_type: str) -> bytes:
    return b"".join(
        (
            _encode_header(name, value),
            _encode_header(":content-type", "application/json"),
            _encode_header(_MESSAGE_TYPE, message_type),
        )
    )


def _encode_header(name: str, value: str) -> bytes:
    name_bytes, value_bytes = name.encode(), value.encode()
    return b"%c%b%c%b%b" % (len(name_bytes), name_bytes, _STRING, _SHORT.pack(len(value_bytes)), value_bytes)


def _encode_message(headers: bytes, payload: bytes) -> bytes:
    lengths = _LENGTHS.pack(len(headers) + len(payload) + _MESSAGE_BYTES_MIN, len(headers))
    message = b"".join((lengths, _WORD.pack(crc32(lengths)), headers, payload))
    return message + _WORD.pack(crc32(message))
