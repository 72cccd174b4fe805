"""What is held of attempts for those who capture content."""

import pytest
from headgate.extproc.tap import TAPPED_BYTES_MAX, Tap

SAMPLED = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", ":path": "/v1/chat/completions"}
DROPPED = {**SAMPLED, "traceparent": f"00-{'a' * 32}-{'b' * 16}-00"}


def test_what_passes_is_held() -> None:
    tap = Tap(0)
    tap.asked(b"{}", SAMPLED, captured=True)
    tap.answered(b"one ")
    tap.answered(b"two")
    assert tap.wanted
    assert (tap.request, bytes(tap.answer), tap.size) == (b"{}", b"one two", 9)


@pytest.mark.parametrize(("headers", "captured"), [(DROPPED, True), ({}, True), (SAMPLED, False)])
def test_nothing_is_held_of_what_nobody_is_told(headers: dict[str, str], captured: bool) -> None:
    tap = Tap(0)
    tap.asked(b"{}", headers, captured=captured)
    tap.answered(b"x")
    assert not tap.wanted
    assert tap.size == 0


def test_an_answer_that_is_too_long_is_let_go() -> None:
    tap = Tap(0)
    tap.asked(b"{}", SAMPLED, captured=True)
    tap.answered(b"x" * TAPPED_BYTES_MAX)
    assert tap.whole
    tap.answered(b"x")
    tap.answered(b"x")
    assert not tap.whole
    assert tap.size == 2
