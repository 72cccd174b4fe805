"""The collector's side: keeps what the page shows, and answers who asks for it.

Somebody asks again and again, and says what they have seen (`Cursor`): so nothing is kept for anybody, a slow browser
makes nobody wait, and what it missed is a gap in the numbers.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from headgate.ledger.record import UsageRecord
from headgate.observe.shown import Shown, show
from headgate.observe.tally import Look, Tally

KEPT_MAX: Final = 200
"""Requests of which all is kept."""


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody has seen: up to which request, of which process."""

    epoch: int = 0
    number: int = 0


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to see."""

    cursor: Cursor
    look: Look
    requests: tuple[Shown, ...]
    """Those that are new to who asks, the oldest first."""
    missed: int
    """How many were new and are no longer kept."""
    dropped: int
    """Records that the collector could not hand on to its stores."""


class Observation:
    """See the module."""

    def __init__(self, dropped: Callable[[], int] = lambda: 0, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._dropped = dropped
        self._epoch = int(clock() * 1e6)
        self._tally = Tally(clock())
        self._kept: deque[UsageRecord] = deque(maxlen=KEPT_MAX)
        self._number = 0

    def take(self, records: Sequence[UsageRecord]) -> None:
        """Subscribes to the collector's records."""
        self._tally.feed(records, self._clock())
        self._kept.extend(records)
        self._number += len(records)

    def seen(self, cursor: Cursor) -> Seen:
        """What is new since `cursor`, and the sums."""
        known = min(cursor.number, self._number) if cursor.epoch == self._epoch else 0
        first = self._number - len(self._kept) + 1
        skipped = max(known + 1 - first, 0)
        requests = [show(first + index, record) for index, record in enumerate(self._kept) if index >= skipped]
        return Seen(
            cursor=Cursor(epoch=self._epoch, number=self._number),
            look=self._tally.look(self._clock()),
            requests=tuple(requests),
            missed=max(first - known - 1, 0) if cursor.epoch == self._epoch else 0,
            dropped=self._dropped(),
        )

    def answer(self, body: bytes) -> bytes:
        """`seen` over the wire: JSON in, JSON out. Raises ValueError for what is no cursor."""
        return msgspec.json.encode(self.seen(msgspec.json.decode(body or b"{}", type=Cursor)))
