"""Transactions with alternatives: every storage applies the first that has room, in one step, and tells of all."""

import asyncio
import random

import pytest
from headgate.limits.algorithms.counting import Part
from headgate.limits.algorithms.fixed_window import FixedWindowOp, plan_window
from headgate.limits.engine import Outcome, Transaction
from headgate.ratelimit.storages import Storage
from headgate.ratelimit.storages.memory import MemoryStorage
from headgate.ratelimit.storages.redis.storage import RedisStorage
from support.redis import RedisServer

NOW = 1_700_000_000


def op(key: str, hits: int = 1, *, limit: int = 10, now: int = NOW, part: Part = Part.NONE) -> FixedWindowOp:
    return plan_window(key, hits=hits, limit=limit, seconds=60, refuses=True, now=now, part=part, reserves=True)


def choice(common: tuple[FixedWindowOp, ...], *alternatives: tuple[FixedWindowOp, ...], name: str = "") -> Transaction:
    return Transaction(common, True, NOW, name, alternatives)


async def counter(storage: Storage, key: str, now: int = NOW) -> int:
    return (await storage.run(Transaction((op(key, 0, now=now),), False, now))).before[0]


async def test_the_first_with_room_is_applied(storage: Storage) -> None:
    asked = choice((op("all", limit=100),), (op("a", 6),), (op("b", 6), op("c", 6)), (op("d", 6),))
    outcomes = [await storage.run(asked) for _ in range(4)]
    assert [(each.applied, each.chosen) for each in outcomes] == [(True, 0), (True, 1), (True, 2), (False, 0)]
    assert [each.before for each in outcomes] == [(0,), (1,), (2,), (3,)]
    assert outcomes[2].alternatives == ((6,), (6, 6), (0,))
    assert [await counter(storage, key) for key in ("all", "a", "b", "c", "d")] == [3, 6, 6, 6, 6]


async def test_an_alternative_without_limits_always_has_room(storage: Storage) -> None:
    outcomes = [await storage.run(choice((), (op("a", 10),), ())) for _ in range(3)]
    assert [(each.applied, each.chosen) for each in outcomes] == [(True, 0), (True, 1), (True, 1)]


async def test_what_all_have_in_common_refuses_all(storage: Storage) -> None:
    await storage.run(Transaction((op("all", 10),), False, NOW))
    outcome = await storage.run(choice((op("all"),), (op("a"),), ()))
    assert outcome == Outcome((10,), applied=False, chosen=0, alternatives=((0,), ()))
    assert await counter(storage, "a") == 0


async def test_only_what_was_chosen_is_reserved(storage: Storage) -> None:
    ops = tuple((op(key, 6, part=Part.RESERVE),) for key in ("a", "b"))
    for name in ("one", "two"):
        assert (await storage.run(choice((), *ops, name=name))).applied
    settled = (op("a", 0, part=Part.SETTLE), op("b", 2, part=Part.SETTLE))
    await storage.run(Transaction(settled, False, NOW, "two"))
    assert [await counter(storage, key) for key in ("a", "b")] == [6, 2]
    await storage.run(Transaction(settled, False, NOW, "one"))
    assert [await counter(storage, key) for key in ("a", "b")] == [0, 4]


@pytest.mark.redis
async def test_storages_agree_on_whatever_is_asked(redis_server: RedisServer) -> None:
    """Batched in Redis, by turns with plain transactions; no counter ever goes above its limit."""
    seeded, memory, server = random.Random(3), MemoryStorage(), RedisStorage(redis_server.url, timeout_seconds=5.0)
    keys = "abcdef"

    def some(most: int) -> tuple[FixedWindowOp, ...]:
        part = Part.RESERVE if named else Part.NONE
        return tuple(
            op(seeded.choice(keys), seeded.randint(0, 7), part=part, now=now) for _ in range(seeded.randint(0, most))
        )

    for round_number in range(300):
        now = NOW + 60 * (round_number // 20)
        batch: list[Transaction] = []
        for number in range(seeded.randint(1, 8)):
            named = f"{round_number}/{number}" if seeded.random() < 0.5 else ""
            alternatives = tuple(some(2) for _ in range(seeded.randint(0, 4)))
            batch.append(Transaction(some(2), True, now, named, alternatives))
        expected = [memory.start(each) for each in batch]
        found = await asyncio.gather(*(server.run(each) for each in batch))
        assert [(each.applied, each.chosen) for each in found] == [(each.applied, each.chosen) for each in expected]
        for transaction, ours, theirs in zip(batch, expected, found, strict=True):
            # What an alternative after the chosen one is told is informative only: nothing of it was applied.
            told = ours.chosen + 1 if ours.applied else len(transaction.alternatives)
            assert ours.before == theirs.before
            assert ours.alternatives[:told] == theirs.alternatives[:told]
        for key in keys if round_number % 10 == 0 else "":
            assert await counter(memory, key, now) == await counter(server, key, now) <= 10
    await server.close()
