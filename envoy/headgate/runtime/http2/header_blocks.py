"""Decodes header blocks (HPACK, RFC 7541) of one peer.

A block of indices and one value that is new costs a few microseconds, which matters where each call brings a value of
its own: the library `hpack`, whose Huffman table this uses, takes many times as long.
"""

from collections import deque
from functools import cache, lru_cache
from typing import Final

from hpack.huffman_table import HUFFMAN_COMPLETE, HUFFMAN_EMIT_SYMBOL, HUFFMAN_FAIL, HUFFMAN_TABLE
from hpack.table import HeaderTable

_Entry = tuple[str, str, int]
"""(name, value, what it counts)"""
_ENTRY_BYTES: Final = 32
"""What a table or a list counts for each entry, beside its name and value (RFC 7541 4.1)."""
_STATIC: Final[tuple[_Entry, ...]] = tuple(
    (name.decode(), value.decode(), len(name) + len(value) + _ENTRY_BYTES) for name, value in HeaderTable.STATIC_TABLE
)
_STATIC_COUNT: Final = len(_STATIC)
_NEWEST: Final = 0x81 + _STATIC_COUNT
"""The byte that names the newest entry of a peer's table; those above it, but 0xFF, name the ones before."""
_TABLE_BYTES: Final = 4096
"""Of a table whose encoder has said nothing of its size."""
_INTEGER_BYTES_MAX: Final = 5
_TEXT_BYTES_MAX: Final = 128
"""Of a coded text to remember: what clients send may be long."""


class HeaderBlockError(Exception):
    """The peer's block is malformed or too large: its table is not known any more."""


class HeaderDecoder:
    """The table of one peer. After an error it must not be used."""

    __slots__ = ("_bytes", "_entries", "_list_bytes_max", "_table_bytes", "_table_bytes_max", "changes")

    def __init__(self, *, table_bytes_max: int, list_bytes_max: int) -> None:
        self._table_bytes_max = table_bytes_max
        self._list_bytes_max = list_bytes_max
        self._table_bytes = min(_TABLE_BYTES, table_bytes_max)
        self._bytes = 0
        self._entries: deque[_Entry] = deque()
        """The newest first, which has the lowest index."""
        self.changes = 0
        """How often the table has changed: until it does again, equal blocks mean equal headers."""

    def decode(self, block: bytes) -> dict[str, str]:
        """The headers of a whole block, by name; the last of several equal ones wins. Raises HeaderBlockError."""
        headers: dict[str, str] = {}
        try:
            self._decode(block, headers)
        except IndexError:
            raise HeaderBlockError("it is truncated, or names an entry that there is not") from None
        return headers

    def _decode(self, block: bytes, headers: dict[str, str]) -> None:
        position, end, size = 0, len(block), 0
        entries = self._entries
        while position < end:
            first = block[position]
            if 0x80 < first < 0xFF:  # nearly all there are, hence no calls
                position += 1
                name, value, count = _STATIC[first - 0x81] if first < _NEWEST else entries[first - _NEWEST]
            elif first & 0x80:
                index, position = _integer(block, position, 0x7F)
                name, value, count = self._entry(index)
            elif first & 0x40:
                name, value, position = self._literal(block, position, 0x3F)
                count = self._add(name, value)
            elif first & 0x20:
                if size:
                    raise HeaderBlockError("a table size update stands behind a header")
                position = self._resize(block, position)
                continue
            else:
                name, value, position = self._literal(block, position, 0x0F)
                count = len(name) + len(value) + _ENTRY_BYTES
            size += count
            headers[name] = value
            if size > self._list_bytes_max:
                raise HeaderBlockError(f"its headers are larger than {self._list_bytes_max} bytes")

    def _entry(self, index: int) -> _Entry:
        if index > _STATIC_COUNT:
            return self._entries[index - _STATIC_COUNT - 1]
        if index == 0:
            raise HeaderBlockError("it names entry 0")
        return _STATIC[index - 1]

    def _literal(self, block: bytes, position: int, mask: int) -> tuple[str, str, int]:
        index, position = _integer(block, position, mask)
        if index:
            name = self._entry(index)[0]
        else:
            name, position = _text(block, position)
        value, position = _text(block, position)
        return name, value, position

    def _add(self, name: str, value: str) -> int:
        self.changes += 1
        count = len(name) + len(value) + _ENTRY_BYTES
        self._entries.appendleft((name, value, count))
        self._bytes += count
        self._evict()
        return count

    def _resize(self, block: bytes, position: int) -> int:
        size, position = _integer(block, position, 0x1F)
        if size > self._table_bytes_max:
            raise HeaderBlockError(f"its table would be larger than {self._table_bytes_max} bytes")
        self.changes += 1
        self._table_bytes = size
        self._evict()
        return position

    def _evict(self) -> None:
        while self._bytes > self._table_bytes:
            self._bytes -= self._entries.pop()[2]


def _integer(block: bytes, position: int, mask: int) -> tuple[int, int]:
    """(number, where it ends) of a number that begins in the low bits of a byte; IndexError where it is cut."""
    number = block[position] & mask
    position += 1
    if number < mask:
        return number, position
    for shift in range(0, 7 * _INTEGER_BYTES_MAX, 7):
        byte = block[position]
        position += 1
        number += (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise HeaderBlockError("it has a number that is too long")


def _text(block: bytes, position: int) -> tuple[str, int]:
    """(text, where it ends); IndexError where it is cut."""
    is_huffman = block[position] & 0x80
    length, position = _integer(block, position, 0x7F)
    end = position + length
    if end > len(block):
        raise IndexError
    text = block[position:end]
    if is_huffman:
        return (_uncoded(text) if length > _TEXT_BYTES_MAX else _remembered(text)), end
    return text.decode("latin-1"), end


def _uncoded(text: bytes) -> str:
    """What a text in Huffman's code says."""
    state, complete = 0, True
    found: list[bytes] = []
    for byte in text:
        state, complete, emitted = _step(state, byte)
        found.append(emitted)
    if not complete:
        raise HeaderBlockError("it has a text that is cut in a letter")
    return b"".join(found).decode("latin-1")


_remembered: Final = lru_cache(maxsize=256)(_uncoded)
"""Paths come again with every call, and into no table."""


@cache  # of 256 states and 256 bytes at most
def _step(state: int, byte: int) -> tuple[int, bool, bytes]:
    """What a byte makes of a decoder's state: the next, whether a text may end there, and the letters it brings."""
    emitted, flags = bytearray(), 0
    for nibble in (byte >> 4, byte & 0x0F):
        state, flags, letter = HUFFMAN_TABLE[state * 16 + nibble]
        if flags & HUFFMAN_FAIL:
            raise HeaderBlockError("it has a text that is not in Huffman's code")
        if flags & HUFFMAN_EMIT_SYMBOL:
            emitted.append(letter)
    return state, bool(flags & HUFFMAN_COMPLETE), bytes(emitted)
