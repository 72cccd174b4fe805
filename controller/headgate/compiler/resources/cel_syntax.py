"""Which CEL Envoy 1.40 takes: it has neither macros over lists nor `string()`. One that it refuses costs a listener.

The tables are held against the real Envoy by a test.
"""

import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from headgate.compiler.resources.expressions import wrong_with

if TYPE_CHECKING:
    from lark import Token, Tree

Calls: TypeAlias = Mapping[str, tuple[int, ...]]

FUNCTIONS: Final[Calls] = {
    **dict.fromkeys(("bool", "bytes", "double", "duration", "dyn", "has", "int", "size", "timestamp", "type"), (1,)),
    "matches": (2,),
    "uint": (1,),
}
"""Numbers of arguments by name."""
METHODS: Final[Calls] = {
    **dict.fromkeys(("contains", "endsWith", "matches", "startsWith"), (1,)),
    "size": (0,),
    "capture": (2,),  # these three of `re`
    "captureN": (2,),
    "extract": (3,),
    **dict.fromkeys(
        (
            "getDate",
            "getDayOfMonth",
            "getDayOfWeek",
            "getDayOfYear",
            "getFullYear",
            "getHours",
            "getMilliseconds",
            "getMinutes",
            "getMonth",
            "getSeconds",
        ),
        (0, 1),
    ),
}
"""Likewise, of what stands behind a dot."""


@contextmanager
def recursion_kept() -> Generator[None]:
    """The library raises the limit of recursion, for the whole process: afterwards it is what it was."""
    limit = sys.getrecursionlimit()
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


@lru_cache(maxsize=4096)
def cel_problem(expression: str) -> str:
    """Why Envoy would refuse that expression, as what follows its name; empty where it would not."""
    import celpy  # slow to import, and few configurations have an expression
    from celpy.celparser import CELParseError

    try:
        with recursion_kept():
            compiled = cast("Tree[Token]", celpy.Environment().compile(expression))  # pyright: ignore[reportUnknownMemberType]
            return next(_problems(compiled), "")
    except CELParseError as error:
        where = str(error.args[0]).partition("\n")[0]  # below it a mark under the place
        return f"is not a CEL expression: {where}"
    except RecursionError:
        return "is nested too deeply"
    except ValueError:  # of a text with an escape for no character
        return "is not a CEL expression: a text in it holds what is no character"


def _problems(tree: "Tree[Token]") -> Iterator[str]:
    for node in tree.iter_subtrees():
        if node.data == "member_object":
            yield "makes an object, which Envoy cannot"
        elif node.data == "ident_arg":
            yield from _call_problems(FUNCTIONS, "", node.children)
        elif node.data == "member_dot_arg":
            yield from _call_problems(METHODS, ".", node.children[1:])


def _call_problems(known: Calls, dot: str, call: "Sequence[Tree[Token] | Token]") -> Iterator[str]:
    """Of a name and, where there are any, arguments."""
    name, *rest = call
    arguments = [each for listed in rest if not isinstance(listed, str) for each in listed.children]
    allowed = known.get(str(name))
    if allowed is None:
        yield f"calls {dot}{name}, and Envoy has {', '.join(dot + each for each in sorted(known))}"
    elif len(arguments) not in allowed:
        yield f"gives {dot}{name} {len(arguments)} arguments; it takes {' or '.join(map(str, allowed))}"
    elif name == "matches" and (pattern := _text(arguments[-1])) and (wrong := wrong_with(pattern)):
        yield f"has no regular expression that Envoy takes: {wrong}"


def _text(argument: "Tree[Token] | Token") -> str:
    """An argument that is one text; empty for others."""
    from celpy.evaluation import celstr

    tokens = [argument] if isinstance(argument, str) else list(argument.scan_values(lambda _: True))
    return str(celstr(tokens[0])) if len(tokens) == 1 and tokens[0].type in ("STRING_LIT", "MLSTRING_LIT") else ""
