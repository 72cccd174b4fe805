"""Everything that is wrong with an object as written, field by field.

The fast path is msgspec's conversion, which stops at the first mistake; this walk is made only when it fails, along the
same types, and gives the object without what is merely unsupported.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final

import msgspec
from headgate.compiler.resources.metadata import OWN_FIELDS, Resource, Struct
from headgate.compiler.resources.quantities import PATTERN_MEANINGS
from msgspec import inspect

VALUE_CHARACTERS_MAX: Final = 60
"""How much of a wrong value is repeated in a message."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong at a field; `path` is from the object's root."""

    path: str
    message: str
    remedy: str = ""
    warning: bool = False


@dataclass(slots=True)
class Findings:
    """What a walk has found so far."""

    lenient: bool = False
    """Whether a field that nobody knows is left out, rather than a mistake."""
    beside: bool = False
    """Whether all that is not read is somebody else's to serve, and left out without a word; rules are theirs too."""
    found: list[Finding] = field(default_factory=list[Finding])

    @property
    def errors(self) -> int:
        return sum(not each.warning for each in self.found)

    def error(self, path: str, message: str, remedy: str = "") -> None:
        self.found.append(Finding(path, message, remedy))

    def warning(self, path: str, message: str, remedy: str = "") -> None:
        self.found.append(Finding(path, message, remedy, warning=True))


@cache
def _type_of(resource: type[Resource]) -> inspect.Type:
    return inspect.type_info(resource)


def check(
    raw: object, resource: type[Resource], *, lenient: bool = False, beside: bool = False
) -> tuple[object, tuple[Finding, ...]]:
    """The object without its unsupported fields, and what is wrong with it, the rules that it breaks too.

    Without an error the object can be converted. Rules of a part are looked at where the part itself is well-formed.
    With `lenient`, a field that is not known is left out with a warning; with `beside`, every field that is not read,
    without one.
    """
    findings = Findings(lenient, beside)
    kept = _check(raw, _type_of(resource), "", findings)
    return kept, tuple(findings.found)


def child_path(path: str, key: str) -> str:
    """The path of a member: `spec.rules`, or `metadata.annotations["a/b"]` for a name that is not a plain word."""
    if re.fullmatch(r"[A-Za-z_][\w-]*", key):
        return f"{path}.{key}" if path else key
    return f'{path}["{key}"]'


def _check(value: object, type_: inspect.Type, path: str, findings: Findings) -> object:
    match type_:
        case inspect.StructType():
            return _check_struct(value, type_, path, findings)
        case inspect.VarTupleType():
            return _check_list(value, type_, path, findings)
        case inspect.DictType():
            return _check_map(value, type_, path, findings)
        case inspect.UnionType():
            return _check_union(value, type_, path, findings)
        case inspect.StrType():
            _check_text(value, type_, path, findings)
        case inspect.IntType():
            _check_integer(value, type_, path, findings)
        case inspect.BoolType():
            if not isinstance(value, bool):
                truth = str(value).lower() in ("yes", "on", "true", "1")
                findings.error(path, f"must be true or false, is {_show(value)}", "true" if truth else "false")
        case inspect.LiteralType():
            if value not in type_.values or isinstance(value, bool):
                allowed = [str(each) for each in type_.values]
                findings.error(
                    path, f"must be one of {', '.join(allowed)}, is {_show(value)}", _closest(value, allowed)
                )
        case _:
            pass
    return value


def _check_struct(value: object, type_: inspect.StructType, path: str, findings: Findings) -> object:
    members = _members(value, path, findings)
    if members is None:
        return value
    cls: type[object] = type_.cls
    assert issubclass(cls, Struct)
    lenient, findings.lenient = findings.lenient, findings.lenient and not cls.guards
    kept = _check_members(members, cls, type_, path, findings)
    findings.lenient = lenient
    return kept


def _check_members(
    members: Mapping[str, object], cls: type[Struct], type_: inspect.StructType, path: str, findings: Findings
) -> object:
    errors_before = findings.errors
    fields = {each.encode_name: each for each in type_.fields if each.name not in OWN_FIELDS}
    kept: dict[str, object] = {}
    for key, member in members.items():
        place = child_path(path, key)
        if key in fields:
            kept[key] = _check(member, fields[key].type, place, findings)
        elif findings.beside:
            pass
        elif key in cls.unsupported:
            findings.warning(place, f"not supported: {cls.unsupported[key]}")
        elif key in cls.refused:
            findings.error(place, "not supported, and not safe to ignore", cls.refused[key])
        elif findings.lenient:
            findings.warning(place, "not known to this version, and left out")
        else:
            findings.error(place, "unknown field", _closest(key, fields))
    for name, each in fields.items():
        if each.required and name not in members:
            findings.error(child_path(path, name), "required, and missing")
    if not findings.beside and findings.errors == errors_before and cls.violations is not Struct.violations:
        for violation in msgspec.convert(kept, cls).violations():
            findings.error(_field_path(path, violation.field), violation.message, violation.remedy)
    return kept


def _field_path(path: str, field_name: str) -> str:
    return f"{path}.{field_name}" if path and field_name else path or field_name


def _check_list(value: object, type_: inspect.VarTupleType, path: str, findings: Findings) -> object:
    if not isinstance(value, list | tuple):
        findings.error(path, f"must be a list, is {_show(value)}", "each entry on a line of its own, after a dash")
        return value
    entries: list[object] = list(value)  # pyright: ignore[reportUnknownArgumentType]
    if type_.max_length is not None and len(entries) > type_.max_length:
        findings.error(path, f"must have at most {type_.max_length} entries, has {len(entries)}")
    if type_.min_length is not None and len(entries) < type_.min_length:
        findings.error(path, f"must have at least {type_.min_length} {_plural(type_.min_length, 'entry', 'entries')}")
    return [_check(entry, type_.item_type, f"{path}[{index}]", findings) for index, entry in enumerate(entries)]


def _check_map(value: object, type_: inspect.DictType, path: str, findings: Findings) -> object:
    members = _members(value, path, findings)
    if members is None:
        return value
    return {key: _check(member, type_.value_type, child_path(path, key), findings) for key, member in members.items()}


def _check_union(value: object, type_: inspect.UnionType, path: str, findings: Findings) -> object:
    """Checks against the member of the union that the value can only mean: the one of its shape, else the first."""
    choices = [each for each in type_.types if not isinstance(each, inspect.NoneType)]
    shapes: tuple[tuple[type[object], type[inspect.Type]], ...] = (
        (bool, inspect.BoolType),
        (int, inspect.IntType),
        (str, inspect.StrType),
    )
    for shape, choice in shapes:
        if isinstance(value, shape):
            return _check(
                value, next((each for each in choices if isinstance(each, choice)), choices[0]), path, findings
            )
    return _check(value, choices[0], path, findings)


def _check_text(value: object, type_: inspect.StrType, path: str, findings: Findings) -> None:
    if not isinstance(value, str):
        remedy = f'"{_plain(value)}"' if isinstance(value, bool | int | float) else ""
        findings.error(path, f"must be a text, is {_show(value)}", remedy)
        return
    if type_.min_length is not None and len(value) < type_.min_length:
        findings.error(path, "must not be empty")
    elif type_.max_length is not None and len(value) > type_.max_length:
        findings.error(path, f"must have at most {type_.max_length} characters, has {len(value)}")
    elif type_.pattern is not None and not re.search(type_.pattern, value):
        meaning = PATTERN_MEANINGS.get(type_.pattern, f"a text that matches {type_.pattern}")
        findings.error(path, f"{_show(value)} is not allowed here", meaning)


def _check_integer(value: object, type_: inspect.IntType, path: str, findings: Findings) -> None:
    if isinstance(value, bool) or not (isinstance(value, int) or (isinstance(value, float) and value.is_integer())):
        remedy = value if isinstance(value, str) and re.fullmatch(r"\d{1,10}", value) else ""
        findings.error(path, f"must be a whole number, is {_show(value)}", remedy)
        return
    if type_.ge is not None and value < type_.ge:
        findings.error(path, f"must be at least {type_.ge}, is {value}")
    if type_.le is not None and value > type_.le:
        findings.error(path, f"must be at most {type_.le}, is {_show(value)}")


def _members(value: object, path: str, findings: Findings) -> Mapping[str, object] | None:
    if isinstance(value, dict):
        members: dict[str, object] = value  # pyright: ignore[reportUnknownVariableType]
        return members
    findings.error(path, f"must be an object, is {_show(value)}", "its fields, indented below it")
    return None


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _show(value: object) -> str:
    match value:
        case dict():
            return "an object"
        case list() | tuple():
            return "a list"
        case bool():
            return _plain(value)
        case None:
            return "empty"
        case int() | float():
            return f"the number {_shorten(_number_text(value))}"
        case str():
            return json.dumps(_shorten(value), ensure_ascii=False)
        case _:
            return "something else"


def _number_text(value: int | float) -> str:
    return str(value) if abs(value) < 10**VALUE_CHARACTERS_MAX else "of too many digits"


def _shorten(text: str) -> str:
    return text if len(text) <= VALUE_CHARACTERS_MAX else text[:VALUE_CHARACTERS_MAX] + "…"


def _plural(count: int, one: str, many: str) -> str:
    return one if count == 1 else many


def _closest(value: object, allowed: Mapping[str, object] | list[str]) -> str:
    """The name that was probably meant, else all of them if they are few."""
    text = str(value)
    for name in allowed:
        if name.lower() == text.lower():
            return name
    matches = difflib.get_close_matches(text, list(allowed), n=1, cutoff=0.7)
    return matches[0] if matches else ", ".join(allowed) if isinstance(allowed, Mapping) else ""


# --- the rules of the API, over an object that has been converted


@dataclass(frozen=True, slots=True)
class _Member:
    """A field that may hold structs with rules."""

    name: str
    wire_name: str


@cache
def _members_with_rules(cls: type[Struct]) -> tuple[bool, tuple[_Member, ...]]:
    """Whether the struct has rules itself, and which of its fields may hold structs that have."""
    described = inspect.type_info(cls)
    assert isinstance(described, inspect.StructType)
    members = tuple(
        _Member(each.name, each.encode_name) for each in described.fields if any(map(_has_rules, _structs(each.type)))
    )
    return cls.violations is not Struct.violations, members


def _has_rules(cls: type[Struct]) -> bool:
    own, members = _members_with_rules(cls)
    return own or bool(members)


def _structs(type_: inspect.Type) -> Iterator[type[Struct]]:
    match type_:
        case inspect.StructType():
            if issubclass(type_.cls, Struct):
                yield type_.cls
        case inspect.VarTupleType():
            yield from _structs(type_.item_type)
        case inspect.UnionType():
            for each in type_.types:
                yield from _structs(each)
        case _:
            return


def broken_rules(struct: Struct, path: str = "") -> Iterator[Finding]:
    """The rules of the API that an object, or part of one, breaks."""
    own, members = _members_with_rules(type(struct))
    if own:
        for violation in struct.violations():
            yield Finding(_field_path(path, violation.field), violation.message, violation.remedy)
    for member in members:
        value: object = getattr(struct, member.name)
        place = _field_path(path, member.wire_name)
        if isinstance(value, Struct):
            yield from broken_rules(value, place)
        elif isinstance(value, tuple):
            for index, entry in enumerate(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
                if isinstance(entry, Struct):
                    yield from broken_rules(entry, f"{place}[{index}]")
