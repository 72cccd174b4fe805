"""Token buckets: every storage keeps them alike, exactly, and a limit with one is held end to end."""

import asyncio
import random
from collections.abc import Mapping
from fractions import Fraction

import pytest
from headgate.limits.algorithms.counting import Part
from headgate.limits.algorithms.fixed_window import plan_window
from headgate.limits.algorithms.token_bucket import TokenBucketOp, plan_bucket
from headgate.limits.config_text import parse_text
from headgate.limits.engine import (
    Code,
    Decision,
    LimitRequest,
    Moment,
    Outcome,
    RequestDescriptor,
    Transaction,
    decide_request,
    plan_request,
)
from headgate.limits.matching import Snapshot, build_snapshot
from headgate.ratelimit.storages import Storage
from headgate.ratelimit.storages.redis.storage import RedisStorage
from support.redis import RedisServer

NOW = 1_760_000_000.0


def op(
    hits: int = 1, *, amount: int = 60, burst: int = 10, now: float = NOW, part: Part = Part.NONE, key: str = "b_"
) -> TokenBucketOp:
    return plan_bucket(key, hits=hits, amount=amount, seconds=60, burst=burst, refuses=True, now=now, part=part)


def admission(*ops: TokenBucketOp, now: float = NOW, name: str = "") -> Transaction:
    return Transaction(ops, all_or_nothing=True, now=int(now), request=name)


def settlement(*ops: TokenBucketOp, now: float = NOW, name: str = "") -> Transaction:
    return Transaction(ops, all_or_nothing=False, now=int(now), request=name)


async def out(storage: Storage, now: float = NOW) -> int:
    return (await storage.run(settlement(op(0, now=now), now=now))).before[0]


async def test_gives_its_burst_and_then_its_rate(storage: Storage) -> None:
    assert await storage.run(admission(op(10))) == Outcome((0,), applied=True)
    assert await storage.run(admission(op())) == Outcome((10,), applied=False)
    assert await storage.run(admission(op(now=NOW + 0.9))) == Outcome((10,), applied=False)
    assert await storage.run(admission(op(now=NOW + 1))) == Outcome((9,), applied=True)
    assert await storage.run(admission(op(now=NOW + 1))) == Outcome((10,), applied=False)
    assert await out(storage, NOW + 6) == 5
    assert await out(storage, NOW + 1000) == 0
    assert await storage.run(admission(op(11, now=NOW + 1000))) == Outcome((0,), applied=False)


async def test_a_settlement_may_take_more_than_there_is_and_a_refund_gives_back(storage: Storage) -> None:
    await storage.run(settlement(op(25)))
    assert await out(storage) == 25
    assert not (await storage.run(admission(op(0, now=NOW + 15)))).applied
    assert (await storage.run(admission(op(0, now=NOW + 16)))).applied
    await storage.run(settlement(op(-100)))
    assert await out(storage) == 0
    assert await storage.run(admission(op(11))) == Outcome((0,), applied=False), "no more than full"


async def test_reserves_and_settles(storage: Storage) -> None:
    assert (await storage.run(admission(op(8, part=Part.RESERVE), name="a"))).applied
    assert (await storage.run(admission(op(8, part=Part.RESERVE), name="a"))).applied
    assert not (await storage.run(admission(op(8, part=Part.RESERVE), name="b"))).applied
    later = NOW + 2
    for _ in range(2):
        await storage.run(settlement(op(3, part=Part.SETTLE, now=later), now=later, name="a"))
    look = settlement(op(0, part=Part.SETTLE, now=later), now=later, name="nobody")
    assert (await storage.run(look)).before == (1,)


async def test_what_one_limit_refuses_no_bucket_gives(storage: Storage) -> None:
    full = plan_window("w_", hits=1, limit=0, seconds=60, refuses=True, now=int(NOW))
    assert not (await storage.run(Transaction((op(4), full), all_or_nothing=True, now=int(NOW)))).applied
    assert await out(storage) == 0


async def test_concurrent_requests_share_what_there_is(storage: Storage) -> None:
    outcomes = await asyncio.gather(*(storage.run(admission(op(3, burst=100))) for _ in range(200)))
    assert sum(outcome.applied for outcome in outcomes) == 33


@pytest.mark.parametrize("rate", [(7, 3), (60, 60), (1000, 1), (999_983, 5000), (1, 1)])
async def test_agrees_with_exact_arithmetic(storage: Storage, rate: tuple[int, int]) -> None:
    """A tick is all that they may differ by, and then ours is the stricter."""
    amount, burst = rate
    dice = random.Random(amount)
    interval, full_at, now = Fraction(60, amount), Fraction(0), Fraction(int(NOW))
    granted = 0
    for _ in range(200):
        now += Fraction(dice.randrange(0, 4_000_000), 1_000_000) * burst * interval
        hits = dice.randint(1, burst)
        outcome = await storage.run(admission(op(hits, amount=amount, burst=burst, now=float(now)), now=float(now)))
        full_after = max(full_at, now) + hits * interval
        room = now + burst * interval - full_after
        if outcome.applied:
            full_at = full_after
            granted += 1
            assert room > -Fraction(1, 100_000)
        else:
            assert room < Fraction(1, 100_000)
    assert 0 < granted < 200


@pytest.mark.redis
async def test_is_forgotten_by_redis_once_it_is_full(redis_server: RedisServer) -> None:
    storage = RedisStorage(redis_server.url)
    await storage.run(admission(op(5)))
    assert redis_server.command("TTL b_bucket_60_60") == b":6\r\n"
    await storage.run(admission(op(5)))
    assert redis_server.command("TTL b_bucket_60_60") == b":11\r\n"
    await storage.close()


LIMITS: Mapping[str, str] = {
    "rps": "{unit: second, requests_per_unit: 100, algorithm: token_bucket, burst: 200}",
    "tokens": "{unit: minute, requests_per_unit: 600, algorithm: token_bucket, reserve: strict}",
}


def snapshot() -> Snapshot:
    rows = "".join(f"\n- {{key: {key}, rate_limit: {limit}}}" for key, limit in LIMITS.items())
    return build_snapshot(parse_text(f"domain: d\ndescriptors:{rows}", file="limits.yaml"))


async def ask(storage: Storage, key: str, hits: int, now: float, name: str = "", *, settles: bool = False) -> Decision:
    moment = Moment.SETTLEMENT if settles else Moment.ADMISSION
    request = LimitRequest("d", (RequestDescriptor(((key, "alice"),), hits),), moment)
    plan = plan_request(snapshot(), request, now=now, name=name)
    return decide_request(plan, await storage.run(plan.transaction))


async def test_a_limit_with_a_burst_is_held(storage: Storage) -> None:
    granted = sum([(await ask(storage, "rps", 1, NOW)).code is Code.OK for _ in range(250)])
    assert granted == 200
    refused = (await ask(storage, "rps", 1, NOW)).refusal
    assert refused is not None
    assert (refused.remaining, refused.reset_seconds) == (0, 1)
    granted = sum([(await ask(storage, "rps", 1, NOW + 0.5)).code is Code.OK for _ in range(250)])
    assert granted == 50
    status = (await ask(storage, "rps", 0, NOW + 1.5)).statuses[0]
    assert (status.remaining, status.reset_seconds) == (100, 1)


async def test_tokens_are_reserved_in_a_bucket(storage: Storage) -> None:
    assert (await ask(storage, "tokens", 500, NOW, "one")).code is Code.OK
    refusal = (await ask(storage, "tokens", 200, NOW, "two")).refusal
    assert refusal is not None
    assert refusal.reset_seconds == 10, "when what it asks for will be there"
    await ask(storage, "tokens", 50, NOW + 1, "one", settles=True)
    assert (await ask(storage, "tokens", 500, NOW + 1, "two")).code is Code.OK
