"""Batches: one of OpenAI's that is over tells what all its requests used, whenever somebody asks for it.

Of Anthropic's the file of results does, from which `usage/results.lua` makes the same.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec
from headgate.contract import metadata
from headgate.ledger.entry import Value
from headgate.ledger.record import Tokens

OPERATION: Final = "batch"
"""Of records of what a batch used."""
_OVER: Final = frozenset(("completed", "expired", "cancelled"))
"""How a batch ends of which something may have been served, and is to be paid."""


class Batch(msgspec.Struct, frozen=True):
    """What a batch came to."""

    model: str
    """Empty where it does not say."""
    tokens: Tokens


class _Cached(msgspec.Struct, frozen=True):
    cached_tokens: int = 0
    cache_creation_tokens: int | None = None
    """Anthropic's."""


class _Reasoned(msgspec.Struct, frozen=True):
    reasoning_tokens: int = 0


class _Usage(msgspec.Struct, frozen=True, kw_only=True):
    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: _Cached | None = None
    output_tokens_details: _Reasoned | None = None


class _Batch(msgspec.Struct, frozen=True, kw_only=True):
    object: str
    status: str
    usage: _Usage
    model: str | None = None


def batch_of(internal: Mapping[str, Value]) -> Batch | None:
    """Of what our filters told each other: the batch that was fetched, if it is over and says what it used."""
    said = internal.get(metadata.INTERNAL_BATCH)
    return _read(said) if isinstance(said, str) else None


@lru_cache(maxsize=64)  # an entry is asked about more than once
def _read(text: str) -> Batch | None:
    try:
        batch = msgspec.json.decode(text, type=_Batch)
    except (msgspec.DecodeError, UnicodeError):
        return None
    if batch.object != "batch" or batch.status not in _OVER:
        return None
    usage = batch.usage
    tokens = Tokens(
        input=usage.input_tokens,
        cached_input=usage.input_tokens_details.cached_tokens if usage.input_tokens_details else None,
        cache_creation_input=usage.input_tokens_details.cache_creation_tokens if usage.input_tokens_details else None,
        output=usage.output_tokens,
        reasoning=usage.output_tokens_details.reasoning_tokens if usage.output_tokens_details else None,
        total=usage.total_tokens,
    )
    return Batch(batch.model or "", tokens)
