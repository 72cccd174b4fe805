"""Which CEL Envoy 1.40 takes: it has neither macros over lists nor `string()`. One that it refuses costs a listener.

The tables are held against the real Envoy by a test.
"""

import re
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
_WORDS: Final = "as break const continue else for function if import let loop namespace package return var void while"
RESERVED: Final = frozenset(_WORDS.split())
_STEPS: Final = frozenset(
    ("member_dot", "member_dot_arg", "member_index", "ident_arg", "dot_ident_arg", "list_lit", "map_lit")
)
_STEPS_MAX: Final = 32
_EXPRESSIONS_MAX: Final = 33
_ESCAPE: Final = re.compile(
    r"""(?:[^\\]|\\(?:[abfnrtv'"`?\\]|[xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}))*?(?P<wrong>\\"""
    r"""(?![abfnrtv'"`?\\]|[xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}).)""",
    re.DOTALL,
)


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
            return next(_problems(compiled), "") or ("" if _is_shallow(compiled) else "is nested too deeply")
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
        elif node.data in ("ident", "dot_ident") and str(node.children[0]) in RESERVED:
            yield f"names {node.children[0]}, which is a reserved word"
        elif node.data == "ident_arg":
            yield from _call_problems(FUNCTIONS, "", node.children)
        elif node.data == "member_dot_arg":
            yield from _call_problems(METHODS, ".", node.children[1:])
        elif node.data == "literal":
            yield from _literal_problems(node.children[0])


def _literal_problems(token: "Tree[Token] | Token") -> Iterator[str]:
    if not isinstance(token, str):
        return
    if token.type in ("INT_LIT", "UINT_LIT"):
        digits = token.rstrip("uU")
        value = int(digits, 16 if "x" in digits.lower() else 10)
        least, most = (-(1 << 63), (1 << 63) - 1) if token.type == "INT_LIT" else (0, (1 << 64) - 1)
        if not least <= value <= most:
            yield f"has the number {token}, which is too large"
    elif token.type in ("STRING_LIT", "MLSTRING_LIT") and token[0] not in "rR" and (wrong := _ESCAPE.match(token)):
        yield f"has an escape that is none: {wrong['wrong']}"


def _is_shallow(tree: "Tree[Token]") -> bool:
    """Whether Envoy's parser goes no deeper than it does."""
    expressions, steps = _depth(tree)
    return expressions <= _EXPRESSIONS_MAX and steps <= _STEPS_MAX


def _depth(node: "Tree[Token] | Token") -> tuple[int, int]:
    """How many expressions are within each other, and how many steps the parser goes down: one for each operator, call,
    member, index and list, and for what stands at the end. What is joined by `&&` or `||` it halves."""
    if isinstance(node, str):
        return 0, 1
    if node.data in ("conditionalor", "conditionaland") and len(node.children) > 1:
        operands = list(_operands(node, node.data))
        found = [_depth(each) for each in operands]
        return max(each[0] for each in found), max(each[1] for each in found) + (len(operands) - 1).bit_length()
    found = [_depth(each) for each in node.children] or [(0, 1)]
    expressions, steps = max(each[0] for each in found), max(each[1] for each in found)
    if node.data == "expr":
        return expressions + 1, steps + (len(node.children) > 1)
    operator = node.data in ("relation", "addition", "multiplication", "unary") and len(node.children) > 1
    return expressions, steps + (operator or node.data in _STEPS)


def _operands(node: "Tree[Token] | Token", joined: str) -> "Iterator[Tree[Token] | Token]":
    """Of a run of the same operator."""
    while not isinstance(node, str) and node.data == joined and len(node.children) > 1:
        yield node.children[1]
        node = node.children[0]
    yield node


def _call_problems(known: Calls, dot: str, call: "Sequence[Tree[Token] | Token]") -> Iterator[str]:
    """Of a name and, where there are any, arguments."""
    name, *rest = call
    arguments = [each for listed in rest if not isinstance(listed, str) for each in listed.children]
    allowed = known.get(str(name))
    if allowed is None:
        yield f"calls {dot}{name}, and Envoy has {', '.join(dot + each for each in sorted(known))}"
    elif len(arguments) not in allowed:
        yield f"gives {dot}{name} {len(arguments)} arguments; it takes {' or '.join(map(str, allowed))}"
    elif name == "has" and not _is_member(arguments[0]):
        yield "asks has() of what is no member: has(a.b)"
    elif name == "matches" and (pattern := _text(arguments[-1])) and (wrong := wrong_with(pattern)):
        yield f"has no regular expression that Envoy takes: {wrong}"


def _is_member(argument: "Tree[Token] | Token") -> bool:
    while not isinstance(argument, str):
        if argument.data == "member_dot":
            return True
        if len(argument.children) != 1:
            return False
        (argument,) = argument.children
    return False


def _text(argument: "Tree[Token] | Token") -> str:
    """An argument that is one text; empty for others."""
    from celpy.evaluation import celstr

    tokens = [argument] if isinstance(argument, str) else list(argument.scan_values(lambda _: True))
    return str(celstr(tokens[0])) if len(tokens) == 1 and tokens[0].type in ("STRING_LIT", "MLSTRING_LIT") else ""
