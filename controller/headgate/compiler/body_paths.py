"""What an operator changes in the JSON body of a backend: a path names a member, or one within it.

compat: `httpBodyMutation` (`data-plane.md` 4.4), whose paths are sjson's: dots descend, a backslash takes the next
character as it is.
"""

import re
from collections.abc import Iterable

from headgate.contract.facts import BodyMutation

_PIECES = re.compile(r"\\(.)|(\.)|(.)", re.DOTALL)
NAMES_MAX = 32
"""In a path: each is one more object within another, for us and for the script."""
_INDEX = re.compile(r"-1|\d+")


def member_names(path: str) -> tuple[str, ...]:
    """The name of a member, and of each that it is within: `a.b` is `b` within `a`, `a\\.b` one name."""
    names = [""]
    for escaped, dot, plain in _PIECES.findall(path):
        if dot:
            names.append("")
        else:
            names[-1] += escaped or plain
    return tuple(names)


def wrong(path: str) -> tuple[str, str] | None:
    """What is wrong with a path, and what would be right; None where it names a member."""
    names = member_names(path)
    if "" in names:
        return (
            f"path '{path}' has an empty name",
            "names with a dot between them; a dot that is part of a name as '\\.'",
        )
    if len(names) > NAMES_MAX:
        return f"path '{path[:40]}…' has {len(names)} names", f"at most {NAMES_MAX}"
    if any(_INDEX.fullmatch(name) for name in names[1:]):
        return f"path '{path}' steps into a list", f"'{names[0]}' with the whole list as its value"
    return None


def mutation_of(members: Iterable[tuple[str, str]], removed: Iterable[str]) -> BodyMutation:
    """Of pairs of path and raw JSON, and of the paths of what is removed."""
    return _nested([(member_names(path), raw) for path, raw in members], [member_names(path) for path in removed])


def _nested(members: list[tuple[tuple[str, ...], str]], removed: list[tuple[str, ...]]) -> BodyMutation:
    parents = dict.fromkeys(
        [names[0] for names, _ in members if names[1:]] + [names[0] for names in removed if names[1:]]
    )
    return BodyMutation(
        set={names[0]: raw for names, raw in members if not names[1:]},
        remove=tuple(names[0] for names in removed if not names[1:]),
        within={
            parent: _nested(
                [(names[1:], raw) for names, raw in members if names[1:] and names[0] == parent],
                [names[1:] for names in removed if names[1:] and names[0] == parent],
            )
            for parent in parents
        },
    )
