"""Fixed windows: one counter per window of the clock, as envoyproxy/ratelimit counts.

Rules: a descriptor with hits is over when they do not fit (`before + hits > limit`). One with no hits is a check, and
is over when nothing more would fit (`before >= limit`). Negative hits give back, never below zero, and are never over.
"""

import msgspec


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


def plan_window(
    stem: str, *, hits: int, limit: int, seconds: int, refuses: bool, now: int, prefix: str = ""
) -> FixedWindowOp:
    """The operation for the window that contains `now` (Unix seconds); its key ends in the window's start."""
    start = now - now % seconds
    return FixedWindowOp(f"{prefix}{stem}{start}", hits, limit, start + seconds, seconds, refuses)


def over_limit(op: FixedWindowOp, before: int) -> bool:
    """Whether `op` does not fit a counter that stands at `before`."""
    if op.hits == 0:
        return before >= op.limit
    return op.hits > 0 and before + op.hits > op.limit


def counter_after(op: FixedWindowOp, before: int) -> int:
    """The counter once `op` is applied; counts stay within 0 and 2**53, where Redis's Lua is exact."""
    after = before + op.hits
    return after if 0 <= after <= 2**53 else 0 if after < 0 else 2**53


def remaining(op: FixedWindowOp, standing: int) -> int:
    """Hits that still fit when the counter stands at `standing`."""
    left = op.limit - standing
    return left if left > 0 else 0
