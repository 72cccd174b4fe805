"""How long processes have not moved."""

import os
import threading

from headgate.runtime.standstill import Standstill, wanted_seconds


def _seconds(*looks: dict[int, float]) -> list[float]:
    """What is told when it is looked at every 10 s, and processes have wanted a CPU for so long in their lives."""
    wanted: dict[int, float] = {}
    standstill = Standstill(0.0, wanted.__getitem__)
    told: list[float] = []
    for number, look in enumerate(looks, start=1):
        wanted.update(look)
        told.append(standstill.seconds(number * 10.0, look))
    return told


def test_who_waits_for_what_never_comes_stands_still() -> None:
    assert _seconds({1: 4.0, 2: 0.1}, {1: 4.5, 2: 0.2}, {1: 5.0, 2: 0.3}) == [0.0, 10.0, 20.0]


def test_who_shares_a_busy_machine_moves() -> None:
    assert _seconds({1: 9.0}, {1: 18.5}, {1: 28.0}) == [0.0, 0.0, 0.0]


def test_one_that_moves_is_enough_and_one_that_comes_later_counts_too() -> None:
    assert _seconds({1: 1.0}, {1: 1.1}, {1: 1.2, 2: 6.0}, {1: 1.3, 2: 6.1}) == [10.0, 20.0, 0.0, 10.0]


def test_a_process_of_which_nothing_is_known_never_moved() -> None:
    def unknown(pid: int) -> float:
        raise FileNotFoundError(pid)

    standstill = Standstill(0.0, unknown)
    assert [standstill.seconds(now, [1]) for now in (10.0, 20.0)] == [10.0, 20.0]


def test_the_system_tells_how_long_a_process_wanted_a_cpu() -> None:
    before = wanted_seconds(os.getpid())
    sum(range(2_000_000))
    assert wanted_seconds(os.getpid()) > before


def test_its_other_threads_count_too() -> None:
    """A configuration is compiled in one."""
    wanted: list[float] = []
    before = wanted_seconds(os.getpid())

    def compute() -> None:
        sum(range(5_000_000))
        wanted.append(wanted_seconds(os.getpid()))

    thread = threading.Thread(target=compute)
    thread.start()
    thread.join()
    assert wanted[0] - before > 0.02
