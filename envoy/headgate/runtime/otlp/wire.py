"""OTLP's messages. https://opentelemetry.io/docs/specs/otlp/

The wheel's classes are of an older version, where scopes are called instrumentation libraries; the bytes are the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headgate.contract.otel import NO_LIMITS, Limits
from headgate.runtime.otlp.values import LogRecord, Span, Value
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_SERVER = 2
_CLIENT = 3
STATUS_ERROR = 2
_SEVERITY_INFO = 9
_SEVERITY_ERROR = 17
_EVENT_NAME = b"\x62"
"""The tag of `LogRecord.event_name`, which the wheel does not know."""


def _put(attributes: Any, values: Iterable[tuple[str, Value]]) -> None:
    for name, value in values:
        entry = attributes.add(key=name).value
        match value:
            case bool():
                entry.bool_value = value
            case int():
                entry.int_value = value
            case float():
                entry.double_value = value
            case str():
                entry.string_value = value
            case tuple():
                entry.array_value.SetInParent()
                for each in value:
                    entry.array_value.values.add().string_value = each


def limit(told: Any, limits: Limits) -> None:
    """Shortens texts of a span or a log record and leaves out its last attributes, which it says."""
    if limits.value_length_max is not None:
        for pair in told.attributes:
            _shorten(pair.value, limits.value_length_max)
    if limits.attributes_max is not None and (beyond := len(told.attributes) - limits.attributes_max) > 0:
        del told.attributes[limits.attributes_max :]
        told.dropped_attributes_count += beyond


def _shorten(value: Any, length_max: int) -> None:
    if value.WhichOneof("value") == "array_value":
        for each in value.array_value.values:
            _shorten(each, length_max)
    elif len(value.string_value) > length_max:
        value.string_value = value.string_value[:length_max]


def encode_spans(spans: Sequence[Span], resource: Mapping[str, str], scope: str, limits: Limits = NO_LIMITS) -> bytes:
    """A request of the trace service."""
    message = ExportTraceServiceRequest()
    of_resource = message.resource_spans.add()
    _put(of_resource.resource.attributes, sorted(resource.items()))
    scoped = of_resource.instrumentation_library_spans.add()
    scoped.instrumentation_library.name = scope
    for span in spans:
        made = scoped.spans.add(
            trace_id=bytes.fromhex(span.trace),
            span_id=bytes.fromhex(span.id),
            parent_span_id=bytes.fromhex(span.parent),
            name=span.name,
            start_time_unix_nano=span.start_ns,
            end_time_unix_nano=span.end_ns,
        )
        made.kind = _SERVER if span.server else _CLIENT  # pyright: ignore[reportAttributeAccessIssue]
        _put(made.attributes, span.attributes.items())
        limit(made, limits)
        for event in span.events:
            told = made.events.add(name=event.name, time_unix_nano=event.time_ns)
            _put(told.attributes, event.attributes.items())
        if span.failed:
            made.status.code = STATUS_ERROR  # pyright: ignore[reportAttributeAccessIssue]
    return message.SerializeToString()


def encode_logs(
    records: Sequence[LogRecord], resource: Mapping[str, str], scope: str, limits: Limits = NO_LIMITS
) -> bytes:
    """A request of the logs service."""
    message = ExportLogsServiceRequest()
    of_resource = message.resource_logs.add()
    _put(of_resource.resource.attributes, sorted(resource.items()))
    scoped = of_resource.instrumentation_library_logs.add()
    scoped.instrumentation_library.name = scope
    for record in records:
        made = scoped.logs.add(
            time_unix_nano=record.time_ns,
            trace_id=bytes.fromhex(record.trace),
            span_id=bytes.fromhex(record.span),
        )
        made.severity_number = _SEVERITY_ERROR if record.failed else _SEVERITY_INFO  # pyright: ignore[reportAttributeAccessIssue]
        _put(made.attributes, (("event.name", record.event), *record.attributes.items()))
        limit(made, limits)
        name = record.event.encode()
        made.MergeFromString(_EVENT_NAME + bytes((len(name),)) + name)
    return message.SerializeToString()
