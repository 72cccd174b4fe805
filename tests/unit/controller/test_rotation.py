"""When credentials are fetched again."""

import pytest
from headgate.controller.credentials.rotation import Rotation, begin, failed, succeeded
from hypothesis import given
from hypothesis import strategies as st

HOUR = 3600.0


def test_an_hour_is_renewed_five_minutes_before_its_end() -> None:
    assert succeeded(1000.0, 1000.0 + HOUR, 0.0) == Rotation(1000.0 + HOUR - 300, 1000.0 + HOUR)


def test_a_short_life_is_renewed_when_half_is_over() -> None:
    assert succeeded(0.0, 60.0, 0.0).due == 30.0


def test_a_provider_that_gives_what_has_ended_is_not_asked_without_pause() -> None:
    assert succeeded(100.0, 50.0, 0.0).due == 100.5


@pytest.mark.parametrize(("expires", "due"), [(None, 100.0), (90.0, 100.0), (200.0, 100.0), (1000.0, 700.0)])
def test_what_is_found_at_the_start_is_used(expires: float | None, due: float) -> None:
    assert begin(100.0, expires, 0.0).due == due


def test_failures_are_tried_again_ever_less_often_within_a_minute() -> None:
    state, waits = Rotation(0.0), list[float]()
    for _ in range(20):
        state = failed(state, 0.0, 1.0)
        waits.append(state.due)
    assert waits[:7] == [1, 2, 4, 8, 16, 32, 60]
    assert set(waits[7:]) == {60}


def test_the_end_of_what_there_is_is_not_slept_through() -> None:
    assert failed(Rotation(0.0, 20.0, 10), 0.0, 1.0).due == 20.0


@given(st.floats(0, 1e9), st.floats(0.001, 1e6), st.floats(0, 1))
def test_renewal_always_comes_before_the_end(now: float, life: float, chance: float) -> None:
    state = succeeded(now, now + life, chance)
    assert state.expires is not None
    assert now <= state.due <= state.expires
