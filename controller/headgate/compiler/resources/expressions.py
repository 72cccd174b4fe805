"""Which regular expressions Envoy takes: RE2's, up to a size. One that it refuses costs all routes of the listener."""

from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from typing import Final, Protocol, cast

from headgate.compiler.resources.metadata import Violation
from headgate.contract.expressions import INSTRUCTIONS_MAX

MATCH_TYPE: Final = "RegularExpression"
"""Value of `type` beside an expression."""


class _Options(Protocol):
    log_errors: bool


class _Compiled(Protocol):
    @property
    def programsize(self) -> int: ...


class _Re2(Protocol):
    """What we use of RE2's bindings, which have no types."""

    @property
    def Options(self) -> type[_Options]: ...  # noqa: N802 (their name)
    @property
    def error(self) -> type[Exception]: ...
    def compile(self, pattern: str, options: _Options) -> _Compiled: ...


def expression_violations(type: str, value: str | None) -> Iterator[Violation]:
    """What is wrong with `value` if `type` says that it is an expression."""
    if type == MATCH_TYPE and value is not None and (wrong := wrong_with(value)):
        yield Violation(f"is no regular expression that Envoy takes: {wrong}", "value", "one in RE2's syntax")


@lru_cache(maxsize=16_384)
def wrong_with(pattern: str) -> str:
    """Why Envoy would refuse that expression; empty where it would not."""
    if not pattern:
        return "it is empty"
    re2 = cast("_Re2", import_module("re2"))  # imported here: many configurations have no expression
    options = re2.Options()
    options.log_errors = False
    try:
        size = re2.compile(pattern, options).programsize
    except re2.error as error:
        said: object = error.args[0]
        return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return f"it takes {size} instructions, of {INSTRUCTIONS_MAX}" if size > INSTRUCTIONS_MAX else ""
