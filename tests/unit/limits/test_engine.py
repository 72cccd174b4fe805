"""What a request asks of a storage, and what is decided from the reply."""

import pytest
from headgate.limits.algorithms.fixed_window import FixedWindowOp
from headgate.limits.config_text import parse_text
from headgate.limits.engine import (
    REMAINING_UNLIMITED,
    Code,
    Decision,
    LimitOverride,
    LimitRequest,
    Moment,
    Outcome,
    Plan,
    RequestDescriptor,
    decide_request,
    examine,
    plan_fetched,
    plan_request,
    uncharged,
)
from headgate.limits.matching import build_snapshot
from headgate.limits.units import COUNT_MAX, UNIT_SECONDS, Unit

LIMITS = build_snapshot(
    parse_text(
        """
domain: d
descriptors:
- {key: minute, rate_limit: {unit: minute, requests_per_unit: 10}}
- {key: hour, rate_limit: {unit: hour, requests_per_unit: 10, name: hourly}}
- {key: shadow, shadow_mode: true, rate_limit: {unit: minute, requests_per_unit: 10}}
- {key: free, rate_limit: {unlimited: true}}
- {key: special, rate_limit: {unit: minute, requests_per_unit: 10, replaces: [{name: hourly}]}}
- {key: blocked, rate_limit: {unit: second, requests_per_unit: 0}}
""",
        file="test",
    )
)
NOW = 1_000_000_030
"""30 seconds into minute 999,999,960 + 60, and 2,830 into an hour."""


def plan(*descriptors: tuple[str, int], moment: Moment = Moment.ADMISSION, now: int = NOW) -> Plan:
    asked = tuple(RequestDescriptor(((key, "v"),), hits) for key, hits in descriptors)
    return plan_request(LIMITS, LimitRequest("d", asked, moment), now=now)


def decide(planned: Plan, *before: int) -> Decision:
    """Decides as a storage that holds these counters would let it."""
    transaction = planned.transaction
    applied = not transaction.all_or_nothing or examine(transaction.ops, before)
    return decide_request(planned, Outcome(before, applied))


def test_a_key_ends_in_the_start_of_its_window() -> None:
    (op,) = plan(("minute", 1)).transaction.ops
    assert op.key == "d_minute_v_1000000020"
    assert isinstance(op, FixedWindowOp)
    assert (op.window_end, op.seconds) == (1_000_000_080, 60)


def test_a_prefix_comes_before_every_key() -> None:
    request = LimitRequest("d", (RequestDescriptor((("minute", "v"),)),))
    planned = plan_request(LIMITS, request, now=NOW, prefix="staging:")
    assert planned.transaction.ops[0].key == "staging:d_minute_v_1000000020"


@pytest.mark.parametrize("unit", list(Unit))
def test_every_unit_has_windows_that_contain_now(unit: Unit) -> None:
    request = LimitRequest("d", (RequestDescriptor((("any", "v"),), 1, LimitOverride(3, unit)),))
    (op,) = plan_request(LIMITS, request, now=NOW).transaction.ops
    assert isinstance(op, FixedWindowOp)
    assert op.window_end - UNIT_SECONDS[unit] <= NOW < op.window_end
    assert op.seconds == UNIT_SECONDS[unit]


@pytest.mark.parametrize(
    ("hits", "before", "code", "remaining"),
    [
        (1, 0, Code.OK, 9),
        (1, 9, Code.OK, 0),
        (1, 10, Code.OVER_LIMIT, 0),
        (3, 7, Code.OK, 0),
        (3, 8, Code.OVER_LIMIT, 0),
        (0, 9, Code.OK, 1),
        (0, 10, Code.OVER_LIMIT, 0),
        (0, 11, Code.OVER_LIMIT, 0),
        (-4, 12, Code.OK, 2),
        (-4, 2, Code.OK, 10),
        (-4, 30, Code.OK, 0),
    ],
)
def test_one_limit(hits: int, before: int, code: Code, remaining: int) -> None:
    decision = decide(plan(("minute", hits)), before)
    (status,) = decision.statuses
    assert (decision.code, status.code, status.remaining) == (code, code, remaining)
    assert status.reset_seconds == 50


def test_a_limit_of_zero_refuses_even_a_check() -> None:
    assert decide(plan(("blocked", 0)), 0).code is Code.OVER_LIMIT


def test_nothing_is_counted_for_one_limit_when_another_refuses() -> None:
    decision = decide(plan(("minute", 1), ("hour", 1)), 4, 10)
    minute, hour = decision.statuses
    assert decision.code is Code.OVER_LIMIT
    assert (minute.code, minute.remaining, minute.after) == (Code.OK, 6, 4)
    assert hour.code is Code.OVER_LIMIT


def test_a_settlement_is_applied_even_when_it_goes_over() -> None:
    decision = decide(plan(("minute", 100), ("hour", 100), moment=Moment.SETTLEMENT), 4, 10)
    assert [status.after for status in decision.statuses] == [104, 110]
    assert decision.code is Code.OVER_LIMIT


def test_the_refusal_is_the_limit_that_resets_last() -> None:
    for keys in (("minute", "hour"), ("hour", "minute")):
        decision = decide(plan(*((key, 1) for key in keys)), 10, 10)
        assert decision.refusal is not None
        assert decision.refusal.rule is not None
        assert decision.refusal.rule.name == "hourly"


def test_shadow_mode_counts_and_reports_but_never_refuses() -> None:
    decision = decide(plan(("shadow", 1), ("minute", 1)), 10, 0)
    shadow, minute = decision.statuses
    assert decision.code is Code.OK
    assert (shadow.code, shadow.over, shadow.remaining, shadow.after) == (Code.OK, True, 0, 11)
    assert minute.after == 1


def test_unlimited_and_unknown_descriptors_ask_nothing_of_the_storage() -> None:
    planned = plan(("free", 1), ("unknown", 1))
    assert planned.transaction.ops == ()
    free, unknown = decide(planned).statuses
    assert (free.code, free.remaining) == (Code.OK, REMAINING_UNLIMITED)
    assert (unknown.code, unknown.remaining, unknown.rule) == (Code.OK, 0, None)


def test_a_replaced_limit_does_not_count_where_its_replacement_matches() -> None:
    assert [op.key for op in plan(("hour", 1), ("special", 1)).transaction.ops] == ["d_special_v_1000000020"]
    assert len(plan(("hour", 1)).transaction.ops) == 1


def test_a_limit_in_the_request_wins_over_the_configured_one() -> None:
    override = LimitOverride(2, Unit.DAY)
    request = LimitRequest("d", (RequestDescriptor((("minute", "v"),), 1, override),))
    (op,) = plan_request(LIMITS, request, now=NOW).transaction.ops
    assert (op.limit, op.seconds) == (2, 86_400)


def test_a_limit_in_the_request_needs_a_known_domain() -> None:
    request = LimitRequest("other", (RequestDescriptor((("minute", "v"),), 1, LimitOverride(2, Unit.DAY)),))
    assert plan_request(LIMITS, request, now=NOW).transaction.ops == ()


@pytest.mark.parametrize(("hits", "counted"), [(2**64, COUNT_MAX), (-(2**64), -COUNT_MAX)])
def test_hits_are_bounded(hits: int, counted: int) -> None:
    (op,) = plan(("minute", hits)).transaction.ops
    assert op.hits == counted


def test_a_stored_answer_is_known_by_its_id_and_domain_for_a_day() -> None:
    request = LimitRequest("d", (RequestDescriptor((("minute", "v"),), 7),), Moment.SETTLEMENT)
    (once,) = plan_fetched(request, "resp_1", now=NOW, prefix="p:").ops
    assert once.key.startswith("p:headgate-fetched_d_resp_1_")
    assert (once.hits, once.limit, once.refuses, once.seconds) == (1, 1, True, 86_400)
    later = plan_fetched(request, "resp_1", now=NOW + 3600, prefix="p:").ops[0]
    assert later.key == once.key
    assert plan_fetched(request, "resp_2", now=NOW, prefix="p:").ops[0].key != once.key


def test_what_was_charged_before_gives_back_what_was_reserved() -> None:
    request = LimitRequest("d", (RequestDescriptor((("minute", "v"),), 7),), Moment.SETTLEMENT, interrupted=True)
    again = uncharged(request)
    assert ([each.hits for each in again.descriptors], again.moment) == ([0], Moment.SETTLEMENT)
    assert not again.interrupted, "or what it reserved would stay"
