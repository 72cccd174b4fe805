"""How long to wait: after failures in a row, and for what may not come."""

import asyncio
import random
from contextlib import suppress


def retry_seconds(failures: int, first: float, most: float) -> float:
    """After so many failures in a row (at least one): doubled with each, up to `most`; of that between half and all, so
    that those who lost the same server do not come back together."""
    return min(first * 2 ** min(failures - 1, 16), most) * random.uniform(0.5, 1.0)


async def wait_at_most(event: asyncio.Event, seconds: float) -> None:
    """Until the event is set, or that time is over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
