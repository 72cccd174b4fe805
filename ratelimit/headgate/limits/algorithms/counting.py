"""What all algorithms share: what is over its limit, what a counter becomes, and what a reservation comes to.

Rules: a descriptor with hits is over when they do not fit (`before + hits > limit`). One with no hits is a check, and
is over when nothing more would fit (`before >= limit`). Negative hits give back, never below zero, and are never over.

A reservation is an estimate that is counted at admission and replaced by the real number at settlement. A lenient one
is over as a check is, and takes no more than is left: alone, a client is treated as if it were only checked, and
together, clients cannot take more than there is. A strict one is over when it does not fit.
"""

from enum import IntEnum
from typing import Final, NamedTuple, Protocol

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


class CountedOp(Protocol):
    """What every operation says, whatever its algorithm."""

    @property
    def key(self) -> str: ...
    @property
    def hits(self) -> int: ...
    @property
    def limit(self) -> int: ...
    @property
    def part(self) -> Part: ...
    @property
    def lenient(self) -> bool: ...


class Held(NamedTuple):
    """What a request has reserved of one counter."""

    key: str
    window_end: int
    amount: int


def over_limit(op: CountedOp, before: int) -> bool:
    """Whether `op` does not fit a counter that stands at `before`."""
    if op.hits == 0 or op.lenient:
        return before >= op.limit
    return op.hits > 0 and before + op.hits > op.limit


def counter_after(op: CountedOp, before: int) -> int:
    """The counter once `op` is applied; counts stay within 0 and 2**53, where Redis's Lua is exact."""
    hits = op.hits
    if op.lenient and before + hits > op.limit:
        hits = max(op.limit - before, 0)
    after = before + hits
    return after if 0 <= after <= COUNTER_MAX else 0 if after < 0 else COUNTER_MAX


def before_granted(op: CountedOp, counter: int) -> int:
    """What is told of a counter when `op` is repeated: no more than it can have been when it was granted."""
    if op.hits < 0:
        return counter
    most = op.limit - (1 if op.lenient else max(op.hits, 1))
    return max(min(counter, most), 0)


def settle(op: CountedOp, held: Held | None, now: int) -> tuple[str, int]:
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


def remaining(op: CountedOp, standing: int) -> int:
    """Hits that still fit when the counter stands at `standing`."""
    left = op.limit - standing
    return left if left > 0 else 0
