"""An object as plain values again: what `reading` makes of them is the object."""

from collections.abc import Mapping
from typing import TypeAlias, TypeGuard

import msgspec
from headgate.compiler.resources.metadata import OWN_FIELDS, Resource

Plain: TypeAlias = "str | int | float | bool | list[Plain] | dict[str, Plain] | None"


def write_object(resource: Resource) -> dict[str, Plain]:
    """All that was said of the object but its status; what is a default is left out."""
    values = _struct(resource)
    return {name: value for name, value in values.items() if name != "status"}


def _struct(value: msgspec.Struct) -> dict[str, Plain]:
    found: dict[str, Plain] = {}
    for field in msgspec.structs.fields(value):
        held = getattr(value, field.name)
        if field.name in OWN_FIELDS or held == _default(field):
            continue
        found[field.encode_name] = _plain(held)
    return found


def _default(field: msgspec.structs.FieldInfo) -> object:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def _plain(value: object) -> Plain:
    if isinstance(value, msgspec.Struct):
        return _struct(value)
    if _is_map(value):
        return {str(key): _plain(each) for key, each in value.items()}
    if _is_list(value):
        return [_plain(each) for each in value]
    assert value is None or isinstance(value, str | int | float | bool)
    return value


def _is_map(value: object) -> TypeGuard[Mapping[object, object]]:
    return isinstance(value, Mapping)


def _is_list(value: object) -> TypeGuard[tuple[object, ...] | list[object]]:
    return isinstance(value, tuple | list)
