"""Bounded waiting: for another process, or for tasks of this one."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
POLL_SECONDS = 0.01
BUSY_SECONDS = 60.0
"""By when a machine that does much else has done what it does at once when idle: who waits in vain may wait so long."""
PATIENCE = 5


def wait_until(
    attempt: Callable[[], T | None],
    what: str,
    *,
    timeout_seconds: float = BUSY_SECONDS,
    progress: Callable[[], object] = lambda: None,
) -> T:
    """Calls `attempt` until it returns something true, and returns that.

    Raises TimeoutError naming `what`. An exception of `attempt` passes through: a dead process should fail at once.
    Time counts from the last moment at which `progress` said something new, five times over at most: who works on a
    busy machine is waited for, who hangs is not.
    """
    started = now = time.monotonic()
    moved, before = started, progress()
    while True:
        if result := attempt():
            return result
        now = time.monotonic()
        if (said := progress()) != before:
            moved, before = now, said
        if now > min(moved + timeout_seconds, started + PATIENCE * timeout_seconds):
            raise TimeoutError(f"waited {now - started:.0f} s for {what}")
        time.sleep(POLL_SECONDS)


async def until(condition: Callable[[], bool], what: str = "a condition") -> None:
    """Lets other tasks of this event loop run until `condition` holds."""
    deadline = time.monotonic() + BUSY_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {BUSY_SECONDS:g} s for {what}")
        await asyncio.sleep(0.001)
