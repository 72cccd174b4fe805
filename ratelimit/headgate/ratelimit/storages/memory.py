"""Counters in this process: the embedded default, for one machine and one limiter process.

Counters are kept per window end, so that expiry drops a whole window at once and costs nothing per counter.
"""

from collections.abc import Mapping
from typing import Final

from headgate.limits.algorithms.fixed_window import counter_after
from headgate.limits.engine import Outcome, Transaction, examine
from headgate.ratelimit.storages import StorageError

KEYS_MAX: Final = 1_000_000
"""Counters held at once, about 200 bytes each. A counter is never dropped before its window ends."""


class MemoryStorage:
    """See the module. When `keys_max` live counters are held, transactions that need another one fail."""

    def __init__(self, *, keys_max: int = KEYS_MAX) -> None:
        self._keys_max = keys_max
        self._keys = 0
        self._windows: dict[int, dict[str, int]] = {}
        self._next_end = 0
        """The earliest end of a window held."""

    async def run(self, transaction: Transaction) -> Outcome:
        return self.start(transaction)

    def start(self, transaction: Transaction) -> Outcome:
        if transaction.now >= self._next_end:
            self._expire(transaction.now)
        windows = self._windows
        standing: dict[str, int] = {}
        before: list[int] = []
        for op in transaction.ops:
            key = op.key
            count = standing.get(key)
            if count is None:
                window = windows.get(op.window_end)
                count = 0 if window is None else window.get(key, 0)
            before.append(count)
            standing[key] = counter_after(op, count) if op.hits else count
        applied = not transaction.all_or_nothing or examine(transaction.ops, before)
        if applied:
            self._store(transaction, standing)
        return Outcome(tuple(before), applied)

    def _store(self, transaction: Transaction, standing: dict[str, int]) -> None:
        windows = self._windows
        if self._keys + len(standing) > self._keys_max:
            self._require_room(transaction, standing)
        for op in transaction.ops:
            if not op.hits:
                continue
            count = standing[op.key]
            window = windows.get(op.window_end)
            if window is not None and op.key in window:
                window[op.key] = count
            elif count:
                # Counters at zero are not kept: a check of a key nobody has used must cost no memory.
                self._keys += 1
                if window is None:
                    windows[op.window_end] = {op.key: count}
                    self._next_end = min(self._next_end, op.window_end)
                else:
                    window[op.key] = count

    def _require_room(self, transaction: Transaction, standing: dict[str, int]) -> None:
        windows = self._windows
        new = {op.key for op in transaction.ops if standing[op.key] and op.key not in windows.get(op.window_end, ())}
        if new and self._keys + len(new) > self._keys_max:
            raise StorageError(f"{self._keys} counters are held, which is the most allowed")

    def _expire(self, now: int) -> None:
        for end in [end for end in self._windows if end <= now]:
            self._keys -= len(self._windows.pop(end))
        self._next_end = min(self._windows, default=2**63)

    async def ping(self) -> None:
        return

    def counts(self) -> Mapping[str, int]:
        return {"memory_keys": self._keys}

    async def close(self) -> None:
        self._windows.clear()
        self._keys = 0
