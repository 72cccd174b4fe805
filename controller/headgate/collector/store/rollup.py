"""Records to sums: which row a record belongs to, and what it adds."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from headgate.collector.store.tables import BUCKETS, COUNTED, SUMS
from headgate.ledger.errors import ErrorKind
from headgate.ledger.prices import unpriced
from headgate.ledger.record import UsageRecord, UsageSource

Key = tuple[int | str, ...]
"""Values of `DIMENSIONS`."""

HOUR_NS: Final = 3_600_000_000_000
BOUNDS: Final = tuple(2 ** (i / 2) for i in range(BUCKETS - 1))
"""Upper ends of all buckets but the last, in milliseconds."""
_DURATIONS: Final = len(SUMS)
_TTFTS: Final = _DURATIONS + BUCKETS
NAME_BYTES_MAX: Final = 256
"""Of each text in a key that a client may make up. All of a row's texts are its key, which Postgres wants to be of at
most 2,704 bytes; names of objects have 317."""
_STRANGE: Final = frozenset({ErrorKind.NOT_FOUND, ErrorKind.BAD_REQUEST, ErrorKind.UNAUTHENTICATED})
"""In these a client may name any model: such names get no row, or a client could make as many as it likes."""


def bucket(milliseconds: float) -> int:
    """Which bucket of a histogram it falls into."""
    return bisect_left(BOUNDS, milliseconds)


def key_of(record: UsageRecord) -> Key:
    strange = not record.attempts and record.error in _STRANGE
    return (
        record.started_ns // HOUR_NS,
        _cut(record.client),
        _cut(record.team),
        "" if strange else _cut(record.original_model),
        _cut(record.request_model) if record.attempts else "",
        record.service,
        record.provider,
        record.route,
        record.error,
    )


def _cut(name: str) -> str:
    if len(name) <= NAME_BYTES_MAX // 4:
        return name
    return name.encode()[:NAME_BYTES_MAX].decode(errors="ignore")


def roll_up(records: Sequence[UsageRecord]) -> dict[Key, list[int]]:
    """Values of `COUNTED` by key, in the order of the keys."""
    found: dict[Key, list[int]] = {}
    for record in records:
        key = key_of(record)
        sums = found.get(key)
        if sums is None:
            sums = found[key] = [0] * len(COUNTED)
        add(sums, record)
    return {key: found[key] for key in sorted(found)}


def add(sums: list[int], record: UsageRecord) -> None:
    """To values of `COUNTED`."""
    tokens = record.tokens
    sums[0] += 1
    sums[1] += record.error != ""
    sums[2] += len(record.attempts)
    sums[3] += tokens.input or 0
    sums[4] += tokens.cached_input or 0
    sums[5] += tokens.cache_creation_input or 0
    sums[6] += tokens.output or 0
    sums[7] += tokens.reasoning or 0
    sums[8] += tokens.total or 0
    sums[9] += record.cost_nanos or 0
    sums[10] += unpriced(record)
    sums[11] += record.usage_source is UsageSource.ESTIMATED
    sums[_DURATIONS + bucket(record.duration_ms)] += 1
    if record.ttft_ms is not None:
        sums[_TTFTS + bucket(record.ttft_ms)] += 1
