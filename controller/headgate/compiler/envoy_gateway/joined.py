"""Protobuf messages put together from serialised parts: what is there already is neither parsed nor made again."""

from collections.abc import Iterable


def field(number: int, data: bytes) -> bytes:
    """A message, text or bytes as the field of that number (below 16)."""
    head, size = bytearray((number << 3 | 2,)), len(data)
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + data


def message(*fields: tuple[int, Iterable[bytes]]) -> bytes:
    """A message of repeated fields, each by its number."""
    return b"".join(field(number, data) for number, values in fields for data in values)
