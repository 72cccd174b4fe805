"""Windows of the calendar: days, weeks from Monday, months and years as they are in a time zone.

`units.UNIT_SECONDS` are envoyproxy/ratelimit's: a month of 30 days, counted from 1970. Budgets follow the calendar.
"""

from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from headgate.limits.units import UNIT_SECONDS, Unit


def known_zone(name: str) -> bool:
    """Whether it is the name of a time zone, like `Europe/Berlin`."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def window(unit: Unit, zone: str, now: int) -> tuple[int, int]:
    """Start and end, in Unix seconds, of the window that contains `now`. Units below a day are those of the clock."""
    if unit in (Unit.SECOND, Unit.MINUTE, Unit.HOUR):
        start = now - now % UNIT_SECONDS[unit]
        return start, start + UNIT_SECONDS[unit]
    here = _zone(zone)
    day = datetime.fromtimestamp(now, here).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    match unit:
        case Unit.DAY:
            first, last = day, day + timedelta(days=1)
        case Unit.WEEK:
            first = day - timedelta(days=day.weekday())
            last = first + timedelta(days=7)
        case Unit.MONTH:
            first = day.replace(day=1)
            last = (first + timedelta(days=32)).replace(day=1)
        case _:
            first = day.replace(month=1, day=1)
            last = first.replace(year=first.year + 1)
    return int(first.timestamp()), int(last.timestamp())
