"""Costs of a route that nobody told: of a stream that its client left, Envoy tells counts, and computes no more.

They are CEL, as `headgate.compiler.cel` says, over what the record knows. The first expression of a process takes half
a second of CPU, in which the library is imported; later ones some milliseconds, once each.
"""

import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

import msgspec
from headgate.contract import metadata
from headgate.ledger.record import UsageRecord

COST_MAX: Final = 2**53
"""More is no number that a log's metadata could hold."""
Costs = tuple[tuple[str, int], ...]
Program = Callable[[Mapping[str, int], Mapping[str, str]], int | None]


def with_missing(record: UsageRecord, said: str) -> Costs:
    """The record's costs, with those of its route (`metadata.INTERNAL_COSTS`) that it has none of."""
    known = dict(record.costs)
    if missing := [(key, expression) for key, expression in _read(said) if key not in known]:
        counts = _counts(record, known)
        words = {"model": record.request_model, "backend": record.backend, "route_name": record.route}
        for key, expression in missing:
            value = counts.get(expression)
            value = _program(expression)(counts, words) if value is None else value
            if value is not None and 0 <= value <= COST_MAX:
                known[key] = value
    return tuple(sorted(known.items()))


@lru_cache(maxsize=4096)
def _read(said: str) -> tuple[tuple[str, str], ...]:
    try:
        return msgspec.json.decode(said, type=tuple[tuple[str, str], ...])
    except msgspec.DecodeError:
        return ()


def _counts(record: UsageRecord, known: Mapping[str, int]) -> dict[str, int]:
    tokens = record.tokens
    return {
        metadata.INPUT_TOKENS: tokens.input or 0,
        metadata.CACHED_INPUT_TOKENS: tokens.cached_input or 0,
        metadata.CACHE_CREATION_INPUT_TOKENS: tokens.cache_creation_input or 0,
        metadata.OUTPUT_TOKENS: tokens.output or 0,
        metadata.TOTAL_TOKENS: tokens.total or 0,
        metadata.REASONING_TOKENS: tokens.reasoning or 0,
        metadata.AUDIO_SECONDS: known.get(metadata.AUDIO_SECONDS, 0),
    }


@lru_cache(maxsize=1024)
def _program(expression: str) -> Program:
    # slow to import, and seldom needed
    import celpy
    from celpy import celtypes
    from celpy.celparser import CELParseError
    from celpy.evaluation import CELEvalError

    recursion_limit = sys.getrecursionlimit()
    environment = celpy.Environment()
    try:
        program = environment.program(environment.compile(expression))  # pyright: ignore[reportUnknownMemberType]
    except (CELParseError, RecursionError):  # another version's
        return lambda counts, words: None
    finally:
        sys.setrecursionlimit(recursion_limit)  # the library raises it, for the whole process

    def run(counts: Mapping[str, int], words: Mapping[str, str]) -> int | None:
        texts = {name: celtypes.StringType(text) for name, text in words.items()}
        numbers = {name: celtypes.UintType(count) for name, count in counts.items()}
        try:
            value = program.evaluate({**texts, **numbers})
        except (CELEvalError, ValueError):
            return None
        return int(value) if isinstance(value, celtypes.UintType | celtypes.IntType) else None

    return run
