"""What of an hour's sums is another day's, or not asked for: where hours of a zone begin within those of UTC.

Sums are kept by hours of UTC, and counted for the day in which their hour begins. Where a day begins within one, what
came after that is taken from the one day and given to the other, as the events say: half an hour of each day is read.
Events that somebody has deleted stay where their hour is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from headgate.collector.store.days import HOUR_SECONDS, Offsets, day_of, local, rests
from headgate.collector.store.events import SUMMED, record_of
from headgate.collector.store.question import GROUPS, Question
from headgate.collector.store.rollup import Key, add, key_of
from headgate.collector.store.tables import COUNTED, DIMENSIONS, EVENTS
from headgate.ledger.record import UsageRecord
from sqlalchemy import Connection, or_, select

Group = tuple[int | str, ...]
"""Values of a question's `by`: days and hours are counted since 1970."""

_SECOND_NS: Final = 1_000_000_000
_RANGES_MAX: Final = 200
"""Of one statement: SQLite nests no more than 1,000."""
_PLACES: Final[Mapping[str, int]] = {
    name: DIMENSIONS.index(column) for name, column in {**GROUPS, "hour": "hour"}.items()
}


@dataclass(frozen=True, slots=True)
class Corrections:
    """Values of `COUNTED` by group."""

    less: dict[Group, list[int]] = field(default_factory=dict[Group, list[int]])
    more: dict[Group, list[int]] = field(default_factory=dict[Group, list[int]])

    def apply(self, sums: dict[Group, list[int]]) -> None:
        for changes, sign in ((self.less, -1), (self.more, 1)):
            for group, counts in changes.items():
                known = sums.get(group) or [0] * len(COUNTED)
                sums[group] = [before + sign * count for before, count in zip(known, counts, strict=True)]


def corrections(connection: Connection, question: Question, ahead: Offsets, last: int) -> Corrections:
    """Of the sums of the hours from the first of `ahead` to the last. Ask for those afterwards: what is written in
    between is in both, or where its hour is."""
    found = Corrections()
    ranges = set(_outside(question))
    if "day" in question.by:
        ranges.update(rests(ahead, last))
    ordered = sorted(ranges)
    for start in range(0, len(ordered), _RANGES_MAX):
        parts = (
            EVENTS.c.started_ns.between(begin * _SECOND_NS, end * _SECOND_NS - 1)
            for begin, end in ordered[start : start + _RANGES_MAX]
        )
        for row in connection.execute(select(*SUMMED).where(or_(*parts))):
            _correct(found, record_of(tuple(row)), question)
    return found


def _outside(question: Question) -> Iterator[tuple[int, int]]:
    """What of the first and of the last hour is not asked for, in Unix seconds."""
    since, until = question.bounds
    if since is not None and since % HOUR_SECONDS:
        yield since - since % HOUR_SECONDS, since
    if until is not None and until % HOUR_SECONDS:
        yield until, until + -until % HOUR_SECONDS


def _correct(found: Corrections, record: UsageRecord, question: Question) -> None:
    key, moment = key_of(record), record.started_ns // _SECOND_NS
    if any(key[_PLACES[name]] != value for name, value in question.where):
        return
    since, until = question.bounds
    counted = _group(question, key, day_of(local(int(key[0]), question.zone)))
    add(found.less.setdefault(counted, [0] * len(COUNTED)), record)
    if (since is None or since <= moment) and (until is None or moment < until):
        wanted = _group(question, key, day_of(datetime.fromtimestamp(moment, question.zone)))
        add(found.more.setdefault(wanted, [0] * len(COUNTED)), record)


def _group(question: Question, key: Key, day: int) -> Group:
    return tuple(day if name == "day" else key[_PLACES[name]] for name in question.by)
