"""Amounts beyond 32 bits are counted to the last one, by every algorithm and in every storage."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import count

import pytest
from headgate.limits.algorithms import Op
from headgate.limits.algorithms.counting import Part, counter_after, over_limit
from headgate.limits.algorithms.fixed_window import plan_window
from headgate.limits.algorithms.pooled_window import Pool, bounds_of, plan_pooled
from headgate.limits.algorithms.token_bucket import HITS_PER_SECOND_MAX, plan_bucket
from headgate.limits.engine import Transaction
from headgate.limits.units import COUNT_MAX
from headgate.ratelimit.storages import Storage
from headgate.ratelimit.storages.memory import MemoryStorage
from headgate.ratelimit.storages.redis.storage import RedisStorage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.redis import RedisServer

NOW = 1_700_000_000
DAY = 86_400
YEAR = 365 * DAY
LARGE = 2**32
NAMES = count()
"""Counters of one example are not those of another."""

sizes = st.one_of(st.integers(LARGE, COUNT_MAX), st.integers(0, 9).map(lambda less: COUNT_MAX - less))
shares = st.lists(st.tuples(st.sampled_from((0.0, 0.001, 0.3, 0.5, 1.0)), st.integers(-3, 3)), min_size=1, max_size=8)
Step = tuple[float, int]


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Empty for memory."""
    if request.param == "memory":
        yield ""
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    yield server.url


def _hits(amount: int, steps: Sequence[Step]) -> list[int]:
    return [max(min(int(amount * share) + more, COUNT_MAX), 0) for share, more in steps]


async def _walk(url: str, ops: Sequence[Op]) -> None:
    """Each is counted where it fits, and what is told is what plain numbers say."""
    storage: Storage = RedisStorage(url, timeout_seconds=5.0) if url else MemoryStorage()
    standing = 0
    for op in ops:
        outcome = await storage.run(Transaction((op,), all_or_nothing=True, now=NOW))
        assert outcome.before == (standing,)
        assert outcome.applied is not over_limit(op, standing)
        standing = counter_after(op, standing) if outcome.applied else standing
    await storage.close()


held = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@held
@given(sizes, shares)
def test_windows(url: str, amount: int, steps: Sequence[Step]) -> None:
    for slides in (False, True):
        stem = f"w{next(NAMES)}_"
        asyncio.run(
            _walk(
                url,
                [
                    plan_window(stem, hits=hits, limit=amount, seconds=DAY, refuses=True, now=NOW, slides=slides)
                    for hits in _hits(amount, steps)
                ],
            )
        )


@held
@given(st.integers(LARGE, HITS_PER_SECOND_MAX * DAY), shares)
def test_buckets(url: str, amount: int, steps: Sequence[Step]) -> None:
    stem = f"b{next(NAMES)}_"
    ops = [
        plan_bucket(stem, hits=hits, amount=amount, seconds=DAY, burst=amount, refuses=True, now=NOW)
        for hits in _hits(amount, steps)
    ]
    asyncio.run(_walk(url, ops))


@held
@given(sizes, shares)
def test_pools(url: str, amount: int, steps: Sequence[Step]) -> None:
    stem = f"p{next(NAMES)}_"
    bounds, own = bounds_of((Pool(name="all"),), "all", amount)
    ops = [
        plan_pooled(stem, hits=hits, limit=amount, seconds=YEAR, bounds=bounds, own=own, refuses=True, now=NOW)
        for hits in _hits(amount, steps)
    ]
    asyncio.run(_walk(url, ops))


@held
@given(sizes, st.floats(0, 1), st.floats(0, 1))
def test_reservations(url: str, amount: int, estimated: float, used: float) -> None:
    stem, request = f"r{next(NAMES)}_", f"request-{next(NAMES)}"
    estimate, real = max(int(amount * estimated), 1), int(amount * used)

    def op(hits: int, part: Part) -> Op:
        return plan_window(stem, hits=hits, limit=amount, seconds=DAY, refuses=True, now=NOW, part=part)

    async def run() -> None:
        storage: Storage = RedisStorage(url, timeout_seconds=5.0) if url else MemoryStorage()
        admitted = await storage.run(Transaction((op(estimate, Part.RESERVE),), True, NOW, request))
        assert (admitted.before, admitted.applied) == ((0,), True)
        looked = await storage.run(Transaction((op(0, Part.NONE),), False, NOW))
        assert looked.before == (estimate,)
        await storage.run(Transaction((op(real, Part.SETTLE),), False, NOW, request))
        looked = await storage.run(Transaction((op(0, Part.NONE),), False, NOW))
        assert looked.before == (real,)
        await storage.close()

    asyncio.run(run())
