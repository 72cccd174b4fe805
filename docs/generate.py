"""Writes `reference.md`: every kind and field that is read, from the types that read them.

Run as `make reference`; a test fails where the committed file is not what this writes.
"""

import inspect as python_inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headgate.compiler.resources.kinds import KINDS, NOT_SUPPORTED, Kind
from headgate.compiler.resources.metadata import OWN_FIELDS, ObjectMeta, Resource, Struct
from headgate.compiler.resources.quantities import PATTERN_MEANINGS
from headgate.compiler.resources.schema import field_docs
from msgspec import inspect

TARGET = Path(__file__).with_name("reference.md")
GROUP_TITLES = {
    "gateway.networking.k8s.io": "Gateway API",
    "gateway.envoyproxy.io": "Envoy Gateway",
    "aigateway.envoyproxy.io": "AI Gateway",
    "headgate.dev": "Headgate",
    "": "Kubernetes",
}
HEAD = frozenset({"apiVersion", "kind", "metadata", "status", *OWN_FIELDS})
"""Fields of every object, described once, and what is none of the API."""

INTRODUCTION = """\
# Reference

Every kind and field that Headgate reads. This page is generated from the types that read them (`make reference`), so it
cannot be out of date. How the kinds work together is in [concepts](concepts.md).

How to read it:

- The API is that of upstream: [Gateway API](https://gateway-api.sigs.k8s.io/), [Envoy Gateway](https://gateway.envoyproxy.io/docs/api/extension_types/)
  and [Envoy AI Gateway](https://aigateway.envoyproxy.io/docs/api/). Existing manifests work unchanged. What
  they have no word for has kinds of our own (`headgate.dev`), which attach to theirs.
- What is not read is said: a field listed under *Ignored* gives a warning with its place, one listed under *Refused* an
  error, because leaving it out would weaken what its author asked for. Any other field is unknown: an error too.
- An error leaves out the object it is in and nothing else. In a running gateway the object's last good version stays.
- `[]` after a field's name is an entry of a list.

In files:

- Folders are read with their folders: `*.yaml`, `*.yml` and `*.json`, many documents each, and `List`s. Hidden files
  are skipped, links are followed.
- A running gateway sees a saved change at once; behind links, and on file systems that tell of no changes, within half
  a second. A file that became empty keeps what it held, as if it were about to be written: remove it to drop that.
- YAML is read as version 1.2 reads it: `no`, `on`, `y` and `2024-10-21` are texts; only `true` and `false` are truths;
  a number with a leading zero is a text. A key may be given once.
- An object without a namespace is in `default`.
- A value of a Secret's `stringData` that is `${NAME}` as a whole is replaced by that variable of the environment in
  which the gateway was started. Nothing else is replaced anywhere.

Durations are like `30s`, `1m30s` or `500ms`; sizes like `50Mi` or a number of bytes.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One field."""

    path: str
    type: str
    default: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Left:
    """A field that is not read."""

    path: str
    remark: str
    refused: bool


def rows(described: inspect.StructType, path: str = "") -> Iterator[Row]:
    """The fields of an object, each followed by those below it."""
    docs = field_docs(described.cls)
    for field in described.fields:
        if not path and field.encode_name in HEAD:
            continue
        place = f"{path}.{field.encode_name}" if path else field.encode_name
        default = "required" if field.required else default_text(field.default)
        below, suffix = struct_in(field.type)
        meaning = docs.get(field.name) or (first_paragraph(below.cls) if below is not None else "")
        yield Row(place, type_text(field.type), default, meaning)
        if below is not None:
            yield from rows(below, place + suffix)


def left_out(described: inspect.StructType, path: str = "") -> Iterator[Left]:
    """The fields that are not read, of an object and of everything in it."""
    cls: type[object] = described.cls
    assert issubclass(cls, Struct)
    for table, refused in ((cls.unsupported, False), (cls.refused, True)):
        for name, remark in sorted(table.items()):
            yield Left(f"{path}.{name}" if path else name, remark, refused)
    for field in described.fields:
        if not path and field.encode_name in HEAD:
            continue
        below, suffix = struct_in(field.type)
        if below is not None:
            yield from left_out(below, (f"{path}." if path else "") + field.encode_name + suffix)


def struct_in(type_: inspect.Type) -> tuple[inspect.StructType | None, str]:
    """The struct that a field holds, and what its path gets for being a list."""
    match type_:
        case inspect.StructType():
            return type_, ""
        case inspect.VarTupleType():
            below, suffix = struct_in(type_.item_type)
            return below, "[]" + suffix
        case inspect.UnionType():
            return next((found for each in type_.types if (found := struct_in(each))[0] is not None), (None, ""))
        case _:
            return None, ""


def type_text(type_: inspect.Type) -> str:
    """What a field takes, with its bounds."""
    match type_:
        case inspect.StructType():
            return "object"
        case inspect.VarTupleType():
            return "list of " + plural(type_text(type_.item_type)) + length(type_.min_length, type_.max_length, "")
        case inspect.DictType():
            return "map of texts"
        case inspect.UnionType():
            return " or ".join(type_text(each) for each in type_.types if not isinstance(each, inspect.NoneType))
        case inspect.StrType():
            meaning = PATTERN_MEANINGS.get(type_.pattern, "") if type_.pattern else ""
            text = meaning if meaning.startswith(("a ", "an ")) else f"text: {meaning}" if meaning else "text"
            return text.removeprefix("a ").removeprefix("an ") + length(
                type_.min_length, type_.max_length, " characters"
            )
        case inspect.IntType():
            return "whole number" + interval(type_.ge, type_.le)
        case inspect.FloatType():
            return "number" + interval(type_.ge, type_.le)
        case inspect.BoolType():
            return "`true` or `false`"
        case inspect.LiteralType():
            return " or ".join(f"`{value}`" for value in type_.values)
        case _:
            return "anything"


def plural(text: str) -> str:
    for one, many in (("object", "objects"), ("text", "texts"), ("whole number", "whole numbers")):
        if text == one or text.startswith((f"{one},", f"{one}:")):
            return many + text.removeprefix(one)
    return text


def length(least: int | None, most: int | None, unit: str) -> str:
    if most is None:
        return ", not empty" if least else ""
    return f", {least}–{most}{unit}" if least else f", at most {most}{unit}"


def interval(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f", {least}–{most}"
    return f", at least {least}" if least is not None else ""


def default_text(default: object) -> str:
    match default:
        case bool():
            return f"`{str(default).lower()}`"
        case str() | int() | float() if default != "":
            return f"`{default}`"
        case tuple() if default:
            return "`[{}]`"
        case _:
            return ""


def table_row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def first_paragraph(cls: type) -> str:
    return " ".join((python_inspect.getdoc(cls) or "").split())


def kind_section(kind: Kind) -> str:
    described = inspect.type_info(kind.type)
    assert isinstance(described, inspect.StructType)
    versions = " or ".join(f"`{kind.group}/{each}`" if kind.group else f"`{each}`" for each in kind.served)
    text = f"\n### {kind.name}\n\n{first_paragraph(kind.type)}\n\n`apiVersion`: {versions}"
    text += "" if kind.namespaced else "; in no namespace"
    text += "\n"
    fields = list(rows(described))
    if fields:
        text += "\n| Field | Takes | Default | Meaning |\n|---|---|---|---|\n"
        text += "".join(table_row(f"`{row.path}`", row.type, row.default, row.meaning) for row in fields)
    left = list(left_out(described))
    for title, refused in (("Ignored", False), ("Refused", True)):
        those = [each for each in left if each.refused is refused]
        if those:
            text += f"\n{title}:\n\n"
            text += "".join(f"- `{each.path}`: {each.remark}\n" for each in those)
    return text


def metadata_section() -> str:
    described = inspect.type_info(ObjectMeta)
    assert isinstance(described, inspect.StructType)
    text = "\n## Every object\n\n| Field | Takes | Default | Meaning |\n|---|---|---|---|\n"
    docs = field_docs(Resource)
    text += table_row("`apiVersion`", "text", "required", docs["api_version"])
    text += table_row("`kind`", "text", "required", docs["kind"])
    described_rows = (row for row in rows(described, "metadata") if not row.meaning.startswith("Not used"))
    text += "".join(table_row(f"`{row.path}`", row.type, row.default, row.meaning) for row in described_rows)
    return text


def reference() -> str:
    """The whole page."""
    text = INTRODUCTION + metadata_section()
    for group, title in GROUP_TITLES.items():
        text += f"\n## {title}" + (f": `{group}`" if group else "") + "\n"
        text += "".join(kind_section(kind) for kind in KINDS if kind.group == group)
    text += "\n## Kinds that are left out\n\n| Kind | Why, or what to use |\n|---|---|\n"
    text += "".join(table_row(f"`{name}` of `{group}`", why) for (group, name), why in NOT_SUPPORTED.items())
    text += "\nAny other kind of another group is left out with a warning.\n"
    return text


if __name__ == "__main__":
    TARGET.write_text(reference())
