"""The local cache over a real Redis: no round trip for what it refuses, and no refusal that Redis would not give."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from headgate.limits.algorithms.fixed_window import FixedWindowOp, plan_window
from headgate.limits.engine import Transaction
from headgate.ratelimit.storages import StorageError
from headgate.ratelimit.storages.redis.storage import RedisStorage
from support.limiter import LimiterProcess, client_limits
from support.redis import RedisServer
from support.redis_topologies import RedisCluster

pytestmark = pytest.mark.redis

NOW = 1_700_000_000
BYTES = 100_000


def op(key: str, hits: int = 1, *, limit: int = 3, seconds: int = 3600, refuses: bool = True) -> FixedWindowOp:
    return plan_window(key, hits=hits, limit=limit, seconds=seconds, refuses=refuses, now=NOW)


def admission(*ops: FixedWindowOp, now: int = NOW) -> Transaction:
    return Transaction(ops, all_or_nothing=True, now=now)


def settlement(*ops: FixedWindowOp) -> Transaction:
    return Transaction(ops, all_or_nothing=False, now=NOW)


@pytest.fixture(params=["redis", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        return server.url
    cluster: RedisCluster = request.getfixturevalue("redis_cluster")
    return cluster.url


Open = Callable[..., RedisStorage]


@pytest.fixture
async def open_storage(url: str) -> AsyncIterator[Open]:
    opened: list[RedisStorage] = []

    def start(local_cache_bytes: int = BYTES) -> RedisStorage:
        opened.append(RedisStorage(url, timeout_seconds=5.0, local_cache_bytes=local_cache_bytes))
        return opened[-1]

    yield start
    for storage in opened:
        await storage.close()


async def exhaust(storage: RedisStorage, key: str = "a") -> None:
    """The second refusal has the counter followed, the third costs nothing."""
    outcomes = [(await storage.run(admission(op(key)))).applied for _ in range(5)]
    assert outcomes == [True] * 3 + [False] * 2


async def heard(*storages: RedisStorage) -> None:
    """Until all have heard what Redis has told them before."""
    await asyncio.gather(*(storage.ping() for storage in storages))


async def test_a_refused_key_costs_no_round_trip(open_storage: Open) -> None:
    storage = open_storage()
    await exhaust(storage)
    trips = storage.counts()["redis_round_trips"]
    for _ in range(50):
        assert (await storage.run(admission(op("a")))).before == (3,)
        assert not (await storage.run(admission(op("free"), op("a", 0)))).applied
    assert storage.counts()["redis_round_trips"] == trips
    assert storage.counts()["local_cache_refusals"] == 100
    assert (await storage.run(admission(op("free", 3)))).applied, "what was refused counted nothing"


async def test_redis_itself_sees_no_command(redis_server: RedisServer) -> None:
    storage = RedisStorage(redis_server.url, timeout_seconds=5.0, local_cache_bytes=BYTES)
    await exhaust(storage)
    redis_server.command("CONFIG RESETSTAT")
    for _ in range(20):
        await storage.run(admission(op("a")))
    stats = redis_server.command("INFO commandstats")
    assert b"cmdstat_eval" not in stats
    assert b"cmdstat_get" not in stats
    await storage.close()


async def test_what_another_limiter_gives_back_is_free_at_once(open_storage: Open) -> None:
    storage, other = open_storage(), open_storage()
    for each in (storage, other):
        await each.run(admission(op("a", 0)))
    await exhaust(storage)
    await other.run(settlement(op("a", -2)))
    await heard(storage)
    outcomes = [(await storage.run(admission(op("a")))).applied for _ in range(3)]
    assert outcomes == [True, True, False]


async def test_what_this_limiter_gives_back_is_free_at_once(open_storage: Open) -> None:
    storage = open_storage()
    await exhaust(storage)
    await storage.run(settlement(op("a", -1)))
    assert (await storage.run(admission(op("a")))).applied


@pytest.mark.parametrize("limit", [4, 100])
async def test_a_raised_limit_counts_at_once(open_storage: Open, limit: int) -> None:
    storage = open_storage()
    await exhaust(storage)
    assert (await storage.run(admission(op("a", limit=limit)))).applied


async def test_a_counter_that_is_gone_from_redis_is_forgotten(redis_server: RedisServer) -> None:
    storage = RedisStorage(redis_server.url, timeout_seconds=5.0, local_cache_bytes=BYTES)
    for gone in (f"DEL {op('a').key}", "FLUSHALL", f"PEXPIRE {op('a').key} 0"):
        await exhaust(storage)
        redis_server.command(gone)
        await heard(storage)
        assert storage.counts()["local_cache_keys"] == 0
        redis_server.flush()
    await storage.close()


async def test_a_connection_that_ends_takes_it_all(short_path: Path) -> None:
    with RedisServer(short_path) as server:
        storage = RedisStorage(server.url, timeout_seconds=1.0, local_cache_bytes=BYTES)
        await exhaust(storage)
    assert await _fails_within(storage, 1000)
    assert storage.counts()["local_cache_keys"] == 0
    await storage.close()


async def _fails_within(storage: RedisStorage, turns: int) -> bool:
    for _ in range(turns):
        try:
            await storage.run(admission(op("a")))
        except StorageError:
            return True
        await asyncio.sleep(0)
    return False


async def test_a_redis_that_cannot_be_followed_is_asked_each_time(redis_server: RedisServer) -> None:
    redis_server.command("ACL SETUSER plain on >pw ~* +@all -client")
    try:
        url = redis_server.url.replace("redis://", "redis://plain:pw@")
        storage = RedisStorage(url, timeout_seconds=5.0, local_cache_bytes=BYTES)
        await exhaust(storage)
        trips = storage.counts()["redis_round_trips"]
        for _ in range(10):
            assert not (await storage.run(admission(op("a")))).applied
        assert storage.counts()["redis_round_trips"] == trips + 10
        await storage.close()
    finally:
        redis_server.command("ACL DELUSER plain")


@pytest.mark.parametrize("seed", range(3))
async def test_it_decides_as_redis_would(open_storage: Open, seed: int) -> None:
    """Two limiters that remember, and one that never does: what it counts is what there is."""
    chosen = random.Random(seed)
    remembering, plain = (open_storage(), open_storage()), open_storage(0)
    now = NOW
    for _ in range(600):
        now += chosen.choice((0, 0, 0, 0, 1, 2))
        key, limit = chosen.choice("abc"), chosen.choice((3, 3, 3, 4, 6))
        asked = op(key, chosen.choice((0, 1, 1, 1, 2)), limit=limit, refuses=chosen.random() < 0.95)
        match chosen.randrange(12):
            case 0:
                giver = chosen.choice((*remembering, plain))
                await giver.run(settlement(op(key, chosen.choice((-1, -2, 3)), limit=limit)))
            case 1:
                ops = (asked, op(chosen.choice("abc"), chosen.choice((-1, 1)), limit=limit))
                await _same(chosen.choice(remembering), plain, ops, now)
            case _:
                await _same(chosen.choice(remembering), plain, (asked,), now)
        await heard(*remembering)
    assert sum(each.counts()["local_cache_refusals"] for each in remembering) > 50


async def _same(storage: RedisStorage, plain: RedisStorage, ops: Sequence[FixedWindowOp], now: int) -> None:
    before = await _counters(plain, ops)
    outcome = await storage.run(admission(*ops, now=now))
    standing = {each.key: count for each, count in zip(ops, before, strict=True)}
    remembered = [
        (told, standing[each.key])
        for each, told, known in zip(ops, outcome.before, outcome.known or (False,) * len(ops), strict=True)
        if known
    ]
    assert all(told == count for told, count in remembered)
    fits = True
    for each in ops:
        count = standing[each.key]
        over = count >= each.limit if each.hits == 0 else each.hits > 0 and count + each.hits > each.limit
        fits = fits and not (over and each.refuses)
        standing[each.key] = max(count + each.hits, 0)
    assert outcome.applied is fits
    assert await _counters(plain, ops) == ([standing[each.key] for each in ops] if fits else before)


async def _counters(storage: RedisStorage, ops: Sequence[FixedWindowOp]) -> list[int]:
    return [(await storage.run(settlement(op(each.key[: each.stem_length], 0)))).before[0] for each in ops]


def test_the_service_tells_it_in_upstreams_metric(redis_server: RedisServer, short_path: Path) -> None:
    arguments = ("--redis-url", redis_server.url, "--local-cache-bytes", "100000")
    limiter = LimiterProcess(short_path, client_limits(3), *arguments)
    try:
        assert [limiter.ask().overall_code for _ in range(12)] == [1] * 3 + [2] * 9
        name = "ratelimit_service_rate_limit_over_limit_with_local_cache"
        lines = limiter.admin("/metrics")[1].splitlines()
        (line,) = (each for each in lines if each.startswith(f"{name}{{"))
        assert line.endswith(" 7"), "all refusals but the two that had it followed"
        assert limiter.metric("headgate_ratelimit_local_cache_refusals") == 7
    finally:
        limiter.close()
