"""The units a limit counts in, their lengths, and the bounds of what can be counted."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final


class Unit(IntEnum):
    """A window's length; the numbers are Envoy's (`RateLimitResponse.RateLimit.Unit`)."""

    SECOND = 1
    MINUTE = 2
    HOUR = 3
    DAY = 4
    MONTH = 5
    YEAR = 6
    WEEK = 7
    LIFETIME = 1000
    """Never resets; ours."""


# A month is 30 days and a year 365, as in envoyproxy/ratelimit: both must agree on windows to share a Redis.
UNIT_SECONDS: Final[Mapping[Unit, int]] = {
    Unit.SECOND: 1,
    Unit.MINUTE: 60,
    Unit.HOUR: 3600,
    Unit.DAY: 86_400,
    Unit.WEEK: 7 * 86_400,
    Unit.MONTH: 30 * 86_400,
    Unit.YEAR: 365 * 86_400,
    Unit.LIFETIME: 1000 * 365 * 86_400,
}

UNITS_BY_NAME: Final[Mapping[str, Unit]] = {unit.name.lower(): unit for unit in Unit}

COUNT_MAX: Final = 2**52
"""The largest limit, and the largest hits of one descriptor: sums of two stay exact in Redis's Lua (doubles)."""
