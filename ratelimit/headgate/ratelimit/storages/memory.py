"""Counters in this process: the embedded default, for one machine and one limiter process.

Counters are kept per window end, so that expiry drops a whole window at once and costs nothing per counter. What
requests reserved, and which were settled, is kept in the order of time, so that expiry looks at the oldest only.
"""

from collections.abc import Mapping
from typing import Final

from headgate.limits.algorithms import Op
from headgate.limits.algorithms.counting import (
    COUNTER_MAX,
    Held,
    Part,
    before_granted,
    counter_after,
    settle,
)
from headgate.limits.algorithms.fixed_window import sliding_rest
from headgate.limits.engine import HOLD_SECONDS, SETTLED_SECONDS, Outcome, Transaction, examine, joined
from headgate.ratelimit.storages import StorageError

KEYS_MAX: Final = 1_000_000
"""Counters held at once, about 200 bytes each. A counter is never dropped before its window ends."""

GRACE_SECONDS: Final = 10
"""How long a window is kept after its end: a clock that is set back by less forgets nothing."""

HOLDS_MAX: Final = 200_000
"""Requests whose reservations are held at once; beyond it the oldest is forgotten, and so stays charged."""

_Holds = dict[str, Held]
"""Reservations of one request by the stem of their counter."""


class _Draft:
    """What a transaction would make of the counters."""

    __slots__ = ("before", "held", "standing")

    def __init__(self) -> None:
        self.standing: dict[str, tuple[int, int]] = {}
        """Key to count and window end."""
        self.before: list[int] = []
        self.held: _Holds = {}


class MemoryStorage:
    """See the module. When `keys_max` live counters are held, transactions that need another one fail."""

    def __init__(self, *, keys_max: int = KEYS_MAX, holds_max: int = HOLDS_MAX) -> None:
        self._keys_max = keys_max
        self._holds_max = holds_max
        self._keys = 0
        self._windows: dict[int, dict[str, int]] = {}
        self._next_end = 0
        """When the first window held can be dropped."""
        self._holds: dict[str, tuple[int, _Holds]] = {}
        """By request: when it was made, and what."""
        self._settled: dict[str, int] = {}
        """By request: when."""
        self._swept = 0
        self._holds_dropped = 0

    async def run(self, transaction: Transaction) -> Outcome:
        return self.start(transaction)

    def start(self, transaction: Transaction) -> Outcome:
        now = transaction.now
        if now >= self._next_end:
            self._expire(now)
        if transaction.alternatives:
            return self._start_first(transaction)
        if transaction.request:
            return self._start_named(transaction)
        windows = self._windows
        standing: dict[str, int] = {}
        before: list[int] = []
        for op in transaction.ops:
            key = op.key
            count = standing.get(key)
            if count is None:
                window = windows.get(op.kept_until if op.previous_key else op.window_end)
                count = 0 if window is None else window.get(key, 0)
            if op.previous_key:
                rest = self._rest(op, standing.get(op.previous_key))
                before.append(count + rest)
                standing[key] = _clamped(counter_after(op, count + rest) - rest)
            else:
                before.append(count)
                standing[key] = counter_after(op, count) if op.hits else count
        applied = not transaction.all_or_nothing or examine(transaction.ops, before)
        if applied:
            self._store({op.key: (standing[op.key], op.kept_until) for op in transaction.ops if op.hits})
        return Outcome(tuple(before), applied)

    def _start_first(self, transaction: Transaction) -> Outcome:
        """Applies the first alternative that has room, and looks at the others."""
        outcomes: list[Outcome] = []
        applied = False
        for attempt in transaction.attempts:
            outcomes.append(self._look(attempt) if applied else self.start(attempt))
            applied = applied or outcomes[-1].applied
        return joined(transaction, outcomes)

    def _look(self, transaction: Transaction) -> Outcome:
        draft = _Draft()
        counts = [self._count(op.key, op.kept_until, draft) + self._rest_in(op, draft) for op in transaction.ops]
        return Outcome(tuple(counts), applied=False)

    # Requests that reserve or settle.

    def _start_named(self, transaction: Transaction) -> Outcome:
        now, request = transaction.now, transaction.request
        if now > self._swept:
            self._sweep(now)
        held = self._holds.get(request)
        settled = request in self._settled
        if settled or (held is not None and transaction.all_or_nothing):
            return self._repeated(transaction, {} if held is None else held[1])
        draft = _Draft()
        if transaction.all_or_nothing:
            return self._admit(transaction, draft)
        reserved = {} if held is None else dict(held[1])
        for op in transaction.ops:
            self._settle(op, reserved, now, draft)
        self._store(draft.standing)
        if self._holds.pop(request, None) is not None or any(op.hits for op in transaction.ops):
            self._settled[request] = now
        return Outcome(tuple(draft.before), applied=True)

    def _admit(self, transaction: Transaction, draft: _Draft) -> Outcome:
        for op in transaction.ops:
            count = self._count(op.key, op.kept_until, draft)
            after = self._add(op, count, draft)
            if op.part is Part.RESERVE and after > count:
                stem = op.key[: op.stem_length]
                amount = after - count + (draft.held[stem].amount if stem in draft.held else 0)
                draft.held[stem] = Held(op.key, op.kept_until, amount)
        applied = examine(transaction.ops, draft.before)
        if applied:
            self._store(draft.standing)
            self._hold(transaction.request, transaction.now, draft.held)
        return Outcome(tuple(draft.before), applied)

    def _hold(self, request: str, now: int, held: _Holds) -> None:
        if len(self._holds) >= self._holds_max:
            del self._holds[next(iter(self._holds))]
            self._holds_dropped += 1
        self._holds[request] = (now, held)

    def _settle(self, op: Op, reserved: _Holds, now: int, draft: _Draft) -> None:
        if op.part is Part.NONE:
            self._add(op, self._count(op.key, op.kept_until, draft), draft)
            return
        # Two descriptors may share a counter: the first takes all that was reserved of it.
        held = reserved.pop(op.key[: op.stem_length], None)
        key, difference = settle(op, held, now)
        end = op.kept_until if held is None or key == op.key else held.window_end
        count = self._count(key, end, draft)
        draft.standing[key] = (_clamped(count + difference), end)
        counted = self._count(op.key, op.kept_until, draft)
        draft.before.append(max(counted - op.hits, 0) + self._rest_in(op, draft))

    def _add(self, op: Op, count: int, draft: _Draft) -> int:
        """Adds the hits of `op` to its counter, which stands at `count`; returns what it stands at then."""
        rest = self._rest_in(op, draft)
        after = _clamped(counter_after(op, count + rest) - rest)
        draft.before.append(count + rest)
        draft.standing[op.key] = (after, op.kept_until)
        return after

    def _repeated(self, transaction: Transaction, held: _Holds) -> Outcome:
        """As things were before it was counted the first time."""
        before: list[int] = []
        draft = _Draft()
        for op in transaction.ops:
            own = held.get(op.key[: op.stem_length])
            amount = own.amount if own is not None and own.key == op.key else 0
            before.append(
                before_granted(op, self._count(op.key, op.kept_until, draft) - amount + self._rest_in(op, draft))
            )
        return Outcome(tuple(before), applied=True)

    def _rest_in(self, op: Op, draft: _Draft) -> int:
        standing = draft.standing.get(op.previous_key)
        return self._rest(op, None if standing is None else standing[0]) if op.previous_key else 0

    def _rest(self, op: Op, standing: int | None) -> int:
        """What of the window before still counts; that one is kept until this one ends."""
        if standing is None:
            standing = self._windows.get(op.window_end, _NONE).get(op.previous_key, 0)
        return sliding_rest(op, standing)

    def _count(self, key: str, kept_until: int, draft: _Draft) -> int:
        standing = draft.standing.get(key)
        return self._windows.get(kept_until, _NONE).get(key, 0) if standing is None else standing[0]

    def _sweep(self, now: int) -> None:
        self._swept = now
        while self._holds and next(iter(self._holds.values()))[0] <= now - HOLD_SECONDS:
            del self._holds[next(iter(self._holds))]
        while self._settled and next(iter(self._settled.values())) <= now - SETTLED_SECONDS:
            del self._settled[next(iter(self._settled))]

    # Counters.

    def _store(self, standing: Mapping[str, tuple[int, int]]) -> None:
        windows = self._windows
        if self._keys + len(standing) > self._keys_max:
            self._require_room(standing)
        for key, (count, end) in standing.items():
            window = windows.get(end)
            if window is not None and key in window:
                window[key] = count
            elif count:
                # Counters at zero are not kept: a check of a key nobody has used must cost no memory.
                self._keys += 1
                if window is None:
                    windows[end] = {key: count}
                    self._next_end = min(self._next_end, end + GRACE_SECONDS)
                else:
                    window[key] = count

    def _require_room(self, standing: Mapping[str, tuple[int, int]]) -> None:
        new = [key for key, (count, end) in standing.items() if count and key not in self._windows.get(end, ())]
        if new and self._keys + len(new) > self._keys_max:
            raise StorageError(f"{self._keys} counters are held, which is the most allowed")

    def _expire(self, now: int) -> None:
        for end in [end for end in self._windows if end + GRACE_SECONDS <= now]:
            self._keys -= len(self._windows.pop(end))
        self._next_end = min(self._windows, default=2**63 - GRACE_SECONDS) + GRACE_SECONDS

    async def ping(self) -> None:
        return

    def counts(self) -> Mapping[str, int]:
        return {
            "memory_keys": self._keys,
            "memory_holds": len(self._holds),
            "memory_holds_dropped": self._holds_dropped,
        }

    async def close(self) -> None:
        self._windows.clear()
        self._holds.clear()
        self._settled.clear()
        self._keys = 0


def _clamped(count: int) -> int:
    return min(max(count, 0), COUNTER_MAX)


_NONE: Final[Mapping[str, int]] = {}
