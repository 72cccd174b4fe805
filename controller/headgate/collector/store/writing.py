"""Batches of records into the database, each once, with their sums: one transaction a batch.

The statements are written out, and rows are tuples: SQLAlchemy's own cost a record twice as much. SQLite and Postgres
take the same text but for the placeholder.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Final, get_type_hints

import msgspec
from headgate.collector.store.events import row_of
from headgate.collector.store.rollup import roll_up
from headgate.collector.store.tables import COUNTED, DIMENSIONS, EVENTS, HOURLY
from headgate.ledger.record import UsageRecord
from sqlalchemy import Connection, Engine, select

_COLUMNS: Final = tuple(column.name for column in EVENTS.columns)
_PLACEHOLDERS: Final[Mapping[str, str]] = {"sqlite": "?", "postgresql": "%s"}


def _insert(table: str, columns: Sequence[str], placeholder: str, on_conflict: str) -> str:
    values = ", ".join([placeholder] * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values}) ON CONFLICT ({on_conflict}"  # noqa: S608 (ours)


def _event_statement(placeholder: str) -> str:
    return _insert(EVENTS.name, _COLUMNS, placeholder, "id) DO NOTHING")


def _sums_statement(placeholder: str) -> str:
    sums = ", ".join(f"{name} = {HOURLY.name}.{name} + excluded.{name}" for name in COUNTED)
    return _insert(HOURLY.name, (*DIMENSIONS, *COUNTED), placeholder, f"{', '.join(DIMENSIONS)}) DO UPDATE SET {sums}")


_EVENTS: Final = {name: _event_statement(placeholder) for name, placeholder in _PLACEHOLDERS.items()}
_SUMS: Final = {name: _sums_statement(placeholder) for name, placeholder in _PLACEHOLDERS.items()}


_TEXTS: Final = tuple(name for name, type_ in get_type_hints(UsageRecord).items() if type_ is str)
_TEXTS_OF: Final[Callable[[UsageRecord], tuple[str, ...]]] = attrgetter(*_TEXTS)
_NOT_IN_TEXTS: Final = "\0"
"""No text of Postgres holds it. A model's name may, which clients and providers make up."""
_INSTEAD: Final = "\N{REPLACEMENT CHARACTER}"


def _storable(record: UsageRecord) -> UsageRecord:
    texts = _TEXTS_OF(record)
    if _NOT_IN_TEXTS not in "".join(texts):
        return record
    changed = {name: text.replace(_NOT_IN_TEXTS, _INSTEAD) for name, text in zip(_TEXTS, texts, strict=True)}
    return msgspec.structs.replace(record, **changed)


def write(engine: Engine, records: Sequence[UsageRecord]) -> int:
    """How many of them were new. SQLAlchemyError when nothing was written."""
    by_id = {record.id: _storable(record) for record in records}  # of the same record twice, one
    with engine.connect() as connection:
        if _written(connection, list(by_id.values())):
            return len(by_id)
        # some were there already, which is rare: find out which
        for known in connection.execute(select(EVENTS.c.id).where(EVENTS.c.id.in_(list(by_id)))).scalars():
            del by_id[known]
        connection.rollback()
        if by_id and not _written(connection, list(by_id.values())):
            return write(engine, records)  # somebody else has written the same just now
        return len(by_id)


def _written(connection: Connection, records: Sequence[UsageRecord]) -> bool:
    """Writes them and their sums if all of them are new; else nothing."""
    dialect = connection.dialect.name
    result = connection.exec_driver_sql(_EVENTS[dialect], [row_of(record) for record in records])
    if result.rowcount != len(records):
        connection.rollback()
        return False
    # in the order of the keys: two collectors that add to the same rows must not wait for each other in a circle
    connection.exec_driver_sql(_SUMS[dialect], [(*key, *sums) for key, sums in roll_up(records).items()])
    connection.commit()
    return True
