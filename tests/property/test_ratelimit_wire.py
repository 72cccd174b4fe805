"""Answers are written by hand where they are many: they must be what the message classes would have written."""

from envoy.service.ratelimit.v3.rls_pb2 import RateLimitResponse
from headgate.limits.algorithms.fixed_window import plan_window
from headgate.limits.engine import Code, Decision, Status
from headgate.limits.matching import Match, Rule
from headgate.limits.units import COUNT_MAX, UNIT_SECONDS, Unit
from headgate.ratelimit.wire import encode_decision
from hypothesis import given
from hypothesis import strategies as st

UINT32_MAX = 2**32 - 1
counts = st.integers(min_value=0, max_value=COUNT_MAX) | st.sampled_from([0, 127, 128, 16_383, 16_384, UINT32_MAX])


@st.composite
def statuses(draw: st.DrawFn) -> Status:
    code = draw(st.sampled_from(Code))
    kind = draw(st.sampled_from(["counted", "unlimited", "unmatched"]))
    if kind == "unmatched":
        return Status(code)
    unit = draw(st.sampled_from(Unit)) if kind == "counted" else None
    seconds = 0 if unit is None else UNIT_SECONDS[unit]
    rule = Rule(domain="d", key="k", unit=unit, seconds=seconds, amount=draw(counts), name=draw(st.text(max_size=200)))
    op = plan_window("k", hits=1, limit=rule.amount, seconds=seconds, refuses=True, now=0) if seconds else None
    reset_seconds = draw(st.integers(min_value=0, max_value=2**31)) if op else 0
    return Status(code, Match(rule, "k", "k"), op, draw(counts), reset_seconds)


def built(decision: Decision) -> RateLimitResponse:
    response = RateLimitResponse(overall_code=decision.code.value)  # pyright: ignore[reportArgumentType]
    for status in decision.statuses:
        message = response.statuses.add(code=status.code.value, limit_remaining=min(status.remaining, UINT32_MAX))
        if status.rule is not None and status.op is not None and status.rule.unit is not None:
            message.current_limit.requests_per_unit = min(status.rule.amount, UINT32_MAX)
            known = status.rule.unit is not Unit.LIFETIME  # ours alone: the protocol has no such unit
            message.current_limit.unit = int(status.rule.unit) if known else 0  # pyright: ignore[reportAttributeAccessIssue]
            message.current_limit.name = status.rule.name
            message.duration_until_reset.seconds = status.reset_seconds
    return response


@given(st.lists(statuses(), max_size=5), st.booleans())
def test_statuses_are_encoded_as_the_message_classes_would(parts: list[Status], with_headers: bool) -> None:
    code = Code.OVER_LIMIT if any(each.code is Code.OVER_LIMIT for each in parts) else Code.OK
    refusal = next((each for each in parts if each.code is Code.OVER_LIMIT), None)
    decision = Decision(code, tuple(parts), refusal)
    found = RateLimitResponse.FromString(encode_decision(decision, headers=(("a", "b"),) if with_headers else ()))
    found.ClearField("response_headers_to_add")
    found.ClearField("dynamic_metadata")
    assert found == built(decision)
