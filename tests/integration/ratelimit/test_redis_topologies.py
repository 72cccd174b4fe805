"""Redis behind sentinels, as a cluster, and as two for two kinds of limits: exact, and back after a failover."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from headgate.limits.algorithms import Op
from headgate.limits.algorithms.counting import Part
from headgate.limits.algorithms.fixed_window import FixedWindowOp, plan_window
from headgate.limits.engine import Outcome, Transaction
from headgate.ratelimit.storages import StorageError
from headgate.ratelimit.storages.redis.cluster import slot_of
from headgate.ratelimit.storages.redis.storage import RedisStorage
from support.redis import RedisServer
from support.redis_topologies import RedisCluster, RedisSentinel
from support.waiting import BUSY_SECONDS, wait_until

pytestmark = pytest.mark.redis

NOW = 1_700_000_000
TIMEOUT_SECONDS = 5.0
"""Redis needs one or two; the machine may be busy."""


def op(key: str, hits: int = 1, *, limit: int = 10, seconds: int = 60, part: Part = Part.NONE) -> FixedWindowOp:
    return plan_window(key, hits=hits, limit=limit, seconds=seconds, refuses=True, now=NOW, part=part)


def admission(*ops: Op, name: str = "") -> Transaction:
    return Transaction(ops, all_or_nothing=True, now=NOW, request=name)


def settlement(*ops: Op, name: str = "") -> Transaction:
    return Transaction(ops, all_or_nothing=False, now=NOW, request=name)


async def counts(storage: RedisStorage, *keys: str) -> tuple[int, ...]:
    return (await storage.run(settlement(*(op(key, 0) for key in keys)))).before


def spread(count: int) -> tuple[str, ...]:
    """Stems all over the slots: a CRC puts keys that differ in a digit side by side."""
    return tuple(f"d_{chr(97 + i % 26) * (i + 1)}_" for i in range(count))


def follows(master: RedisServer, replica: RedisServer) -> bool:
    offsets = [re.findall(rb"master_repl_offset:(\d+)", each.command("INFO replication")) for each in (master, replica)]
    return offsets[0] == offsets[1]


async def run_until_it_works(storage: RedisStorage, transaction: Transaction) -> Outcome:
    """Every try ends, and one of them works once the failover is over."""
    async with asyncio.timeout(BUSY_SECONDS):
        while True:
            try:
                return await storage.run(transaction)
            except StorageError:
                await asyncio.sleep(0.05)


@pytest.fixture
async def storage(redis_cluster: RedisCluster) -> AsyncIterator[RedisStorage]:
    made = RedisStorage(redis_cluster.url, timeout_seconds=5.0)
    await made.ping()
    yield made
    await made.close()


def test_slots_are_those_of_redis(redis_cluster: RedisCluster) -> None:
    for key in ("d_k_v_1700000000", "{a}b", "x{a}{b}", "{}x", "{", "späť"):
        assert redis_cluster.nodes[0].command(f"CLUSTER KEYSLOT {key}") == f":{slot_of(key)}\r\n".encode()


async def test_a_cluster_keeps_upstreams_keys(storage: RedisStorage, redis_cluster: RedisCluster) -> None:
    assert (await storage.run(admission(*map(op, spread(30))))).applied
    assert redis_cluster.stored_keys() == {f"{stem}1699999980" for stem in spread(30)}
    assert len({slot_of(key) * 3 // 16384 for key in redis_cluster.stored_keys()}) == 3


async def test_what_one_node_refuses_no_other_counts(storage: RedisStorage) -> None:
    keys = spread(12)
    await storage.run(admission(op("d_full_", 10)))
    outcome = await storage.run(admission(*(op(key, 3) for key in keys), op("d_full_")))
    assert outcome == Outcome((*[0] * 12, 10), applied=False)
    assert await counts(storage, *keys, "d_full_") == (*[0] * 12, 10)


async def test_concurrent_requests_over_many_slots_never_pass_a_limit(storage: RedisStorage) -> None:
    shared = tuple(op(stem, 3, limit=100) for stem in spread(5))
    outcomes = await asyncio.gather(*(storage.run(admission(op(f"d_own_{i}_"), *shared)) for i in range(200)))
    applied = [int(outcome.applied) for outcome in outcomes]
    # What others have taken for a moment may refuse one more, but never lets one more in.
    assert sum(applied) <= 33
    assert await counts(storage, *spread(5)) == (3 * sum(applied),) * 5
    assert [*await counts(storage, *(f"d_own_{i}_" for i in range(200)))] == applied
    assert (await storage.run(admission(*(op(stem, 0, limit=100) for stem in spread(5))))).applied


async def test_one_round_trip_asks_all_nodes(storage: RedisStorage) -> None:
    await storage.run(admission(*map(op, spread(30))))
    before = storage.counts()["redis_round_trips"]
    await asyncio.gather(*(storage.run(settlement(*map(op, spread(30)))) for _ in range(10)))
    assert storage.counts()["redis_round_trips"] - before == 3


async def test_reservations_hold_in_a_cluster(storage: RedisStorage) -> None:
    keys = spread(8)

    def reserve(name: str, hits: int) -> Transaction:
        ops = (op(stem, hits, limit=100, part=Part.RESERVE) for stem in keys)
        return admission(*ops, op("d_plain_"), name=name)

    def settle(name: str, hits: int) -> Transaction:
        return settlement(*(op(stem, hits, limit=100, part=Part.SETTLE) for stem in keys), name=name)

    async def reserved() -> set[int]:
        look = settlement(*(op(key, 0, part=Part.SETTLE) for key in keys), name="nobody")
        return set((await storage.run(look)).before)

    assert (await storage.run(reserve("a", 60))).applied
    assert (await storage.run(reserve("a", 60))).applied, "the same call twice is one"
    assert await reserved() == {60}
    assert not (await storage.run(reserve("b", 60))).applied
    assert await reserved() == {60}
    await storage.run(settle("a", 25))
    await storage.run(settle("a", 25))
    assert await reserved() == {25}
    assert (await storage.run(reserve("b", 60))).applied
    assert await counts(storage, "d_plain_") == (2,)


async def test_a_slot_that_moves_is_followed(storage: RedisStorage, redis_cluster: RedisCluster) -> None:
    key = "d_moving_"
    slot = slot_of(op(key).key)
    await storage.run(admission(op(key, 4)))
    source = next(node for node in redis_cluster.nodes if key in node.command("KEYS *").decode())
    target = next(node for node in redis_cluster.nodes if node is not source)
    ids = {node.port: node.command("CLUSTER MYID").split(b"\r\n")[1].decode() for node in redis_cluster.nodes}
    target.command(f"CLUSTER SETSLOT {slot} IMPORTING {ids[source.port]}")
    source.command(f"CLUSTER SETSLOT {slot} MIGRATING {ids[target.port]}")
    assert source.command(f"MIGRATE 127.0.0.1 {target.port} {op(key).key} 0 1000") == b"+OK\r\n"
    assert (await storage.run(admission(op(key, 1)))).before == (4,), "asked of the node it moves to"
    for node in (target, source, *redis_cluster.nodes):
        node.command(f"CLUSTER SETSLOT {slot} NODE {ids[target.port]}")
    assert (await storage.run(admission(op(key, 1)))).before == (5,)
    assert await counts(storage, key) == (6,)


async def test_a_cluster_whose_master_dies_fails_in_time_and_goes_on_with_the_replica(short_path: Path) -> None:
    with RedisCluster(short_path, replica=True) as cluster:
        storage = RedisStorage(cluster.url, timeout_seconds=TIMEOUT_SECONDS)
        keys = {slot_of(op(stem).key) * 3 // 16384: stem for stem in spread(30)}
        await storage.run(admission(*(op(keys[node], 4) for node in range(3))))
        wait_until(lambda: follows(cluster.nodes[0], cluster.nodes[-1]), "the replica to have everything")
        os.kill(cluster.nodes[0].pid, signal.SIGKILL)
        assert (await run_until_it_works(storage, admission(op(keys[0], 1)))).before == (4,)
        assert (await run_until_it_works(storage, admission(op(keys[1], 1)))).before == (4,)
        await storage.close()


async def test_nodes_that_are_gone_fail_at_once(short_path: Path) -> None:
    with RedisCluster(short_path, masters=1) as cluster:
        storage = RedisStorage(cluster.url, timeout_seconds=TIMEOUT_SECONDS)
        await storage.run(admission(op("a")))
    for _ in range(2):
        with pytest.raises(StorageError):
            await storage.run(admission(op("a")))
    with pytest.raises(StorageError):
        await storage.ping()
    await storage.close()


@pytest.fixture
def sentinel(short_path: Path) -> Iterator[RedisSentinel]:
    with RedisSentinel(short_path) as made:
        yield made


async def test_sentinels_name_the_master_before_and_after_a_failover(sentinel: RedisSentinel) -> None:
    storage = RedisStorage(sentinel.url, timeout_seconds=TIMEOUT_SECONDS)
    assert (await storage.run(admission(op("a", 4)))).applied
    await storage.ping()
    wait_until(lambda: follows(sentinel.master, sentinel.replica), "the replica to have everything")
    os.kill(sentinel.master.pid, signal.SIGKILL)
    assert (await run_until_it_works(storage, admission(op("a", 1)))).before == (4,)
    assert b"role:master" in sentinel.replica.command("INFO replication")
    await storage.close()


async def test_a_master_that_only_reads_is_left_for_the_one_the_sentinel_names(
    sentinel: RedisSentinel,
) -> None:
    storage = RedisStorage(sentinel.url, timeout_seconds=TIMEOUT_SECONDS)
    await storage.run(admission(op("a", 4)))
    wait_until(lambda: follows(sentinel.master, sentinel.replica), "the replica to have everything")
    # The connection that is open is to a master; it becomes a replica, and only reads.
    assert sentinel.master.command(f"REPLICAOF 127.0.0.1 {sentinel.replica.port}") == b"+OK\r\n"
    assert sentinel.replica.command("REPLICAOF NO ONE") == b"+OK\r\n"
    assert sentinel.command("SENTINEL REMOVE limits") == b"+OK\r\n"
    assert sentinel.command(f"SENTINEL MONITOR limits 127.0.0.1 {sentinel.replica.port} 1") == b"+OK\r\n"
    assert (await storage.run(admission(op("a", 1)))).before == (4,)
    await storage.close()


async def test_limits_per_second_count_in_their_own_redis(short_path: Path, redis_server: RedisServer) -> None:
    with RedisServer(short_path) as fast:
        storage = RedisStorage(redis_server.url, per_second_url=fast.unix_url, timeout_seconds=5.0)
        assert (await storage.run(admission(op("m"), op("s", seconds=1)))).applied
        assert redis_server.command("KEYS *") == b"*1\r\n$11\r\nm1699999980\r\n"
        assert fast.command("KEYS *") == b"*1\r\n$11\r\ns1700000000\r\n"
        await storage.run(admission(op("m", 9)))
        assert await storage.run(admission(op("m"), op("s", seconds=1))) == Outcome((10, 1), applied=False)
        assert fast.command("GET s1700000000") == b"$1\r\n1\r\n"
        await storage.ping()
        assert storage.counts()["redis_per_second_decisions"] >= 2
        await storage.close()


async def test_limits_that_need_only_one_of_two_do_not_wait_for_the_other(
    short_path: Path, redis_server: RedisServer
) -> None:
    with RedisServer(short_path) as fast:
        storage = RedisStorage(redis_server.url, per_second_url=fast.unix_url, timeout_seconds=5.0)
        await storage.run(admission(op("m"), op("s", seconds=1)))
        os.kill(fast.pid, signal.SIGSTOP)
        try:
            waiting = storage.start(admission(op("m"), op("s", seconds=1)))
            assert isinstance(waiting, asyncio.Future)
            assert (await storage.run(admission(op("m")))).before == (2,)
            assert not waiting.done()
        finally:
            os.kill(fast.pid, signal.SIGCONT)
        assert (await waiting).applied
        await storage.close()
