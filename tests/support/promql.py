"""Which metrics and labels a PromQL expression asks for. Not a parser: enough for the expressions that are ours."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_RANGE = re.compile(r"\[[^\]]*\]")
_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*\{([^}]*)\}")
_NAME = re.compile(r"(?<![\w:$.])([a-zA-Z_:][a-zA-Z0-9_:]*)(?![\w:])(?!\s*\()")
_LABEL = re.compile(r"([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)")
_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring"})


@dataclass(frozen=True, slots=True)
class Asked:
    """What an expression asks for: by metric the labels that it selects by; and those that it groups by."""

    metrics: dict[str, frozenset[str]]
    groups: frozenset[str]


def asked(expression: str) -> Asked:
    """Of one expression."""
    text = _TEXT.sub('""', expression)
    groups = frozenset(
        label.strip() for found in _GROUPING.findall(text) for label in found.split(",") if label.strip()
    )
    text = _RANGE.sub("", _GROUPING.sub("", text))
    metrics: dict[str, set[str]] = {}
    for name, selectors in _SELECTOR.findall(text):
        metrics.setdefault(name, set()).update(_LABEL.findall(selectors))
    for name in _names(_SELECTOR.sub("", text)):
        metrics.setdefault(name, set())
    return Asked({name: frozenset(labels) for name, labels in metrics.items()}, groups)


def _names(text: str) -> Iterator[str]:
    yield from (name for name in _NAME.findall(text) if name not in _WORDS)
