"""What only the Redis storage does: batches, lives of keys, and failure that is prompt and passes."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from headgate.limits.algorithms.fixed_window import FixedWindowOp, plan_window
from headgate.limits.engine import Outcome, Transaction
from headgate.ratelimit.storages import StorageError
from headgate.ratelimit.storages.redis.lane import BATCH_OPS_MAX, WAITING_MAX
from headgate.ratelimit.storages.redis.storage import RedisStorage
from support.redis import RedisServer
from support.waiting import BUSY_SECONDS

pytestmark = pytest.mark.redis

TIMEOUT_SECONDS = 0.3


@pytest.fixture
async def storage(redis_server: RedisServer) -> AsyncIterator[RedisStorage]:
    made = RedisStorage(redis_server.unix_url, timeout_seconds=TIMEOUT_SECONDS)
    await made.ping()
    yield made
    await made.close()


def op(key: str, hits: int = 1, *, seconds: int = 60, limit: int = 1000) -> FixedWindowOp:
    return plan_window(key, hits=hits, limit=limit, seconds=seconds, refuses=True, now=1_700_000_000)


def admission(*ops: FixedWindowOp) -> Transaction:
    return Transaction(ops, all_or_nothing=True, now=1_700_000_000)


def settlement(*ops: FixedWindowOp) -> Transaction:
    return Transaction(ops, all_or_nothing=False, now=1_700_000_000)


def round_trips(storage: RedisStorage) -> int:
    return storage.counts()["redis_round_trips"]


async def test_concurrent_decisions_share_round_trips(storage: RedisStorage) -> None:
    await storage.run(admission(op("warm")))
    before = round_trips(storage)
    await asyncio.gather(*(storage.run(admission(op("a"), op(f"b{i}"), op("c"))) for i in range(200)))
    assert round_trips(storage) - before == 1
    assert storage.counts()["redis_decisions"] == 201


async def test_a_batch_is_bounded(storage: RedisStorage) -> None:
    await storage.run(admission(op("warm")))
    before = round_trips(storage)
    await asyncio.gather(*(storage.run(admission(*(op(f"k{i}_{j}") for j in range(10)))) for i in range(300)))
    assert round_trips(storage) - before == -(-300 // (BATCH_OPS_MAX // 10))


async def test_a_decision_larger_than_a_batch_runs_alone(storage: RedisStorage) -> None:
    outcome = await storage.run(admission(*(op(f"k{i}") for i in range(BATCH_OPS_MAX + 1))))
    assert outcome == Outcome((0,) * (BATCH_OPS_MAX + 1), applied=True)


async def test_keys_are_those_of_envoyproxy_ratelimit_and_live_for_their_window(
    storage: RedisStorage, redis_server: RedisServer
) -> None:
    await storage.run(admission(op("d_k_v_", 3), op("d_s_v_", seconds=1), op("d_check_v_", 0)))
    assert redis_server.command("GET d_k_v_1699999980") == b"$1\r\n3\r\n"
    seconds = int(redis_server.command("TTL d_k_v_1699999980")[1:])
    assert seconds + 1 >= 60
    assert seconds <= 120
    assert int(redis_server.command("PTTL d_s_v_1700000000")[1:]) <= 2000
    assert redis_server.command("DBSIZE") == b":2\r\n"


async def test_a_counter_that_lives_keeps_its_time(storage: RedisStorage, redis_server: RedisServer) -> None:
    await storage.run(admission(op("k")))
    redis_server.command("EXPIRE k1699999980 7")
    await storage.run(admission(op("k")))
    assert int(redis_server.command("TTL k1699999980")[1:]) <= 7


async def test_survives_the_loss_of_the_script(storage: RedisStorage, redis_server: RedisServer) -> None:
    await storage.run(admission(op("a")))
    assert redis_server.command("SCRIPT FLUSH") == b"+OK\r\n"
    assert await storage.run(admission(op("a"))) == Outcome((1,), applied=True)


async def test_a_key_that_is_no_counter_fails_only_its_own_decision(
    storage: RedisStorage, redis_server: RedisServer
) -> None:
    redis_server.command("SET bad1699999980 garbage")
    results = await gather(storage, [admission(op("good")), admission(op("good"), op("bad")), admission(op("good"))])
    assert results[0] == Outcome((0,), applied=True)
    assert isinstance(results[1], StorageError)
    assert results[2] == Outcome((1,), applied=True)


async def gather(storage: RedisStorage, transactions: Sequence[Transaction]) -> Sequence[Outcome | BaseException]:
    return await asyncio.gather(*map(storage.run, transactions), return_exceptions=True)


async def test_nothing_there_fails_at_once(short_path: Path) -> None:
    storage = RedisStorage(f"unix://{short_path / 'nobody.sock'}")
    with pytest.raises(StorageError, match="No such file"):
        await storage.run(admission(op("a")))
    with pytest.raises(StorageError, match="No such file"):
        await storage.ping()
    await storage.close()


@pytest.fixture
def own_redis(short_path: Path) -> Iterator[RedisServer]:
    """A Redis to pause: when it goes on it runs what was sent meanwhile, which must not be another test's keys."""
    with RedisServer(short_path) as server:
        yield server
        os.kill(server.pid, signal.SIGCONT)


async def test_a_paused_redis_fails_all_in_time_and_is_used_again_later(own_redis: RedisServer) -> None:
    storage = RedisStorage(own_redis.unix_url, timeout_seconds=TIMEOUT_SECONDS)
    await storage.run(admission(op("a")))
    os.kill(own_redis.pid, signal.SIGSTOP)
    async with asyncio.timeout(BUSY_SECONDS):
        waves = [asyncio.create_task(gather(storage, [admission(op(f"k{i}"))] * 20)) for i in range(5)]
        results = [result for wave in waves for result in await wave]
    assert all(isinstance(result, StorageError) for result in results)
    os.kill(own_redis.pid, signal.SIGCONT)
    assert (await storage.run(admission(op("a")))).applied
    await storage.close()


async def test_a_redis_that_restarts_is_used_again(short_path: Path) -> None:
    with RedisServer(short_path) as first:
        storage = RedisStorage(first.unix_url, timeout_seconds=TIMEOUT_SECONDS)
        await storage.run(admission(op("a")))
    with pytest.raises(StorageError):
        await storage.run(admission(op("a")))
    with RedisServer(short_path):
        assert await storage.run(admission(op("a"))) == Outcome((0,), applied=True)
    await storage.close()


async def test_what_waits_is_bounded(own_redis: RedisServer) -> None:
    storage = RedisStorage(own_redis.unix_url, timeout_seconds=TIMEOUT_SECONDS)
    os.kill(own_redis.pid, signal.SIGSTOP)
    results = await gather(storage, [admission(op("a"))] * (WAITING_MAX + 50))
    messages = [str(result) for result in results if isinstance(result, StorageError)]
    assert len(messages) == len(results)
    assert sum("wait for Redis already" in message for message in messages) >= 50
    await storage.close()


async def test_a_settlement_counts_though_its_asker_has_gone(storage: RedisStorage) -> None:
    asked = [asyncio.create_task(storage.run(kind(op(key)))) for kind, key in ((settlement, "s"), (admission, "a"))]
    await asyncio.sleep(0)
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    outcome = await storage.run(settlement(op("s", 0), op("a", 0)))
    assert outcome.before == (1, 0)
