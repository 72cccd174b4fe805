"""The second look at a request that strict structs refuse: what nobody here knows is taken out and told of.

Wire structs that are `Told` refuse a member they do not declare, which costs nothing while there is none. Only then is
the body opened level by level along the declared types, and decoded again without those members.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Final, TypeVar

import msgspec
from msgspec import inspect

T = TypeVar("T")

Found = dict[str, msgspec.Raw]

TOLD_MAX: Final = 64
"""Protects logs and headers: a member of one name is told of once a struct, and no more than these."""

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_word = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode

_NULL: Final = msgspec.Raw(b"null")

_UNKNOWN: Final = "Object contains unknown field"
"""How msgspec's refusal of an undeclared member begins."""


class Told(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A part of a client's request: a member it does not declare is a loss, with its path.

    None can hold itself: nothing for a collector of cycles to do.
    """

    kinds: ClassVar[tuple[str, ...]] = ()
    """What the `type`s begin with whose members are declared; of others the whole is kept or told of. Empty: all."""


def decode_known(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw, path: str = "") -> tuple[T, Found]:
    """The typed value that stands at a path, and what its `Told` structs do not declare, by JSON path.

    `null` says nothing anywhere. msgspec's errors for everything else that is wrong.
    """
    try:
        return decoder.decode(body), {}
    except msgspec.ValidationError as error:
        if not str(error).startswith(_UNKNOWN):
            raise
    look = _SecondLook()
    return decoder.decode(look.value(msgspec.Raw(bytes(body).strip()), _type_of(decoder.type), path)), look.found


class _SecondLook:
    __slots__ = ("_names", "found")

    def __init__(self) -> None:
        self.found: Found = {}
        self._names: set[tuple[type, str]] = set()

    def value(self, raw: msgspec.Raw, node: inspect.Type, path: str) -> msgspec.Raw:
        """The value without what its type does not know; the very same where that is nothing."""
        begins = bytes(memoryview(raw)[:1])
        if begins not in (b"{", b"["):
            return raw
        options = node.types if isinstance(node, inspect.UnionType) else (node,)
        if begins == b"[":
            items = next((each.item_type for each in options if isinstance(each, inspect.ListType)), None)
            return raw if items is None else self._items(raw, items, path)
        structs = [each for each in options if isinstance(each, inspect.StructType)]
        return self._object(raw, structs, path) if structs else raw

    def _items(self, raw: msgspec.Raw, node: inspect.Type, path: str) -> msgspec.Raw:
        items = _decode_list(raw)
        kept = [self.value(item, node, f"{path}[{index}]") for index, item in enumerate(items)]
        same = all(new is old for new, old in zip(kept, items, strict=True))
        return raw if same else msgspec.Raw(_encode(kept))

    def _object(self, raw: msgspec.Raw, structs: list[inspect.StructType], path: str) -> msgspec.Raw:
        members = _decode_object(raw)
        node = _chosen(structs, members)
        if node is None:
            return raw
        struct = node.cls
        fields, told = _declared(struct), issubclass(struct, Told)
        if issubclass(struct, Told) and not _is_read(struct, members):
            unseen = _SecondLook()
            read = {name: unseen.value(members[name], fields[name], "") for name in members if name in fields}
            return msgspec.Raw(_encode(read))
        kept: dict[str, msgspec.Raw] = {}
        for name, value in members.items():
            place = f"{path}.{name}" if path else name
            if name in fields:
                kept[name] = self.value(value, fields[name], place)
            elif not told or name == node.tag_field:
                kept[name] = value
            else:
                self._tell(struct, name, value, place)
        same = len(kept) == len(members) and all(kept[name] is members[name] for name in kept)
        return raw if same else msgspec.Raw(_encode(kept))

    def _tell(self, struct: type, name: str, value: msgspec.Raw, place: str) -> None:
        if value == _NULL or (struct, name) in self._names or len(self.found) >= TOLD_MAX:
            return
        self._names.add((struct, name))
        self.found[place] = value


def _chosen(structs: list[inspect.StructType], members: Mapping[str, msgspec.Raw]) -> inspect.StructType | None:
    """Which struct of a union an object is."""
    if len(structs) == 1:
        return structs[0]
    tag = _word(members.get(structs[0].tag_field or "", _NULL))
    return next((struct for struct in structs if struct.tag == tag), None)


def _is_read(struct: type[Told], members: Mapping[str, msgspec.Raw]) -> bool:
    return not struct.kinds or (_word(members.get("type", _NULL)) or struct.kinds[0]).startswith(struct.kinds)


def _word(raw: msgspec.Raw) -> str:
    try:
        return _decode_word(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


@cache
def _type_of(declared: Any) -> inspect.Type:
    return inspect.type_info(declared)


@cache
def _declared(struct: type[msgspec.Struct]) -> dict[str, inspect.Type]:
    """The names of a struct's members on the wire, with their types."""
    node = _type_of(struct)
    assert isinstance(node, inspect.StructType)
    return {field.encode_name: field.type for field in node.fields}
