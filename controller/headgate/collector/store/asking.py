"""What `usage_hourly` says: sums and percentiles, by whatever they are told apart by."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Final

from headgate.collector.store.database import StoreError, reason
from headgate.collector.store.days import DAY_MINUTES, HOUR_MINUTES, Offsets, date_of, local, offsets
from headgate.collector.store.question import GROUPS, TIMES, Question, conditions
from headgate.collector.store.rollup import BOUNDS
from headgate.collector.store.tables import COUNTED, DURATION_BUCKETS, HOURLY, SUMS, TTFT_BUCKETS
from headgate.collector.store.within import Group, corrections
from sqlalchemy import ColumnElement, Connection, Engine, Executable, Label, case, func, select
from sqlalchemy.exc import OperationalError, ProgrammingError, SQLAlchemyError

QUANTILES: Final = (50, 95, 99)


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
            found = _sums(connection, question)
    except (OperationalError, ProgrammingError) as error:
        if "usage_hourly" in str(error.orig):
            raise StoreError("no usage is kept in this database yet") from None
        raise StoreError(reason(error)) from error
    except SQLAlchemyError as error:
        raise StoreError(reason(error)) from error
    answers = [(group, _answer(group, counts, question)) for group, counts in found.items() if counts[0]]
    times = [index for index, name in enumerate(question.by) if name in TIMES]
    # by the hours themselves: when clocks are set back, one comes twice
    answers.sort(key=lambda each: ([each[0][i] for i in times], -each[1].sums["total_tokens"], each[1].group))
    return [answer for _, answer in answers]


def _sums(connection: Connection, question: Question) -> dict[Group, list[int]]:
    """Values of `COUNTED` by group."""
    bounds = select(func.min(HOURLY.c.hour), func.max(HOURLY.c.hour)).where(*conditions(question))
    first, last = connection.execute(bounds).one()
    if first is None or last is None:
        return {}
    ahead = offsets(question.zone, first, last)
    corrected = corrections(connection, question, ahead, last)
    rows = connection.execute(_statement(question, ahead)).all()
    length = len(question.by)
    # sums of big numbers are decimals in Postgres
    found = {tuple(row)[:length]: [int(value) for value in tuple(row)[length:]] for row in rows if row[length]}
    corrected.apply(found)
    return found


def _column(name: str, ahead: Offsets) -> ColumnElement[int] | ColumnElement[str]:
    if name == "day":
        minutes = case(*((HOURLY.c.hour >= hour, minutes) for hour, minutes in reversed(ahead)))
        return (HOURLY.c.hour * HOUR_MINUTES + minutes) // DAY_MINUTES
    return HOURLY.c.hour if name == "hour" else HOURLY.c[GROUPS[name]]


def _statement(question: Question, ahead: Offsets) -> Executable:
    groups = [_column(name, ahead).label(f"group_{index}") for index, name in enumerate(question.by)]
    sums: list[Label[int]] = [func.sum(HOURLY.c[name]).label(name) for name in COUNTED]
    return select(*groups, *sums).where(*conditions(question)).group_by(*groups)


def _answer(group: Group, counted: Sequence[int], question: Question) -> Answer:
    durations = counted[len(SUMS) : len(SUMS) + len(DURATION_BUCKETS)]
    ttfts = counted[-len(TTFT_BUCKETS) :]
    return Answer(
        group=tuple(_text(name, value, question.zone) for name, value in zip(question.by, group, strict=True)),
        sums=dict(zip(SUMS, counted, strict=False)),
        duration_ms=dict(_percentiles(durations)),
        ttft_ms=dict(_percentiles(ttfts)),
    )


def _text(name: str, value: int | str, zone: tzinfo) -> str:
    if name not in TIMES:
        return str(value)
    if name == "day":
        return date_of(int(value))
    hour = local(int(value), zone)
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
