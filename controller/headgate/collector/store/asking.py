"""What `usage_hourly` says: sums and percentiles, by whatever they are told apart by."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Final

from headgate.collector.store.database import StoreError, reason
from headgate.collector.store.days import DAY_HOURS, HOUR_SECONDS, local, offsets
from headgate.collector.store.rollup import BOUNDS
from headgate.collector.store.tables import COUNTED, DURATION_BUCKETS, HOURLY, SUMS, TTFT_BUCKETS
from sqlalchemy import ColumnElement, Connection, Engine, Executable, Label, case, func, literal, select
from sqlalchemy.exc import OperationalError, ProgrammingError, SQLAlchemyError

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
QUANTILES: Final = (50, 95, 99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to add up."""

    by: tuple[str, ...] = ()
    """Of `GROUPS` and `TIMES`; none for one sum of all."""
    since: float | None = None
    """Unix seconds; the hour that it lies in counts."""
    until: float | None = None
    """Likewise; the hour that it lies in does not count, unless the time is within it."""
    where: tuple[tuple[str, str], ...] = ()
    """(group, value): only these."""
    zone: tzinfo = UTC
    """Whose days and hours they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One row of sums. Percentiles are milliseconds, to within a fifth of their value; None where nothing is known."""

    group: tuple[str, ...]
    """Values of the question's `by`; days as `2026-11-29`, hours as `2026-11-29T05`, in another zone than UTC with
    how far that is ahead: `2026-11-29T06+01:00`."""
    sums: Mapping[str, int]
    """By the names of `tables.SUMS`."""
    duration_ms: Mapping[int, float | None]
    """By quantile in per cent."""
    ttft_ms: Mapping[int, float | None]


def ask(engine: Engine, question: Question) -> list[Answer]:
    """In the order of time, then of the most tokens. Raises StoreError."""
    try:
        with engine.connect() as connection:
            ahead = _hours_ahead(connection, question) if "day" in question.by else literal(0)
            rows = connection.execute(_statement(question, ahead)).all()
    except (OperationalError, ProgrammingError) as error:
        if "usage_hourly" in str(error.orig):
            raise StoreError("no usage is kept in this database yet") from None
        raise StoreError(reason(error)) from error
    except SQLAlchemyError as error:
        raise StoreError(reason(error)) from error
    found = [(row, _answer(tuple(row), question)) for row in rows if row[len(question.by)]]
    times = [index for index, name in enumerate(question.by) if name in TIMES]
    # by the hours themselves: when clocks are set back, one comes twice
    found.sort(key=lambda each: ([each[0][i] for i in times], -each[1].sums["total_tokens"], each[1].group))
    return [answer for _, answer in found]


def _hours_ahead(connection: Connection, question: Question) -> ColumnElement[int]:
    """How many hours the zone is ahead in a row's hour."""
    bounds = select(func.min(HOURLY.c.hour), func.max(HOURLY.c.hour)).where(*_conditions(question))
    first, last = connection.execute(bounds).one()
    if first is None or last is None:
        return literal(0)
    return case(*((HOURLY.c.hour >= hour, ahead) for hour, ahead in reversed(offsets(question.zone, first, last))))


def _column(name: str, ahead: ColumnElement[int]) -> ColumnElement[int] | ColumnElement[str]:
    if name == "day":
        hour = HOURLY.c.hour + ahead
        return hour - hour % DAY_HOURS  # the first hour of the day
    return HOURLY.c.hour if name == "hour" else HOURLY.c[GROUPS[name]]


def _statement(question: Question, ahead: ColumnElement[int]) -> Executable:
    groups = [_column(name, ahead).label(f"group_{index}") for index, name in enumerate(question.by)]
    sums: list[Label[int]] = [func.sum(HOURLY.c[name]).label(name) for name in COUNTED]
    return select(*groups, *sums).where(*_conditions(question)).group_by(*groups)


def _conditions(question: Question) -> Iterator[ColumnElement[bool]]:
    """Of rows that are asked for."""
    if question.since is not None:
        yield HOURLY.c.hour >= int(question.since // HOUR_SECONDS)
    if question.until is not None:
        yield HOURLY.c.hour < -int(-question.until // HOUR_SECONDS)
    for name, value in question.where:
        yield HOURLY.c[GROUPS[name]] == value


def _answer(row: Sequence[object], question: Question) -> Answer:
    by = question.by
    groups, counted = row[: len(by)], [int(str(value)) for value in row[len(by) :]]
    durations = counted[len(SUMS) : len(SUMS) + len(DURATION_BUCKETS)]
    ttfts = counted[-len(TTFT_BUCKETS) :]
    return Answer(
        group=tuple(_text(name, value, question.zone) for name, value in zip(by, groups, strict=True)),
        sums=dict(zip(SUMS, counted, strict=False)),
        duration_ms=dict(_percentiles(durations)),
        ttft_ms=dict(_percentiles(ttfts)),
    )


def _text(name: str, value: object, zone: tzinfo) -> str:
    if name not in TIMES:
        return str(value)
    if name == "day":  # its hours count local time
        return local(int(str(value)), UTC).date().isoformat()
    hour = local(int(str(value)), zone)
    if zone is UTC:
        return hour.strftime("%Y-%m-%dT%H")
    return hour.isoformat(timespec="minutes" if hour.minute else "hours")


def _percentiles(counts: Sequence[int]) -> Iterator[tuple[int, float | None]]:
    for quantile in QUANTILES:
        yield quantile, percentile(counts, quantile / 100)


def percentile(counts: Sequence[int], quantile: float) -> float | None:
    """Of a histogram with `rollup.BOUNDS`; within a bucket values are taken to lie evenly on a logarithmic scale."""
    total = sum(counts)
    if not total:
        return None
    wanted, before = quantile * total, 0
    for index, count in enumerate(counts):
        if count and before + count >= wanted:
            if index == len(BOUNDS):
                return BOUNDS[-1]
            upper = BOUNDS[index]
            lower = BOUNDS[index - 1] if index else upper / 2
            return round(lower * (upper / lower) ** ((wanted - before) / count), 1)
        before += count
    return BOUNDS[-1]
