"""Metrics of requests, made of their records: which models, how many tokens, how long, what went wrong, what it cost.

compat: the four `gen_ai.*` histograms have upstream's names, buckets and attributes. What differs: `error.type` says
what went wrong (`headgate.ledger.errors`), and requests that no backend was asked for are timed too, with the provider
`unknown`. A request is one sample: its last attempt, from when the one before had failed.
"""

import re
from collections.abc import Sequence
from typing import Final

from headgate.collector.asked import asked_of
from headgate.ledger import batches
from headgate.ledger.errors import model_known
from headgate.ledger.joining import service_of
from headgate.ledger.prices import unpriced
from headgate.ledger.record import NO_TOKENS, Attempt, Tokens, UsageRecord
from headgate.runtime.metrics import Description, Distribution, Kind, Labels, Registry

TOKEN_BUCKETS: Final = tuple(float(4**power) for power in range(14))
DURATION_BUCKETS: Final = tuple(round(0.01 * 2**power, 2) for power in range(14))
FIRST_TOKEN_BUCKETS: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0),
)
OUTPUT_TOKEN_BUCKETS: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
TOKEN_TYPES: Final = ("input", "cached_input", "cache_creation_input", "output", "reasoning")
UNKNOWN: Final = "unknown"
_MODELS: Final = ("gen_ai.original.model", "gen_ai.request.model", "gen_ai.response.model")
_COMMON: Final = ("gen_ai.operation.name", "gen_ai.provider.name", *_MODELS)
_LOSS: Final = re.compile(r"(?:^|, )([^;, ]+);(dropped|changed|emulated): ")
_INDEX: Final = re.compile(r"\[\d+\]")
_NANOS: Final = 1_000_000_000
_MS: Final = 1e-3


class _Meter:
    """The series of one label set of the `gen_ai` metrics, found once for all that a request adds to.

    Kept only while all of them are the label set's own, so there are no more meters than series.
    """

    __slots__ = ("durations", "first_token", "labels", "output_token", "tokens")

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.durations: dict[str, Distribution] = {}
        self.tokens: list[Distribution | None] = [None] * len(TOKEN_TYPES)
        self.first_token: Distribution | None = None
        self.output_token: Distribution | None = None


class Metering:
    """Counts records into a registry.

    `attributes` become labels of the `gen_ai` metrics: `client`, `team`, or labels of records.
    """

    def __init__(self, registry: Registry, attributes: Sequence[str] = ()) -> None:
        self._attributes = tuple(attributes)
        self._meters: dict[Labels, _Meter] = {}
        self._declare_gen_ai(registry)
        self._declare_ours(registry)

    def _declare_gen_ai(self, registry: Registry) -> None:
        common = (*_COMMON, *self._attributes)
        chosen = (*_MODELS, *self._attributes)
        self._tokens = registry.histogram(
            "gen_ai.client.token.usage",
            "Tokens of a request, by kind. Input includes cached ones, output includes reasoning.",
            (*common, "gen_ai.token.type"),
            TOKEN_BUCKETS,
            unit="token",
            open_=chosen,
        )
        self._duration = registry.histogram(
            "gen_ai.server.request.duration",
            "Time of the attempt that answered, to the end of its answer.",
            (*common, "error.type"),
            DURATION_BUCKETS,
            unit="s",
            open_=chosen,
        )
        self._first_token = registry.histogram(
            "gen_ai.server.time_to_first_token",
            "Time of the attempt that answered to the first byte of its answer's body, of streams.",
            common,
            FIRST_TOKEN_BUCKETS,
            unit="s",
            open_=chosen,
        )
        self._output_token = registry.histogram(
            "gen_ai.server.time_per_output_token",
            "Time between two tokens of a stream: what came after the first, through the tokens but one.",
            common,
            OUTPUT_TOKEN_BUCKETS,
            unit="s",
            open_=chosen,
        )

    def _declare_ours(self, registry: Registry) -> None:
        self._requests = registry.counter(
            "headgate.requests",
            "Requests, those of plain HTTP routes and those that nobody served as well.",
            ("route", "backend", "lane", "http.response.status_code", "error.type", "usage.source"),
        )
        self._attempts = registry.counter(
            "headgate.attempts", "Attempts at backends, by how they ended.", ("backend", "error.type")
        )
        self._failovers = registry.counter(
            "headgate.failovers",
            "Attempts that another one followed: where it failed, why, and where the next one went.",
            ("backend", "to", "error.type"),
        )
        self._losses = registry.counter(
            "headgate.losses",
            "What requests (`answer.`: answers) hold and the other dialect cannot say, by the member of the body.",
            ("backend", "field", "action"),
            open_=("field",),
        )
        self._unpriced = registry.counter(
            "headgate.requests.unpriced",
            "Served requests without a row in the price table.",
            ("backend", "gen_ai.request.model"),
            open_=("gen_ai.request.model",),
        )
        self._cost = registry.counter(
            "headgate.cost",
            "What requests cost by the price table.",
            ("backend", "gen_ai.request.model", "team"),
            unit="USD",
            open_=("gen_ai.request.model", "team"),
            parts=_NANOS,
        )
        overflow = Description(
            name="headgate.collector.series.overflow",
            kind=Kind.COUNTER,
            help="Samples, several of a request, whose labels had no room and were counted under `other`.",
        )
        registry.observed(overflow, lambda: {(): registry.folded})

    def take(self, records: Sequence[UsageRecord]) -> None:
        """Counts them; a subscriber of the access log."""
        for record in records:
            self._count(record)
            operation = asked_of(record.path).operation
            if operation or record.operation == batches.OPERATION:
                self._time(record, operation or batches.OPERATION)

    # --- the gateway's own

    def _count(self, record: UsageRecord) -> None:
        self._requests.at(
            record.route, record.service, record.lane, str(record.status), record.error, record.usage_source
        ).value += 1
        attempts = record.attempts
        if len(attempts) == 1:
            self._attempts.at(record.service, attempts[0].error).value += 1
        elif attempts:
            self._count_attempts(attempts)
        if record.losses:
            for field, action in _LOSS.findall(record.losses):
                self._losses.at(record.service, _INDEX.sub("[]", field), action).value += 1
        if record.cost_nanos is not None:
            self._cost.at(record.service, record.request_model, record.team).value += record.cost_nanos
        elif unpriced(record):
            self._unpriced.at(record.service, record.request_model).value += 1

    def _count_attempts(self, attempts: tuple[Attempt, ...]) -> None:
        services = [service_of(attempt.backend) for attempt in attempts]
        for attempt, service in zip(attempts, services, strict=True):
            self._attempts.at(service, attempt.error).value += 1
        for attempt, service, following in zip(attempts, services, services[1:], strict=False):
            self._failovers.at(service, following, attempt.error).value += 1

    # --- GenAI

    def _time(self, record: UsageRecord, operation: str) -> None:
        known = model_known(record)
        request_model = record.request_model or record.original_model if known else ""
        labels = (
            operation,
            record.provider or UNKNOWN,
            (record.original_model if known else "") or UNKNOWN,
            request_model or UNKNOWN,
            record.response_model or UNKNOWN,
            *(self._attributes_of(record) if self._attributes else ()),
        )
        meter, folded = self._meters.get(labels) or _Meter(labels), self._folded
        attempts = record.attempts
        last_ms = attempts[-1].duration_ms if attempts else record.duration_ms
        duration = meter.durations.get(record.error)
        if duration is None:
            duration = meter.durations[record.error] = self._duration.at(*meter.labels, record.error)
        duration.observe(last_ms * _MS)
        if record.tokens is not NO_TOKENS:
            self._use(meter, record.tokens)
        if record.ttft_ms is not None:
            self._stream(meter, record, record.ttft_ms - record.duration_ms + last_ms, last_ms)
        if self._folded == folded:
            self._meters[labels] = meter
        else:  # what has no series of its own is looked for again, and so counted, each time
            self._meters.pop(labels, None)

    def _attributes_of(self, record: UsageRecord) -> Labels:
        values = {"client": record.client, "team": record.team, **dict(record.labels)}
        return tuple(values.get(name, "") for name in self._attributes)

    @property
    def _folded(self) -> int:
        return self._tokens.folded + self._duration.folded + self._first_token.folded + self._output_token.folded

    def _use(self, meter: _Meter, tokens: Tokens) -> None:
        counts = (tokens.input, tokens.cached_input, tokens.cache_creation_input, tokens.output, tokens.reasoning)
        for index, count in enumerate(counts):
            if count is None:
                continue
            found = meter.tokens[index]
            if found is None:
                found = meter.tokens[index] = self._tokens.at(*meter.labels, TOKEN_TYPES[index])
            found.observe(count)

    def _stream(self, meter: _Meter, record: UsageRecord, first_ms: float, last_ms: float) -> None:
        if meter.first_token is None:
            meter.first_token = self._first_token.at(*meter.labels)
        first_ms = max(first_ms, 0.0)
        meter.first_token.observe(first_ms * _MS)
        output = record.tokens.output
        if output is not None and output > 1 and not record.error:
            if meter.output_token is None:
                meter.output_token = self._output_token.at(*meter.labels)
            meter.output_token.observe(max(last_ms - first_ms, 0.0) * _MS / (output - 1))
