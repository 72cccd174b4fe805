"""The schema by which an API server checks an object, from the types that read it.

Names, bounds, defaults and descriptions are those of the structs. What types cannot say is in `FACTS` of `crds.py`:
rules in CEL, keys of lists, formats, and the fields of the API that are not read. A default is part of the schema where
it is a text, a number or a truth that stands for something: `""`, None and empty collections say that a field is
absent.
"""

import ast
import inspect as python_inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from textwrap import dedent
from typing import Final, Literal, NamedTuple, TypeAlias, get_args, get_origin, get_type_hints

from headgate.compiler.resources.metadata import Resource, Struct
from msgspec import NODEFAULT, inspect

Schema: TypeAlias = dict[str, object]
INT32_MAX: Final = 2_147_483_647
OPEN: Final[Mapping[str, object]] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
"""An object of another project whose members nobody here looks at."""


class Rule(NamedTuple):
    """A rule that the API server evaluates, with the words that it refuses with."""

    cel: str
    message: str
    versions: tuple[str, ...] = ()
    """Versions that have it; all when empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What an API says of a struct beyond its types. Fields are named as on the wire."""

    rules: tuple[Rule, ...] = ()
    """Of the struct as a whole."""
    field_rules: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict[str, "tuple[Rule, ...]"])
    keys: Mapping[str, str] = field(default_factory=dict[str, str])
    """Lists that are maps, with the member that is the key; `""` for a list that is a set."""
    formats: Mapping[str, str] = field(default_factory=dict[str, str])
    defaults: Mapping[str, object] = field(default_factory=dict[str, object])
    """Defaults that the struct expresses otherwise; None for a field that has none in the API."""
    unread: type[Struct] | None = None
    """A struct with the fields that are not read."""
    required: tuple[str, ...] = ()
    """Fields that must be there although they have a default."""
    not_in: Mapping[str, str] = field(default_factory=dict[str, str])
    """Fields that a version does not have."""
    properties_min: int = 0
    properties_max: Mapping[str, int] = field(default_factory=dict[str, int])
    """By version, `""` for all others."""


NO_FACTS: Final = Facts()


@dataclass(frozen=True, slots=True)
class SchemaWriter:
    """Writes schemas of one version of an API; `facts` are by the name of the struct."""

    facts: Mapping[str, Facts]
    version: str

    def resource(self, cls: type[Resource], status: Schema) -> Schema:
        """The schema of an object. Its `spec` may be left out, as upstream's may."""
        described = inspect.type_info(cls)
        assert isinstance(described, inspect.StructType)
        spec = next(each for each in described.fields if each.name == "spec")
        properties: Schema = {
            "apiVersion": {"type": "string", "description": "Group and version, as `group/version`."},
            "kind": {"type": "string", "description": "Name of the kind."},
            "metadata": {"type": "object"},
            "spec": self._field(spec, struct_doc(_struct_class(spec.type)), NO_FACTS),
            "status": status,
        }
        return {"type": "object", "description": struct_doc(cls), "properties": properties}

    def struct(self, cls: type[Struct]) -> Schema:
        """The schema of part of an object."""
        facts = self.facts.get(cls.__name__, NO_FACTS)
        properties: Schema = {}
        required: list[str] = []
        for part in (cls, *([facts.unread] if facts.unread else [])):
            described = inspect.type_info(part)
            assert isinstance(described, inspect.StructType)
            docs = field_docs(part)
            hints = get_type_hints(part)
            for each in described.fields:
                name = each.encode_name
                if name in properties or facts.not_in.get(name) == self.version:
                    continue
                schema = self._field(each, docs.get(each.name, ""), facts)
                if "enum" in schema:
                    schema["enum"] = _as_written(hints[each.name])
                properties[name] = schema
                if each.required or name in facts.required:
                    required.append(name)
        described_as: Schema = {"type": "object"}
        if properties:
            described_as["properties"] = properties
        if required:
            described_as["required"] = sorted(required)
        if maximum := facts.properties_max.get(self.version, facts.properties_max.get("", 0)):
            described_as["maxProperties"] = maximum
        if facts.properties_min:
            described_as["minProperties"] = facts.properties_min
        return described_as | self._rules(facts.rules)

    def _field(self, field: inspect.Field, description: str, facts: Facts) -> Schema:
        name = field.encode_name
        schema = self._type(field.type)
        if description:
            schema = {"description": description, **schema}
        if format_ := facts.formats.get(name):
            schema["format"] = format_
        if name in facts.keys:
            key = facts.keys[name]
            schema["x-kubernetes-list-type"] = "map" if key else "set"
            if key:
                schema["x-kubernetes-list-map-keys"] = [key]
        default = facts.defaults.get(name, _default(field))
        if default is not None:
            schema["default"] = default
        own = facts.field_rules.get(name, ())
        if own:
            known = schema.pop("x-kubernetes-validations", [])
            assert isinstance(known, list)
            written: object = self._rules(own).get("x-kubernetes-validations", [])
            assert isinstance(written, list)
            schema["x-kubernetes-validations"] = [*written, *known]
        return schema

    def _rules(self, rules: tuple[Rule, ...]) -> Schema:
        held = [
            {"rule": rule.cel, "message": rule.message}
            for rule in rules
            if not rule.versions or self.version in rule.versions
        ]
        return {"x-kubernetes-validations": held} if held else {}

    def _type(self, type_: inspect.Type) -> Schema:
        match type_:
            case inspect.StructType():
                return self.struct(_struct_class(type_))
            case inspect.VarTupleType():
                return {
                    "type": "array",
                    **_bounds(minItems=type_.min_length, maxItems=type_.max_length),
                    "items": self._type(type_.item_type),
                }
            case inspect.DictType(value_type=inspect.AnyType() | inspect.CustomType()):
                return dict(OPEN)
            case inspect.DictType():
                return {"type": "object", "additionalProperties": self._type(type_.value_type)}
            case inspect.UnionType():
                return self._union(type_)
            case inspect.StrType():
                pattern = type_.pattern.replace(r"\Z", "$") if type_.pattern else None
                return {
                    "type": "string",
                    **_bounds(minLength=type_.min_length or None, maxLength=type_.max_length, pattern=pattern),
                }
            case inspect.IntType():
                return _integer(type_)
            case inspect.BoolType():
                return {"type": "boolean"}
            case inspect.LiteralType():
                numbers = all(isinstance(value, int) for value in type_.values)
                return {"type": "integer" if numbers else "string", "enum": list(type_.values)}
            case _:
                return {"x-kubernetes-preserve-unknown-fields": True}

    def _union(self, type_: inspect.UnionType) -> Schema:
        choices = [each for each in type_.types if not isinstance(each, inspect.NoneType)]
        if len(choices) == 1:
            return self._type(choices[0])
        text = next((each for each in choices if isinstance(each, inspect.StrType)), None)
        pattern = text.pattern.replace(r"\Z", "$") if text and text.pattern else None
        return {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            **_bounds(pattern=pattern),
            "x-kubernetes-int-or-string": True,
        }


def _as_written(hint: object) -> list[object]:
    """The values of a literal in the order of the source, which the API server repeats; msgspec sorts them."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    for each in get_args(hint):
        if found := _as_written(each):
            return found
    return []


def _integer(type_: inspect.IntType) -> Schema:
    schema: Schema = {"type": "integer", **_bounds(minimum=type_.ge)}
    if type_.le is not None and type_.le <= INT32_MAX:
        schema["format"] = "int32"
    if type_.le is not None and type_.le != INT32_MAX:
        schema["maximum"] = type_.le
    return schema


def _bounds(**bounds: int | str | None) -> Schema:
    return {name: value for name, value in bounds.items() if value is not None}


def _default(field: inspect.Field) -> object:
    default: object = field.default
    if default is NODEFAULT or default is False or default == "":
        return None
    return default if isinstance(default, str | int | float) else None


def _struct_class(type_: inspect.Type) -> type[Struct]:
    assert isinstance(type_, inspect.StructType)
    cls: type[object] = type_.cls
    assert issubclass(cls, Struct)
    return cls


def struct_doc(cls: type[Struct]) -> str:
    """The first paragraph of a struct's docstring, on one line."""
    return " ".join((cls.__doc__ or "").split("\n\n")[0].split())


@cache
def field_docs(cls: type) -> dict[str, str]:
    """The text below each field of a class, its bases' too, on one line."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        if not (issubclass(each, Struct) and each.__module__.startswith("headgate.")):
            continue
        (definition,) = ast.parse(dedent(python_inspect.getsource(each))).body
        assert isinstance(definition, ast.ClassDef)
        for statement, below in zip(definition.body, definition.body[1:], strict=False):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                match below:
                    case ast.Expr(value=ast.Constant(value=str() as text)):
                        found[statement.target.id] = " ".join(text.split())
                    case _:
                        pass
    return found
