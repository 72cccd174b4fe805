"""When a process that does not answer counts as hung."""

from headgate.runtime.silence import IDLE_QUESTIONS_MAX, QUESTIONS_MAX, Silence


def asked(*used: float | None) -> int:
    """How many questions it takes until a process that has `used` so much at each is called hung; 0 for never."""
    silence = Silence()
    return next((number for number, seconds in enumerate(used, 1) if silence.unanswered(seconds)), 0)


def test_one_that_computes_nothing_is_hung_soon() -> None:
    assert asked(*[7.5] * 60) == IDLE_QUESTIONS_MAX + 1


def test_one_that_computes_may_take_long() -> None:
    assert asked(*range(60)) == QUESTIONS_MAX


def test_a_little_computing_now_and_then_is_life() -> None:
    assert asked(1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3) == 0


def test_without_proc_it_takes_long() -> None:
    assert asked(*[None] * 60) == QUESTIONS_MAX
