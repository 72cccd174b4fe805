"""Metrics to whoever speaks OTLP: what a process has to tell now, every `OTEL_METRIC_EXPORT_INTERVAL`.

`encode` is pure. What could not be sent is in the next message as well, for sums are cumulative; with `delta` they are
the change since the last message that was taken.

https://opentelemetry.io/docs/specs/otel/metrics/data-model/
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from headgate.contract import otel
from headgate.runtime.logging import event_log
from headgate.runtime.metrics import Distribution, Kind, Labels, Read, Reading, Value
from headgate.runtime.otlp.transport import SendError, Transport, send_patiently
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric, NumberDataPoint

log = event_log("otlp")

GEN_AI_SCOPE: Final = "envoyproxy/ai-gateway"
"""compat: the meter of `gen_ai` metrics."""
_NANOS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """Where metrics go, how often, and in what form."""

    destination: otel.Destination
    interval_seconds: float = 60.0
    timeout_seconds: float = 30.0
    """For one message, with all that is tried again."""
    delta: bool = False
    resource: otel.Pairs = ()


def metrics_settings(environment: Mapping[str, str]) -> tuple[MetricsSettings | None, tuple[str, ...]]:
    """What `OTEL_*` variables say, None where metrics go nowhere; and what the user has to be told."""
    notes: list[str] = []
    destination = otel.destination(environment, otel.Signal.METRICS, notes)
    if destination is None:
        return None, tuple(notes)
    interval, timeout = otel.periods(environment, notes)
    preferred = environment.get("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "").strip().lower()
    if preferred not in ("", "cumulative", "delta", "lowmemory"):
        notes.append(
            f"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE={preferred} is not known: cumulative, delta and "
            "lowmemory are; cumulative is taken"
        )
    name, others = otel.resource(environment)
    found = MetricsSettings(
        destination=destination,
        interval_seconds=interval,
        timeout_seconds=timeout,
        delta=preferred in ("delta", "lowmemory"),
        resource=(("service.name", name), *others),
    )
    return found, tuple(notes)


@dataclass(frozen=True, slots=True)
class Period:
    """What a message is of, in nanoseconds of Unix time."""

    start: int
    end: int


def encode(readings: Iterable[Reading], period: Period, *, resource: otel.Pairs, delta: bool = False) -> bytes:
    """An ExportMetricsServiceRequest. With `delta` the readings are changes since `period.start`."""
    message = ExportMetricsServiceRequest()
    described = message.resource_metrics.add()
    described.resource.attributes.extend(_pairs(resource))
    scopes: dict[str, list[Metric]] = {}
    for reading in readings:
        if reading.values:
            scope = GEN_AI_SCOPE if reading.description.name.startswith("gen_ai.") else otel.SCOPE
            scopes.setdefault(scope, []).append(_metric(reading, period, delta=delta))
    for name, metrics in scopes.items():
        # what OTLP 1.0 calls scopes; the wheel's messages are older, and the same on the wire
        found = described.instrumentation_library_metrics.add()
        found.instrumentation_library.name = name
        found.metrics.extend(metrics)
    return message.SerializeToString()


def changes(now: Sequence[Reading], before: Mapping[str, Mapping[Labels, Value]]) -> Iterator[Reading]:
    """Readings less what was read before; gauges as they are."""
    for reading in now:
        past = before.get(reading.description.name, {})
        if reading.description.kind is Kind.GAUGE or not past:
            yield reading
        else:
            yield Reading(
                reading.description, {key: _less(value, past.get(key)) for key, value in reading.values.items()}
            )


def _less(value: Value, past: Value | None) -> Value:
    if isinstance(value, Distribution):
        found = Distribution(value.bounds)
        earlier = past if isinstance(past, Distribution) else found
        found.counts = [count - once for count, once in zip(value.counts, tuple(earlier.counts), strict=True)]
        found.total = value.total - earlier.total
        return found
    return value - past if isinstance(past, int | float) else value


def _metric(reading: Reading, period: Period, *, delta: bool) -> Metric:
    described = reading.description
    result = Metric(name=described.name, description=described.help, unit=described.unit or "1")
    temporality = (
        AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
        if delta
        else AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    )
    if described.kind is Kind.GAUGE:
        result.gauge.data_points.extend(_numbers(reading, period))
        return result
    if described.kind is Kind.COUNTER:
        result.sum.aggregation_temporality = temporality
        result.sum.is_monotonic = True
        result.sum.data_points.extend(_numbers(reading, period))
        return result
    result.histogram.aggregation_temporality = temporality
    for labels, value in reading.values.items():
        assert isinstance(value, Distribution)
        result.histogram.data_points.add(
            attributes=_pairs(zip(described.labels, labels, strict=True)),
            start_time_unix_nano=period.start,
            time_unix_nano=period.end,
            count=value.count,
            sum=value.total,
            bucket_counts=value.counts,
            explicit_bounds=described.bounds,
        )
    return result


def _numbers(reading: Reading, period: Period) -> Iterator[NumberDataPoint]:
    for labels, value in reading.values.items():
        assert not isinstance(value, Distribution)
        point = NumberDataPoint(
            attributes=_pairs(zip(reading.description.labels, labels, strict=True)),
            start_time_unix_nano=period.start,
            time_unix_nano=period.end,
        )
        if isinstance(value, int):
            point.as_int = value
        else:
            point.as_double = value
        yield point


def _pairs(pairs: Iterable[tuple[str, str]]) -> Iterator[KeyValue]:
    return (KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in pairs if value)


@dataclass(slots=True)
class MetricsExport:
    """Sends metrics until `close`, and once more then."""

    read: Read
    settings: MetricsSettings
    transport: Transport
    _sent: dict[str, Mapping[Labels, Value]] = field(default_factory=dict[str, Mapping[Labels, Value]])
    _start: int = field(default_factory=time.time_ns)
    _task: asyncio.Task[None] | None = None
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        self._ended.set()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self.export()
        await self.transport.close()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self.settings.interval_seconds)
            await self.export()

    async def export(self) -> None:
        """Sends what there is now; what fails is logged."""
        delta = self.settings.delta
        try:
            readings = [_copied(reading) async for reading in self.read()]
            now = time.time_ns()
            told = list(changes(readings, self._sent)) if delta else readings
            period = Period(self._start, now)
            # in a thread: with many series it is work that others on the event loop must not wait for
            message = await asyncio.to_thread(encode, told, period, resource=self.settings.resource, delta=delta)
            await send_patiently(self.transport, message, self.settings.timeout_seconds, self._ended)
        except SendError as error:
            log.warning("metrics_not_sent", error=str(error))
            return
        except Exception:  # what cannot be told now must not end all that can be later
            log.exception("metrics_not_sent")
            return
        if delta:
            self._start = now
            self._sent = {reading.description.name: reading.values for reading in readings}


def _copied(reading: Reading) -> Reading:
    """As it is now: distributions go on counting while a message is under way."""
    return Reading(reading.description, {key: _less(value, None) for key, value in reading.values.items()})
