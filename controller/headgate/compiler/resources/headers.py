"""Headers as Gateway API writes them, wherever they are set or removed.

CRDs take any text as a value and as a name to remove (compat). Envoy does not, and refuses all routes of a listener for
one that it does not take.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec
from headgate.compiler.resources.metadata import Struct, Violation
from headgate.compiler.resources.quantities import HEADER_NAME_PATTERN, PATTERN_MEANINGS, HeaderName

_NAME = re.compile(HEADER_NAME_PATTERN)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def line_violations(field: str, text: str) -> Iterator[Violation]:
    """Why a text can be no header's value."""
    if _CONTROL.search(text):
        yield Violation("holds control characters", field, "one line of text")


class HTTPHeader(Struct, frozen=True, kw_only=True):
    """A header and its value."""

    name: HeaderName
    """Name of the header, case-insensitive."""
    value: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
    """Its value: one line of text."""

    def violations(self) -> Iterator[Violation]:
        yield from line_violations("value", self.value)


def removal_violations(remove: Sequence[str]) -> Iterator[Violation]:
    """What in a list of headers to remove is no header."""
    for index, name in enumerate(remove):
        if not _NAME.match(name):
            yield Violation("is no name of a header", f"remove[{index}]", PATTERN_MEANINGS[HEADER_NAME_PATTERN])


class HTTPHeaderFilter(Struct, frozen=True, kw_only=True):
    """Changes headers."""

    set: Annotated[tuple[HTTPHeader, ...], msgspec.Meta(max_length=16)] = ()
    """Headers to set, replacing what is there."""
    add: Annotated[tuple[HTTPHeader, ...], msgspec.Meta(max_length=16)] = ()
    """Values to append."""
    remove: Annotated[tuple[str, ...], msgspec.Meta(max_length=16)] = ()
    """Headers to remove."""

    def violations(self) -> Iterator[Violation]:
        yield from removal_violations(self.remove)
        named = [(f"set[{index}].name", header.name) for index, header in enumerate(self.set)]
        named += [(f"add[{index}].name", header.name) for index, header in enumerate(self.add)]
        named += [(f"remove[{index}]", name) for index, name in enumerate(self.remove)]
        for field, name in named:
            if name.lower() == "host":
                yield Violation("the host cannot be changed here", field, "a URLRewrite filter with a hostname")
