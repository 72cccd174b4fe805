"""What parts of a configuration became is remembered as long as they are there, and not much longer."""

from collections import Counter

import pytest
from headgate.compiler import remembered as memory
from headgate.compiler.remembered import SPARED, remembered, settle


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_MEMORIES", [])


@pytest.mark.parametrize(("size", "step", "changes"), [(1, 1, 3_000), (10_000, 1_000, 50)])
def test_what_is_gone_is_forgotten_and_what_is_there_seldom_made_again(size: int, step: int, changes: int) -> None:
    made: Counter[int] = Counter()
    alive: set[int] = set()

    class Part:
        def __init__(self, number: int) -> None:
            self._number = number
            alive.add(number)

        def __del__(self) -> None:
            alive.discard(self._number)

    @remembered
    def part(number: int) -> Part:
        made[number] += 1
        return Part(number)

    for change in range(changes):
        for number in range(change * step, change * step + size):
            part(number)
        settle()
        assert len(alive) <= 3 * size + SPARED
    assert sum(made.values()) <= 1.5 * len(made) + size


def test_a_configuration_that_grows_is_made_once_or_twice() -> None:
    made: Counter[int] = Counter()

    @remembered
    def part(number: int) -> int:
        made[number] += 1
        return number

    for size in range(0, 20_000, 500):
        for number in range(size):
            part(number)
        settle()
    assert sum(made.values()) <= 2 * len(made)
