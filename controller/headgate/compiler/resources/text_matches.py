"""What a text must be, wherever Envoy Gateway's policies ask it."""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from headgate.compiler.resources.expressions import expression_violations
from headgate.compiler.resources.metadata import Struct, Violation

MatchType = Literal["Exact", "Prefix", "Suffix", "RegularExpression"]


class StringMatch(Struct, frozen=True, kw_only=True):
    """What a text must be."""

    type: MatchType = "Exact"
    """How it is compared."""
    value: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    """What with."""

    def violations(self) -> Iterator[Violation]:
        yield from expression_violations(self.type, self.value)
