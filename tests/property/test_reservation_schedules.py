"""Reserve and settle, 400,000 steps of it: the counters are the books of the streams, whatever goes wrong.

After every step: no counter is above its budget, none is below zero, and each is the sum of what its streams reserved
or used. A settlement that is lost stays a charge, one that comes twice changes nothing, and a refusal charges nothing.
"""

import random

import pytest
from headgate.limits.engine import Code, LimitRequest, RequestDescriptor, decide_request, plan_request
from headgate.ratelimit.storages.memory import MemoryStorage
from support.stream_schedule import BUDGETS, SNAPSHOT, Call, Schedule, request_of

STEPS = 50_000
SEEDS = range(8)


@pytest.mark.parametrize("seed", SEEDS)
def test_counters_are_the_books_of_the_streams(seed: int) -> None:
    schedule, storage = Schedule(seed), MemoryStorage()
    sampled = random.Random(seed)

    def step(call: Call) -> None:
        plan = plan_request(SNAPSHOT, request_of(call), now=call.now, name=str(call.stream))
        decision = decide_request(plan, storage.start(plan.transaction))
        schedule.answered(call, granted=decision.code is Code.OK)
        if sampled.random() < 0.2:
            check(call)

    def check(call: Call) -> None:
        for limit in call.limits:
            tokens = BUDGETS[limit][0]
            assert 0 <= schedule.expected(limit, call.client, call.now) <= tokens
        look = LimitRequest("d", tuple(RequestDescriptor(((limit, call.client),), 0) for limit in call.limits))
        outcome = storage.start(plan_request(SNAPSHOT, look, now=call.now).transaction)
        expected = [schedule.expected(limit, call.client, call.now) for limit in call.limits]
        assert list(outcome.before) == expected

    for call in schedule.steps(STEPS):
        step(call)
    for call in schedule.rest():
        step(call)
        check(call)
    assert min(schedule.admitted, schedule.refused, schedule.lost, schedule.repeated) > 100
