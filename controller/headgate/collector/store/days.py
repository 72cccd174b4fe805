"""Days of a time zone, made of hours of UTC, which are what sums are kept by.

An hour belongs to the day in which it begins. Where days begin within an hour (India, Nepal), the rest of that hour is
another day's.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

HOUR_SECONDS: Final = 3600
HOUR_MINUTES: Final = 60
DAY_MINUTES: Final = 1440
_DAY_HOURS: Final = 24
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR: Final = timedelta(hours=1)
_MINUTE: Final = timedelta(minutes=1)
_HOURS_MAX: Final = 1_000_000
"""Beyond it (2084) and as long before 1970 a zone is as far ahead as there: dates end."""

Offsets = Sequence[tuple[int, int]]
"""(first hour since 1970 UTC, minutes that the zone is ahead from then on), in order."""


def local(hour: int, zone: tzinfo) -> datetime:
    """When an hour of UTC begins there."""
    return (_EPOCH + hour * _HOUR).astimezone(zone)


def day_of(moment: datetime) -> int:
    """Days since 1970, by the moment's own zone."""
    return moment.date().toordinal() - _EPOCH.toordinal()


def date_of(day: int) -> str:
    """As `2026-11-29`."""
    return (_EPOCH + timedelta(days=day)).date().isoformat()


def _ahead(hour: int, zone: tzinfo) -> int:
    return (local(hour, zone).utcoffset() or timedelta()) // _MINUTE


def offsets(zone: tzinfo, first: int, last: int) -> Offsets:
    """Of all hours from the first to the last."""
    found = [(first, _ahead(first, zone))]
    for day in range(first, last, _DAY_HOURS):
        begin, end = day, min(day + _DAY_HOURS, last)
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


def rests(ahead: Offsets, last: int) -> Iterator[tuple[int, int]]:
    """Where days begin within an hour, up to the last: from then to the hour's end, in Unix seconds."""
    ends = [*(hour for hour, _ in ahead[1:]), last + 1]
    for (begin, minutes), end in zip(ahead, ends, strict=True):
        for hour in range(begin, end) if minutes % HOUR_MINUTES else ():
            before = DAY_MINUTES - (hour * HOUR_MINUTES + minutes) % DAY_MINUTES
            if before < HOUR_MINUTES:
                yield hour * HOUR_SECONDS + before * 60, (hour + 1) * HOUR_SECONDS


def whole_hours(since: float | None, until: float | None, zone: tzinfo) -> tuple[int | None, int | None]:
    """Unix seconds: from the beginning of the zone's hour that `since` lies in, to the end of `until`'s."""
    begin = None if since is None else int(since // 1) - _past(int(since // 1), zone)
    end = None if until is None else -int(-until // 1) + -_past(-int(-until // 1), zone) % HOUR_SECONDS
    return begin, end


def _past(moment: int, zone: tzinfo) -> int:
    """Seconds since the zone's hour began."""
    hour = moment // HOUR_SECONDS
    ahead = _ahead(max(-_HOURS_MAX, min(hour, _HOURS_MAX)), zone)
    return (moment + ahead * 60) % HOUR_SECONDS
