"""Fixed windows: one counter per window of the clock, as envoyproxy/ratelimit counts.

A window that slides also counts the one before, by the share of it that the last `seconds` reach into, as if its hits
had come evenly: two counters in place of one record per hit, exact where the hits were even.
"""

from typing import Final

import msgspec
from headgate.limits.algorithms.counting import Part

SHARE_WHOLE: Final = 1_000_000


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
    reserves: bool = False
    """Its limit reserves, whether this operation does or not: a cluster keeps reservations beside their counter."""
    quota: bool = False
    """It refuses only together: where all of a request that are so are over."""

    @property
    def kept_until(self) -> int:
        """When the counter may be forgotten: a window that slides is still looked at in the next."""
        return self.window_end + self.seconds if self.previous_key else self.window_end

    @property
    def stem_length(self) -> int:
        """Of the key's start that is the same in every window."""
        return len(self.key) - len(str(self.window_end - self.seconds))


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
    reserves: bool = False,
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
    reserves = reserves or part is not Part.NONE
    if not slides:
        return FixedWindowOp(key, hits, limit, end, seconds, refuses, part, lenient, reserves=reserves)
    share = (end - now) * SHARE_WHOLE // seconds
    previous = f"{prefix}{stem}{start - seconds}"
    return FixedWindowOp(key, hits, limit, end, seconds, refuses, part, lenient, previous, share, reserves)


def sliding_rest(op: FixedWindowOp, previous: int) -> int:
    """What of the window before still counts against `op`."""
    return int(previous * (op.previous_share / SHARE_WHOLE))
