"""JSON schema to the schema of Google's older models, and back.

Those know a subset of OpenAPI 3.0: no references, no type lists, one name per meaning. Newer models take JSON schema
as it is (`parametersJsonSchema`, `responseJsonSchema`), and nothing is converted for them.
<https://ai.google.dev/api/caching#Schema>
"""

from collections.abc import Mapping
from typing import Any, Final, TypeGuard

import msgspec

KEYWORDS: Final = frozenset(
    (
        "anyOf",
        "default",
        "description",
        "enum",
        "example",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "nullable",
        "pattern",
        "properties",
        "propertyOrdering",
        "required",
        "title",
        "type",
    )
)

SILENT_KEYWORDS: Final = frozenset(("$schema", "$id", "$defs", "definitions", "$comment", "strict"))
"""Say nothing about a value: left out without a word."""

DEPTH_MAX: Final = 100
"""Of schemas inside schemas; a reference to itself has no end."""

NODES_MAX: Final = 10_000
"""Of one schema with its references written out, which can make it grow without bound."""

Schema = dict[str, Any]


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether decoded JSON is an object."""
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Whether decoded JSON is an array."""
    return isinstance(value, list)


class SchemaError(ValueError):
    """The schema cannot be said to an older model."""


def to_openapi(raw: msgspec.Raw) -> tuple[Schema, tuple[str, ...]]:
    """The schema as older models take it, and the keywords left out, sorted. SchemaError if it has no like."""
    try:
        document = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise SchemaError(f"is not valid JSON: {error}") from None
    if not is_object(document):
        raise SchemaError("must be a JSON schema object")
    conversion = _Conversion(document)
    return conversion.convert(document, 0), tuple(sorted(conversion.left_out))


def _check_depth(depth: int) -> None:
    if depth > DEPTH_MAX:
        raise SchemaError(_ENDLESS)


_ENDLESS: Final = "is too deep, or refers to itself"


class _Conversion:
    __slots__ = ("_document", "_nodes", "left_out")

    def __init__(self, document: Schema) -> None:
        self._document = document
        self._nodes = 0
        self.left_out: set[str] = set()

    def convert(self, schema: Any, depth: int) -> Schema:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise SchemaError(_ENDLESS)
        _check_depth(depth)
        if not is_object(schema):
            return {}  # `true`: anything
        node: Schema = self._resolved(schema, depth)
        if "const" in node:
            node["enum"] = [node.pop("const")]
        if "oneOf" in node and "anyOf" not in node:
            node["anyOf"] = node.pop("oneOf")
        self._join_all_of(node, depth)
        self._read_type(node, depth)
        result: Schema = {}
        for name, value in node.items():
            if name not in KEYWORDS:
                if name not in SILENT_KEYWORDS:
                    self.left_out.add(name)
                continue
            result[name] = self._converted(name, value, depth)
        return _tidy(result)

    def _resolved(self, schema: Schema, depth: int) -> Schema:
        node = dict(schema)
        for _ in range(DEPTH_MAX):
            reference = node.pop("$ref", None)
            if reference is None:
                return node
            node = {**self._find(reference), **node}
        raise SchemaError(_ENDLESS)

    def _find(self, reference: Any) -> Schema:
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise SchemaError(f"refers to {str(reference)[:80]}, which is not in it")
        found: Any = self._document
        for step in reference[2:].split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if is_object(found) else None
        if not is_object(found):
            raise SchemaError(f"refers to {reference[:80]}, which is not in it")
        return found

    def _join_all_of(self, node: Schema, depth: int) -> None:
        """Parts that must all hold, as one: their properties together."""
        _check_depth(depth)
        parts = node.pop("allOf", None)
        for part in parts if is_list(parts) else ():
            joined = self._resolved(part, depth) if is_object(part) else {}
            self._join_all_of(joined, depth + 1)
            for name, value in joined.items():
                known = node.get(name)
                if is_object(known) and is_object(value):
                    node[name] = {**known, **value}
                elif is_list(known) and is_list(value) and name == "required":
                    node[name] = [*known, *(each for each in value if each not in known)]
                else:
                    node.setdefault(name, value)

    def _read_type(self, node: Schema, depth: int) -> None:
        _check_depth(depth)
        types = node.get("type")
        if is_list(types):
            named = [each for each in types if each != "null"]
            if len(named) < len(types):
                node["nullable"] = True
            node.pop("type")
            if len(named) == 1:
                node["type"] = named[0]
            elif named:
                node["anyOf"] = [{"type": each} for each in named]
        alternatives = node.get("anyOf")
        if is_list(alternatives):
            kept = [each for each in alternatives if not _is_null(each)]
            if len(kept) < len(alternatives):
                node["nullable"] = True
            node.pop("anyOf")
            if len(kept) == 1 and is_object(kept[0]):
                for name, value in kept[0].items():
                    node.setdefault(name, value)
                if "$ref" in node:
                    node.update(self._resolved(node, 0))
                    node.pop("$ref", None)
                self._read_type(node, depth + 1)
            elif kept:
                node["anyOf"] = kept

    def _converted(self, name: str, value: Any, depth: int) -> Any:
        match name:
            case "properties" if is_object(value):
                return {key: self.convert(inner, depth + 1) for key, inner in value.items()}
            case "items":
                return self.convert(value, depth + 1)
            case "anyOf" if is_list(value):
                return [self.convert(inner, depth + 1) for inner in value]
            case _:
                return value


def _is_null(schema: Any) -> bool:
    return is_object(schema) and schema.get("type") == "null"


_FORMATS: Final = ("enum", "date-time", "float", "double", "int32", "int64")
"""The only formats that these models take."""


def _tidy(schema: Schema) -> Schema:
    """What the API refuses although the keyword is known: formats it has not, enumerations of what are no strings."""
    if schema.get("format") not in _FORMATS:
        schema.pop("format", None)
    if not isinstance(schema.get("description", ""), str):
        schema.pop("description")
    values = schema.get("enum")
    if is_list(values):
        words = [value for value in values if value is not None]
        if len(words) < len(values):
            schema["nullable"] = True
        if all(isinstance(word, str) for word in words):
            schema["enum"] = words
            schema.setdefault("type", "string")
        else:
            schema.pop("enum")
            said = ", ".join(msgspec.json.encode(word).decode() for word in words)
            schema["description"] = " ".join(filter(None, (schema.get("description"), f"One of: {said}.")))
    return schema


# --- back ------------------------------------------------------------------------------------------------------------


def from_openapi(raw: msgspec.Raw) -> msgspec.Raw:
    """A schema of this dialect (`type: STRING`, `nullable`, counts as text) as JSON schema."""
    try:
        document = msgspec.json.decode(raw)
        return msgspec.Raw(msgspec.json.encode(_from_openapi(document)))
    except (msgspec.DecodeError, RecursionError) as error:
        raise SchemaError(f"is not valid JSON: {error}") from None


_RENAMED: Final[Mapping[str, str]] = {
    "any_of": "anyOf",
    "max_items": "maxItems",
    "max_length": "maxLength",
    "max_properties": "maxProperties",
    "min_items": "minItems",
    "min_length": "minLength",
    "min_properties": "minProperties",
    "additional_properties": "additionalProperties",
    "defs": "$defs",
    "ref": "$ref",
}
_COUNTS: Final = frozenset(("maxItems", "maxLength", "maxProperties", "minItems", "minLength", "minProperties"))
_ORDERS: Final = frozenset(("propertyOrdering", "property_ordering"))
_TYPE_UNSPECIFIED: Final = "TYPE_UNSPECIFIED"


def _from_openapi(value: Any) -> Any:
    if not is_object(value):
        return value
    schema: Schema = value
    result: Schema = {}
    for given, inner in schema.items():
        name = _RENAMED.get(given, given)
        match name:
            case "type" if isinstance(inner, str):
                if inner != _TYPE_UNSPECIFIED:
                    result["type"] = inner.lower()
            case "properties" | "$defs" if is_object(inner):
                result[name] = {key: _from_openapi(each) for key, each in inner.items()}
            case "items" | "additionalProperties":
                result[name] = _from_openapi(inner)
            case "anyOf" if is_list(inner):
                result[name] = [_from_openapi(each) for each in inner]
            case "example":
                result["examples"] = [inner]
            case "nullable":
                pass
            case _ if name in _ORDERS:
                pass
            case _ if name in _COUNTS and isinstance(inner, str) and inner.isdecimal():
                result[name] = int(inner)
            case _:
                result[name] = inner
    if schema.get("nullable"):
        if isinstance(result.get("type"), str):
            result["type"] = [result["type"], "null"]
        elif is_list(result.get("anyOf")):
            result["anyOf"] = [*result["anyOf"], {"type": "null"}]
    return result
