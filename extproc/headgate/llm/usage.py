"""Counted tokens, with one meaning everywhere: input includes cached and cache-creation tokens, output includes
reasoning."""

from collections.abc import Iterable

import msgspec

Apart = tuple[tuple[str, int], ...]


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens of one answer. `None` means the provider did not say, which is not 0."""

    input: int | None = None
    cached_input: int | None = None
    """Part of `input` that was read from the provider's prompt cache."""
    cache_creation_input: int | None = None
    """Part of `input` that was written to the provider's prompt cache."""
    output: int | None = None
    total: int | None = None
    reasoning: int | None = None
    """Part of `output` that was spent on thinking."""
    apart: Apart = ()
    """What is sold at a price of its own, by its key in metadata (`APART_KEYS`): parts of `input` and `output`, and
    what is no token. Nothing that is 0."""

    def merge(self, newer: "Usage") -> "Usage":
        """This usage with every field that `newer` knows taken from it; `total` is summed again if it was not given."""
        input_tokens = self.input if newer.input is None else newer.input
        output_tokens = self.output if newer.output is None else newer.output
        total = newer.total
        if total is None:
            changed = newer.input is not None or newer.output is not None
            known = input_tokens is not None and output_tokens is not None
            total = (input_tokens or 0) + (output_tokens or 0) if changed and known else self.total
        return Usage(
            input=input_tokens,
            cached_input=self.cached_input if newer.cached_input is None else newer.cached_input,
            cache_creation_input=(
                self.cache_creation_input if newer.cache_creation_input is None else newer.cache_creation_input
            ),
            output=output_tokens,
            total=total,
            reasoning=self.reasoning if newer.reasoning is None else newer.reasoning,
            apart=merged(self.apart, newer.apart),
        )


NO_USAGE = Usage()


def apart(counts: Iterable[tuple[str, int | None]]) -> Apart:
    """Those that are not 0."""
    return tuple((key, count) for key, count in counts if count)


def merged(known: Apart, newer: Apart) -> Apart:
    """What is known, with all that `newer` knows taken from it."""
    return tuple({**dict(known), **dict(newer)}.items()) if known and newer else known or newer


class TokenCount(msgspec.Struct, frozen=True):
    """Tokens of a prompt, and whether the provider will count the same."""

    tokens: int
    exact: bool
