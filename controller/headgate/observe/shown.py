"""What of a request is shown: what is named here and nothing else, so that nothing new appears on a page by itself.

No prompt, no answer and no key is in a record. Left out all the same are labels (headers that an operator mapped may
hold anything), query strings (some clients put keys there), addresses of clients and Envoy's own words about the end.
"""

from collections.abc import Callable
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
    """Why the backend is served as it is: what `headgate explain` says of it."""


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
    status: int
    error: str
    attempts: tuple[ShownAttempt, ...]
    input: int | None
    cached: int | None
    output: int | None
    reasoning: int | None
    usage: str
    cost_micros: int | None
    duration_ms: float
    ttft_ms: float | None
    losses: str


Explain = Callable[[str, str], str]
"""From a path class and a backend's full name to why it is served in its lane; empty where that is not known."""


def show(number: int, record: UsageRecord, explain: Explain = lambda operation, backend: "") -> Shown:
    """The request as it is shown."""
    tokens = record.tokens
    return Shown(
        id=record.id,
        number=number,
        request_id=_cut(record.request_id),
        started=record.started_ns / 1e9,
        operation=record.operation,
        path=_cut(record.path.partition("?")[0]),
        stream=record.stream,
        lane=record.lane.value,
        route=record.route,
        client=_cut(record.client),
        team=_cut(record.team),
        asked=_cut(record.original_model),
        sent=_cut(record.request_model),
        answered=_cut(record.response_model),
        status=record.status,
        error=record.error,
        attempts=tuple(
            ShownAttempt(
                backend=attempt.backend,
                status=attempt.status,
                error=attempt.error,
                duration_ms=attempt.duration_ms,
                why=explain(record.operation, attempt.backend),
            )
            for attempt in record.attempts
        ),
        input=tokens.input,
        cached=tokens.cached_input,
        output=tokens.output,
        reasoning=tokens.reasoning,
        usage=record.usage_source.value,
        cost_micros=record.cost_micros,
        duration_ms=record.duration_ms,
        ttft_ms=record.ttft_ms,
        losses=_cut(record.losses),
    )


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"
