"""Windows of the calendar in a time zone, where days have 23 and 25 hours and months differ."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from headgate.limits.calendar import window
from headgate.limits.units import Unit

BERLIN = ZoneInfo("Europe/Berlin")


def at(*fields: int, fold: int = 0) -> int:
    return int(datetime(*fields, tzinfo=BERLIN, fold=fold).timestamp())


@pytest.mark.parametrize(
    ("unit", "now", "start", "end"),
    [
        (Unit.MONTH, at(2024, 2, 29, 23, 59, 59), at(2024, 2, 1), at(2024, 3, 1)),
        (Unit.MONTH, at(2024, 3, 1), at(2024, 3, 1), at(2024, 4, 1)),
        (Unit.MONTH, at(2024, 12, 31, 12), at(2024, 12, 1), at(2025, 1, 1)),
        (Unit.YEAR, at(2024, 12, 31, 23), at(2024, 1, 1), at(2025, 1, 1)),
        (Unit.WEEK, at(2024, 1, 7, 23), at(2024, 1, 1), at(2024, 1, 8)),
        (Unit.DAY, at(2024, 3, 31, 12), at(2024, 3, 31), at(2024, 4, 1)),
        (Unit.DAY, at(2024, 10, 27, 2, 30, fold=1), at(2024, 10, 27), at(2024, 10, 28)),
        (Unit.HOUR, 3601, 3600, 7200),
    ],
)
def test_the_window_is_the_calendars(unit: Unit, now: int, start: int, end: int) -> None:
    assert window(unit, "Europe/Berlin", now) == (start, end)
    assert start <= now < end


def test_days_have_their_hours() -> None:
    spring, autumn = (window(Unit.DAY, "Europe/Berlin", now) for now in (at(2024, 3, 31, 12), at(2024, 10, 27, 12)))
    assert spring[1] - spring[0] == 23 * 3600
    assert autumn[1] - autumn[0] == 25 * 3600
