"""How long processes have not moved, so that a slow machine is told from a wait for what never comes.

A process moves while its threads compute or wait for a CPU: on a busy machine they may get a hundredth of one.
One that asks another whether it is ready, again and again, does neither for most of the time.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

MOVING_SHARE: Final = 0.25
"""A process that computes or waits for a CPU for less of the time stands still."""


def wanted_seconds(pid: int) -> float:
    """For how long in their lives a process's threads have had a CPU, or waited for one, together. Raises OSError.

    https://docs.kernel.org/scheduler/sched-stats.html
    """
    found = 0
    for thread in (Path("/proc") / str(pid) / "task").iterdir():
        with suppress(FileNotFoundError):  # it has ended
            ran, waited, _ = (thread / "schedstat").read_text().split()
            found += int(ran) + int(waited)
    return found / 1e9


class Standstill:
    """The time since any of some processes moved. Where the system does not tell (no Linux), none ever moves."""

    def __init__(self, now: float, wanted: Callable[[int], float] = wanted_seconds) -> None:
        self._moved_at = self._asked_at = now
        self._wanted = wanted
        self._before: dict[int, float] = {}

    def seconds(self, now: float, pids: Iterable[int]) -> float:
        """Since one of these last moved, as of `now`; a process that is new has moved since its start."""
        passed, self._asked_at = now - self._asked_at, now
        found: dict[int, float] = {}
        for pid in pids:
            with suppress(OSError, ValueError):
                found[pid] = self._wanted(pid)
        if any(wanted - self._before.get(pid, 0.0) >= MOVING_SHARE * passed for pid, wanted in found.items()):
            self._moved_at = now
        self._before = found
        return now - self._moved_at
