"""Fixed windows: one counter per window of the clock, as envoyproxy/ratelimit counts.

Rules: a descriptor with hits is over when they do not fit (`before + hits > limit`). One with no hits is a check, and
is over when nothing more would fit (`before >= limit`). Negative hits give back, never below zero, and are never over.

A window that slides also counts the one before, by the share of it that the last `seconds` reach into, as if its hits
had come evenly: two counters in place of one record per hit, exact where the hits were even.

A reservation is an estimate that is counted at admission and replaced by the real number at settlement. A lenient one
is over as a check is, and takes no more than is left: alone, a client is treated as if it were only checked, and
together, clients cannot take more than there is. A strict one is over when it does not fit.
"""

from enum import IntEnum
from typing import Final, NamedTuple

import msgspec

SHARE_WHOLE: Final = 1_000_000
COUNTER_MAX: Final = 2**53
"""Where Redis's Lua is exact."""


class Part(IntEnum):
    """What an operation has to do with its request's reservation. The numbers are those of the script."""

    NONE = 0
    RESERVE = 4
    """Count the hits, and remember that they were an estimate."""
    SETTLE = 8
    """The hits are real: they replace what was reserved."""
    KEEP = 16
    """What was used is not known: what was reserved stands, and is at least the hits."""


class FixedWindowOp(msgspec.Struct, frozen=True, gc=False):
    """Add `hits` to the counter `key`, which counts against `limit` and may be forgotten from `window_end` on."""

    key: str
    hits: int
    limit: int
    window_end: int
    """Unix seconds."""
    seconds: int
    """The window's length: how long a storage with its own clock keeps a new counter."""
    refuses: bool
    """False in shadow mode: being over does not refuse the transaction."""
    part: Part = Part.NONE
    lenient: bool = False
    previous_key: str = ""
    """The counter of the window before, where it slides."""
    previous_share: int = 0
    """How much of that window still counts, in millionths."""

    @property
    def kept_until(self) -> int:
        """When the counter may be forgotten: a window that slides is still looked at in the next."""
        return self.window_end + self.seconds if self.previous_key else self.window_end

    @property
    def stem_length(self) -> int:
        """Of the key's start that is the same in every window."""
        return len(self.key) - len(str(self.window_end - self.seconds))


class Held(NamedTuple):
    """What a request has reserved of one counter."""

    key: str
    window_end: int
    amount: int


def plan_window(
    stem: str,
    *,
    hits: int,
    limit: int,
    seconds: int,
    refuses: bool,
    now: int,
    prefix: str = "",
    part: Part = Part.NONE,
    lenient: bool = False,
    slides: bool = False,
    bounds: tuple[int, int] | None = None,
) -> FixedWindowOp:
    """The operation for the window that contains `now` (Unix seconds); its key ends in the window's start.

    `bounds` are start and end of the window where they are not those of the clock.
    """
    if bounds is None:
        start = now - now % seconds
    else:
        start, seconds = bounds[0], bounds[1] - bounds[0]
    key, end = f"{prefix}{stem}{start}", start + seconds
    if not slides:
        return FixedWindowOp(key, hits, limit, end, seconds, refuses, part, lenient)
    share = (end - now) * SHARE_WHOLE // seconds
    previous = f"{prefix}{stem}{start - seconds}"
    return FixedWindowOp(key, hits, limit, end, seconds, refuses, part, lenient, previous, share)


def sliding_rest(op: FixedWindowOp, previous: int) -> int:
    """What of the window before still counts against `op`."""
    return int(previous * (op.previous_share / SHARE_WHOLE))


def over_limit(op: FixedWindowOp, before: int) -> bool:
    """Whether `op` does not fit a counter that stands at `before`."""
    if op.hits == 0 or op.lenient:
        return before >= op.limit
    return op.hits > 0 and before + op.hits > op.limit


def counter_after(op: FixedWindowOp, before: int) -> int:
    """The counter once `op` is applied; counts stay within 0 and 2**53, where Redis's Lua is exact."""
    hits = op.hits
    if op.lenient and before + hits > op.limit:
        hits = max(op.limit - before, 0)
    after = before + hits
    return after if 0 <= after <= COUNTER_MAX else 0 if after < 0 else COUNTER_MAX


def before_granted(op: FixedWindowOp, counter: int) -> int:
    """What is told of a counter when `op` is repeated: no more than it can have been when it was granted."""
    if op.hits < 0:
        return counter
    most = op.limit - (1 if op.lenient else max(op.hits, 1))
    return max(min(counter, most), 0)


def settle(op: FixedWindowOp, held: Held | None, now: int) -> tuple[str, int]:
    """Which counter a settlement changes and by how much, given what its request has reserved of it.

    What was reserved in a window that is over was spent there: only what went beyond it is charged to this one.
    """
    if held is None:
        return op.key, op.hits
    used = max(op.hits, held.amount) if op.part is Part.KEEP else op.hits
    difference = used - held.amount
    if held.key != op.key and held.window_end <= now:
        return op.key, max(difference, 0)
    return held.key, difference


def remaining(op: FixedWindowOp, standing: int) -> int:
    """Hits that still fit when the counter stands at `standing`."""
    left = op.limit - standing
    return left if left > 0 else 0
