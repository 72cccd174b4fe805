"""Rows of `usage_events`: made of records, and read again for what sums are made of."""

from collections.abc import Sequence
from typing import Final

import msgspec
from headgate.collector.store.tables import EVENTS
from headgate.ledger.record import Attempt, Tokens, UsageRecord, UsageSource

Value = str | int | float | bool | None
Row = tuple[Value, ...]

_ENCODER: Final = msgspec.json.Encoder()
_ATTEMPT: Final = Attempt(backend="")


class Summed(msgspec.Struct, array_like=True, gc=False):
    """Columns of an event that sums are made of."""

    started_ns: int
    client: str
    team: str
    original_model: str
    request_model: str
    service: str
    provider: str
    route: str
    error: str
    attempts: int
    input_tokens: int | None
    cached_input_tokens: int | None
    cache_creation_input_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    total_tokens: int | None
    usage_source: UsageSource
    cost_nanos: int | None
    duration_ms: float
    ttft_ms: float | None


SUMMED: Final = tuple(EVENTS.c[name] for name in Summed.__struct_fields__)


def record_of(row: Sequence[object]) -> UsageRecord:
    """Of the `SUMMED` columns: a record that adds to sums what the event's own did."""
    event = msgspec.convert(tuple(row), Summed)
    return UsageRecord(
        id="",
        request_id="",
        started_ns=event.started_ns,
        client=event.client,
        team=event.team,
        original_model=event.original_model,
        request_model=event.request_model,
        service=event.service,
        provider=event.provider,
        route=event.route,
        error=event.error,
        attempts=(_ATTEMPT,) * event.attempts,
        tokens=Tokens(
            input=event.input_tokens,
            cached_input=event.cached_input_tokens,
            cache_creation_input=event.cache_creation_input_tokens,
            output=event.output_tokens,
            reasoning=event.reasoning_tokens,
            total=event.total_tokens,
        ),
        usage_source=event.usage_source,
        cost_nanos=event.cost_nanos,
        duration_ms=event.duration_ms,
        ttft_ms=event.ttft_ms,
    )


def row_of(record: UsageRecord) -> Row:
    """In the order of the table's columns."""
    return (*_request(record), *_who(record), *_answer(record), *_came_to(record))


def _request(record: UsageRecord) -> Row:
    return (
        record.id,
        record.request_id[:200],
        record.started_ns,
        record.node[:200],
        record.operation[:64],
        record.method[:16],
        record.path,
        record.stream,
    )


def _who(record: UsageRecord) -> Row:
    """Who served whom with what."""
    return (
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
    )


def _answer(record: UsageRecord) -> Row:
    return (
        record.response_id,
        _list(record.finish_reasons),
        record.status,
        record.error,
        record.details,
        _list(record.flags),
        len(record.attempts),
        _list(record.attempts),
    )


def _came_to(record: UsageRecord) -> Row:
    tokens = record.tokens
    return (
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


def _list(value: Sequence[object]) -> str:
    return _ENCODER.encode(value).decode() if value else "[]"


def _map(value: Sequence[tuple[str, object]]) -> str:
    return _ENCODER.encode(dict(value)).decode() if value else "{}"
