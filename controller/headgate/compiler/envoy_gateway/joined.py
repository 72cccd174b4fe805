"""Protobuf messages put together from serialised parts: what is there already is neither parsed nor made again.

Parts stay apart until the last moment, since an answer of many megabytes is nested ten levels deep and each level that
is joined copies all of it.
"""

from collections.abc import Iterable, Sequence

Parts = Sequence[bytes]
"""A serialised message, in pieces."""


def head(number: int, size: int) -> bytes:
    """What stands before a message, text or bytes of that size as the field of that number."""
    return _varint(number << 3 | 2) + _varint(size)


def _varint(value: int) -> bytes:
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)


def nested(number: int, parts: Parts) -> list[bytes]:
    """A message, text or bytes as the field of that number."""
    return [head(number, sum(map(len, parts))), *parts]


def message(*fields: tuple[int, Iterable[bytes]]) -> bytes:
    """A message of repeated fields, each by its number."""
    return b"".join(part for number, values in fields for data in values for part in (head(number, len(data)), data))


def head_of(levels: Iterable[tuple[int, bytes]], size: int) -> bytes:
    """What stands before a text of that size in nested messages, each (field number, what is before that field in its
    message), the inner ones first."""
    result = b""
    for number, before in levels:
        result = before + head(number, size + len(result)) + result
    return result
