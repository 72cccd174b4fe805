"""Soft limits: who comes near a limit is told, long before anybody is refused."""

from collections.abc import Iterator

from headgate.limits.algorithms.counting import Part
from headgate.limits.engine import Code, Decision, Status
from headgate.limits.matching import Rule


def reached(decision: Decision) -> Iterator[tuple[Rule, int]]:
    """The limits of which a warning share is used, each with the highest such share, in per cent."""
    for status in decision.statuses:
        rule, op = status.rule, status.op
        if rule is None or op is None or not rule.warn_at or status.code is Code.OVER_LIMIT:
            continue
        share = _highest(rule, op.limit - status.remaining, op.limit)
        if share:
            yield rule, share


def crossed(status: Status) -> int:
    """The highest warning share that this call has made used, in per cent; 0 for none. Estimates do not count."""
    rule, op = status.rule, status.op
    if rule is None or op is None or not rule.warn_at or op.part is Part.RESERVE or status.after <= status.before:
        return 0
    share = _highest(rule, status.after, op.limit)
    return share if share > _highest(rule, status.before, op.limit) else 0


def _highest(rule: Rule, used: int, limit: int) -> int:
    return max((each for each in rule.warn_at if used * 100 >= limit * each), default=0)
