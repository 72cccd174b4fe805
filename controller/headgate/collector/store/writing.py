"""Batches of records into the database, each once, with their sums: one transaction a batch."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from headgate.collector.store.rollup import roll_up
from headgate.collector.store.tables import COUNTED, DIMENSIONS, EVENTS, HOURLY
from headgate.ledger.record import UsageRecord
from sqlalchemy import Connection, Engine, Insert, insert, select
from sqlalchemy.dialects import postgresql, sqlite

_EMPTY_LIST: Final = "[]"
_EMPTY_MAP: Final = "{}"
_ENCODER: Final = msgspec.json.Encoder()


def write(engine: Engine, records: Sequence[UsageRecord]) -> int:
    """How many of them were new. SQLAlchemyError when nothing was written."""
    with engine.begin() as connection:
        new = _unknown(connection, records)
        if new:
            connection.execute(insert(EVENTS), [_row(record) for record in new])
            _add_up(connection, new)
    return len(new)


def _unknown(connection: Connection, records: Sequence[UsageRecord]) -> list[UsageRecord]:
    """Those that are not in the database; of the same record twice, one."""
    by_id = {record.id: record for record in records}
    for known in connection.execute(select(EVENTS.c.id).where(EVENTS.c.id.in_(by_id))).scalars():
        del by_id[known]
    return list(by_id.values())


def _add_up(connection: Connection, records: Sequence[UsageRecord]) -> None:
    # in the order of the keys: two collectors that add to the same rows must not wait for each other in a circle
    rows = [dict(zip((*DIMENSIONS, *COUNTED), (*key, *sums), strict=True)) for key, sums in roll_up(records).items()]
    connection.execute(_UPSERTS[connection.dialect.name], rows)


def _upsert(new: "sqlite.Insert | postgresql.Insert") -> Insert:
    sums = {name: HOURLY.c[name] + new.excluded[name] for name in COUNTED}
    return new.on_conflict_do_update(index_elements=DIMENSIONS, set_=sums)


_UPSERTS: Final = {"sqlite": _upsert(sqlite.insert(HOURLY)), "postgresql": _upsert(postgresql.insert(HOURLY))}


def _json(value: object, empty: str) -> str:
    return _ENCODER.encode(value).decode() if value else empty


def _row(record: UsageRecord) -> dict[str, Any]:
    tokens = record.tokens
    return {
        "id": record.id,
        "request_id": record.request_id[:200],
        "started_ns": record.started_ns,
        "node": record.node[:200],
        "operation": record.operation,
        "method": record.method,
        "path": record.path,
        "stream": record.stream,
        "route": record.route,
        "rule": record.rule,
        "backend": record.backend,
        "service": record.service,
        "upstream": record.upstream,
        "lane": record.lane,
        "client": record.client,
        "team": record.team,
        "original_model": record.original_model,
        "request_model": record.request_model,
        "response_model": record.response_model,
        "status": record.status,
        "error": record.error,
        "details": record.details,
        "flags": _json(record.flags, _EMPTY_LIST),
        "attempts": len(record.attempts),
        "attempted": _json(record.attempts, _EMPTY_LIST),
        "input_tokens": tokens.input,
        "cached_input_tokens": tokens.cached_input,
        "cache_creation_input_tokens": tokens.cache_creation_input,
        "output_tokens": tokens.output,
        "reasoning_tokens": tokens.reasoning,
        "total_tokens": tokens.total,
        "usage_source": record.usage_source,
        "costs": _json(dict(record.costs), _EMPTY_MAP),
        "cost_micros": record.cost_micros,
        "price": record.price,
        "duration_ms": record.duration_ms,
        "upstream_ms": record.upstream_ms,
        "ttft_ms": record.ttft_ms,
        "request_bytes": record.request_bytes,
        "response_bytes": record.response_bytes,
        "losses": record.losses,
        "labels": _json(dict(record.labels), _EMPTY_MAP),
    }
