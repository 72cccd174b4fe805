"""How many reservations wait for their settlement, by a look at a bounded part of Redis' keys.

Decisions take no part in it: a counter beside them would be one more write in each, is in another slot than what it
counts, and never hears of a reservation that expires. Instead, whoever asks for metrics has so many keys walked as
`PAGES` and `PAGE_KEYS` say, at most once in `AGAIN_SECONDS`, from where the last walk ended. Where these were all there
are, the number is exact; else it is what the walked part lets expect of the whole.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, cast

from headgate.ratelimit.storages.redis.address import Address
from headgate.ratelimit.storages.redis.lane import Lane
from headgate.ratelimit.storages.redis.link import LinkError

PAGE_KEYS: Final = 1000
"""Walked in one command, in which Redis does nothing else: 0.2 ms."""
PAGES: Final = 5
LOOKED_AT_MAX: Final = 500
"""Keys of requests that are asked whether they were settled already: of more, as large a share is assumed to be."""
AGAIN_SECONDS: Final = 5.0
ASK_SECONDS: Final = 0.5

_BEGIN: Final = "0"
_Place = Address | int


class Outstanding:
    """What is known of it; one for a storage."""

    def __init__(self, *, again_seconds: float = AGAIN_SECONDS) -> None:
        self._again_seconds = again_seconds
        self._cursors: dict[_Place, str] = {}
        self._last: float | None = None
        self._asked = float("-inf")

    async def count(self, lanes: Mapping[_Place, Lane], prefix: str) -> int | None:
        """About how many there are in all these; None where that cannot be told. Their keys begin with `prefix`."""
        now = asyncio.get_running_loop().time()
        if now - self._asked >= self._again_seconds:
            self._asked = now
            self._cursors = {place: self._cursors.get(place, _BEGIN) for place in lanes}
            pattern = f"{_literal(prefix)}*"
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    found = await asyncio.gather(*(self._walk(each, lane, pattern) for each, lane in lanes.items()))
                self._last = sum(found)
            except (LinkError, OSError):  # TimeoutError is one
                self._last = None
        return None if self._last is None else round(self._last)

    async def _walk(self, place: _Place, lane: Lane, pattern: str) -> float:
        began = cursor = self._cursors[place]
        (size,) = await lane.request(("DBSIZE",))
        names: list[bytes] = []
        walked = 0
        for _ in range(PAGES):
            ((following, page),) = await lane.request(("SCAN", cursor, "MATCH", pattern, "COUNT", PAGE_KEYS))
            cursor = cast("bytes", following).decode()
            if cursor != _BEGIN or began == _BEGIN:  # of a last page that is shorter nobody knows how long it is
                names += page
                walked += PAGE_KEYS
            if cursor == began == _BEGIN:
                walked = size
                break
        self._cursors[place] = cursor
        return await _held(lane, names) * max(size / max(walked, 1), 1)


async def _held(lane: Lane, names: list[bytes]) -> float:
    """How many of these requests hold a reservation; of one that was settled, the key is there for a while too."""
    looked_at = [name.decode(errors="replace") for name in names[:LOOKED_AT_MAX]]
    if not looked_at:
        return 0
    held = await lane.request(*(("HEXISTS", name, "-") for name in looked_at))
    return len(names) * sum(held) / len(looked_at)


def _literal(text: str) -> str:
    """As a pattern that only it matches."""
    return "".join(f"\\{char}" if char in "*?[]^\\" else char for char in text)
