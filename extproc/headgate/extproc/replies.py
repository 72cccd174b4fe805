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
"""Encoded headers, names and beginnings of chunks kept, of each kind."""
KEPT_CHARACTERS_MAX: Final = 256
"""Of a value to keep: clients choose model names."""

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

_PHASES: Final = {phase: bytes((phase << 3 | 2,)) for phase in Phase}
_LENGTHS: Final = tuple(bytes((length,)) for length in range(128))
_NUMBER: Final = b"\x11"  # Value.number_value
_STRUCT: Final = b"\x2a"  # Value.struct_value
_DOUBLE: Final = Struct("<d")


def encode(action: Action) -> bytes:
    """One `ProcessingResponse`; `CountPrompt` is no message and must not come here."""
    match action:
        case Chunk():
            return _encode_chunk(action)
        case Change():
            return _encode_change(action)
        case Continue():
            return _CONTINUE[action.phase]
        case Reject():
            return _encode_reject(action)
        case _:
            raise AssertionError(f"not for Envoy: {type(action).__name__}")


def _length(size: int) -> bytes:
    """A length, or another number, as a varint."""
    if size < 128:
        return _LENGTHS[size]
    if size < 16_384:
        return bytes((size & 0x7F | 0x80, size >> 7))
    out = bytearray()
    while size >= 128:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    out.append(size)
    return bytes(out)


def _sized(tag: bytes, payload: bytes) -> bytes:
    return tag + _length(len(payload)) + payload


def _encode_chunk(chunk: Chunk) -> bytes:
    head = _chunk_head(chunk.phase, len(chunk.body), chunk.end_of_stream)
    tail = _END_OF_STREAM if chunk.end_of_stream else b""
    return b"".join((head, chunk.body, tail, _metadata(chunk.metadata)))


@lru_cache(maxsize=KEPT_MAX)
def _chunk_head(phase: Phase, size: int, end_of_stream: bool) -> bytes:
    """What stands before a chunk's bytes."""
    head = _BODY + _length(size)
    size += len(_END_OF_STREAM) if end_of_stream else 0
    for tag in (_STREAMED_RESPONSE, _BODY_MUTATION, _COMMON_RESPONSE, _PHASES[phase]):
        head = tag + _length(len(head) + size) + head
    return head


def _encode_reject(reject: Reject) -> bytes:
    answer = [_sized(_STATUS, _CODE + _length(reject.status))]
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
    if phase in (Phase.REQUEST_TRAILERS, Phase.RESPONSE_TRAILERS):
        return _encode_trailers(change)
    common = b""
    if body is not None and phase in (Phase.REQUEST_HEADERS, Phase.RESPONSE_HEADERS):
        common = _STATUS_CONTINUE_AND_REPLACE
    if change.set_headers or change.remove_headers:
        common += _sized(_HEADER_MUTATION, _mutation(change.set_headers, change.remove_headers))
    tail = _tail(change)
    if body is None:
        if change.clear_route_cache:
            common += _CLEAR_ROUTE_CACHE
        return _sized(_PHASES[phase], _sized(_COMMON_RESPONSE, common)) + tail
    # The body, which may be large, is copied once.
    replaced = _BODY + _length(len(body))
    common += _BODY_MUTATION + _length(len(replaced) + len(body)) + replaced
    after = _CLEAR_ROUTE_CACHE if change.clear_route_cache else b""
    size = len(common) + len(body) + len(after)
    inner = _COMMON_RESPONSE + _length(size)
    return b"".join((_PHASES[phase], _length(len(inner) + size), inner, common, body, after, tail))


def _tail(change: Change) -> bytes:
    tail = _metadata(change.metadata)
    if change.response_body_mode is not None:
        tail += _RESPONSE_BODY_MODE + _LENGTHS[change.response_body_mode]
    return tail


def _metadata(metadata: Namespaces) -> bytes:
    return _sized(_DYNAMIC_METADATA, _namespaces(metadata)) if metadata else b""


def _mutation(set_headers: Headers, remove_headers: tuple[str, ...]) -> bytes:
    encoded = b"".join([_set_header(name, value) for name, value in set_headers.items()])
    return encoded + _removal(remove_headers) if remove_headers else encoded


def _set_header(name: str, value: str) -> bytes:
    return _kept_header(name, value) if len(value) <= KEPT_CHARACTERS_MAX else _header(name, value)


def _header(name: str, value: str) -> bytes:
    header = _sized(_FIRST, name.encode()) + _sized(_THIRD, value.encode())
    return _sized(_SET_HEADERS, _sized(_FIRST, header) + _OVERWRITE)


_kept_header: Final = lru_cache(maxsize=KEPT_MAX)(_header)


@lru_cache(maxsize=KEPT_MAX)
def _removal(names: tuple[str, ...]) -> bytes:
    return b"".join(_sized(_REMOVE_HEADERS, name.encode()) for name in names)


def _namespaces(metadata: Namespaces) -> bytes:
    """A `Struct` of structs."""
    return b"".join([_sized(_FIRST, _key(name) + _map(values)) for name, values in metadata.items()])


def _map(values: Mapping[str, Value]) -> bytes:
    """A `Value` that is a struct, with its tag as an entry's second field."""
    return _sized(_SECOND, _sized(_STRUCT, _struct(values)))


def _struct(values: Mapping[str, Value]) -> bytes:
    """The entries of `Struct.fields`."""
    entries: list[bytes] = []
    for name, value in values.items():
        text = value[0] if isinstance(value, tuple) and len(value) == 1 else value
        if isinstance(text, str) and len(text) <= KEPT_CHARACTERS_MAX:
            entries.append(_kept_entry(name, text, alone=text is value))
        elif type(value) is int:
            entries.append(_number_head(name) + _DOUBLE.pack(value))
        else:
            entries.append(_sized(_FIRST, _key(name) + _value(value)))
    return b"".join(entries)


@lru_cache(maxsize=KEPT_MAX)
def _number_head(name: str) -> bytes:
    """An entry that is a number, up to its eight bytes."""
    return _sized(_FIRST, _key(name) + _sized(_SECOND, _NUMBER + bytes(8)))[:-8]


@lru_cache(maxsize=KEPT_MAX)
def _kept_entry(name: str, text: str, *, alone: bool) -> bytes:
    """An entry that is a text, or a list of one."""
    return _sized(_FIRST, _key(name) + _value(text if alone else (text,)))


@lru_cache(maxsize=KEPT_MAX)
def _key(name: str) -> bytes:
    return _sized(_FIRST, name.encode())


def _value(value: Value) -> bytes:
    """A `Value` with its tag as an entry's second field."""
    match value:
        case bool():
            encoded = b"\x20\x01" if value else b"\x20\x00"
        case str():
            encoded = _sized(b"\x1a", value.encode())
        case int() | float():
            encoded = _NUMBER + _DOUBLE.pack(value)
        case None:
            encoded = b"\x08\x00"
        case tuple():
            # ListValue.values has the tag 0x0a where an entry's value has 0x12.
            encoded = _sized(b"\x32", b"".join([_FIRST + _value(each)[1:] for each in value]))
        case _:
            return _map(value)
    return _sized(_SECOND, encoded)


_CONTINUE: Final = {phase: _encode_change(Change(phase=phase)) for phase in Phase}
