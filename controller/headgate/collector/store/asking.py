"""What `usage_hourly` says: sums and percentiles, by whatever they are told apart by."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headgate.collector.store.database import StoreError, reason
from headgate.collector.store.rollup import BOUNDS
from headgate.collector.store.tables import COUNTED, DURATION_BUCKETS, HOURLY, SUMS, TTFT_BUCKETS
from sqlalchemy import ColumnElement, Engine, Executable, Label, func, select
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
HOUR_SECONDS: Final = 3600
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One row of sums. Percentiles are milliseconds, to within a fifth of their value; None where nothing is known."""

    group: tuple[str, ...]
    """Values of the question's `by`; times as `2026-11-29` or `2026-11-29T05`."""
    sums: Mapping[str, int]
    """By the names of `tables.SUMS`."""
    duration_ms: Mapping[int, float | None]
    """By quantile in per cent."""
    ttft_ms: Mapping[int, float | None]


def ask(engine: Engine, question: Question) -> list[Answer]:
    """In the order of time, then of the most tokens. Raises StoreError."""
    try:
        with engine.connect() as connection:
            rows = connection.execute(_statement(question)).all()
    except (OperationalError, ProgrammingError) as error:
        if "usage_hourly" in str(error.orig):
            raise StoreError("no usage is kept in this database yet") from None
        raise StoreError(reason(error)) from error
    except SQLAlchemyError as error:
        raise StoreError(reason(error)) from error
    found = [_answer(row, question.by) for row in rows if row[len(question.by)]]
    times = [index for index, name in enumerate(question.by) if name in TIMES]
    return sorted(found, key=lambda each: ([each.group[i] for i in times], -each.sums["total_tokens"], each.group))


def _column(name: str) -> ColumnElement[int] | ColumnElement[str]:
    if name == "day":
        return HOURLY.c.hour - HOURLY.c.hour % 24  # the first hour of the day
    return HOURLY.c.hour if name == "hour" else HOURLY.c[GROUPS[name]]


def _statement(question: Question) -> Executable:
    groups = [_column(name).label(f"group_{index}") for index, name in enumerate(question.by)]
    sums: list[Label[int]] = [func.sum(HOURLY.c[name]).label(name) for name in COUNTED]
    statement = select(*groups, *sums).group_by(*groups)
    if question.since is not None:
        statement = statement.where(HOURLY.c.hour >= int(question.since // HOUR_SECONDS))
    if question.until is not None:
        statement = statement.where(HOURLY.c.hour < -int(-question.until // HOUR_SECONDS))
    for name, value in question.where:
        statement = statement.where(HOURLY.c[GROUPS[name]] == value)
    return statement


def _answer(row: Sequence[object], by: Sequence[str]) -> Answer:
    groups, counted = tuple(row)[: len(by)], [int(str(value)) for value in tuple(row)[len(by) :]]
    durations = counted[len(SUMS) : len(SUMS) + len(DURATION_BUCKETS)]
    ttfts = counted[-len(TTFT_BUCKETS) :]
    return Answer(
        group=tuple(_text(name, value) for name, value in zip(by, groups, strict=True)),
        sums=dict(zip(SUMS, counted, strict=False)),
        duration_ms=dict(_percentiles(durations)),
        ttft_ms=dict(_percentiles(ttfts)),
    )


def _text(name: str, value: object) -> str:
    if name not in TIMES:
        return str(value)
    moment = time.gmtime(int(str(value)) * HOUR_SECONDS)
    return time.strftime("%Y-%m-%d" if name == "day" else "%Y-%m-%dT%H", moment)


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
