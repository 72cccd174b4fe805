"""OTLP's messages as JSON. https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding

As protobuf's JSON, but for ids, which are hexadecimal, and enums, which are numbers. The wheel's classes are older than
OTLP 1.0: what they call libraries is called scopes there.
"""

import base64
import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, cast

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from headgate.contract.otel import Signal
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_REQUESTS: Final[Mapping[Signal, Callable[[], Message]]] = MappingProxyType(
    {
        Signal.TRACES: ExportTraceServiceRequest,
        Signal.METRICS: ExportMetricsServiceRequest,
        Signal.LOGS: ExportLogsServiceRequest,
    }
)
_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "instrumentationLibrarySpans": "scopeSpans",
        "instrumentationLibraryMetrics": "scopeMetrics",
        "instrumentationLibraryLogs": "scopeLogs",
        "instrumentationLibrary": "scope",
        "logs": "logRecords",
    }
)
_IDS: Final = frozenset({"traceId", "spanId", "parentSpanId"})
_EVENT: Final = "event.name"


def as_json(message: bytes, signal: Signal) -> bytes:
    """A request of the signal's service, in one line."""
    request = _REQUESTS[signal]()
    request.ParseFromString(message)
    told = _renamed(MessageToDict(request, use_integers_for_enums=True))
    if signal is Signal.LOGS:
        _name_events(told)
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


def _renamed(value: Any) -> Any:
    if isinstance(value, list):
        return [_renamed(each) for each in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    return {
        _NAMES.get(name, name): base64.b64decode(each).hex() if name in _IDS else _renamed(each)
        for name, each in cast("dict[str, Any]", value).items()
    }


def _name_events(told: Any) -> None:
    """The wheel does not know the member; our records have it as an attribute too."""
    for of_resource in told.get("resourceLogs", ()):
        for scope in of_resource.get("scopeLogs", ()):
            for record in scope.get("logRecords", ()):
                named = [pair["value"] for pair in record.get("attributes", ()) if pair["key"] == _EVENT]
                if named and "stringValue" in named[0]:
                    record["eventName"] = named[0]["stringValue"]
