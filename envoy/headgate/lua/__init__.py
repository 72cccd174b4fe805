"""The Lua scripts that the compiler embeds in Envoy's filters, as package data.

Each script is one filter's whole code; what differs between clusters or routes comes in its `filter_context`, named in
the first comment of the script, or of its folder. A script decides nothing that the compiler could decide.

A long script is several files (`PARTS`) joined to one, its own in a folder of its name: inside Envoy Lua finds no other
file.

Envoy copies a context whenever a script asks for it, value by value. Where there is more than a few it is one text, an
expression of Lua (`expression`), which the script reads once.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import TypeAlias

Value: TypeAlias = "str | bytes | float | bool | Sequence[Value] | Mapping[str, Value] | None"


PARTS: Mapping[str, Sequence[str]] = {
    "usage": (
        "answers/contexts",
        "answers/texts",
        "usage/context",
        "usage/counts",
        "usage/publish",
        "usage/estimate",
        "usage/ends",
        "usage/images",
        "usage/names",
        "usage/places",
        "usage/searches",
        "usage/read",
        "usage/results",
        "usage/trim",
        "usage/answer",
    ),
    "dialect_usage": ("answers/contexts", "answers/texts", "dialect_usage/answer"),
}
"""The files of each script that has several, in order: what one declares as local is known to those behind it."""


@cache
def source(name: str) -> str:
    """The text of a script, as Envoy reads it."""
    parts = PARTS.get(name, (name,))
    return "\n".join((files("headgate.lua") / f"{part}.lua").read_text(encoding="utf-8") for part in parts)


@cache
def compact(name: str) -> str:
    """The same without comments and indentation, to be embedded: most of what a cluster weighs. Lines keep their
    numbers."""
    lines = (line.strip() for line in source(name).splitlines())
    return "".join("\n" if line.startswith("--") else f"{line}\n" for line in lines)


@cache
def version(name: str) -> str:
    """What tells one text of a script from another."""
    return sha256(compact(name).encode()).hexdigest()[:16]


@cache
def by_virtual_host(name: str) -> str:
    """A short script that runs this one, which virtual hosts hold in their metadata under its version."""
    return f'local VERSION = "{version(name)}"\n{compact("shared")}'


IN_CLUSTERS = ("upstream",)
"""Scripts that stand in each of thousands of clusters, for each of which Envoy compiles what it is given."""


def write(directory: Path) -> None:
    """Writes every script into a folder, for an Envoy on the same machine. Those of clusters are read with the first
    request (`later.lua`), from files of their own."""
    directory.mkdir(parents=True, exist_ok=True)
    installed = (path.name for path in files("headgate.lua").iterdir())
    for name in (*PARTS, *(each.removesuffix(".lua") for each in installed if each.endswith(".lua"))):
        text = compact(name)
        if name in IN_CLUSTERS:
            whole = directory / f"{name}.whole.lua"
            new = whole.with_suffix(".new")
            new.write_text(text, encoding="utf-8")
            new.replace(whole)
            text = f"local PATH = {_quoted(str(whole.absolute()))}\n{compact('later')}"
        (directory / f"{name}.lua").write_text(text, encoding="utf-8")


_UNSAFE = re.compile(r"[^ !#-\[\]-~]")


@lru_cache(maxsize=4096)  # thousands of contexts have the same words
def _quoted(text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    return '"' + _UNSAFE.sub(lambda found: f"\\{ord(found[0]):03d}", data.decode("latin-1")) + '"'


@lru_cache(maxsize=4096)  # likewise the lists of paths in them
def _texts(texts: tuple[str, ...]) -> str:
    return "{" + ",".join(map(_quoted, texts)) + "}"


def expression(value: Value) -> str:
    """The value as Lua writes it; equal values have equal texts."""
    match value:
        case str() | bytes():
            return _quoted(value)
        case None:
            return "nil"
        case bool():
            return "true" if value else "false"
        case tuple() if set(map(type, value)) == {str}:
            return _texts(value)
        case Mapping():
            return "{" + ",".join(f"[{_quoted(name)}]={expression(value[name])}" for name in sorted(value)) + "}"
        case Sequence():
            return "{" + ",".join(map(expression, value)) + "}"
        case _:
            return repr(value)
