"""A service whose limits nobody follows any more ends."""

import asyncio
from collections.abc import Callable

import pytest
from headgate.limits.matching import Snapshot
from headgate.ratelimit.main import following
from support.waiting import BUSY_SECONDS


class _Failing:
    async def first(self) -> Snapshot | None:
        return None

    async def watch(self, use: Callable[[Snapshot], None]) -> None:
        raise RuntimeError("nobody expected this")


class _Patient(_Failing):
    async def watch(self, use: Callable[[Snapshot], None]) -> None:
        await asyncio.Event().wait()


def _ignore(_snapshot: Snapshot) -> None: ...


async def test_a_failure_stops_the_service_and_is_told() -> None:
    stop = asyncio.Event()
    with pytest.raises(RuntimeError, match="nobody expected this"):
        async with following(_Failing(), _ignore, stop):
            await asyncio.wait_for(stop.wait(), BUSY_SECONDS)


async def test_following_ends_with_the_service() -> None:
    stop = asyncio.Event()
    async with following(_Patient(), _ignore, stop):
        assert not stop.is_set()
