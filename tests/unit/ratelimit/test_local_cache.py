"""What is remembered of counters that are used up: a number, for plain windows, within a bound of bytes."""

import msgspec
import pytest
from headgate.limits.algorithms import Op
from headgate.limits.algorithms.counting import Part
from headgate.limits.algorithms.fixed_window import FixedWindowOp, plan_window
from headgate.limits.algorithms.pooled_window import bounds_of, plan_pooled
from headgate.limits.algorithms.token_bucket import plan_bucket
from headgate.limits.engine import Outcome, Transaction
from headgate.ratelimit.storages.redis.local_cache import ENTRY_BYTES, SECONDS, LocalCache

NOW = 1_700_000_000


def op(key: str, hits: int = 1, *, limit: int = 10, refuses: bool = True) -> FixedWindowOp:
    return plan_window(key, hits=hits, limit=limit, seconds=3600, refuses=refuses, now=NOW)


def asked(*ops: Op, now: int = NOW) -> Transaction:
    return Transaction(ops, all_or_nothing=True, now=now)


@pytest.fixture
def cache() -> LocalCache:
    made = LocalCache(10_000)
    made.learn(op("full").key, 10, NOW)
    return made


def test_what_is_used_up_is_refused_without_a_look(cache: LocalCache) -> None:
    assert cache.refuse(asked(op("full"))) == Outcome((10,), applied=False, known=(True,))
    assert cache.refuse(asked(op("full", 0))) == Outcome((10,), applied=False, known=(True,)), "a check too"
    assert cache.refuse(asked(op("free"), op("full"))) == Outcome((0, 10), applied=False, known=(False, True))
    assert cache.counts()["local_cache_refusals"] == 3


def test_a_number_is_remembered_and_no_refusal(cache: LocalCache) -> None:
    assert cache.refuse(asked(op("full", limit=11))) is None, "the limit was raised"
    cache.learn(op("nearly").key, 8, NOW)
    assert cache.refuse(asked(op("nearly", 2))) is None, "fewer hits fit"
    assert cache.refuse(asked(op("nearly", 3))) is not None


@pytest.mark.parametrize(
    "transaction",
    [
        Transaction((op("full"),), all_or_nothing=False, now=NOW),
        Transaction((op("full"),), all_or_nothing=True, now=NOW, request="r"),
        Transaction((op("full"),), True, NOW, "", ((op("a"),), (op("b"),))),
        asked(op("full", refuses=False)),
        asked(msgspec.structs.replace(op("full", refuses=False), quota=True)),
        asked(op("full", -1)),
        asked(op("full"), op("other", -1)),
        asked(
            op("full"),
            plan_pooled("p", hits=1, limit=9, seconds=60, bounds=bounds_of((), "", 9)[0], own=0, refuses=True, now=NOW),
        ),
        asked(op("full"), now=NOW + SECONDS),
        asked(op("full"), now=NOW - 1),
        asked(op("unknown")),
    ],
)
def test_redis_decides_all_else(cache: LocalCache, transaction: Transaction) -> None:
    assert cache.refuse(transaction) is None


@pytest.mark.parametrize(
    ("asked", "worth"),
    [
        (op("k"), True),
        (op("k", 0), True),
        (op("k", refuses=False), False),
        (op("k", limit=11), False),
        (msgspec.structs.replace(op("k"), part=Part.RESERVE, reserves=True), False),
        (msgspec.structs.replace(op("k"), previous_key="before"), False),
        (plan_window("k", hits=1, limit=10, seconds=1, refuses=True, now=NOW), False),
        (plan_bucket("k", hits=1, amount=10, seconds=60, burst=10, refuses=True, now=NOW), False),
    ],
)
def test_only_counters_of_plain_windows_that_go_on_are_worth_it(asked: Op, worth: bool) -> None:
    assert LocalCache(1000).worth(asked, 10, NOW) is worth


def test_what_is_old_is_asked_for_once_more(cache: LocalCache) -> None:
    key = op("full").key
    assert [cache.is_old(key, NOW + after) for after in (0, SECONDS - 1, SECONDS, -1)] == [False, False, True, True]
    assert not cache.is_old("unknown", NOW)
    cache.learn(key, 10, NOW + SECONDS)
    assert cache.refuse(asked(op("full"), now=NOW + SECONDS)) is not None


def test_it_stays_within_its_bytes_and_forgets_the_oldest() -> None:
    size = ENTRY_BYTES + len(op("k00").key)
    cache = LocalCache(3 * size + 1)
    for number in range(10):
        cache.learn(op(f"k{number:02}").key, 10, NOW)
        assert cache.counts()["local_cache_bytes"] <= 3 * size + 1
    remembered = [number for number in range(10) if cache.refuse(asked(op(f"k{number:02}")))]
    assert remembered == [7, 8, 9]
    cache.learn("x" * 5000, 10, NOW)
    assert cache.counts()["local_cache_bytes"] <= 3 * size + 1
    for number in range(10):
        cache.forget(op(f"k{number:02}").key)
    cache.clear()
    assert (cache.counts()["local_cache_bytes"], cache.counts()["local_cache_keys"]) == (0, 0)
