"""What goes wrong with Redis costs the calls that it concerns, in a bounded time, and counters are right afterwards."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from headgate.limits.algorithms.fixed_window import FixedWindowOp, plan_window
from headgate.limits.engine import Transaction
from headgate.ratelimit.storages import StorageError
from headgate.ratelimit.storages.memory import MemoryStorage
from headgate.ratelimit.storages.redis.storage import RedisStorage
from support.redis import RedisServer
from support.waiting import BUSY_SECONDS

pytestmark = pytest.mark.redis

NOW = 1_700_000_000
TIMEOUT_SECONDS = 5.0
COMMANDS = 8
PAUSE_SECONDS = 10

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def op(hits: int = 1, *, key: str = "k_", now: int = NOW, limit: int = 1000) -> FixedWindowOp:
    return plan_window(key, hits=hits, limit=limit, seconds=60, refuses=True, now=now)


def admission(*ops: FixedWindowOp, now: int = NOW) -> Transaction:
    return Transaction(ops, all_or_nothing=True, now=now)


@asynccontextmanager
async def instead_of_redis(path: Path, serve: Serve) -> AsyncGenerator[str]:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(connected, path)
    try:
        yield f"unix://{path}"
    finally:
        server.close()


class FailingRedis:
    """A Redis whose `nth` command fails: its connection ends, before it is run or before it is answered."""

    def __init__(self, redis: RedisServer, nth: int, *, runs: bool) -> None:
        self._redis = redis
        self._nth = nth
        self._runs = runs
        self.commands = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        their_reader, their_writer = await asyncio.open_unix_connection(self._redis.socket_path)
        try:
            while command := await reader.read(1 << 20):
                self.commands += 1
                fails = self.commands == self._nth
                reply = b""
                if not fails or self._runs:
                    their_writer.write(command)
                    reply = await their_reader.read(1 << 20)
                if fails:
                    return
                writer.write(reply)
        finally:
            their_writer.close()


@pytest.mark.parametrize("runs", [False, True], ids=["never run", "never answered"])
@pytest.mark.parametrize("nth", range(1, COMMANDS + 1))
async def test_the_nth_command_fails_alone(
    redis_server: RedisServer, short_path: Path, nth: int, *, runs: bool
) -> None:
    # The script is known, so that each decision is one command.
    warm = RedisStorage(redis_server.unix_url, timeout_seconds=TIMEOUT_SECONDS)
    await warm.run(admission(op(key="warm_")))
    async with instead_of_redis(short_path / "p.sock", FailingRedis(redis_server, nth, runs=runs)) as url:
        storage = RedisStorage(url, timeout_seconds=TIMEOUT_SECONDS)
        granted: list[bool] = []
        for _ in range(COMMANDS):
            try:
                granted.append((await storage.run(admission(op()))).applied)
            except StorageError:
                granted.append(False)
        await storage.close()
    assert granted == [number != nth for number in range(1, COMMANDS + 1)]
    # What may have run is not asked again: it is counted once, or not at all.
    assert (await warm.run(admission(op(0)))).before == (COMMANDS - 1 + runs,)
    await warm.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b":1\r\n",
        b"*1\r\n$1\r\nx\r\n",
        b"*3\r\n:1\r\n:2\r\n:3\r\n",
        b"-ERR no\r\n",
        b"$-1\r\n",
        b"",
    ],
)
async def test_garbage_fails_the_call_and_nothing_else(short_path: Path, answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 20):
            if not answer:
                return
            writer.write(answer)

    async with instead_of_redis(short_path / "g.sock", serve) as url:
        storage = RedisStorage(url, timeout_seconds=TIMEOUT_SECONDS)
        for _ in range(3):
            with pytest.raises(StorageError) as failed:
                await storage.run(admission(op()))
            assert "within" not in str(failed.value)  # it did not wait until the time was over
        await storage.close()


async def test_a_redis_that_says_nothing_fails_calls_in_time(short_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        while await reader.read(1 << 20):
            pass

    async with instead_of_redis(short_path / "s.sock", serve) as url:
        storage = RedisStorage(url, timeout_seconds=0.2)
        waves = await asyncio.gather(*(storage.run(admission(op())) for _ in range(50)), return_exceptions=True)
        assert all(isinstance(each, StorageError) for each in waves)
        await storage.close()


async def test_a_full_redis_refuses_to_count_and_still_tells(short_path: Path) -> None:
    with RedisServer(short_path, "--maxmemory-policy", "noeviction") as redis:
        storage = RedisStorage(redis.unix_url, timeout_seconds=TIMEOUT_SECONDS)
        await storage.run(admission(op(7)))
        assert redis.command("CONFIG SET maxmemory 1") == b"+OK\r\n"
        with pytest.raises(StorageError, match="OOM"):
            await storage.run(admission(op(2), op(2, key="other_")))
        assert (await storage.run(admission(op(0), op(0, key="other_")))).before == (7, 0)
        assert redis.command("CONFIG SET maxmemory 0") == b"+OK\r\n"
        assert (await storage.run(admission(op(2), op(2, key="other_")))).before == (7, 0)
        await storage.close()


@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_a_clock_that_jumps_gives_nobody_a_window_again(redis_server: RedisServer, kind: str) -> None:
    storage = MemoryStorage() if kind == "memory" else RedisStorage(redis_server.url, timeout_seconds=TIMEOUT_SECONDS)
    end = op().window_end
    granted: dict[int, int] = {}
    for now in (end - 1, end + 2, end - 3, end + 5, end - 1, end + 9, end - 1):
        for _ in range(4):
            asked = op(now=now, limit=6)
            if (await storage.run(admission(asked, now=now))).applied:
                granted[asked.window_end] = granted.get(asked.window_end, 0) + 1
    assert granted == {end: 6, end + 60: 6}
    await storage.close()


async def test_two_services_share_a_redis_exactly(redis_server: RedisServer) -> None:
    storages = [RedisStorage(redis_server.url, timeout_seconds=TIMEOUT_SECONDS) for _ in range(2)]
    asked = (storages[i % 2].run(admission(op(limit=50), op(key=f"own{i}_"))) for i in range(200))
    outcomes = await asyncio.gather(*asked)
    assert sum(each.applied for each in outcomes) == 50
    own = [(await storages[0].run(admission(op(0, key=f"own{i}_")))).before[0] for i in range(200)]
    assert own == [int(each.applied) for each in outcomes]
    for storage in storages:
        await storage.close()


async def test_while_redis_pauses_for_ten_seconds_each_call_fails_in_time(short_path: Path) -> None:
    """With the default timeouts. After each wave nothing is left of it."""
    with RedisServer(short_path) as redis:
        storage = RedisStorage(redis.unix_url)
        await storage.run(admission(op()))
        os.kill(redis.pid, signal.SIGSTOP)
        asked, paused_at = 0, time.monotonic()
        while time.monotonic() - paused_at < PAUSE_SECONDS:
            wave = await asyncio.gather(*(storage.run(admission(op())) for _ in range(40)), return_exceptions=True)
            asked += len(wave)
            for each in wave:
                assert isinstance(each, StorageError)
                assert "within 0.5 s" in str(each)
            assert storage.counts()["redis_waiting"] == 0
        os.kill(redis.pid, signal.SIGCONT)
        # What Redis had been sent, it may run now: once, and no more.
        before = (await storage.run(admission(op(0)))).before[0]
        assert 1 <= before <= 1 + asked
        assert (await storage.run(admission(op(0)))).before == (before,)
        fits = 1000 - before
        outcomes = [(await storage.run(admission(op(hits)))).applied for hits in (fits + 1, fits, 1)]
        assert outcomes == [False, True, False]
        await storage.close()


async def test_a_connection_that_could_not_be_followed_is_closed(short_path: Path) -> None:
    gone = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        while await reader.read(1 << 16):
            pass
        gone.set()

    async with instead_of_redis(short_path / "redis.sock", mute) as url:
        storage = RedisStorage(url, timeout_seconds=0.1, local_cache_bytes=100_000)
        with pytest.raises(StorageError):
            await storage.run(admission(op()))
        async with asyncio.timeout(BUSY_SECONDS):
            await gone.wait()
        await storage.close()
