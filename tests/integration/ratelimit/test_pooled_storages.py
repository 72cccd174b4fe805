"""What pools share, alike in every storage, next to an oracle that remembers all that ever happened."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from headgate.limits.algorithms.counting import Part
from headgate.limits.algorithms.fixed_window import plan_window
from headgate.limits.algorithms.pooled_window import SPANS, Pool, PooledOp, bounds_of, plan_pooled
from headgate.limits.engine import Outcome, Transaction
from headgate.ratelimit.storages import Storage
from headgate.ratelimit.storages.redis.storage import RedisStorage
from support.redis import RedisServer

START = 1_700_000_040
CAPACITY = 1000
POOLS = (
    Pool(name="high", rank=1, minimum=30, maximum=100),
    Pool(name="low one", rank=2, minimum=0, maximum=50),
    Pool(name="low two", rank=2, minimum=10, maximum=70),
)
NAMES = (*(pool.name for pool in POOLS), "")


def op(
    pool: str,
    hits: int,
    now: int,
    *,
    key: str = "k_",
    part: Part = Part.NONE,
    lenient: bool = False,
    seconds: int = 60,
    pools: Sequence[Pool] = POOLS,
) -> PooledOp:
    bounds, own = bounds_of(pools, pool, CAPACITY)
    return plan_pooled(
        key,
        hits=hits,
        limit=CAPACITY,
        seconds=seconds,
        bounds=bounds,
        own=own,
        refuses=True,
        now=now,
        part=part,
        lenient=lenient,
        reserves=True,
    )


async def ask(storage: Storage, *ops: PooledOp, now: int, request: str = "", settles: bool = False) -> Outcome:
    return await storage.run(Transaction(ops, all_or_nothing=not settles, now=now, request=request))


@dataclass
class Oracle:
    """All that was admitted and refused, by pool and span; nothing is ever forgotten."""

    admitted: dict[tuple[str, int], int] = field(default_factory=dict)
    refused: dict[tuple[str, int], int] = field(default_factory=dict)
    newest: int = 0

    def at(self, now: int) -> int:
        self.newest = max(self.newest, now)
        return self.newest

    def _sum(self, counts: dict[tuple[str, int], int], pool: str) -> int:
        spans = range(self.newest - SPANS + 1, self.newest + 1)
        return sum(counts.get((pool, span), 0) for span in spans)

    def room(self, pool: str) -> int:
        ranks = {each.name: (each.rank, each.minimum, each.maximum) for each in POOLS} | {"": (10**9, 0, 100)}
        mine = ranks[pool]
        held = used = 0
        for other, (rank, least, most) in ranks.items():
            if other == pool:
                continue
            demand = self._sum(self.admitted, other) + self._sum(self.refused, other)
            kept = CAPACITY * least // 100
            hold = max(kept, min(CAPACITY * most // 100, demand)) if rank < mine[0] else kept
            held += max(hold, self._sum(self.admitted, other))
            used += self._sum(self.admitted, other)
        own = self._sum(self.admitted, pool)
        free = max(CAPACITY - own - held, CAPACITY * mine[1] // 100 - own)
        return min(free, CAPACITY * mine[2] // 100 - own, CAPACITY - own - used)

    def add(self, pool: str, hits: int, *, span: int | None = None) -> None:
        key = (pool, self.newest if span is None else span)
        self.admitted[key] = max(self.admitted.get(key, 0) + hits, 0)

    def refuse(self, pool: str, hits: int) -> None:
        self.refused[pool, self.newest] = self.refused.get((pool, self.newest), 0) + hits


@pytest.mark.parametrize("seed", range(4))
async def test_agrees_with_an_oracle(storage: Storage, seed: int) -> None:
    """Plain hits, checks and refunds, at clocks that are apart by seconds."""
    chosen, oracle = random.Random(seed), Oracle()
    now = START
    for _ in range(600):
        now += chosen.choice((0, 0, 0, 1, 1, 5, 40))
        asked_at = now + chosen.choice((0, 0, 0, -3, 4))
        pool, hits = chosen.choice(NAMES), chosen.choice((0, 1, 20, 90, 300, -15))
        outcome = await ask(storage, op(pool, hits, asked_at), now=asked_at)
        newest = oracle.newest
        oracle.at(asked_at)
        room = oracle.room(pool)
        if not hits:
            oracle.newest = newest  # a check changes nothing
        fits = room > 0 if hits == 0 else hits < 0 or hits <= room
        assert outcome == Outcome((CAPACITY - room,), fits)
        if fits:
            oracle.add(pool, hits)
        else:
            oracle.refuse(pool, hits)


@pytest.mark.parametrize("lenient", [False, True])
async def test_reservations_agree_with_an_oracle(storage: Storage, *, lenient: bool) -> None:
    chosen, oracle = random.Random(7), Oracle()
    now, number = START, 0
    running: list[tuple[str, str, int, int, int]] = []
    for _ in range(500):
        now += chosen.choice((0, 0, 1, 2, 20))
        oracle.at(now)
        if running and chosen.random() < 0.5:
            name, pool, estimate, reserved, span = running.pop(chosen.randrange(len(running)))
            used = chosen.randint(0, estimate * 3 // 2)
            await ask(storage, op(pool, used, now, part=Part.SETTLE), now=now, request=name, settles=True)
            if span > now - SPANS:
                oracle.add(pool, used - reserved, span=span)
            else:
                oracle.add(pool, max(used - reserved, 0))
            continue
        number += 1
        name, pool, estimate = f"hold{number}", chosen.choice(NAMES), chosen.choice((1, 50, 200))
        asked = op(pool, estimate, now, part=Part.RESERVE, lenient=lenient)
        room = oracle.room(pool)
        fits = room > 0 if lenient else estimate <= room
        assert await ask(storage, asked, now=now, request=name) == Outcome((CAPACITY - room,), fits)
        if fits:
            assert (await ask(storage, asked, now=now, request=name)).applied  # it came twice
            reserved = min(estimate, room)
            oracle.add(pool, reserved)
            running.append((name, pool, estimate, reserved, now))
        else:
            oracle.refuse(pool, estimate)


async def test_a_refusal_by_another_limit_is_no_demand_of_the_pool(storage: Storage) -> None:
    full = plan_window("full_", hits=1, limit=0, seconds=60, refuses=True, now=START)
    both = Transaction((op("high", 900, START), full), all_or_nothing=True, now=START)
    for _ in range(3):
        assert not (await storage.run(both)).applied
    assert (await ask(storage, op("low two", 600, START), now=START)).before == (300,)


async def test_one_request_counts_twice_in_a_pool(storage: Storage) -> None:
    twice = (op("high", 400, START), op("high", 400, START))
    assert await ask(storage, *twice, now=START) == Outcome((100, 500), applied=True)
    assert await ask(storage, *twice, now=START) == Outcome((900, 1300), applied=False)
    assert (await ask(storage, op("high", 0, START), now=START)).before == (900,)


async def test_a_clock_that_was_hours_ahead_is_believed_no_longer(storage: Storage) -> None:
    assert (await ask(storage, op("high", 900, START + 7200), now=START + 7200)).applied
    assert await ask(storage, op("high", 900, START), now=START) == Outcome((100,), applied=True)
    assert not (await ask(storage, op("high", 900, START), now=START)).applied


async def test_everything_is_over_a_window_later(storage: Storage) -> None:
    await ask(storage, op("high", 900, START), now=START)
    assert (await ask(storage, op("high", 0, START + 60), now=START + 60)).before == (1000,)
    assert (await ask(storage, op("high", 0, START + 61), now=START + 61)).before == (100,)


async def test_what_a_pool_used_is_over_though_the_pool_was_gone_meanwhile(storage: Storage) -> None:
    """Its limit was configured without it, and then with it again; or two services have different configurations."""
    without = tuple(pool for pool in POOLS if pool.name != "low one")
    await ask(storage, op("low one", 300, START), now=START)
    for now in (START + 30, START + 62, START + 95):
        assert (await ask(storage, op("high", 5, now, pools=without), now=now)).applied
    now = START + 100
    assert await ask(storage, op("high", 1, now), now=now) == Outcome((10 + 100,), applied=True)
    assert (await ask(storage, op("low one", 0, now), now=now)).before == (CAPACITY - 500,)


async def test_pools_that_come_and_go_agree_with_an_oracle(storage: Storage) -> None:
    """Each operation knows some of the pools; what counts is what its own have used."""
    chosen, used = random.Random(3), dict[tuple[str, int], int]()
    now = START
    for _ in range(400):
        now += chosen.choice((0, 0, 1, 7, 40))
        some = tuple(Pool(name=name) for name in chosen.sample(("a", "b", "c:1", "9:d"), 2))
        pool = chosen.choice(some).name
        outcome = await ask(storage, op(pool, chosen.choice((0, 3, 8)), now, pools=some, part=Part.NONE), now=now)
        known = {each.name for each in some}
        assert outcome.before == (
            sum(hits for (name, span), hits in used.items() if name in known and span > now - SPANS),
        )
        if outcome.applied:
            after = await ask(storage, op(pool, 0, now, pools=some), now=now)
            used[pool, now] = used.get((pool, now), 0) + after.before[0] - outcome.before[0]
    assert used


async def test_longer_windows_slide_by_longer_steps(storage: Storage) -> None:
    await ask(storage, op("high", 900, START, seconds=3600), now=START)
    assert (await ask(storage, op("high", 0, START + 3599, seconds=3600), now=START + 3599)).before == (1000,)
    assert (await ask(storage, op("high", 0, START + 3700, seconds=3600), now=START + 3700)).before == (100,)


@pytest.mark.redis
async def test_one_round_trip_and_no_key_that_stays(redis_server: RedisServer) -> None:
    storage = RedisStorage(redis_server.url, timeout_seconds=5.0)
    try:
        asked = (ask(storage, op(name, 1, START), now=START, request=f"h{i}") for i, name in enumerate(NAMES * 20))
        await asyncio.gather(*asked)
        assert storage.counts()["redis_round_trips"] == 1
    finally:
        await storage.close()


@pytest.mark.redis
async def test_what_is_remembered_ends(redis_server: RedisServer) -> None:
    """Nobody else ends these keys: what is reserved for an hour, what is settled for a minute, shares for a window."""
    storage = RedisStorage(redis_server.url, timeout_seconds=5.0)
    try:
        await ask(storage, op("high", 5, START, part=Part.RESERVE), now=START, request="r")
        assert life(redis_server, "r") == pytest.approx(3600, abs=30)
        assert life(redis_server, "k_pools_60_") == pytest.approx(61, abs=30)
        await ask(storage, op("high", 5, START, part=Part.SETTLE), now=START, request="r", settles=True)
        assert life(redis_server, "r") == pytest.approx(60, abs=30)
    finally:
        await storage.close()


def life(server: RedisServer, key: str) -> int:
    return int(server.command(f"TTL {key}").removeprefix(b":"))
