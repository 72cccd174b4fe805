"""What every process of ours tells of itself: CPU, memory, files, and how late its event loop runs."""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from headgate.runtime.metrics import Description, Kind, Labels, Registry

LAG_SECONDS: Final = 1.0
"""How often the loop is timed."""
LAG_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_SELF: Final = Path("/proc/self")


def declare(registry: Registry) -> None:
    """Prometheus' own `process_*`, which every exporter has. Nothing where there is no /proc."""
    for name, unit, kind, help_, read in (
        ("process.cpu", "s", Kind.COUNTER, "User and system CPU time spent.", cpu_seconds),
        ("process.resident.memory", "By", Kind.GAUGE, "Resident memory.", _resident_bytes),
        ("process.open.fds", "", Kind.GAUGE, "Open file descriptors.", _open_files),
    ):
        described = Description(name=name, unit=unit, kind=kind, help=help_)
        registry.observed(described, _reader(read))


def _reader(read: Callable[[], float]) -> Callable[[], Mapping[Labels, float]]:
    def values() -> Mapping[Labels, float]:
        try:
            return {(): read()}
        except OSError:
            return {}

    return values


def cpu_seconds(pid: int | None = None) -> float:
    """User and system time of a process, of this one by default, in steps of 10 ms. Raises OSError."""
    # the name in parentheses may hold anything, also spaces
    stat = Path("/proc") / str(pid or "self") / "stat"
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _resident_bytes() -> float:
    return int((_SELF / "statm").read_text().split()[1]) * _PAGE_BYTES


def _open_files() -> float:
    return len(os.listdir(_SELF / "fd"))


class LoopLag:
    """Times the running event loop: how much later than asked a callback runs is what every stream waits."""

    def __init__(self, registry: Registry) -> None:
        self._lag = registry.histogram(
            "headgate.event_loop.lag",
            "How late the event loop runs what is due, looked at once a second.",
            (),
            LAG_BUCKETS,
            unit="s",
        ).at()
        self._next: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """From now on, on the running loop."""
        loop = asyncio.get_running_loop()
        self._schedule(loop)

    def stop(self) -> None:
        if self._next is not None:
            self._next.cancel()

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + LAG_SECONDS
        self._next = loop.call_at(due, self._look, loop, due)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._lag.observe(max(loop.time() - due, 0.0))
        self._schedule(loop)
