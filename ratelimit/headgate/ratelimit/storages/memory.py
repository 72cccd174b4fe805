"""Counters in this process: the embedded default, for one machine and one limiter process.

`memory_counters` keeps and forgets them. What requests reserved, and which were settled, is kept in the order of time,
so that expiry looks at the oldest only.
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
    over_limit,
    settle,
)
from headgate.limits.algorithms.fixed_window import FixedWindowOp, sliding_rest
from headgate.limits.algorithms.pooled_window import PooledOp, Shares, ends_at, settled_span, standing
from headgate.limits.algorithms.token_bucket import TokenBucketOp, full_after, level
from headgate.limits.engine import HOLD_SECONDS, SETTLED_SECONDS, Outcome, Transaction, examine, joined
from headgate.ratelimit.storages import StorageError, Trip
from headgate.ratelimit.storages.memory_counters import Counters

KEYS_MAX: Final = 1_000_000
"""Counters held at once. A counter is never dropped before its window ends, or its bucket is full."""

HOLDS_MAX: Final = 200_000
"""Requests whose reservations are held at once; beyond it the oldest is forgotten, and so stays charged."""

_Holds = dict[str, Held]
"""Reservations of one request by the stem of their counter."""


class _Draft:
    """What a transaction would make of the counters."""

    __slots__ = ("before", "buckets", "held", "pooled", "records", "windows")

    def __init__(self) -> None:
        self.records: dict[str, tuple[Shares, int]] = {}
        """Key to what pools share, and its spans' seconds. Those that are there already are changed in place."""
        self.pooled: list[tuple[Shares, str, int, int]] = []
        """What was added to a record, of which pool and span: to be taken back where nothing is applied."""
        self.windows: dict[str, tuple[int, int]] = {}
        """Key to count and window end."""
        self.buckets: dict[str, tuple[int, float]] = {}
        """Key to when it is full, and its ticks per second."""
        self.before: list[int] = []
        self.held: _Holds = {}


class MemoryStorage:
    """See the module. When `keys_max` live counters are held, transactions that need another one fail."""

    def __init__(self, *, keys_max: int = KEYS_MAX, holds_max: int = HOLDS_MAX) -> None:
        self._counters = Counters(keys_max)
        self._holds_max = holds_max
        self._holds: dict[str, tuple[int, _Holds]] = {}
        """By request: when it was made, and what."""
        self._settled: dict[str, int] = {}
        """By request: when."""
        self._swept = 0
        self._holds_dropped = 0

    async def run(self, transaction: Transaction) -> Outcome:
        return self.start(transaction)

    def start(self, transaction: Transaction, trips: list[Trip] | None = None) -> Outcome:
        del trips
        now = transaction.now
        if now >= self._counters.next_end:
            self._counters.expire(now)
        if transaction.alternatives:
            return self._start_first(transaction)
        if transaction.request:
            return self._start_named(transaction)
        windows = self._counters.windows
        standing: dict[str, int] = {}
        before: list[int] = []
        for op in transaction.ops:
            if type(op) is not FixedWindowOp or op.previous_key:
                return self._start_drafted(transaction)
            key = op.key
            count = standing.get(key)
            if count is None:
                window = windows.get(op.window_end)
                count = 0 if window is None else window.get(key, 0)
            before.append(count)
            standing[key] = counter_after(op, count) if op.hits else count
        applied = not transaction.all_or_nothing or examine(transaction.ops, before)
        if applied:
            self._counters.store({op.key: (standing[op.key], op.kept_until) for op in transaction.ops if op.hits}, None)
        return Outcome(tuple(before), applied)

    def _start_drafted(self, transaction: Transaction) -> Outcome:
        """As `start`, for all algorithms."""
        draft = _Draft()
        for op in transaction.ops:
            self._add(op, draft)
        applied = not transaction.all_or_nothing or examine(transaction.ops, draft.before)
        if applied:
            self._store(draft)
        else:
            self._refuse(transaction, draft)
        return Outcome(tuple(draft.before), applied)

    def _store(self, draft: _Draft) -> None:
        try:
            self._counters.store(draft.windows, draft.buckets, draft.records)
        except StorageError:
            self._take_back(draft)
            raise

    def _take_back(self, draft: _Draft) -> None:
        for record, pool, span, added in reversed(draft.pooled):
            record.add(pool, span, -added)

    def _refuse(self, transaction: Transaction, draft: _Draft) -> None:
        """What pools were refused is what they demanded, and holds room for them."""
        self._take_back(draft)
        demanded = False
        for op, before in zip(transaction.ops, draft.before, strict=True):
            if isinstance(op, PooledOp) and op.refuses and op.hits > 0 and over_limit(op, before):
                record = draft.records[op.key[: op.stem_length]][0]
                record.advance(op.span)
                record.add(op.bounds[op.own].name, record.newest, op.hits, refused=True)
                demanded = True
        if demanded:
            self._counters.store({}, None, draft.records)

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
        return Outcome(tuple([self._standing(op, draft) for op in transaction.ops]), applied=False)

    def _standing(self, op: Op, draft: _Draft) -> int:
        """What `op` is examined against."""
        if isinstance(op, PooledOp):
            return standing(op, *self._record(op, draft).totals(op))
        return _told(op, self._stored(op, draft)) + self._rest(op, draft)

    def _record(self, op: PooledOp, draft: _Draft) -> Shares:
        """What pools share, as it is at the time of `op`; new ones are kept when the draft is stored."""
        key = op.key[: op.stem_length]
        found = draft.records.get(key) or self._counters.record(key)
        record = Shares() if found is None else found[0]
        draft.records[key] = record, op.span_seconds
        return record

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
        self._store(draft)
        if self._holds.pop(request, None) is not None or any(op.hits for op in transaction.ops):
            self._settled[request] = now
        return Outcome(tuple(draft.before), applied=True)

    def _admit(self, transaction: Transaction, draft: _Draft) -> Outcome:
        for op in transaction.ops:
            added = self._add(op, draft)
            if op.part is Part.RESERVE and added > 0:
                stem = op.key[: op.stem_length]
                amount = added + (draft.held[stem].amount if stem in draft.held else 0)
                key, end = op.key, op.kept_until
                if isinstance(op, PooledOp):
                    span = draft.records[stem][0].newest  # a clock that is behind counts into it
                    key, end = f"{stem}{span}", ends_at(op, span)
                draft.held[stem] = Held(key, end, amount)
        applied = examine(transaction.ops, draft.before)
        if applied:
            self._store(draft)
            self._hold(transaction.request, transaction.now, draft.held)
        else:
            self._refuse(transaction, draft)
        return Outcome(tuple(draft.before), applied)

    def _hold(self, request: str, now: int, held: _Holds) -> None:
        if len(self._holds) >= self._holds_max:
            del self._holds[next(iter(self._holds))]
            self._holds_dropped += 1
        self._holds[request] = (now, held)

    def _settle(self, op: Op, reserved: _Holds, now: int, draft: _Draft) -> None:
        if op.part is Part.NONE:
            self._add(op, draft)
            return
        # Two descriptors may share a counter: the first takes all that was reserved of it.
        held = reserved.pop(op.key[: op.stem_length], None)
        if isinstance(op, PooledOp):
            self._settle_pooled(op, held, draft)
            return
        key, difference = settle(op, held, now)
        if key == op.key:
            self._move(op, self._stored(op, draft), difference, draft)
        else:
            assert held is not None
            standing = draft.windows.get(key)
            count = self._counters.window(key, held.window_end) if standing is None else standing[0]
            draft.windows[key] = (_clamped(count + difference), held.window_end)
        counted = _told(op, self._stored(op, draft))
        draft.before.append(max(counted - op.hits, 0) + self._rest(op, draft))

    def _settle_pooled(self, op: PooledOp, held: Held | None, draft: _Draft) -> None:
        record = self._record(op, draft)
        span, hits = settled_span(op, held, record.span_at(op.span))
        self._add_to(record, op, span, hits, draft)
        draft.before.append(max(standing(op, *record.totals(op)) - op.hits, 0))

    def _add_to(self, record: Shares, op: PooledOp, span: int, hits: int, draft: _Draft) -> int:
        if not hits:
            return 0
        pool = op.bounds[op.own].name
        record.advance(op.span)
        added = record.add(pool, span, hits)
        draft.pooled.append((record, pool, span, added))
        return added

    def _add(self, op: Op, draft: _Draft) -> int:
        """Adds the hits of `op` to its counter; returns how many they were."""
        if isinstance(op, PooledOp):
            record = self._record(op, draft)
            before = standing(op, *record.totals(op))
            draft.before.append(before)
            return self._add_to(record, op, record.span_at(op.span), counter_after(op, before) - before, draft)
        stored, rest = self._stored(op, draft), self._rest(op, draft)
        told = _told(op, stored)
        draft.before.append(told + rest)
        self._move(op, stored, counter_after(op, told + rest) - told - rest, draft)
        return _told(op, self._stored(op, draft)) - told

    def _move(self, op: FixedWindowOp | TokenBucketOp, stored: int, hits: int, draft: _Draft) -> None:
        if isinstance(op, TokenBucketOp):
            draft.buckets[op.key] = (full_after(op, stored, hits) if hits else stored, op.ticks_per_second)
        else:
            draft.windows[op.key] = (_clamped(stored + hits), op.kept_until)

    def _repeated(self, transaction: Transaction, held: _Holds) -> Outcome:
        """As things were before it was counted the first time."""
        before: list[int] = []
        draft = _Draft()
        for op in transaction.ops:
            own = held.get(op.key[: op.stem_length])
            amount = own.amount if own is not None and own.key == op.key else 0
            before.append(before_granted(op, self._standing(op, draft) - amount))
        return Outcome(tuple(before), applied=True)

    def _stored(self, op: FixedWindowOp | TokenBucketOp, draft: _Draft) -> int:
        standing = (draft.buckets if isinstance(op, TokenBucketOp) else draft.windows).get(op.key)
        return self._counters.stored(op) if standing is None else standing[0]

    def _rest(self, op: FixedWindowOp | TokenBucketOp, draft: _Draft) -> int:
        """What of the window before still counts; that one is kept until this one ends."""
        if isinstance(op, TokenBucketOp) or not op.previous_key:
            return 0
        standing = draft.windows.get(op.previous_key)
        count = self._counters.window(op.previous_key, op.window_end) if standing is None else standing[0]
        return sliding_rest(op, count)

    def _sweep(self, now: int) -> None:
        self._swept = now
        while self._holds and next(iter(self._holds.values()))[0] <= now - HOLD_SECONDS:
            del self._holds[next(iter(self._holds))]
        while self._settled and next(iter(self._settled.values())) <= now - SETTLED_SECONDS:
            del self._settled[next(iter(self._settled))]

    async def ping(self) -> None:
        return

    def counts(self) -> Mapping[str, int]:
        return {
            "memory_keys": self._counters.keys,
            "memory_holds": len(self._holds),
            "memory_holds_dropped": self._holds_dropped,
        }

    async def outstanding(self, prefix: str) -> int | None:
        del prefix  # all are of this process
        return len(self._holds)

    async def close(self) -> None:
        self._counters.clear()
        self._holds.clear()
        self._settled.clear()


def _told(op: FixedWindowOp | TokenBucketOp, stored: int) -> int:
    """What is told of a counter: of a bucket, how many hits are out of it."""
    return level(op, stored) if isinstance(op, TokenBucketOp) else stored


def _clamped(count: int) -> int:
    return min(max(count, 0), COUNTER_MAX)
