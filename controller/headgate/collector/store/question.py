"""What can be asked of `usage_hourly`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Final

from headgate.collector.store.days import HOUR_SECONDS, whole_hours
from headgate.collector.store.tables import HOURLY
from sqlalchemy import ColumnElement

GROUPS: Final[Mapping[str, str]] = {
    "key": "client",
    "team": "team",
    "model": "model",
    "served-model": "served_model",
    "backend": "service",
    "provider": "provider",
    "route": "route",
    "error": "error",
}
"""What can be asked by, and the column that says it; `day` and `hour` are made of `hour`."""
TIMES: Final = ("day", "hour")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to add up."""

    by: tuple[str, ...] = ()
    """Of `GROUPS` and `TIMES`; none for one sum of all."""
    since: float | None = None
    """Unix seconds; the zone's hour that it lies in counts."""
    until: float | None = None
    """Likewise; the hour that it lies in does not count, unless the time is within it."""
    where: tuple[tuple[str, str], ...] = ()
    """(group, value): only these."""
    zone: tzinfo = UTC
    """Whose days and hours they are."""

    @property
    def bounds(self) -> tuple[int | None, int | None]:
        """Unix seconds: from when, and before when."""
        return whole_hours(self.since, self.until, self.zone)


def conditions(question: Question) -> Iterator[ColumnElement[bool]]:
    """Of rows that are asked for: hours of UTC, of which the first and the last may count in part."""
    since, until = question.bounds
    if since is not None:
        yield HOURLY.c.hour >= since // HOUR_SECONDS
    if until is not None:
        yield HOURLY.c.hour < -(-until // HOUR_SECONDS)
    for name, value in question.where:
        yield HOURLY.c[GROUPS[name]] == value
