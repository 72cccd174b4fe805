"""Days of a time zone, made of hours of UTC, which are what sums are kept by."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from headgate.collector.store.database import StoreError

HOUR_SECONDS: Final = 3600
DAY_HOURS: Final = 24
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR: Final = timedelta(hours=1)

Offsets = Sequence[tuple[int, int]]
"""(first hour since 1970 UTC, hours that the zone is ahead from then on), in order."""


def local(hour: int, zone: tzinfo) -> datetime:
    """When an hour of UTC begins there."""
    return (_EPOCH + hour * _HOUR).astimezone(zone)


def _ahead(hour: int, zone: tzinfo) -> int:
    offset = local(hour, zone).utcoffset() or timedelta()
    if offset % _HOUR:
        raise StoreError(f"days of {zone} begin within an hour of UTC, and sums are kept by whole ones: ask by hour")
    return offset // _HOUR


def offsets(zone: tzinfo, first: int, last: int) -> Offsets:
    """Of all hours from the first to the last. Raises StoreError for a zone that is not whole hours ahead then."""
    found = [(first, _ahead(first, zone))]
    for day in range(first, last, DAY_HOURS):
        begin, end = day, min(day + DAY_HOURS, last)
        before, after = _ahead(begin, zone), _ahead(end, zone)
        if before == after:
            continue
        while end - begin > 1:
            middle = (begin + end) // 2
            if _ahead(middle, zone) == before:
                begin = middle
            else:
                end = middle
        found.append((end, after))
    return found
