"""OTLP's messages. https://opentelemetry.io/docs/specs/otlp/

The wheel's classes are of an older version, where scopes are called instrumentation libraries; the bytes are the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headgate.runtime.otlp.values import LogRecord, Span, Value
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_CLIENT = 3
_STATUS_ERROR = 2
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


def encode_spans(spans: Sequence[Span], resource: Mapping[str, str], scope: str) -> bytes:
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
        made.kind = _CLIENT  # pyright: ignore[reportAttributeAccessIssue]
        _put(made.attributes, span.attributes.items())
        if span.failed:
            made.status.code = _STATUS_ERROR  # pyright: ignore[reportAttributeAccessIssue]
    return message.SerializeToString()


def encode_logs(records: Sequence[LogRecord], resource: Mapping[str, str], scope: str) -> bytes:
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
        name = record.event.encode()
        made.MergeFromString(_EVENT_NAME + bytes((len(name),)) + name)
    return message.SerializeToString()
