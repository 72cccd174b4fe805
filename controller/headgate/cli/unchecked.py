"""Says when Envoy has let requests in that it could ask no limit about: nothing else tells who runs no metrics."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from headgate.runtime.envoy import EnvoyAdmin, EnvoyAdminError
from headgate.runtime.logging import event_log

log = event_log("run")

LOOK_SECONDS: Final = 10.0
"""Between two looks. Envoy goes through all its counters for one: 80 ms of its CPU with 3,000 backends (0.23 s without
`used`)."""
_LET_IN: Final = r"\.ratelimit\.failure_mode_allowed$"


async def tell_unchecked(envoy: EnvoyAdmin, limited: Callable[[], bool]) -> None:
    """Until it is cancelled, while something is `limited`: a line for all that were let in since the last look."""
    seen: Mapping[str, int] = {}
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if not limited():
            continue
        try:
            now = await envoy.stats(_LET_IN, used=True)
        except EnvoyAdminError:
            continue
        if count := let_in(seen, now):
            log.warning("let_in_unchecked", requests=count, reason="the rate limit service or its Redis did not answer")
        seen = now


def let_in(seen: Mapping[str, int], now: Mapping[str, int]) -> int:
    """By how much counters have grown; one that fell is of an Envoy, or a cluster, that began anew."""
    return sum(value - before if value >= (before := seen.get(name, 0)) else value for name, value in now.items())
