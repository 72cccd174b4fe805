"""What a broken or hostile provider may answer: bytes that are no answer and no stream in any dialect.

Each begins as its dialect's streams begin, so that nothing is refused for its first byte alone; none ends as they end.
"""

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Final
from zlib import crc32

from bench.llm import provider_stream
from headgate.llm.names import DialectName

from support.chat_goldens import CLIENTS
from support.eventstream import CONTENT_TYPE, event, exception

DEEP: Final = 100_000
ENDLESS_BYTES: Final = 100_000_000
_PIECE: Final = b"x" * 1_000_000

_NAMES: Final = ("choices", "candidates", "message", "delta", "response", "content_block", "item", "index", "error")
_WRONG: Final = dict.fromkeys(_NAMES, 7)
_OBJECTS: Final[Mapping[str, bytes]] = {
    "an array": b"[1,2]",
    "a number": b"7",
    "null": b"null",
    "broken JSON": b'{"choices":[{"delta":{"content":"a',
    "no UTF-8": b'{"choices":[{"delta":{"content":"\xff\xfe"}}],"type":"\xff"}',
    "objects in objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "lists in lists": b'{"choices":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "wrong types": json.dumps(_WRONG).encode(),
    "a number that is none": b'{"usage":{"prompt_tokens":1e999,"input_tokens":1e999},"choices":NaN}',
}

WHOLE: Final[Mapping[str, bytes]] = {
    "nothing": b"",
    "text": b"Service Unavailable",
    "no object": b'"ok"',
    "half of one": b'{"id":"1","content":[{"type":"text","text":"Hel',
    "two at once": b"{}{}",
    "no gzip": b"\x1f\x8b\x08\x00 this is not gzip",
    **{name: body for name, body in _OBJECTS.items() if name != "wrong types"},
    "wrong types everywhere": json.dumps({**_WRONG, "content": 7, "output": 7, "id": []}).encode(),
}
"""Bodies that claim to be JSON."""


def _begun(dialect: DialectName) -> bytes:
    return next(provider_stream(dialect, 1))


def _event_of(dialect: DialectName, data: bytes) -> bytes:
    """One event with that data, in the dialect's framing and with right checksums."""
    if CLIENTS[dialect].stream_type == CONTENT_TYPE:
        return _message(_header(":event-type", "contentBlockDelta") + _header(":message-type", "event"), data)
    return b"event: content_block_delta\ndata: " + data + b"\n\n"


def _header(name: str, value: str) -> bytes:
    return bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()


def _prelude(headers: int, total: int) -> bytes:
    lengths = struct.pack(">II", total, headers)
    return lengths + struct.pack(">I", crc32(lengths))


def _message(headers: bytes, payload: bytes) -> bytes:
    message = _prelude(len(headers), len(headers) + len(payload) + 16) + headers + payload
    return message + struct.pack(">I", crc32(message))


def _flipped(message: bytes, place: int) -> bytes:
    return message[:place] + bytes([message[place] ^ 0x40]) + message[place + 1 :]


_DELTA: Final = event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hi"}})
_BINARY: Final[Mapping[str, bytes]] = {
    "a wrong checksum": _flipped(_DELTA, len(_DELTA) - 6),
    "a wrong checksum of lengths": _flipped(_DELTA, 3),
    "four gigabytes announced": _prelude(0, 0xFFFFFFFF) + b"x" * 1_000,
    "headers longer than the message": _prelude(1_000, 20) + b"x" * 1_000,
    "a header of an unknown type": _message(b"\x01a\x63", b"{}"),
    "a header that is cut": _message(b"\x40abc", b"{}"),
    "a name that is no UTF-8": _message(b"\x01\xff\x07\x00\x01a", b"{}"),
    "server-sent events": b'data: {"choices":[]}\n\ndata: [DONE]\n\n',
    "unknown events": event("surprise", {"a": 1}) * 100,
    "an event without a name": _message(b"", b'{"delta":{"text":"Hi"}}') * 3,
    "an unknown exception": exception("surprise", "Something is wrong."),
    "an exception that is no JSON": _message(
        _header(":exception-type", "modelStreamErrorException") + _header(":message-type", "exception"), b"\xff"
    ),
}
_TEXT: Final[Mapping[str, bytes]] = {
    "no stream at all": b"Service Unavailable\n\n" * 10,
    "a page": b"<html><body>busy</body></html>",
    "zeros": bytes(1_000),
    "unknown events": b'event: surprise\ndata: {"type":"surprise","object":"surprise"}\n\n' * 100,
    "empty objects": b"data: {}\n\n" * 100,
    "fields without a value": b"data\nevent\nid\nretry\n\n" * 10,
    "nothing but comments": b": busy\n\n" * 100,
}

Pieces = Callable[[], Iterator[bytes]]


def streams(dialect: DialectName) -> dict[str, Pieces]:
    """What a provider of the dialect may stream by mistake or malice; each call gives the pieces anew."""
    begun = _begun(dialect)
    binary = CLIENTS[dialect].stream_type == CONTENT_TYPE
    found = {name: _pieces(begun + _event_of(dialect, data)) for name, data in _OBJECTS.items()}
    found |= {name: _pieces(begun + raw) for name, raw in (_BINARY if binary else _TEXT).items()}
    found |= {f"{name}, at once": _pieces(raw) for name, raw in (_BINARY if binary else _TEXT).items()}
    found["nothing"] = _pieces(b"")
    found["nothing but its beginning"] = _pieces(begun)
    return found


def _pieces(raw: bytes) -> Pieces:
    return lambda: (raw[start : start + 65_536] for start in range(0, len(raw), 65_536))


def endless(dialect: DialectName) -> dict[str, Pieces]:
    """A hundred megabytes that never come to an end, in one event or in many unfinished lines."""
    begun = _begun(dialect)
    count = ENDLESS_BYTES // len(_PIECE)
    if CLIENTS[dialect].stream_type == CONTENT_TYPE:
        heads = {"an event without end": _prelude(100, 24 * 1024 * 1024), "no event": b""}
        return {name: _long(begun + head, _PIECE, count) for name, head in heads.items()}
    lines = (b"data: " + b"x" * 993 + b"\n") * (len(_PIECE) // 1_000)
    return {
        "a line without end": _long(begun + b"data: ", _PIECE, count),
        "no line": _long(begun, _PIECE, count),
        "an event of lines without end": _long(begun, lines, count),
        "a text without end": _long(begun, _event_of(dialect, b'{"a":"' + _PIECE + b'"}'), count),
    }


def _long(head: bytes, piece: bytes, count: int) -> Pieces:
    def pieces() -> Iterator[bytes]:
        yield head
        for _ in range(count):
            yield piece

    return pieces
