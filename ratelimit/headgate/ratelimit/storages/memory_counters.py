"""Counters in a process, forgotten in time: windows all at once when they are over, buckets when they are full, what
pools share when its last span is over.

No counter is forgotten while it could still refuse. When there are as many as allowed, another one is an error: who
asked hears of it, and the limits of all others hold on.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Final

from headgate.limits.algorithms.fixed_window import FixedWindowOp
from headgate.limits.algorithms.pooled_window import SPANS, Shares
from headgate.limits.algorithms.token_bucket import EPOCH_SECONDS, TokenBucketOp
from headgate.ratelimit.storages import StorageError

GRACE_SECONDS: Final = 10
"""How long a counter is kept after its end: a clock that is set back by less forgets nothing."""

_NEVER: Final = 2**62
_NONE: Final[Mapping[str, int]] = {}


class Counters:
    """Counters by the end of their window, and buckets by when they are next looked at."""

    __slots__ = ("_buckets", "_due", "_keys_max", "_records", "_records_due", "keys", "next_end", "windows")

    def __init__(self, keys_max: int) -> None:
        self._keys_max = keys_max
        self._buckets: dict[str, int] = {}
        self._due: dict[int, list[tuple[str, float]]] = {}
        """Second to the buckets that may be full then, and their ticks per second: once each, looked at again then."""
        self._records: dict[str, tuple[Shares, int]] = {}
        self._records_due: dict[int, list[str]] = {}
        self.windows: dict[int, dict[str, int]] = {}
        """End to counters. Read by others, changed here only."""
        self.keys = 0
        self.next_end = 0
        """When there may be something to forget."""

    def record(self, key: str) -> tuple[Shares, int] | None:
        """What pools share, and its spans' seconds."""
        return self._records.get(key)

    def stored(self, op: FixedWindowOp | TokenBucketOp) -> int:
        """The number kept for the counter of `op`."""
        if isinstance(op, TokenBucketOp):
            return self._buckets.get(op.key, 0)
        return self.windows.get(op.kept_until, _NONE).get(op.key, 0)

    def window(self, key: str, end: int) -> int:
        return self.windows.get(end, _NONE).get(key, 0)

    def store(
        self,
        windows: Mapping[str, tuple[int, int]],
        buckets: Mapping[str, tuple[int, float]] | None,
        records: Mapping[str, tuple[Shares, int]] | None = None,
    ) -> None:
        """Keeps counts with their windows' ends, buckets with their ticks per second, and what pools share with the
        seconds of a span, which counts as many keys as it has spans; raises StorageError."""
        if self.keys + len(windows) + len(buckets or ()) + SPANS * len(records or ()) > self._keys_max:
            self._require_room(windows, buckets or {}, records or {})
        for key, (count, end) in windows.items():
            window = self.windows.get(end)
            if window is not None and key in window:
                window[key] = count
            elif count:
                # Counters at zero are not kept: a check of a key nobody has used must cost no memory.
                self.keys += 1
                if window is None:
                    self.windows[end] = {key: count}
                    self.next_end = min(self.next_end, end + GRACE_SECONDS)
                else:
                    window[key] = count
        for key, (full_at, ticks_per_second) in (buckets or {}).items():
            if key not in self._buckets:
                if not full_at:
                    continue
                self.keys += 1
                self._look_at(key, _due(full_at, ticks_per_second), ticks_per_second)
            self._buckets[key] = full_at
        for key, record in (records or {}).items():
            if key not in self._records and any(record[0].sums.values()):
                self._records[key] = record
                self.keys += SPANS
                self._look_at_record(key, record)

    def _look_at_record(self, key: str, record: tuple[Shares, int]) -> None:
        due = _record_due(record)
        self._records_due.setdefault(due, []).append(key)
        self.next_end = min(self.next_end, due)

    def _look_at(self, key: str, due: int, ticks_per_second: float) -> None:
        self._due.setdefault(due, []).append((key, ticks_per_second))
        self.next_end = min(self.next_end, due)

    def _require_room(
        self, windows: Mapping[str, tuple[int, int]], buckets: Iterable[str], records: Iterable[str]
    ) -> None:
        new = sum(1 for key, (count, end) in windows.items() if count and key not in self.windows.get(end, _NONE))
        new += sum(1 for key in buckets if key not in self._buckets)
        new += SPANS * sum(1 for key in records if key not in self._records)
        if new and self.keys + new > self._keys_max:
            raise StorageError(f"{self.keys} counters are held, which is the most allowed")

    def expire(self, now: int) -> None:
        """Forgets what is over."""
        for end in [end for end in self.windows if end + GRACE_SECONDS <= now]:
            self.keys -= len(self.windows.pop(end))
        self.next_end = min(self.windows, default=_NEVER) + GRACE_SECONDS
        for second in [second for second in self._due if second <= now]:
            for key, ticks_per_second in self._due.pop(second):
                due = _due(self._buckets[key], ticks_per_second)
                if due > now:
                    self._look_at(key, due, ticks_per_second)
                else:
                    del self._buckets[key]
                    self.keys -= 1
        for second in [second for second in self._records_due if second <= now]:
            for key in self._records_due.pop(second):
                if _record_due(self._records[key]) > now:
                    self._look_at_record(key, self._records[key])
                else:
                    del self._records[key]
                    self.keys -= SPANS
        self.next_end = min(self.next_end, min(self._due, default=_NEVER), min(self._records_due, default=_NEVER))

    def clear(self) -> None:
        self.windows.clear()
        self._buckets.clear()
        self._due.clear()
        self._records.clear()
        self._records_due.clear()
        self.keys = 0


def _due(full_at: int, ticks_per_second: float) -> int:
    return EPOCH_SECONDS + math.ceil(full_at / ticks_per_second) + GRACE_SECONDS


def _record_due(record: tuple[Shares, int]) -> int:
    shares, span_seconds = record
    return (shares.newest + SPANS) * span_seconds + GRACE_SECONDS
