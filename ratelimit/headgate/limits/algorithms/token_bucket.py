"""Token buckets, by the generic cell rate algorithm: one number per bucket, the time at which it will be full again.

A bucket holds `burst` hits and is refilled evenly, `amount` per `seconds`. What is told of it, as a counter is of a
window, is its level: how many hits are out of it. Rounded up, so that it is never more generous than it says.

Time is counted in ticks, of which a hit takes a whole number (`hit_ticks`): so hits add up exactly, and only the clock
is rounded. A tick is about a microsecond, counted from 2020, which keeps times below 2^53, where Redis's Lua is exact.
"""

import math
from typing import ClassVar, Final

import msgspec
from headgate.limits.algorithms.counting import COUNTER_MAX, Part

EPOCH_SECONDS: Final = 1_577_836_800
"""2020-01-01, where ticks begin."""

HITS_PER_SECOND_MAX: Final = 1_000_000
"""The fastest refill: a hit takes at least a tick."""


class TokenBucketOp(msgspec.Struct, frozen=True, gc=False):
    """Take `hits` out of the bucket `key`, which holds `limit` when it is full."""

    key: str
    hits: int
    limit: int
    now_ticks: int
    hit_ticks: int
    """What a hit takes to come back."""
    ticks_per_second: float
    refuses: bool
    """False in shadow mode: being over does not refuse the transaction."""
    part: Part = Part.NONE
    lenient: bool = False
    reserves: bool = False
    """Its limit reserves, whether this operation does or not."""
    quota: bool = False
    """It refuses only together: where all of a request that are so are over."""

    kept_until: ClassVar[int] = 0
    """As reservations know it: what was reserved in another bucket (another rate) is over."""
    previous_key: ClassVar[str] = ""

    @property
    def stem_length(self) -> int:
        """A bucket has one key for all times."""
        return len(self.key)

    @property
    def seconds(self) -> int:
        """How long an empty bucket takes to be full."""
        return math.ceil(self.limit * self.hit_ticks / self.ticks_per_second)


def plan_bucket(
    stem: str,
    *,
    hits: int,
    amount: int,
    seconds: int,
    burst: int,
    refuses: bool,
    now: float,
    prefix: str = "",
    part: Part = Part.NONE,
    lenient: bool = False,
    reserves: bool = False,
) -> TokenBucketOp:
    """The operation at `now` (Unix seconds). Buckets of another rate have another key: their ticks differ."""
    hit_ticks = hit_ticks_of(amount, seconds)
    ticks_per_second = hit_ticks * amount / seconds
    now_ticks = int(max(now - EPOCH_SECONDS, 0.0) * ticks_per_second)
    key = f"{prefix}{stem}bucket_{amount}_{seconds}"
    reserves = reserves or part is not Part.NONE
    return TokenBucketOp(key, hits, burst, now_ticks, hit_ticks, ticks_per_second, refuses, part, lenient, reserves)


def hit_ticks_of(amount: int, seconds: int) -> int:
    """Ticks that a hit takes: as many as microseconds, rounded; `amount` is from 1 to the fastest refill."""
    return max(round(seconds * 1_000_000 / amount), 1)


def level(op: TokenBucketOp, full_at: int) -> int:
    """Hits that are out of a bucket which will be full at the tick `full_at`."""
    return math.ceil((full_at - op.now_ticks) / op.hit_ticks) if full_at > op.now_ticks else 0


def full_after(op: TokenBucketOp, full_at: int, hits: int) -> int:
    """When the bucket will be full once `hits` more are out of it, or came back."""
    start = full_at if hits < 0 else max(full_at, op.now_ticks)
    return min(max(start + hits * op.hit_ticks, 0), COUNTER_MAX)


def reset_seconds(op: TokenBucketOp, out: int, *, over: bool) -> int:
    """How long until what was refused would fit, else until the bucket is full, with `out` hits out of it."""
    wanted = max(op.hits, 1)
    missing = out + wanted - op.limit if over and wanted <= op.limit else out
    return math.ceil(max(missing, 0) * op.hit_ticks / op.ticks_per_second)
