"""Every storage keeps reservations alike: the books of `support.stream_schedule`, one call at a time and in batches."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from headgate.limits.algorithms.counting import Part
from headgate.limits.algorithms.fixed_window import FixedWindowOp, plan_window
from headgate.limits.engine import HOLD, Code, Transaction, decide_request, plan_request
from headgate.ratelimit.storages import Storage
from headgate.ratelimit.storages.redis.address import parse_url
from headgate.ratelimit.storages.redis.lane import LaneSettings
from headgate.ratelimit.storages.redis.nodes import open_nodes
from headgate.ratelimit.storages.redis.outstanding import Outstanding
from headgate.ratelimit.storages.redis.storage import RedisStorage
from support.redis import RedisServer
from support.stream_schedule import BUDGETS, CLIENTS, SNAPSHOT, Call, Schedule, request_of

NOW = 1_700_000_000
STEPS = 4000


def op(hits: int, part: Part, *, now: int = NOW, limit: int = 100, lenient: bool = False) -> FixedWindowOp:
    return plan_window(
        "k_", hits=hits, limit=limit, seconds=60, refuses=True, now=now, part=part, lenient=lenient, reserves=True
    )


def admission(name: str, *ops: FixedWindowOp, now: int = NOW) -> Transaction:
    return Transaction(ops, all_or_nothing=True, now=now, request=name)


def settlement(name: str, *ops: FixedWindowOp, now: int = NOW) -> Transaction:
    return Transaction(ops, all_or_nothing=False, now=now, request=name)


async def count(storage: Storage, now: int = NOW) -> int:
    return (await storage.run(settlement("", op(0, Part.NONE, now=now), now=now))).before[0]


async def test_keeps_the_books(storage: Storage) -> None:
    schedule = Schedule(seed=1)

    async def step(call: Call) -> None:
        plan = plan_request(SNAPSHOT, request_of(call), now=call.now, name=str(call.stream))
        decision = decide_request(plan, await storage.run(plan.transaction))
        schedule.answered(call, granted=decision.code is Code.OK)

    last = None
    for call in schedule.steps(STEPS):
        await step(call)
        last = call
    for call in schedule.rest():
        await step(call)
        last = call
    assert last is not None
    for limit, (tokens, seconds) in BUDGETS.items():
        for client in CLIENTS:
            key = plan_window(
                f"d_{limit}_{client}_", hits=0, limit=tokens, seconds=seconds, refuses=True, now=last.now, reserves=True
            )
            found = await storage.run(Transaction((key,), all_or_nothing=True, now=last.now))
            assert found.before == (schedule.expected(limit, client, last.now),)


async def test_a_batch_is_run_in_its_order(storage: Storage) -> None:
    """Admission, repetition, settlement and its repetition of one request may come in one round trip."""
    transactions = [
        admission("r", op(60, Part.RESERVE)),
        admission("r", op(60, Part.RESERVE)),
        admission("other", op(60, Part.RESERVE)),
        settlement("r", op(10, Part.SETTLE)),
        settlement("r", op(10, Part.SETTLE)),
        admission("r", op(60, Part.RESERVE)),
        admission("third", op(90, Part.RESERVE)),
    ]
    outcomes = await asyncio.gather(*map(storage.run, transactions))
    assert [outcome.applied for outcome in outcomes] == [True, True, False, True, True, True, True]
    assert await count(storage) == 100


async def test_a_lenient_reservation_takes_what_is_left(storage: Storage) -> None:
    for name, applied in (("a", True), ("b", True), ("c", False)):
        outcome = await storage.run(admission(name, op(70, Part.RESERVE, lenient=True)))
        assert outcome.applied is applied
    assert await count(storage) == 100
    await storage.run(settlement("b", op(5, Part.SETTLE)))
    assert await count(storage) == 75


async def test_two_descriptors_of_one_counter_are_settled_together(storage: Storage) -> None:
    await storage.run(admission("r", op(30, Part.RESERVE), op(40, Part.RESERVE)))
    assert await count(storage) == 70
    await storage.run(settlement("r", op(5, Part.SETTLE), op(6, Part.SETTLE)))
    assert await count(storage) == 11


async def test_what_was_reserved_in_a_window_that_is_over_was_spent_there(storage: Storage) -> None:
    later = NOW + 60
    await storage.run(admission("less", op(30, Part.RESERVE)))
    await storage.run(admission("more", op(30, Part.RESERVE)))
    await storage.run(settlement("less", op(10, Part.SETTLE, now=later), now=later))
    assert await count(storage, later) == 0
    await storage.run(settlement("more", op(45, Part.SETTLE, now=later), now=later))
    assert await count(storage, later) == 15


async def test_a_settlement_that_nothing_was_reserved_for_is_a_charge_once(storage: Storage) -> None:
    for _ in range(2):
        await storage.run(settlement("unknown", op(10, Part.SETTLE)))
    assert await count(storage) == 10


async def test_usage_that_is_not_known_keeps_what_was_reserved(storage: Storage) -> None:
    await storage.run(admission("r", op(30, Part.RESERVE)))
    outcome = await storage.run(settlement("r", op(0, Part.KEEP)))
    assert outcome.before == (30,)
    assert await count(storage) == 30


async def test_a_refused_request_has_reserved_nothing(storage: Storage) -> None:
    await storage.run(admission("first", op(90, Part.RESERVE)))
    assert not (await storage.run(admission("refused", op(20, Part.RESERVE)))).applied
    await storage.run(settlement("refused", op(0, Part.SETTLE)))
    await storage.run(settlement("first", op(50, Part.SETTLE)))
    assert await count(storage) == 50
    assert (await storage.run(admission("refused", op(20, Part.RESERVE)))).applied


async def test_tells_how_many_wait_for_their_settlement(storage: Storage) -> None:
    names = [f"p*[a]{HOLD}d_{number}" for number in range(30)]
    for name in names:
        assert (await storage.run(admission(name, op(2, Part.RESERVE)))).applied
    for name in names[:11]:
        await storage.run(settlement(name, op(1, Part.SETTLE)))
    assert await storage.outstanding(f"p*[a]{HOLD}") == 19


@pytest.mark.redis
async def test_tells_about_how_many_wait_among_many_keys(redis_server: RedisServer) -> None:
    """A part of the keys is walked, and where the walk ended, the next one begins."""
    names = [f"{HOLD}d_{number}" for number in range(1500)]
    storage = RedisStorage(redis_server.url, timeout_seconds=10.0)
    await asyncio.gather(*(storage.run(admission(name, op(1, Part.RESERVE, limit=2000))) for name in names))
    await asyncio.gather(*(storage.run(settlement(name, op(1, Part.SETTLE))) for name in names[:500]))
    redis_server.command('EVAL \'for i=1,20000 do redis.call("SET","x"..i,1) end\' 0')
    told = [await storage.outstanding(HOLD)]
    assert await storage.outstanding(HOLD) == told[0], "who asks again soon is told the same"
    nodes = open_nodes(parse_url(redis_server.url), LaneSettings())
    walks = Outstanding(again_seconds=0.0)
    told += [await walks.count(nodes.lanes(), HOLD) for _ in range(5)]
    assert all(each is not None and 600 < each < 1500 for each in told)
    await storage.close()


@pytest.mark.redis
async def test_tells_nothing_of_a_redis_that_does_not_answer(short_path: Path) -> None:
    with RedisServer(short_path) as redis:
        storage = RedisStorage(redis.unix_url)
        await storage.run(admission(f"{HOLD}d_a", op(1, Part.RESERVE)))
        os.kill(redis.pid, signal.SIGSTOP)
        assert await storage.outstanding(HOLD) is None
        os.kill(redis.pid, signal.SIGCONT)
        await storage.close()
