"""Soft limits: from which share on answers warn, and which call is told as the one that crossed it."""

import pytest
from headgate.limits.config import ConfigError, Descriptor, Domain, RateLimit, dump_domain, parse_domain
from headgate.limits.engine import Decision, LimitRequest, Moment, RequestDescriptor, decide_request, plan_request
from headgate.limits.matching import build_snapshot
from headgate.limits.units import Unit
from headgate.limits.warnings import crossed, reached
from headgate.ratelimit.answers import answer
from headgate.ratelimit.metrics import Metrics
from headgate.ratelimit.storages.memory import MemoryStorage

LIMIT = RateLimit(unit=Unit.DAY, requests_per_unit=10, name="budget", warn_at=(50, 90))
DOMAIN = Domain(name="d", descriptors=(Descriptor(key="k", rate_limit=LIMIT),))


def ask(storage: MemoryStorage, hits: int, moment: Moment = Moment.ADMISSION) -> Decision:
    request = LimitRequest("d", (RequestDescriptor((("k", "v"),), hits),), moment)
    plan = plan_request(build_snapshot([DOMAIN]), request, now=0)
    return decide_request(plan, storage.start(plan.transaction))


def test_answers_warn_from_a_share_on() -> None:
    storage = MemoryStorage()
    told = [answer(ask(storage, 1), path="/").headers for _ in range(11)]
    warnings = [dict(headers).get("x-headgate-limit-warning") for headers in told]
    assert warnings == [None] * 4 + ["budget;used=50%"] * 4 + ["budget;used=90%"] * 2 + [None]


def test_only_the_call_that_crosses_a_share_is_an_event() -> None:
    storage, metrics = MemoryStorage(), Metrics()
    events: list[int] = []
    for hits, moment in ((4, Moment.ADMISSION), (0, Moment.ADMISSION), (1, Moment.SETTLEMENT), (7, Moment.SETTLEMENT)):
        decision = ask(storage, hits, moment)
        metrics.record(decision, moment)
        events.append(crossed(decision.statuses[0]))
    assert events == [0, 0, 50, 90]
    assert metrics.rule("d", "k").warned == 2
    assert not list(reached(ask(storage, 1)))  # it is refused, which says more


def test_shares_are_configuration() -> None:
    assert parse_domain(dump_domain(DOMAIN)) == DOMAIN
    limit = {"unit": "day", "requests_per_unit": 1, "warn_at": [0]}
    with pytest.raises(ConfigError, match=r"warn_at\[0\]: expected per cent"):
        parse_domain({"domain": "d", "descriptors": [{"key": "k", "rate_limit": limit}]})
