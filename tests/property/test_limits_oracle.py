"""The real limiter agrees with a naive one over random sequences of requests, and never charges a refused one."""

import asyncio
from collections.abc import Sequence

from headgate.limits.config import Descriptor, Domain, RateLimit
from headgate.limits.engine import Code, LimitRequest, Moment, RequestDescriptor, decide_request, plan_request
from headgate.limits.matching import build_snapshot
from headgate.limits.units import Unit
from headgate.ratelimit.storages.memory import MemoryStorage
from hypothesis import given, settings
from hypothesis import strategies as st
from support.naive_limiter import Asked, Limit, NaiveLimiter

LIMITS: dict[str, Limit] = {
    "second": (3, 1, False),
    "minute": (10, 60, False),
    "hour": (25, 3600, False),
    "shadow": (5, 60, True),
    "blocked": (0, 60, False),
}
_UNITS = {1: Unit.SECOND, 60: Unit.MINUTE, 3600: Unit.HOUR}
SNAPSHOT = build_snapshot(
    [
        Domain(
            name="d",
            descriptors=tuple(
                Descriptor(
                    key=key,
                    shadow_mode=shadow,
                    rate_limit=RateLimit(unit=_UNITS[seconds], requests_per_unit=amount),
                )
                for key, (amount, seconds, shadow) in LIMITS.items()
            ),
        )
    ]
)

descriptors = st.tuples(
    st.sampled_from([*LIMITS, "unlimited"]), st.sampled_from("ab"), st.integers(min_value=-6, max_value=12)
)
steps = st.tuples(st.lists(descriptors, min_size=1, max_size=4), st.booleans(), st.integers(min_value=0, max_value=40))


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=40))
def test_agrees_with_the_naive_limiter(walk: Sequence[tuple[Sequence[Asked], bool, int]]) -> None:
    async def run() -> None:
        storage, naive = MemoryStorage(), NaiveLimiter(LIMITS)
        now = 1_700_000_000
        for asked, settlement, pause in walk:
            now += pause
            moment = Moment.SETTLEMENT if settlement else Moment.ADMISSION
            request = LimitRequest(
                "d", tuple(RequestDescriptor(((key, value),), hits) for key, value, hits in asked), moment
            )
            plan = plan_request(SNAPSHOT, request, now=now)
            outcome = await storage.run(plan.transaction)
            decision = decide_request(plan, outcome)
            counters_before = dict(naive.counters)
            over = naive.ask(asked, settlement=settlement, now=now)
            assert [status.over for status in decision.statuses] == over
            refuses = [is_over and not LIMITS[key][2] for is_over, (key, _, _) in zip(over, asked, strict=True)]
            assert (decision.code is Code.OVER_LIMIT) == any(refuses)
            if any(refuses) and not settlement:
                assert not outcome.applied
                assert naive.counters == counters_before
            for status in decision.statuses:
                assert status.remaining >= 0
                assert status.after >= 0

    asyncio.run(run())
