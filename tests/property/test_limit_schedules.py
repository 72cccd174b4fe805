"""Limits of every kind, 600,000 steps: whatever is asked, lost, repeated or forgotten, the counters are the books.

Every admission is granted exactly where the books say that all its limits have room, and its counters stood as the
books say; so do counters that are looked at in between. No counter is ever below zero; none of a strict limit is above
it, but for what was used of requests that a restart made the storage forget; no pool holds more than its maximum, and
none is refused what is kept for it.
"""

import random

import pytest
from headgate.limits.engine import Code, LimitRequest, Moment, RequestDescriptor, decide_request, plan_request
from headgate.ratelimit.storages.memory import MemoryStorage
from support.limit_books import LIMITS, POOLS, SNAPSHOT, Asked, Books, Call, Kind, Schedule

STEPS = 75_000
SEEDS = range(8)


class Run:
    """A schedule against a storage in memory."""

    def __init__(self, seed: int) -> None:
        self.schedule, self.books = Schedule(seed), Books()
        self._storage = MemoryStorage()
        self._sampled = random.Random(seed)
        self._latest = 0

    def step(self, call: Call) -> None:
        if not call.asked:
            self._storage = MemoryStorage()
            self.books.restart()
            return
        self._latest = max(self._latest, call.now)
        plan = plan_request(SNAPSHOT, call.request, now=call.now, name=call.name)
        outcome = self._storage.start(plan.transaction)
        granted = decide_request(plan, outcome).code is Code.OK
        books = self.books
        books.forget(call.now)
        repeats = bool(plan.transaction.request) and books.is_known(call)
        if repeats:
            assert granted, "a repetition of what was granted is granted"
        elif call.settles:
            books.settle(call)
        else:
            expected, before = books.admit(call)
            assert (granted, list(outcome.before)) == (expected, before)
            if not granted:
                self._check_refusal(call)
        self.schedule.answered(call, granted=granted, repeats=repeats)
        if self._sampled.random() < 0.1:
            self.look(call)

    def _check_refusal(self, call: Call) -> None:
        """Alone, a request is never refused what is kept for its pool."""
        (first, *others) = call.asked
        if first.limit == "shared" and not others and not self.books.orphaned("shared", call.now):
            assert self.books.pool(first.who, call.now) + max(first.hits, 1) > POOLS[first.who][1]

    def look(self, call: Call) -> None:
        """Counters stand as the books say, and within bounds."""
        request = LimitRequest("d", tuple(RequestDescriptor(each.entries, 0) for each in call.asked), Moment.SETTLEMENT)
        outcome = self._storage.start(plan_request(SNAPSHOT, request, now=call.now).transaction)
        for each, stands in zip(call.asked, outcome.before, strict=True):
            assert stands == self.books.standing(each.limit, each.who, call.now)
            self._check_bounds(each, stands, call.now)

    def _check_bounds(self, asked: Asked, stands: int, now: int) -> None:
        limit, books = LIMITS[asked.limit], self.books
        assert stands >= 0
        if limit.kind is Kind.POOLS:
            if not books.orphaned(asked.limit, now):
                assert books.pool(asked.who, now) <= POOLS[asked.who][2]
                assert sum(books.pool(each, now) for each in POOLS) <= limit.amount
        elif limit.reserve == "strict" and now >= self._latest:
            # At a clock that is behind, less of it has come back.
            assert stands <= limit.amount + books.orphaned(asked.limit, now)


@pytest.mark.parametrize("seed", SEEDS)
def test_counters_are_the_books(seed: int) -> None:
    run = Run(seed)
    for call in run.schedule.calls(STEPS):
        run.step(call)
    for call in run.schedule.rest():
        run.step(call)
        run.look(call)
    counts = run.schedule.counts
    assert min(counts[what] for what in ("granted", "refused", "lost", "repeated")) > 500
    assert counts["restarts"] > 3
