"""Pools: several share one capacity, each with what is kept for it and what it may take, by the hold rule.

What a pool above mine has demanded in the last window is held for it, up to its maximum; of the others their minimum.
What neither that nor anybody's use takes is mine, up to my own maximum; and so is my minimum, whoever demands. So idle
capacity is anybody's, a pool below its minimum is served, and a busy higher pool has its share back within a window. No
allocation is stored: only what each pool was admitted, and what it was refused, which together are its demand.

A window slides in `STEPS`: the counter is one record of a number for each pool and span, and the pools' sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple

import msgspec
from headgate.limits.algorithms.counting import COUNTER_MAX, Held, Part

STEPS: Final = 60
"""A window slides in so many steps: a minute by seconds."""

SPANS: Final = STEPS + 1
"""Spans that count: of the oldest a part lies in the window, and all of it counts, so that no window holds more."""

AHEAD_SPANS_MAX: Final = 10 * STEPS
"""A clock behind the newest count by no more counts into the newest span; further behind, the newest was wrong."""

POOL_ENTRY: Final = "pool"
"""The key of the last entry of a descriptor: it names the request's pool, and is no part of the counter's key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A pool as it is configured; shares are per cent of the capacity."""

    name: str
    rank: int = 0
    """The lower, the higher it stands; equal ranks do not hold against each other beyond their minimum."""
    minimum: int = 0
    """Kept for it, whether it asks or not."""
    maximum: int = 100


OTHERS: Final = Pool(name="", rank=2**31)
"""Where requests belong that name none of the pools: below them all."""


class Bound(NamedTuple):
    """What a request must know of one pool."""

    name: str
    above: bool
    """It ranks above the request's own."""
    least: int
    most: int


Bounds = tuple[Bound, ...]


def bounds_of(pools: Sequence[Pool], own: str, capacity: int) -> tuple[Bounds, int]:
    """The bounds of all pools as they are for a request of the pool `own`, and which of them is its own."""
    every = (*pools, OTHERS)
    index = next((i for i, pool in enumerate(pools) if pool.name == own), len(pools))
    rank = every[index].rank
    bounds = (
        Bound(pool.name, pool.rank < rank, capacity * pool.minimum // 100, capacity * pool.maximum // 100)
        for pool in every
    )
    return tuple(bounds), index


class PooledOp(msgspec.Struct, frozen=True, gc=False):
    """Add `hits` to what the pool `own` was admitted in the span that `key` ends in."""

    key: str
    hits: int
    limit: int
    """The capacity that the pools share."""
    own: int
    bounds: Bounds
    span: int
    """Spans since 1970."""
    seconds: int
    """The window's length: a multiple of `STEPS`."""
    refuses: bool
    """False in shadow mode: being over does not refuse the transaction."""
    part: Part = Part.NONE
    lenient: bool = False
    reserves: bool = False
    """Its limit reserves, whether this operation does or not."""
    quota: bool = False
    """It refuses only together: where all of a request that are so are over."""

    previous_key: ClassVar[str] = ""

    @property
    def stem_length(self) -> int:
        """Of the key's start that names the record."""
        return len(self.key) - len(str(self.span))

    @property
    def span_seconds(self) -> int:
        return self.seconds // STEPS

    @property
    def window_end(self) -> int:
        """When what is counted now does not count any more."""
        return ends_at(self, self.span)

    @property
    def kept_until(self) -> int:
        return self.window_end


def ends_at(op: PooledOp, span: int) -> int:
    """When what is counted in `span` does not count any more, in Unix seconds."""
    return (span + SPANS) * op.span_seconds


def plan_pooled(
    stem: str,
    *,
    hits: int,
    limit: int,
    seconds: int,
    bounds: Bounds,
    own: int,
    refuses: bool,
    now: int,
    prefix: str = "",
    part: Part = Part.NONE,
    lenient: bool = False,
    reserves: bool = False,
) -> PooledOp:
    """The operation at `now` (Unix seconds)."""
    span = now // (seconds // STEPS)
    reserves = reserves or part is not Part.NONE
    key = f"{prefix}{stem}pools_{seconds}_{span}"
    return PooledOp(key, hits, limit, own, bounds, span, seconds, refuses, part, lenient, reserves)


def _held(bound: Bound, demand: int) -> int:
    """What is held of the capacity for a pool that is not the request's own."""
    return max(bound.least, min(bound.most, demand)) if bound.above else bound.least


def standing(op: PooledOp, admitted: Sequence[int], refused: Sequence[int]) -> int:
    """The counter to examine `op` against: it reaches the limit when nothing more is the pool's own, or there.

    What is used beyond a hold counts too: pools that are below another cannot together use up what is held for it.
    """
    own, mine = op.bounds[op.own], admitted[op.own]
    taken = mine
    for index, bound in enumerate(op.bounds):
        if index != op.own:
            taken += max(admitted[index], _held(bound, admitted[index] + refused[index]))
    return max(min(taken, mine + op.limit - own.least), mine + op.limit - own.most, sum(admitted))


def settled_span(op: PooledOp, held: Held | None, newest: int) -> tuple[int, int]:
    """Which span a settlement changes and by how much; `newest` is the record's (`counting.settle`)."""
    if held is None:
        return newest, op.hits
    used = max(op.hits, held.amount) if op.part is Part.KEEP else op.hits
    span, difference = int(held.key[op.stem_length :]), used - held.amount
    return (span, difference) if newest - SPANS < span <= newest else (newest, max(difference, 0))


class Shares:
    """The record of one limit: what its pools were admitted and refused, span by span."""

    __slots__ = ("_spans", "newest", "sums")

    def __init__(self) -> None:
        self.newest = 0
        self.sums: dict[tuple[bool, str], int] = {}
        """By whether it was refused, and by pool; over the window that ends with the newest span."""
        self._spans: dict[int, dict[tuple[bool, str], int]] = {}

    def span_at(self, span: int) -> int:
        """The span that counts at the span of a clock."""
        return span if span < self.newest - AHEAD_SPANS_MAX else max(self.newest, span)

    def advance(self, span: int) -> int:
        """Forgets what is over at the span of a clock; returns the span that counts."""
        newest = self.span_at(span)
        if newest < self.newest:
            self.sums.clear()
            self._spans.clear()
        self.newest = newest
        for gone in self._over(newest):
            for name, count in self._spans.pop(gone).items():
                self.sums[name] -= count
        return newest

    def _over(self, newest: int) -> list[int]:
        return [each for each in self._spans if each <= newest - SPANS]

    def totals(self, op: PooledOp) -> tuple[list[int], list[int]]:
        """What each pool was admitted in the window that ends with the span of `op`, and what it was refused."""
        newest = self.span_at(op.span)
        sums = self.sums if newest >= self.newest else {}
        if sums and newest > self.newest and (over := self._over(newest)):
            sums = dict(sums)
            for gone in over:
                for name, count in self._spans[gone].items():
                    sums[name] -= count
        return (
            [sums.get((False, bound.name), 0) for bound in op.bounds],
            [sums.get((True, bound.name), 0) for bound in op.bounds],
        )

    def add(self, pool: str, span: int, hits: int, *, refused: bool = False) -> int:
        """Adds to a span of the window, within 0 and 2**53; returns what was added."""
        if span <= self.newest - SPANS:
            return 0
        counts = self._spans.setdefault(span, {})
        name = (refused, pool)
        before = counts.get(name, 0)
        after = min(max(before + hits, 0), COUNTER_MAX)
        counts[name] = after
        self.sums[name] = self.sums.get(name, 0) + after - before
        return after - before
