"""Batches of records into the database, each once, with their sums: one transaction a batch.

The statements are written out, and rows are tuples: SQLAlchemy's own cost a record twice as much. SQLite and Postgres
take the same text but for the placeholder.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from headgate.collector.store.rollup import roll_up
from headgate.collector.store.tables import COUNTED, DIMENSIONS, EVENTS, HOURLY
from headgate.ledger.record import UsageRecord
from sqlalchemy import Connection, Engine, select

Value = str | int | float | bool | None

_ENCODER: Final = msgspec.json.Encoder()
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


def write(engine: Engine, records: Sequence[UsageRecord]) -> int:
    """How many of them were new. SQLAlchemyError when nothing was written."""
    by_id = {record.id: record for record in records}  # of the same record twice, one
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
    result = connection.exec_driver_sql(_EVENTS[dialect], [_row(record) for record in records])
    if result.rowcount != len(records):
        connection.rollback()
        return False
    # in the order of the keys: two collectors that add to the same rows must not wait for each other in a circle
    connection.exec_driver_sql(_SUMS[dialect], [(*key, *sums) for key, sums in roll_up(records).items()])
    connection.commit()
    return True


def _list(value: Sequence[object]) -> str:
    return _ENCODER.encode(value).decode() if value else "[]"


def _map(value: Sequence[tuple[str, object]]) -> str:
    return _ENCODER.encode(dict(value)).decode() if value else "{}"


def _row(record: UsageRecord) -> tuple[Value, ...]:
    """In the order of the table's columns."""
    tokens = record.tokens
    return (
        record.id,
        record.request_id[:200],
        record.started_ns,
        record.node[:200],
        record.operation[:64],
        record.method[:16],
        record.path,
        record.stream,
        record.route,
        record.rule,
        record.backend,
        record.service,
        record.provider,
        record.upstream,
        str(record.lane),
        record.client,
        record.team,
        record.original_model,
        record.request_model,
        record.response_model,
        record.response_id,
        _list(record.finish_reasons),
        record.status,
        record.error,
        record.details,
        _list(record.flags),
        len(record.attempts),
        _list(record.attempts),
        tokens.input,
        tokens.cached_input,
        tokens.cache_creation_input,
        tokens.output,
        tokens.reasoning,
        tokens.total,
        str(record.usage_source),
        _map(record.costs),
        record.cost_nanos,
        record.price,
        record.duration_ms,
        record.upstream_ms,
        record.ttft_ms,
        record.request_bytes,
        record.response_bytes,
        record.losses,
        _map(record.labels),
    )
