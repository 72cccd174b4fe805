"""Regular expressions for paths, joined into as few as Envoy takes: each one is a route, and a route costs 5 to 20 us
whenever any route changes."""

import re
from functools import lru_cache
from typing import Final

from headgate.contract.expressions import INSTRUCTIONS_MAX

DEFAULT_LENGTH_MAX: Final = 90
"""Of a joined expression, where Envoy takes 100 instructions: RE2 makes one of each character and a few more."""
LENGTH_MAX: Final = INSTRUCTIONS_MAX // 2
"""Of one for Envoys with our bootstrap; the root path may add to it."""

_PIECE: Final = re.compile(r"(?:\([^()]*\)|\[[^]]*\]|\\?.)[?*+]?")
"""What can only be shared whole: a group without groups in it, a set, or a character, each with its quantifier."""

_Tree = dict[str, "_Tree"]
"""Pieces by what stands before them; the empty piece ends an expression."""


@lru_cache(maxsize=4096)
def either(patterns: tuple[str, ...]) -> str:
    """An expression for the whole texts that any of them takes. What some of them begin with stands once."""
    tree: _Tree = {}
    for pattern in patterns:
        node = tree
        for piece in _PIECE.findall(pattern):
            node = node.setdefault(piece, {})
        node[""] = {}
    return _written(tree, outermost=True)


def _written(tree: _Tree, *, outermost: bool = False) -> str:
    branches = [piece + _written(below) for piece, below in tree.items() if piece]
    if not branches:
        return ""
    if len(branches) == 1 and "" not in tree:
        return branches[0]
    text = "|".join(branches)
    if "" in tree:
        return f"({text})?"
    return text if outermost else f"({text})"


@lru_cache(maxsize=4096)
def joined(patterns: tuple[str, ...], length_max: int) -> tuple[tuple[int, ...], ...]:
    """Which of the patterns (by position) can be one: into the first group in which there is room."""
    groups: list[list[int]] = []
    for index, pattern in enumerate(patterns):
        for group in groups:
            if len(either((*(patterns[other] for other in group), pattern))) <= length_max:
                group.append(index)
                break
        else:
            groups.append([index])
    return tuple(map(tuple, groups))
