"""OpenTelemetry's trace service, for Envoy: its spans as the conventions have them, to where variables say.

Why a server of ours is between Envoy and a receiver: `collector/spans_from_envoy` makes numbers of texts and tells what
attempts failed of, and everything that OpenTelemetry's variables ask for works (JSON, compression, tries, limits,
the console), of which Envoy can little. No request waits for it.
"""

from collections.abc import Mapping, Sequence

from google.protobuf.message import DecodeError
from headgate.collector.counters import SpanCounts
from headgate.collector.spans_from_envoy import joined, mend, spans_of
from headgate.contract import otel
from headgate.contract.otel import Signal
from headgate.pb.received import parse
from headgate.runtime.http2.frames import GrpcStatus
from headgate.runtime.http2.server import Call, Replies, Services
from headgate.runtime.logging import event_log
from headgate.runtime.otlp.sender import Sender
from headgate.runtime.otlp.transport import METHODS
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

log = event_log("collector")


class SpanService:
    """Takes spans and sends them on. Needs a running event loop."""

    def __init__(self, destination: otel.Destination, environment: Mapping[str, str]) -> None:
        self._limits = otel.attribute_limits(environment, Signal.TRACES)
        batches = otel.batches(environment, Signal.TRACES)
        self._sender: Sender[ExportTraceServiceRequest] = Sender(destination, Signal.TRACES, self._encode, batches)
        self._received = 0

    def _encode(self, messages: Sequence[ExportTraceServiceRequest]) -> bytes:
        return joined(mend(message, self._limits) for message in messages)

    def services(self) -> Services:
        def open_call(replies: Replies, headers: Mapping[str, str]) -> Call:
            del headers
            return _Export(self, replies)

        return {METHODS[Signal.TRACES]: open_call}

    def take(self, data: bytes) -> None:
        """Raises DecodeError."""
        message = parse(ExportTraceServiceRequest, data)
        count = spans_of(message)
        self._received += count
        self._sender.offer(message, len(data), count)

    def counts(self) -> SpanCounts:
        return SpanCounts(self._received, self._sender.sent, self._sender.dropped)

    async def close(self) -> None:
        """Sends what waits."""
        await self._sender.close()


class _Export:
    """One message of Envoy's."""

    def __init__(self, service: SpanService, replies: Replies) -> None:
        self._service = service
        self._replies = replies

    def receive(self, message: bytes) -> None:
        try:
            self._service.take(message)
        except DecodeError as error:
            log.warning("malformed_spans", error=str(error))
            self._replies.end(GrpcStatus.INVALID_ARGUMENT, "no spans")
        else:
            self._replies.answer(b"")

    def half_closed(self) -> None:
        return

    def closed(self) -> None:
        return
