"""Actions to Envoy's ext_proc messages, written as protobuf bytes without message objects: a fifth of their cost.

What a backend's replies have in common (headers, names in metadata, the beginnings of chunks) is encoded once and kept,
within bounds. Tests hold these bytes against the generated classes.
"""

from collections.abc import Mapping
from functools import lru_cache
from struct import Struct
from typing import Final

from headgate.extproc.events import Action, Change, Chunk, Continue, Headers, Namespaces, Phase, Reject, Value

KEPT_MAX: Final = 4096
"""Encoded names, and beginnings of what has a name and a length, kept, of each kind."""

# Tags: field number and wire type (2: length-delimited). The names are those of external_processor.proto.
_STATUS_CONTINUE_AND_REPLACE: Final = b"\x08\x01"  # CommonResponse.status
_HEADER_MUTATION: Final = b"\x12"
_BODY_MUTATION: Final = b"\x1a"
_CLEAR_ROUTE_CACHE: Final = b"\x28\x01"
_COMMON_RESPONSE: Final = b"\x0a"
_SET_HEADERS: Final = b"\x0a"
_REMOVE_HEADERS: Final = b"\x12"
_OVERWRITE: Final = b"\x18\x02"  # HeaderValueOption.append_action: OVERWRITE_IF_EXISTS_OR_ADD
_BODY: Final = b"\x0a"
_STREAMED_RESPONSE: Final = b"\x1a"  # of a BodyMutation, in place of a body
_END_OF_STREAM: Final = b"\x10\x01"
_IMMEDIATE_RESPONSE: Final = b"\x3a"
_STATUS: Final = b"\x0a"  # ImmediateResponse.status, an HttpStatus
_CODE: Final = b"\x08"
_IMMEDIATE_BODY: Final = b"\x1a"
_DETAILS: Final = b"\x2a"
_TRAILERS_MUTATION: Final = b"\x0a"
_DYNAMIC_METADATA: Final = b"\x42"
_RESPONSE_BODY_MODE: Final = b"\x4a\x02\x20"  # ProcessingResponse.mode_override, of two bytes: response_body_mode
_FIRST: Final = b"\x0a"
_SECOND: Final = b"\x12"
_THIRD: Final = b"\x1a"

_HEADER_PHASES: Final = (Phase.REQUEST_HEADERS, Phase.RESPONSE_HEADERS)
_TRAILER_PHASES: Final = (Phase.REQUEST_TRAILERS, Phase.RESPONSE_TRAILERS)
_PHASES: Final = {phase: bytes((phase << 3 | 2,)) for phase in Phase}
_NUMBER: Final = b"\x11"  # Value.number_value
_TEXT: Final = b"\x1a"  # Value.string_value
_STRUCT: Final = b"\x2a"  # Value.struct_value
_LIST: Final = b"\x32"  # Value.list_value
_pack_double: Final = Struct("<d").pack


def encode(action: Action) -> bytes:
    """One `ProcessingResponse`; `CountPrompt` is no message and must not come here."""
    if type(action) is Chunk:
        return _encode_chunk(action)
    if type(action) is Change:
        return _encode_change(action)
    if type(action) is Continue:
        return _CONTINUE[action.phase]
    if type(action) is Reject:
        return _encode_reject(action)
    raise AssertionError(f"not for Envoy: {type(action).__name__}")


def length(size: int) -> bytes:
    """A length, or another number, as a varint."""
    return _LENGTHS[size] if size < _LENGTHS_MADE else _varint(size)


def _varint(size: int) -> bytes:
    out = bytearray()
    while size >= 128:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    out.append(size)
    return bytes(out)


_LENGTHS_MADE: Final = 2048
"""Most lengths: of names, values and short bodies."""
_LENGTHS: Final = tuple(map(_varint, range(_LENGTHS_MADE)))


def _sized(tag: bytes, payload: bytes) -> bytes:
    size = len(payload)
    return tag + (_LENGTHS[size] if size < _LENGTHS_MADE else _varint(size)) + payload


def _within(tags: tuple[bytes, ...], head: bytes, size: int) -> bytes:
    """What stands before `size` bytes that follow `head`, in fields of these tags, the innermost first."""
    for tag in tags:
        inside = len(head) + size
        head = tag + (_LENGTHS[inside] if inside < _LENGTHS_MADE else _varint(inside)) + head
    return head


def _encode_chunk(chunk: Chunk) -> bytes:
    head = _chunk_head(chunk.phase, len(chunk.body), chunk.end_of_stream)
    tail = _END_OF_STREAM if chunk.end_of_stream else b""
    return b"".join((head, chunk.body, tail, _metadata(chunk.metadata)))


@lru_cache(maxsize=KEPT_MAX)
def _chunk_head(phase: Phase, size: int, end_of_stream: bool) -> bytes:
    """What stands before a chunk's bytes."""
    tags = (_STREAMED_RESPONSE, _BODY_MUTATION, _COMMON_RESPONSE, _PHASES[phase])
    return _within(tags, _BODY + length(size), size + 2 if end_of_stream else size)


def _encode_reject(reject: Reject) -> bytes:
    answer = [_sized(_STATUS, _CODE + length(reject.status))]
    if reject.headers:
        answer.append(_sized(_HEADER_MUTATION, _mutation(reject.headers, ())))
    answer.append(_sized(_IMMEDIATE_BODY, reject.body))
    if reject.details:
        answer.append(_sized(_DETAILS, reject.details.encode()))
    return _sized(_IMMEDIATE_RESPONSE, b"".join(answer)) + _metadata(reject.metadata)


def _encode_trailers(change: Change) -> bytes:
    mutation = _mutation(change.set_headers, change.remove_headers)
    trailers = _sized(_TRAILERS_MUTATION, mutation) if mutation else b""
    return _sized(_PHASES[change.phase], trailers) + _metadata(change.metadata)


def _encode_change(change: Change) -> bytes:
    phase, body = change.phase, change.body
    if phase in _TRAILER_PHASES:
        return _encode_trailers(change)
    common = b""
    if body is not None and phase in _HEADER_PHASES:
        common = _STATUS_CONTINUE_AND_REPLACE
    if change.set_headers or change.remove_headers:
        common += _sized(_HEADER_MUTATION, _mutation(change.set_headers, change.remove_headers))
    tail = _tail(change)
    if body is None:
        if change.clear_route_cache:
            common += _CLEAR_ROUTE_CACHE
        return _sized(_PHASES[phase], _sized(_COMMON_RESPONSE, common)) + tail
    # The body, which may be large, is copied once.
    size = len(body)
    common += _within((_BODY_MUTATION,), _BODY + length(size), size)
    after = _CLEAR_ROUTE_CACHE if change.clear_route_cache else b""
    head = _within((_COMMON_RESPONSE, _PHASES[phase]), common, size + len(after))
    return b"".join((head, body, after, tail))


def _tail(change: Change) -> bytes:
    tail = _metadata(change.metadata)
    if change.response_body_mode is not None:
        tail += _RESPONSE_BODY_MODE + length(change.response_body_mode)
    return tail


def _metadata(metadata: Namespaces) -> bytes:
    if not metadata:
        return b""
    entries: list[bytes] = []
    for name, values in metadata.items():
        fields = _struct(values)
        entries += (_namespace_head(name, len(fields)), fields)
    return _sized(_DYNAMIC_METADATA, b"".join(entries))


@lru_cache(maxsize=KEPT_MAX)
def _namespace_head(name: str, size: int) -> bytes:
    """What stands before the fields of an entry that is a struct."""
    return _within((_FIRST,), _key(name) + _within((_STRUCT, _SECOND), b"", size), size)


def _mutation(set_headers: Headers, remove_headers: tuple[str, ...]) -> bytes:
    encoded: list[bytes] = []
    for name, text in set_headers.items():
        value = text.encode()
        encoded += (_header_head(name, len(value)), value, _OVERWRITE)
    if remove_headers:
        encoded.append(_removal(remove_headers))
    return b"".join(encoded)


@lru_cache(maxsize=KEPT_MAX)
def _header_head(name: str, size: int) -> bytes:
    """What stands before the value of a header to set, behind which comes how it is set."""
    header = _within((_FIRST,), _key(name) + _THIRD + length(size), size)
    return _within((_SET_HEADERS,), header, size + len(_OVERWRITE))


@lru_cache(maxsize=KEPT_MAX)
def _removal(names: tuple[str, ...]) -> bytes:
    return b"".join(_sized(_REMOVE_HEADERS, name.encode()) for name in names)


def _struct(values: Mapping[str, Value]) -> bytes:
    """The entries of `Struct.fields`."""
    entries: list[bytes] = []
    for name, value in values.items():
        if type(value) is int:
            entries += (_number_head(name), _pack_double(value))
        elif type(value) is str:
            text = value.encode()
            entries += (_text_head(name, len(text)), text)
        else:
            entries.append(_sized(_FIRST, _key(name) + _value(value)))
    return b"".join(entries)


@lru_cache(maxsize=KEPT_MAX)
def _number_head(name: str) -> bytes:
    """What stands before the eight bytes of an entry that is a number."""
    return _within((_FIRST,), _key(name) + _within((_SECOND,), _NUMBER, 8), 8)


@lru_cache(maxsize=KEPT_MAX)
def _text_head(name: str, size: int) -> bytes:
    """What stands before the text of an entry that is one."""
    return _within((_FIRST,), _key(name) + _within((_SECOND,), _TEXT + length(size), size), size)


@lru_cache(maxsize=KEPT_MAX)
def _key(name: str) -> bytes:
    return _sized(_FIRST, name.encode())


def _value(value: Value) -> bytes:
    """A `Value` with its tag as an entry's second field."""
    if isinstance(value, str):
        encoded = _sized(_TEXT, value.encode())
    elif isinstance(value, tuple):
        # ListValue.values has the tag 0x0a where an entry's value has 0x12.
        encoded = _sized(_LIST, b"".join([_FIRST + _value(each)[1:] for each in value]))
    elif value is None:
        encoded = b"\x08\x00"
    elif isinstance(value, bool):
        encoded = b"\x20\x01" if value else b"\x20\x00"
    elif isinstance(value, int | float):
        encoded = _NUMBER + _pack_double(value)
    else:
        encoded = _sized(_STRUCT, _struct(value))
    return _sized(_SECOND, encoded)


_CONTINUE: Final = {phase: _encode_change(Change(phase=phase)) for phase in Phase}
