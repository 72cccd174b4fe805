"""Who may write, by what the Lease says."""

from datetime import UTC, datetime

import pytest
from headgate.controller.election import LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS, LeaseSpec, Sight, decide, held

OTHER = LeaseSpec(holder_identity="other", lease_duration_seconds=10, renew_time="t", lease_transitions=3)


@pytest.mark.parametrize(
    ("sight", "now", "action"),
    [
        (Sight(None, 1.0), 1.0, "create"),
        (Sight(OTHER, 1.0), 10.9, "wait"),
        (Sight(OTHER, 1.0), 11.1, "take"),
        (Sight(LeaseSpec(holder_identity="", lease_duration_seconds=1), 1.0), 1.0, "take"),
        (Sight(LeaseSpec(holder_identity="me", lease_duration_seconds=10), 1.0), 100.0, "renew"),
    ],
)
def test_a_lease_is_taken_where_nobody_holds_it(sight: Sight, now: float, action: str) -> None:
    assert decide(sight, "me", now) == action


def test_a_renewal_by_the_other_starts_the_wait_again() -> None:
    sight = Sight().look(OTHER, 5.0)
    assert sight.look(OTHER, 9.0).since == 5.0
    renewed = LeaseSpec(holder_identity="other", lease_duration_seconds=10, renew_time="later", lease_transitions=3)
    assert sight.look(renewed, 9.0).since == 9.0


def test_taking_counts_and_renewing_does_not() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    taken = held(OTHER, "me", now)
    assert (taken.holder_identity, taken.lease_transitions) == ("me", 4)
    renewed = held(taken, "me", datetime(2026, 1, 2, tzinfo=UTC))
    assert (renewed.acquire_time, renewed.lease_transitions) == (taken.acquire_time, 4)
    assert renewed.renew_time != taken.renew_time


def test_a_leader_gives_up_before_another_can_begin() -> None:
    assert RENEW_SECONDS + RETRY_SECONDS <= LEASE_SECONDS


@pytest.mark.parametrize("tenths", range(int(RETRY_SECONDS * 10)))
def test_a_silent_leader_is_replaced_within_15_s(tenths: int) -> None:
    """In time of our own: wherever in its round another replica is when the leader, renewing at 0 s, falls silent."""
    last = held(OTHER, "other", datetime(2026, 1, 1, tzinfo=UTC))
    sight, now = Sight().look(OTHER, -RETRY_SECONDS), tenths / 10
    while decide(sight.look(last, now), "me", now) == "wait":
        sight, now = sight.look(last, now), now + RETRY_SECONDS
    assert LEASE_SECONDS < now < 15
