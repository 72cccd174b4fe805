"""What every storage must do alike, held to a naive limiter; Redis is a real one."""

import asyncio
import random

import msgspec
import pytest
from headgate.limits.algorithms.fixed_window import FixedWindowOp, plan_window
from headgate.limits.engine import Outcome, Transaction
from headgate.limits.units import COUNT_MAX
from headgate.ratelimit.storages import Storage, StorageError
from support.naive_limiter import Asked, Limit, NaiveLimiter
from support.waiting import BUSY_SECONDS

NOW = 1_700_000_000


def op(key: str, hits: int = 1, *, limit: int = 10, refuses: bool = True, seconds: int = 60) -> FixedWindowOp:
    return plan_window(key, hits=hits, limit=limit, seconds=seconds, refuses=refuses, now=NOW)


def admission(*ops: FixedWindowOp) -> Transaction:
    return Transaction(ops, all_or_nothing=True, now=NOW)


def settlement(*ops: FixedWindowOp) -> Transaction:
    return Transaction(ops, all_or_nothing=False, now=NOW)


async def counter(storage: Storage, key: str) -> int:
    outcome = await storage.run(settlement(op(key, 0)))
    return outcome.before[0]


async def test_counts_up_to_the_limit_and_no_further(storage: Storage) -> None:
    outcomes = [await storage.run(admission(op("a", 4))) for _ in range(4)]
    assert outcomes == [
        Outcome((0,), applied=True),
        Outcome((4,), applied=True),
        Outcome((8,), applied=False),
        Outcome((8,), applied=False),
    ]


async def test_a_check_counts_nothing_and_refuses_at_the_limit(storage: Storage) -> None:
    assert await storage.run(admission(op("a", 0))) == Outcome((0,), applied=True)
    await storage.run(admission(op("a", 10)))
    assert await storage.run(admission(op("a", 0))) == Outcome((10,), applied=False)


async def test_nothing_is_counted_when_any_operation_refuses(storage: Storage) -> None:
    await storage.run(admission(op("full", 10)))
    for ops in ((op("a"), op("full"), op("b")), (op("full"), op("a"), op("b")), (op("a"), op("b"), op("full", 0))):
        outcome = await storage.run(admission(*ops))
        assert not outcome.applied
    assert [await counter(storage, key) for key in ("a", "b", "full")] == [0, 0, 10]


async def test_a_settlement_counts_over_the_limit(storage: Storage) -> None:
    await storage.run(admission(op("a", 9)))
    assert await storage.run(settlement(op("a", 50), op("b", 3))) == Outcome((9, 0), applied=True)
    assert [await counter(storage, key) for key in ("a", "b")] == [59, 3]
    assert await storage.run(admission(op("a", 0))) == Outcome((59,), applied=False)


async def test_shadow_operations_count_but_do_not_refuse(storage: Storage) -> None:
    shadow = op("shadow", 8, refuses=False)
    assert (await storage.run(admission(shadow, op("a")))).applied
    assert await storage.run(admission(shadow, op("a"))) == Outcome((8, 1), applied=True)
    assert [await counter(storage, key) for key in ("shadow", "a")] == [16, 2]


async def test_quotas_refuse_together(storage: Storage) -> None:
    one, two = (
        msgspec.structs.replace(op(key, limit=limit, refuses=False), quota=True)
        for key, limit in (("one", 1), ("two", 3))
    )
    plain = op("plain", limit=9)
    outcomes = [await storage.run(admission(one, plain, two)) for _ in range(5)]
    assert [outcome.applied for outcome in outcomes] == [True, True, True, False, False]
    assert [await counter(storage, key) for key in ("one", "plain", "two")] == [3, 3, 3]
    assert (await storage.run(admission(one, plain, op("free")))).applied is False, "one quota alone refuses"
    assert (await storage.run(settlement(one, two))).applied
    assert (await storage.run(admission(msgspec.structs.replace(one, hits=-5), two))).applied, (
        "what gives back is never over"
    )


async def test_refunds_stop_at_zero(storage: Storage) -> None:
    await storage.run(admission(op("a", 10)))
    assert await storage.run(settlement(op("a", -3))) == Outcome((10,), applied=True)
    assert await counter(storage, "a") == 7
    await storage.run(settlement(op("a", -30), op("never", -1)))
    assert [await counter(storage, key) for key in ("a", "never")] == [0, 0]
    assert (await storage.run(admission(op("a", 10)))).applied


async def test_operations_on_one_counter_add_up(storage: Storage) -> None:
    assert await storage.run(admission(op("a", 6), op("a", 4))) == Outcome((0, 6), applied=True)
    assert await storage.run(admission(op("b", 6), op("b", 5))) == Outcome((0, 6), applied=False)
    assert await storage.run(admission(op("b", 6), op("b", 0, limit=6))) == Outcome((0, 6), applied=False)
    assert await counter(storage, "b") == 0


async def test_windows_of_one_descriptor_are_apart(storage: Storage) -> None:
    minute, hour = op("a", 5), op("a", 2, seconds=3600)
    assert minute.key != hour.key
    await storage.run(admission(minute, hour))
    assert (await storage.run(admission(minute, hour))).before == (5, 2)


async def test_counts_are_exact_beyond_32_bits(storage: Storage) -> None:
    big = COUNT_MAX - 1
    assert (await storage.run(admission(op("a", big, limit=COUNT_MAX)))).applied
    assert (await storage.run(admission(op("a", 1, limit=COUNT_MAX)))).applied
    assert await storage.run(admission(op("a", 1, limit=COUNT_MAX))) == Outcome((COUNT_MAX,), applied=False)
    for _ in range(3):
        await storage.run(settlement(op("a", COUNT_MAX)))
    assert await counter(storage, "a") == 2**53


async def test_keys_may_hold_any_text(storage: Storage) -> None:
    keys = ["späť \N{GRINNING FACE}", "a b\r\nc", "*", "{x}", "0", "k" * 5000]
    await storage.run(admission(*(op(key, 3) for key in keys)))
    assert [await counter(storage, key) for key in keys] == [3] * len(keys)


async def test_concurrent_admissions_never_pass_the_limit(storage: Storage) -> None:
    shared = op("shared", 3, limit=100)
    outcomes = await asyncio.gather(*(storage.run(admission(op(f"own{i}"), shared)) for i in range(200)))
    assert sum(outcome.applied for outcome in outcomes) == 33
    assert await counter(storage, "shared") == 99
    own = [await counter(storage, f"own{i}") for i in range(200)]
    assert own == [int(outcome.applied) for outcome in outcomes]


LIMITS: dict[str, Limit] = {"a": (10, 60, False), "b": (25, 3600, False), "s": (5, 60, True), "z": (0, 60, False)}


@pytest.mark.parametrize("seed", range(5))
async def test_agrees_with_the_naive_limiter(ordered_storage: Storage, seed: int) -> None:
    """Requests come in bursts that run concurrently, so that Redis runs them as batches, in their order."""
    dice = random.Random(seed)
    naive = NaiveLimiter(LIMITS)
    now = NOW
    for _ in range(40):
        now += dice.choice([0, 0, 1, 20, 600])
        burst: list[tuple[list[Asked], bool]] = []
        for _ in range(dice.randrange(1, 20)):
            asked = [(dice.choice("absz"), dice.choice("xy"), dice.randint(-6, 9)) for _ in range(dice.randint(1, 4))]
            burst.append((asked, dice.random() < 0.3))
        outcomes = await asyncio.gather(*(ordered_storage.run(transaction(*each, now=now)) for each in burst))
        for (asked, is_settlement), outcome in zip(burst, outcomes, strict=True):
            over = naive.ask(asked, settlement=is_settlement, now=now)
            refuses = any(is_over and not LIMITS[key][2] for is_over, (key, _, _) in zip(over, asked, strict=True))
            assert outcome.applied == (is_settlement or not refuses)


def transaction(asked: list[Asked], is_settlement: bool, *, now: int) -> Transaction:
    ops: list[FixedWindowOp] = []
    for key, value, hits in asked:
        amount, seconds, shadow = LIMITS[key]
        stem = f"{key}_{value}_"
        ops.append(plan_window(stem, hits=hits, limit=amount, seconds=seconds, refuses=not shadow, now=now))
    return Transaction(tuple(ops), all_or_nothing=not is_settlement, now=now)


async def test_pings(storage: Storage) -> None:
    await storage.ping()


async def test_reports_figures(storage: Storage) -> None:
    await storage.run(admission(op("a")))
    assert any(value >= 1 for value in storage.counts().values())


async def test_a_closed_storage_does_not_hang(storage: Storage) -> None:
    running = [asyncio.create_task(storage.run(admission(op(f"k{i}")))) for i in range(20)]
    await asyncio.sleep(0)
    await storage.close()
    async with asyncio.timeout(BUSY_SECONDS):
        results = await asyncio.gather(*running, return_exceptions=True)
    assert all(isinstance(result, (Outcome, StorageError)) for result in results)
