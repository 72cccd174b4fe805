"""Messages of Envoy's that hold what clients and providers said.

A header may hold any bytes above 127, and Envoy puts them as they are into texts, which protobuf wants in UTF-8: its
parser takes nothing at all of such a message. One client's header would cost all that a message tells: every limit of
that request, or the usage of all requests that are told together.
"""

from typing import Any, Final, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

M = TypeVar("M", bound=Message)

NESTED_MAX: Final = 100
"""Messages in messages, as in protobuf's own parser."""
_VARINT_BYTES_MAX: Final = 10


def parse(kind: type[M], data: bytes) -> M:
    """The message; in texts that are not UTF-8 a `?` stands for each byte that is none. Raises DecodeError."""
    try:
        return kind.FromString(data)
    except DecodeError:
        return kind.FromString(_readable(data, kind.DESCRIPTOR))


def _readable(data: bytes, kind: Descriptor) -> bytes:
    """The same with its texts in UTF-8. What is no message is left to the parser to refuse."""
    mended = bytearray(data)
    try:
        _mend(mended, 0, len(mended), kind, NESTED_MAX)
    except IndexError:
        return data
    return bytes(mended)


def _mend(data: bytearray, at: int, end: int, kind: Descriptor, levels: int) -> None:
    """No text changes its length, so nothing around it does. IndexError for what is no message."""
    fields: Any = kind.fields_by_number
    while at < end:
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                _, at = _varint(data, at)
            case 1:
                at += 8
            case 5:
                at += 4
            case 2:
                size, at = _varint(data, at)
                after = at + size
                if after > end:
                    raise IndexError
                field = fields.get(tag >> 3)
                if field is not None and field.type == FieldDescriptor.TYPE_STRING:
                    data[at:after] = _text(data[at:after])
                elif field is not None and field.type == FieldDescriptor.TYPE_MESSAGE and levels:
                    _mend(data, at, after, field.message_type, levels - 1)
                at = after
            case _:
                raise IndexError


def _text(data: bytearray) -> bytes:
    return data.decode("utf-8", "surrogateescape").encode("utf-8", "replace")


def _varint(data: bytearray, at: int) -> tuple[int, int]:
    """The number at a place, and what follows it."""
    number = 0
    for shift in range(_VARINT_BYTES_MAX):
        byte = data[at + shift]
        number |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return number, at + shift + 1
    raise IndexError
