"""Soft limits: who comes near a limit is told, long before anybody is refused."""

from collections.abc import Iterator
from typing import Final

from headgate.limits.algorithms.counting import Part
from headgate.limits.algorithms.token_bucket import TokenBucketOp
from headgate.limits.engine import Code, Decision, Status
from headgate.limits.matching import Rule

TOLD_MAX: Final = 10_000
"""Shares of counters that are remembered as told."""


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


class Told:
    """Which shares of which counters have been told: each once in a window, though a counter that sinks as time goes by
    crosses one again and again. Beyond `most` the one told first is forgotten, and so may be told again."""

    def __init__(self, most: int = TOLD_MAX) -> None:
        self._most = most
        self._until: dict[tuple[str, str, int], float] = {}

    def is_new(self, status: Status, share: int, now: float) -> bool:
        """Whether `share`, which `status` crossed at `now` (Unix seconds), is to be told; then it counts as told."""
        match, op = status.match, status.op
        assert match is not None
        assert op is not None
        key = match.stem, match.rule.key, share
        if self._until.get(key, 0) > now:
            return False
        self._until.pop(key, None)
        if len(self._until) >= self._most:
            del self._until[next(iter(self._until))]
        self._until[key] = now + match.rule.seconds if isinstance(op, TokenBucketOp) else op.window_end
        return True


def _highest(rule: Rule, used: int, limit: int) -> int:
    return max((each for each in rule.warn_at if used * 100 >= limit * each), default=0)
