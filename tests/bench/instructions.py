"""Envoy's instructions per request, by valgrind's callgrind: what others on the machine do does not change them.

Only of user space, and at a fiftieth of the speed: what waits for a time (a batch of entries, a flush) comes after far
fewer requests than it does otherwise.
"""

import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from support.envoy import envoy_binary

from bench.load import Load
from bench.measure import run_load

COUNTINGS: Final = 3
READY_SECONDS: Final = 240.0
"""For a gateway whose Envoy starts this slowly."""
_LAUNCHER: Final = """#!/bin/sh
case "$*" in *--version*) exec {envoy} "$@" ;; esac
exec valgrind --tool=callgrind --instr-atstart=no --callgrind-out-file={directory}/callgrind.out.%p {envoy} "$@"
"""
T = TypeVar("T")
_TOTAL: Final = re.compile(r"^(?:summary|totals): (\d+)$", re.MULTILINE)


def available() -> bool:
    return shutil.which("valgrind") is not None and shutil.which("callgrind_control") is not None


def launcher(directory: Path) -> Path:
    """The program that `headgate run --envoy` is given."""
    path = directory / "envoy"
    path.write_text(_LAUNCHER.format(envoy=envoy_binary(), directory=directory))
    path.chmod(0o755)
    return path


def per_request(pid: int, load: Load, directory: Path) -> float:
    """Of the Envoy that the `launcher` in `directory` has started, in the median of some countings; without what it
    does in that time when nobody asks."""
    run_load(load)
    _control(pid, "--instr=on")
    run_load(load)
    idle, _ = _counted(pid, directory, lambda: time.sleep(load.seconds))
    found: list[float] = []
    for _ in range(COUNTINGS):
        total, result = _counted(pid, directory, lambda: run_load(load))
        if result.failures:
            raise RuntimeError(f"{result.failures} failures: {result.errors}")
        found.append((total - idle) / max(1, result.requests))
    return statistics.median(found)


def _counted(pid: int, directory: Path, run: Callable[[], T]) -> tuple[int, T]:
    """All of the process meanwhile, and what `run` returned."""
    _control(pid, "--zero")
    before = set(directory.glob("callgrind.out.*"))
    result = run()
    _control(pid, "--dump")
    totals = (_TOTAL.search(path.read_text()) for path in set(directory.glob("callgrind.out.*")) - before)
    return sum(int(total[1]) for total in totals if total), result


def _control(pid: int, command: str) -> None:
    subprocess.run(["callgrind_control", command, str(pid)], check=True, capture_output=True, timeout=READY_SECONDS)
