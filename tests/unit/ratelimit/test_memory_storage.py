"""What only the memory storage does: forget whole windows, and hold no more than it may."""

import pytest
from headgate.limits.algorithms.counting import Part
from headgate.limits.algorithms.fixed_window import plan_window
from headgate.limits.engine import Outcome, Transaction
from headgate.ratelimit.storages import StorageError
from headgate.ratelimit.storages.memory import MemoryStorage
from headgate.ratelimit.storages.memory_counters import GRACE_SECONDS


def transaction(*keys: str, hits: int = 1, now: int = 0, limit: int = 100) -> Transaction:
    ops = tuple(plan_window(key, hits=hits, limit=limit, seconds=60, refuses=True, now=now) for key in keys)
    return Transaction(ops, all_or_nothing=True, now=now)


async def test_refuses_a_new_counter_when_full_and_keeps_the_live_ones() -> None:
    storage = MemoryStorage(keys_max=2)
    await storage.run(transaction("a", "b"))
    with pytest.raises(StorageError, match="2 counters are held"):
        await storage.run(transaction("a", "c"))
    assert await storage.run(transaction("a", "b")) == Outcome((1, 1), applied=True)


async def test_a_full_storage_still_answers_what_needs_no_new_counter() -> None:
    storage = MemoryStorage(keys_max=1)
    await storage.run(transaction("a"))
    assert await storage.run(transaction("b", hits=0)) == Outcome((0,), applied=True)
    assert await storage.run(transaction("b", hits=-5)) == Outcome((0,), applied=True)
    assert await storage.run(transaction("b", hits=101)) == Outcome((0,), applied=False)


async def test_makes_room_some_seconds_after_a_window_ends() -> None:
    storage = MemoryStorage(keys_max=1)
    await storage.run(transaction("a", now=59))
    with pytest.raises(StorageError):
        await storage.run(transaction("b", now=59 + GRACE_SECONDS))
    assert await storage.run(transaction("b", now=60 + GRACE_SECONDS)) == Outcome((0,), applied=True)
    with pytest.raises(StorageError):
        await storage.run(transaction("c", now=60 + GRACE_SECONDS))


async def test_a_clock_that_steps_back_forgets_nothing() -> None:
    storage = MemoryStorage()
    await storage.run(transaction("a", now=59))
    await storage.run(transaction("a", now=60))
    assert await storage.run(transaction("a", now=58)) == Outcome((1,), applied=True)


async def test_the_oldest_reservation_stays_a_charge_when_there_are_too_many() -> None:
    storage = MemoryStorage(holds_max=2)

    def named(name: str, hits: int, part: Part, *, admission: bool) -> Transaction:
        op = plan_window("k_", hits=hits, limit=100, seconds=60, refuses=True, now=0, part=part)
        return Transaction((op,), all_or_nothing=admission, now=0, request=name)

    for name in "abc":
        await storage.run(named(name, 10, Part.RESERVE, admission=True))
    assert storage.counts()["memory_holds_dropped"] == 1
    for name in "abc":
        await storage.run(named(name, 1, Part.SETTLE, admission=False))
    outcome = await storage.run(named("", 0, Part.NONE, admission=True))
    assert outcome.before == (10 + 1 + 1 + 1,)


async def test_checks_and_refunds_of_unknown_counters_hold_nothing() -> None:
    storage = MemoryStorage(keys_max=1)
    for index in range(10):
        await storage.run(transaction(f"check{index}", hits=0))
        await storage.run(transaction(f"refund{index}", hits=-3))
    assert await storage.run(transaction("a")) == Outcome((0,), applied=True)


async def test_a_counter_named_twice_takes_one_place() -> None:
    storage = MemoryStorage(keys_max=2)
    assert await storage.run(transaction("a", "a")) == Outcome((0, 1), applied=True)
    assert await storage.run(transaction("b")) == Outcome((0,), applied=True)


async def test_a_clock_that_steps_back_does_not_disturb() -> None:
    storage = MemoryStorage()
    await storage.run(transaction("a", now=120))
    assert await storage.run(transaction("a", now=60)) == Outcome((0,), applied=True)
    assert await storage.run(transaction("a", now=120)) == Outcome((1,), applied=True)
