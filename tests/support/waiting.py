"""Bounded waiting: for another process, or for tasks of this one."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
POLL_SECONDS = 0.01
PATIENCE = 10


def wait_until(
    attempt: Callable[[], T | None],
    what: str,
    *,
    timeout_seconds: float = 20.0,
    progress: Callable[[], object] = lambda: None,
) -> T:
    """Calls `attempt` until it returns something true, and returns that.

    Raises TimeoutError naming `what`. An exception of `attempt` passes through: a dead process should fail at once.
    Time counts from the last moment at which `progress` said something new, ten times over at most: who works on a busy
    machine is waited for, who hangs is not.
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


async def until(condition: Callable[[], bool], what: str = "a condition", *, timeout_seconds: float = 5.0) -> None:
    """Lets other tasks of this event loop run until `condition` holds."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_seconds:g} s for {what}")
        await asyncio.sleep(0.001)
