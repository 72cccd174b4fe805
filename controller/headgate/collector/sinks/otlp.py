"""Records as OpenTelemetry logs, over OTLP."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from headgate.collector.settings import OTLP
from headgate.collector.sinks.sink import RefusedError, SinkError
from headgate.contract import otel
from headgate.contract.otel import Signal
from headgate.ledger.record import UsageRecord
from headgate.runtime.otlp.transport import SendError, Transport, open_transport
from headgate.runtime.otlp.values import LogRecord, Value
from headgate.runtime.otlp.wire import encode_logs
from opentelemetry.semconv._incubating.attributes import (
    gen_ai_attributes as gen_ai,
)
from opentelemetry.semconv.attributes import error_attributes, http_attributes, url_attributes


def _attributes(record: UsageRecord) -> Iterator[tuple[str, Value | None]]:
    tokens = record.tokens
    yield gen_ai.GEN_AI_OPERATION_NAME, record.operation
    yield gen_ai.GEN_AI_REQUEST_MODEL, record.request_model
    yield gen_ai.GEN_AI_RESPONSE_MODEL, record.response_model
    yield gen_ai.GEN_AI_RESPONSE_ID, record.response_id
    yield gen_ai.GEN_AI_RESPONSE_FINISH_REASONS, record.finish_reasons
    yield gen_ai.GEN_AI_USAGE_INPUT_TOKENS, tokens.input
    yield gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS, tokens.output
    yield gen_ai.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, tokens.cached_input
    yield gen_ai.GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS, tokens.cache_creation_input
    yield gen_ai.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS, tokens.reasoning
    yield "gen_ai.original.model", record.original_model
    yield http_attributes.HTTP_REQUEST_METHOD, record.method
    yield http_attributes.HTTP_RESPONSE_STATUS_CODE, record.status
    yield url_attributes.URL_PATH, record.path
    yield error_attributes.ERROR_TYPE, record.error
    yield "headgate.request.id", record.request_id
    yield "headgate.record.id", record.id
    yield "headgate.client", record.client
    yield "headgate.team", record.team
    yield "headgate.route", record.route
    yield "headgate.backend", record.service
    yield "headgate.lane", str(record.lane)
    yield "headgate.stream", record.stream
    yield "headgate.attempts", len(record.attempts)
    yield "headgate.usage.source", str(record.usage_source)
    yield "headgate.cost.nanos", record.cost_nanos
    yield "headgate.duration_ms", record.duration_ms
    yield "headgate.ttft_ms", record.ttft_ms
    yield from record.labels


def log_record(record: UsageRecord) -> LogRecord:
    """What is not known is left out."""
    known = {key: value for key, value in _attributes(record) if value is not None and value not in ("", ())}
    ended = record.started_ns + int(record.duration_ms * 1e6)
    return LogRecord(event=otel.OPERATION_EVENT, time_ns=ended, attributes=known, failed=bool(record.error))


class OtlpLogs:
    """A message for each batch."""

    name = OTLP

    def __init__(
        self,
        transport: Transport,
        resource: otel.Pairs,
        *,
        limits: otel.Limits = otel.NO_LIMITS,
        timeout_seconds: float = 30.0,
    ) -> None:
        self._transport = transport
        self._resource = dict(resource)
        self._limits = limits
        self._timeout_seconds = timeout_seconds

    async def write(self, records: Sequence[UsageRecord]) -> None:
        message = encode_logs([log_record(record) for record in records], self._resource, otel.SCOPE, self._limits)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._transport.send(message)
        except TimeoutError:
            raise SinkError(f"not sent within {self._timeout_seconds:g} s") from None
        except SendError as error:
            raise (SinkError if error.again else RefusedError)(str(error)) from error

    async def close(self) -> None:
        await self._transport.close()


def open_logs(environment: Mapping[str, str], endpoint: str = "") -> tuple[OtlpLogs | None, tuple[str, ...]]:
    """Where `OTEL_*` variables say, or to `endpoint` (a whole URL, by HTTP), which wins; None where nowhere. Also what
    the user has to be told. Raises OSError for certificates that cannot be read."""
    if endpoint:
        own = {"EXPORTER_OTLP_LOGS_ENDPOINT": endpoint, "EXPORTER_OTLP_LOGS_PROTOCOL": "http/protobuf"}
        environment = {
            **environment,
            **{f"OTEL_{name}": value for name, value in own.items()},
            "OTEL_LOGS_EXPORTER": "otlp",
        }
    notes: list[str] = []
    destination = otel.log_destination(environment, notes)
    if destination is None:
        return None, tuple(notes)
    name, others = otel.resource(environment)
    limits = otel.attribute_limits(environment, Signal.LOGS, notes)
    seconds = otel.batches(environment, Signal.LOGS, notes).timeout_seconds
    transport = open_transport(destination, Signal.LOGS)
    logs = OtlpLogs(transport, (("service.name", name), *others), limits=limits, timeout_seconds=seconds)
    return logs, tuple(notes)
