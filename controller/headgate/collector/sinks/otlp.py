"""Records as OpenTelemetry logs, over OTLP/HTTP in its JSON encoding, which needs no protobuf of OpenTelemetry's.

https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import aiohttp
import msgspec
from headgate.collector.sinks.sink import RefusedError, SinkError
from headgate.ledger.record import UsageRecord
from opentelemetry.semconv._incubating.attributes import (  # pyright: ignore[reportMissingTypeStubs]
    gen_ai_attributes as gen_ai,
)
from opentelemetry.semconv.attributes import error_attributes, http_attributes, url_attributes

SECONDS_MAX: Final = 10.0
AGAIN: Final = frozenset({408, 429, 502, 503, 504})
"""Statuses after which the same records may be sent again."""
EVENT: Final = "gen_ai.client.inference.operation.details"
SCOPE: Final = "headgate"
_INFO: Final = 9
_ERROR: Final = 17

Value = str | int | float | bool


def _value(value: Value) -> dict[str, Value]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}


def _attributes(record: UsageRecord) -> Iterator[tuple[str, Value | None]]:
    tokens = record.tokens
    yield gen_ai.GEN_AI_OPERATION_NAME, record.operation
    yield gen_ai.GEN_AI_REQUEST_MODEL, record.request_model
    yield gen_ai.GEN_AI_RESPONSE_MODEL, record.response_model
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
    yield "headgate.cost.micros", record.cost_micros
    yield "headgate.duration_ms", record.duration_ms
    yield "headgate.ttft_ms", record.ttft_ms
    yield from record.labels


def log_record(record: UsageRecord) -> dict[str, Any]:
    """One LogRecord. What is not known is left out."""
    ended = record.started_ns + int(record.duration_ms * 1e6)
    known = ((key, value) for key, value in _attributes(record) if value is not None and value != "")
    return {
        "timeUnixNano": str(ended),
        "observedTimeUnixNano": str(ended),
        "severityNumber": _ERROR if record.error else _INFO,
        "eventName": EVENT,
        "attributes": [{"key": key, "value": _value(value)} for key, value in known],
    }


class OtlpLogs:
    """Posts batches to `<endpoint>`, which ends with /v1/logs as a rule."""

    name = "otlp"

    def __init__(self, endpoint: str, *, headers: Mapping[str, str], resource: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._headers = {**headers, "content-type": "application/json"}
        self._resource = [{"key": key, "value": _value(value)} for key, value in sorted(resource.items())]
        self._session: aiohttp.ClientSession | None = None

    async def write(self, records: Sequence[UsageRecord]) -> None:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=SECONDS_MAX)
            self._session = aiohttp.ClientSession(timeout=timeout, headers=self._headers)
        logs = {"scope": {"name": SCOPE}, "logRecords": [log_record(record) for record in records]}
        body = msgspec.json.encode(
            {"resourceLogs": [{"resource": {"attributes": self._resource}, "scopeLogs": [logs]}]}
        )
        try:
            async with self._session.post(self._endpoint, data=body) as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise SinkError(f"{self._endpoint}: {error or 'no answer in time'}") from error
        if status in AGAIN:
            raise SinkError(f"{self._endpoint} answered {status}")
        if status >= 300:
            raise RefusedError(f"{self._endpoint} answered {status}")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
