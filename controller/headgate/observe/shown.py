"""What of a request is shown: what is named here and nothing else, so that nothing new appears on a page by itself.

No prompt, no answer and no key is in a record. Left out all the same are labels (headers that an operator mapped may
hold anything), query strings (some clients put keys there), addresses of clients and Envoy's own words about the end.
"""

from typing import Final

import msgspec
from headgate.ledger.record import UsageRecord

TEXT_MAX: Final = 200
"""Of what a client or a provider may choose."""


class ShownAttempt(msgspec.Struct, frozen=True, kw_only=True):
    backend: str
    status: int
    error: str
    duration_ms: float
    why: str = ""
    """Why the backend is served as it is: what `headgate explain` says of it. The gateway, which knows the
    configuration, fills it in."""


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """One request."""

    id: str
    number: int
    """Counts all requests, shown or not."""
    request_id: str
    started: float
    """Unix seconds."""
    operation: str
    path: str
    stream: bool
    lane: str
    route: str
    client: str
    team: str
    asked: str
    sent: str
    answered: str
    response_id: str
    ended: str
    """Why the answer ended."""
    status: int
    error: str
    attempts: tuple[ShownAttempt, ...]
    input: int | None
    cached: int | None
    output: int | None
    reasoning: int | None
    usage: str
    cost_nanos: int | None
    duration_ms: float
    ttft_ms: float | None
    losses: str


def show(number: int, record: UsageRecord) -> Shown:
    """The request as it is shown."""
    tokens = record.tokens
    return Shown(
        id=record.id,
        number=number,
        request_id=cut(record.request_id),
        started=record.started_ns / 1e9,
        operation=record.operation,
        path=cut(record.path.partition("?")[0]),
        stream=record.stream,
        lane=record.lane.value,
        route=record.route,
        client=cut(record.client),
        team=cut(record.team),
        asked=cut(record.original_model),
        sent=cut(record.request_model),
        answered=cut(record.response_model),
        response_id=cut(record.response_id),
        ended=cut(", ".join(record.finish_reasons)),
        status=record.status,
        error=record.error,
        attempts=tuple(
            ShownAttempt(
                backend=attempt.backend,
                status=attempt.status,
                error=attempt.error,
                duration_ms=attempt.duration_ms,
            )
            for attempt in record.attempts
        ),
        input=tokens.input,
        cached=tokens.cached_input,
        output=tokens.output,
        reasoning=tokens.reasoning,
        usage=record.usage_source.value,
        cost_nanos=record.cost_nanos,
        duration_ms=record.duration_ms,
        ttft_ms=record.ttft_ms,
        losses=cut(record.losses),
    )


def cut(text: str) -> str:
    """At most `TEXT_MAX` of it."""
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"
