"""The hold rule, by the vectors that describe it and by loads: who is refused, and what each pool gets."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from headgate.limits.algorithms.pooled_window import OTHERS, Pool, PooledOp, bounds_of, plan_pooled, standing
from headgate.limits.config import ConfigError, dump_domain, parse_domain
from headgate.limits.engine import Code, LimitRequest, RequestDescriptor, Transaction, decide_request, plan_request
from headgate.limits.matching import build_snapshot
from headgate.ratelimit.storages.memory import MemoryStorage

START = 1_700_000_040
HI = Pool(name="hi", rank=1, minimum=50, maximum=100)
LO = Pool(name="lo", rank=2, minimum=0, maximum=50)
PROD = Pool(name="prod", rank=1, minimum=70, maximum=100)
DEV = Pool(name="dev", rank=2, minimum=0, maximum=30)


def op(pools: Sequence[Pool], pool: str, hits: int, *, capacity: int = 1000, now: int = START) -> PooledOp:
    bounds, own = bounds_of(pools, pool, capacity)
    return plan_pooled("k_", hits=hits, limit=capacity, seconds=60, bounds=bounds, own=own, refuses=True, now=now)


def ask(storage: MemoryStorage, asked: PooledOp, now: int) -> bool:
    return storage.start(Transaction((asked,), all_or_nothing=True, now=now)).applied


@pytest.mark.parametrize(
    ("pools", "steps"),
    [
        (
            (HI, LO),
            (
                (0, "hi", 300, True),
                (1000, "lo", 100, True),
                (2000, "lo", 400, True),
                (3000, "lo", 1, False),  # its maximum
                (4000, "hi", 500, False),  # the whole is full, and now it is known that hi wants 800
                (5000, "lo", 1, False),  # which leaves 200
                (61_000, "lo", 200, False),  # what it took after the first second still counts
            ),
        ),
        ((PROD, DEV), ((0, "dev", 300, True), (0, "dev", 1, False), (0, "prod", 700, True), (0, "prod", 1, False))),
    ],
)
def test_vectors(pools: Sequence[Pool], steps: Sequence[tuple[int, str, int, bool]]) -> None:
    storage = MemoryStorage()
    for milliseconds, pool, tokens, allowed in steps:
        now = START + milliseconds // 1000
        assert ask(storage, op(pools, pool, tokens, now=now), now) is allowed, (milliseconds, pool)


@pytest.mark.parametrize(
    ("pool", "admitted", "refused", "expected"),
    [
        ("hi", (0, 0, 0), (0, 0, 0), 1000),
        ("lo", (300, 0, 0), (0, 0, 0), 500),  # hi holds its minimum
        ("lo", (300, 100, 0), (500, 0, 0), 100),  # and what it demands
        ("lo", (900, 0, 0), (900, 0, 0), 0),  # up to its maximum, which is all
        ("hi", (0, 900, 0), (0, 900, 0), 100),  # nobody below it holds more than a minimum, or what it has
        ("", (300, 100, 0), (0, 0, 0), 400),  # who names no pool is below all
        ("unknown", (300, 100, 0), (0, 0, 0), 400),
    ],
)
def test_room(pool: str, admitted: tuple[int, ...], refused: tuple[int, ...], expected: int) -> None:
    assert room((HI, LO), pool, admitted, refused) == expected


def room(pools: Sequence[Pool], pool: str, admitted: Sequence[int], refused: Sequence[int]) -> int:
    asked = op(pools, pool, 1)
    return max(asked.limit - standing(asked, admitted, refused), 0)


def test_pools_below_together_leave_what_is_kept_for_one_above() -> None:
    pools = (Pool(name="top", rank=1, minimum=50), Pool(name="a", rank=2), Pool(name="b", rank=2))
    storage = MemoryStorage()
    assert ask(storage, op(pools, "a", 300), START)
    assert not ask(storage, op(pools, "b", 201), START)
    assert ask(storage, op(pools, "b", 200), START)
    assert ask(storage, op(pools, "top", 500), START)


def test_a_minimum_is_served_whatever_a_pool_above_demands() -> None:
    pools = (Pool(name="top", rank=1), Pool(name="low", rank=2, minimum=20))
    storage = MemoryStorage()
    assert ask(storage, op(pools, "top", 800), START)
    assert not ask(storage, op(pools, "top", 5000), START)
    assert ask(storage, op(pools, "low", 200), START)
    assert not ask(storage, op(pools, "low", 1), START)


def test_equal_ranks_hold_their_minimum_against_each_other_and_no_more() -> None:
    pools = (Pool(name="a", rank=1, minimum=30), Pool(name="b", rank=1, minimum=20))
    assert room(pools, "a", (0, 100, 0), (0, 700, 0)) == 800
    assert room(pools, "b", (100, 0, 0), (700, 0, 0)) == 700


@pytest.mark.parametrize(
    ("demand", "refused", "last_minute"),
    [
        ({"hi": 60}, {"hi": (0, 0)}, {"hi": 0.6}),
        ({"lo": 40}, {"lo": (0, 0)}, {"lo": 0.4}),
        ({"hi": 30, "lo": 40}, {"hi": (0, 0), "lo": (0, 0)}, {"hi": 0.3, "lo": 0.4}),
        # In the first minute lo has taken what nobody asked for; then hi has its share back.
        ({"hi": 80, "lo": 40}, {"hi": (80, 120), "lo": (490, 540)}, {"hi": 0.8, "lo": 0.2}),
        ({"hi": 90, "lo": 60}, {"hi": (180, 220), "lo": (1280, 1340)}, {"hi": 0.9, "lo": 0.1}),
    ],
)
def test_loads(
    demand: Mapping[str, int], refused: Mapping[str, tuple[int, int]], last_minute: Mapping[str, float]
) -> None:
    """Per cent of 60,000 tokens a minute, in requests of 100 that are evenly spaced, for five minutes."""
    minutes, capacity, tokens = 5, 60_000, 100
    storage = MemoryStorage()
    denied: Counter[str] = Counter()
    got: Counter[str] = Counter()
    arrivals = sorted(
        (60 * i * tokens * 100 / (capacity * per_cent), pool)
        for pool, per_cent in demand.items()
        for i in range(minutes * capacity * per_cent // 100 // tokens)
    )
    for seconds, pool in arrivals:
        now = START + int(seconds)
        if not ask(storage, op((HI, LO), pool, tokens, capacity=capacity, now=now), now):
            denied[pool] += 1
        elif seconds >= (minutes - 1) * 60:
            got[pool] += tokens
    for pool in demand:
        assert refused[pool][0] <= denied[pool] <= refused[pool][1]
        assert got[pool] / capacity == pytest.approx(last_minute[pool], abs=0.02)


LIMIT = {
    "unit": "minute",
    "requests_per_unit": 1000,
    "pools": [
        {"name": "hi", "rank": 1, "min_reservation": 50, "max_reservation": 100},
        {"name": "lo", "rank": 2, "min_reservation": 0, "max_reservation": 50},
    ],
}


def document(**changes: object) -> dict[str, object]:
    return {"domain": "d", "descriptors": [{"key": "k", "rate_limit": {**LIMIT, **changes}}]}


def test_the_last_entry_of_a_descriptor_names_the_pool() -> None:
    domain = parse_domain(document())
    assert parse_domain(dump_domain(domain)) == domain
    snapshot, storage = build_snapshot([domain]), MemoryStorage()

    def refused(pool: str, hits: int) -> str:
        entries = (("k", "v"), ("pool", pool)) if pool else (("k", "v"),)
        plan = plan_request(snapshot, LimitRequest("d", (RequestDescriptor(entries, hits),)), now=START)
        decision = decide_request(plan, storage.start(plan.transaction))
        if decision.code is Code.OK:
            return ""
        assert decision.refusal is not None
        assert decision.refusal.rule is not None
        return decision.refusal.rule.label

    assert refused("lo", 300) == ""
    assert refused("", 100) == ""
    assert refused("nobody", 101) == "k"  # 1000 - 500 that hi keeps - 300 that lo has taken
    assert refused("lo", 201) == "k.pool_lo"
    assert refused("hi", 600) == ""
    assert refused("hi", 1) == "k.pool_hi"


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"pools": [{"name": "a", "min_reservation": 60}, {"name": "b", "min_reservation": 41}]}, "more than 100"),
        ({"pools": [{"name": "a"}, {"name": "a"}]}, "one name"),
        ({"pools": [{"name": "a", "min_reservation": 50, "max_reservation": 40}]}, r"pools\[0\].max_reservation"),
        ({"pools": [{"rank": 1}]}, "needs a name"),
        ({"pools": [{"name": "a", "rank": -1}]}, r"pools\[0\].rank"),
        ({"unit": "second"}, "minute or longer"),
        ({"algorithm": "sliding_window"}, "no other algorithm"),
        ({"time_zone": "Europe/Berlin"}, "no calendar"),
    ],
)
def test_pools_that_cannot_be(changes: Mapping[str, object], where: str) -> None:
    with pytest.raises(ConfigError, match=where):
        parse_domain(document(**changes))


def test_nothing_else_below_the_limit_is_called_pool() -> None:
    descriptor = {"key": "k", "rate_limit": LIMIT, "descriptors": [{"key": "pool", "value": "x"}]}
    with pytest.raises(ConfigError, match="names one of them"):
        parse_domain({"domain": "d", "descriptors": [descriptor]})


def test_those_who_name_no_pool_are_a_pool_below_all() -> None:
    assert OTHERS.rank > 1_000_000
    assert (OTHERS.minimum, OTHERS.maximum) == (0, 100)
