"""Snake case to lower camel case, where Google takes both.

Google reads requests as protobuf's JSON, which knows each member by two names: `system_instruction` and
`systemInstruction`. Its documentation mixes them within one body. Only the names that the wire structs declare are
changed, so that what belongs to the client (arguments, schemas, labels) is left alone.
"""

import re
from collections.abc import Mapping
from functools import cache
from types import UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

import msgspec
from headgate.llm.dialects.gemini import wire
from headgate.llm.errors import RequestError
from headgate.llm.members import decode_members

NESTING_MAX: Final = 32
"""Deeper than any message this dialect has."""

_SNAKE: Final = re.compile(r"_([a-z0-9])")
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def camel(name: str) -> str:
    """The lower camel case of a snake case name; any other name as it is."""
    return _SNAKE.sub(lambda found: found[1].upper(), name)


def is_snake(name: str) -> bool:
    """Whether a name has another, in camel case."""
    return "_" in name[1:]


def camel_body(body: bytes, declared: type[msgspec.Struct] = wire.Request) -> bytes:
    """The body of that message with every member that the wire structs declare under its camel case name. RequestError
    if a member is given under both."""
    return bytes(_message(msgspec.Raw(body), declared, depth=0))


def _message(raw: msgspec.Raw, declared: type[msgspec.Struct], *, depth: int) -> msgspec.Raw:
    if depth > NESTING_MAX or not bytes(raw).lstrip().startswith(b"{"):
        return raw
    fields = _fields(declared)
    result: dict[str, msgspec.Raw] = {}
    for name, value in decode_members(bytes(raw)).items():
        written = camel(name) if camel(name) in fields or declared in _OPEN else name
        if written in result:
            raise RequestError("this member is given twice", path=written, code="duplicate_member")
        inner = fields.get(written)
        result[written] = value if inner is None else _value(value, inner, depth=depth + 1)
    return msgspec.Raw(_encode(result))


def _value(raw: msgspec.Raw, inner: tuple[type[msgspec.Struct], bool], *, depth: int) -> msgspec.Raw:
    declared, listed = inner
    if not listed:
        return _message(raw, declared, depth=depth)
    if not bytes(raw).lstrip().startswith(b"["):
        return raw
    return msgspec.Raw(_encode([_message(item, declared, depth=depth) for item in _decode_list(raw)]))


_OPEN: Final = (wire.Request, wire.GenerationConfig, wire.Tool)
"""Structs whose further members are Google's as well, and travel in `extras`."""


@cache
def _fields(declared: type[msgspec.Struct]) -> Mapping[str, tuple[type[msgspec.Struct], bool] | None]:
    """Wire names, to the struct they hold (and whether in a list), or None."""
    hints = get_type_hints(declared)
    names = zip(declared.__struct_fields__, declared.__struct_encode_fields__, strict=True)
    return {written: _struct_of(hints[name]) for name, written in names}


def _struct_of(hint: Any) -> tuple[type[msgspec.Struct], bool] | None:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint, False
    arguments = get_args(hint)
    if get_origin(hint) is list:
        inner = _struct_of(arguments[0])
        return None if inner is None else (inner[0], True)
    if isinstance(hint, UnionType):
        return next((found for found in map(_struct_of, arguments) if found is not None), None)
    return None
