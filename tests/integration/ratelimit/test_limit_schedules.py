"""Redis keeps the books that `tests/property/test_limit_schedules.py` holds memory to; emptied, it has forgotten."""

import pytest
from headgate.limits.engine import Code, decide_request, plan_request
from headgate.ratelimit.storages.redis.storage import RedisStorage
from support.limit_books import SNAPSHOT, Books, Schedule
from support.redis import RedisServer

pytestmark = pytest.mark.redis

STEPS = 3000


@pytest.mark.parametrize("seed", range(3))
async def test_redis_keeps_the_books(redis_server: RedisServer, seed: int) -> None:
    schedule, books = Schedule(seed), Books()
    storage = RedisStorage(redis_server.unix_url, timeout_seconds=10.0)
    for number, call in enumerate(schedule.calls(STEPS)):
        if not call.asked or number == STEPS // 2:
            redis_server.flush()
            books.restart()
        if not call.asked:
            continue
        plan = plan_request(SNAPSHOT, call.request, now=call.now, name=call.name)
        outcome = await storage.run(plan.transaction)
        granted = decide_request(plan, outcome).code is Code.OK
        repeats = bool(plan.transaction.request) and books.is_known(call)
        if repeats:
            assert granted
        elif call.settles:
            books.settle(call)
        else:
            assert (granted, list(outcome.before)) == books.admit(call)
        schedule.answered(call, granted=granted, repeats=repeats)
    await storage.close()
