"""The service's own spans: one of each call, and below it one of each round trip to a Redis that decided it.

Where a caller says that its trace is sampled (W3C's `traceparent`, else Zipkin's `b3` or `x-b3-*`), the call is in that
trace; where it says that it is not, the call is not traced; a call without any is traced by `rate`. Spans wait in a
bounded queue and leave in batches (`runtime.otlp.sender`): no decision waits for them. Without `--tracing` nothing of
this is imported.

A span has the domain, how many descriptors there were, what was decided and by which rule; the values of descriptors
are not told: they are users' names and keys.
"""

import asyncio
import random
import re
import secrets
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from headgate.contract import otel
from headgate.limits.engine import Decision, LimitRequest, Moment, Outcome, Plan
from headgate.ratelimit import wire
from headgate.ratelimit.service import RateLimitService, ShouldRateLimit
from headgate.ratelimit.storages import StorageError, Trip
from headgate.runtime.http2.server import Call, Replies
from headgate.runtime.otlp.sender import Sender
from headgate.runtime.otlp.values import Span, Value
from headgate.runtime.otlp.wire import encode_spans

_CALL: Final = f"{wire.SERVICE}/{wire.METHOD}"
_RPC: Final[Mapping[str, Value]] = {"rpc.system": "grpc", "rpc.service": wire.SERVICE, "rpc.method": wire.METHOD}
_TRIP: Final = "redis"


class Parent(NamedTuple):
    """Where a span belongs. `span` is empty at the root of a trace."""

    trace: str
    span: str
    sampled: bool


_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_B3: Final = re.compile(r"([0-9a-f]{16}|[0-9a-f]{32})-([0-9a-f]{16})(?:-([01d])(?:-[0-9a-f]{16})?)?")
_HEX: Final = re.compile(r"[0-9a-f]{16}|[0-9a-f]{32}")
_ZERO: Final = frozenset({"0" * 32, "0" * 16})


def parent_of(metadata: Mapping[str, str]) -> Parent | None:
    """The caller's span; None where it names none, or nothing that can be read. One that leaves it to us whether to
    sample (Zipkin's may) counts as sampled.

    https://www.w3.org/TR/trace-context/ and https://github.com/openzipkin/b3-propagation
    """
    if found := _TRACEPARENT.fullmatch(metadata.get("traceparent", "")):
        trace, span, sampled = found[1], found[2], bool(int(found[3], 16) & 1)
    elif found := _B3.fullmatch(metadata.get("b3", "")):
        trace, span, sampled = found[1].zfill(32), found[2], found[3] != "0"
    else:
        trace, span = metadata.get("x-b3-traceid", ""), metadata.get("x-b3-spanid", "")
        if not _HEX.fullmatch(trace) or not _HEX.fullmatch(span) or len(span) != 16:
            return None
        trace, sampled = trace.zfill(32), metadata.get("x-b3-sampled", "1") in ("1", "true")
        sampled = sampled or metadata.get("x-b3-flags") == "1"
    return None if trace in _ZERO or span in _ZERO else Parent(trace, span, sampled)


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingSettings:
    """Where spans go, which, and what they say of us."""

    destination: otel.Destination
    batches: otel.Batches
    resource: Mapping[str, str]
    rate: float = 1.0
    """The share that is traced of calls which do not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingOptions:
    """What the command line says; what is empty is `OTEL_*`'s to say."""

    protocol: str = ""
    service_name: str = ""
    service_namespace: str = ""
    service_instance: str = ""
    rate: float = 1.0


def tracing_settings(
    options: TracingOptions, environment: Mapping[str, str]
) -> tuple[TracingSettings | None, tuple[str, ...]]:
    """How calls are traced; None where `OTEL_*` says that nothing is, or cannot be read: the notes say what."""
    notes: list[str] = []
    # Tracing was asked for: where nothing says where to, it goes where receivers are by default.
    said = {"OTEL_TRACES_EXPORTER": "otlp", **environment}
    if options.protocol:
        said["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] = "grpc" if options.protocol == "grpc" else "http/protobuf"
    destination = otel.destination(said, otel.Signal.TRACES, notes)
    if destination is None:
        return None, tuple(notes)
    known = dict(otel.pairs(environment.get("OTEL_RESOURCE_ATTRIBUTES", "")))
    named = environment.get("OTEL_SERVICE_NAME", "").strip() or known.get("service.name", "")
    resource = {
        **known,
        "service.name": options.service_name or named or "headgate-ratelimit",
        "service.instance.id": options.service_instance or known.get("service.instance.id") or str(uuid.uuid4()),
    }
    if options.service_namespace:
        resource["service.namespace"] = options.service_namespace
    settings = TracingSettings(
        destination=destination, batches=otel.batches(environment, notes=notes), resource=resource, rate=options.rate
    )
    return settings, tuple(notes)


class Tracer:
    """Opens calls, traced or not, and sends what is told of them. Needs a running event loop."""

    def __init__(self, settings: TracingSettings) -> None:
        self._settings = settings
        self._sender: Sender[Span] = Sender(settings.destination, otel.Signal.TRACES, self._encode, settings.batches)

    def open(self, service: RateLimitService, replies: Replies, metadata: Mapping[str, str]) -> Call:
        """A call: of those that are not traced nothing is kept."""
        parent = parent_of(metadata)
        if parent is None:
            if random.random() >= self._settings.rate:
                return ShouldRateLimit(service, replies, metadata)
            parent = Parent(secrets.token_hex(16), "", sampled=True)
        elif not parent.sampled:
            return ShouldRateLimit(service, replies, metadata)
        return _TracedCall(self, parent, service, replies, metadata)

    def tell(self, span: Span) -> None:
        self._sender.offer(span)

    def _encode(self, spans: Sequence[Span]) -> bytes:
        return encode_spans(spans, self._settings.resource, otel.SCOPE)

    def counts(self) -> Mapping[str, int]:
        """Figures for metrics."""
        return {"spans_sent": self._sender.sent, "spans_dropped": self._sender.dropped}

    async def close(self) -> None:
        """Sends what waits."""
        await self._sender.close()


class _TracedCall(ShouldRateLimit):
    """Told once, when it was decided, failed or left."""

    __slots__ = ("_attributes", "_begun_ns", "_id", "_parent", "_told", "_tracer", "_trips")

    def __init__(
        self, tracer: Tracer, parent: Parent, service: RateLimitService, replies: Replies, metadata: Mapping[str, str]
    ) -> None:
        super().__init__(service, replies, metadata)
        self._begun_ns = time.time_ns()
        self._tracer = tracer
        self._parent = parent
        self._id = secrets.token_hex(8)
        self._attributes = dict(_RPC)
        self._trips: list[Trip] = []
        self._told = False

    def start(self, plan: Plan, request: LimitRequest) -> "Outcome | asyncio.Future[Outcome]":
        self._attributes |= {
            "domain": request.domain,
            "headgate.limits.moment": request.moment.value,
            "headgate.limits.descriptors": len(request.descriptors),
        }
        return self._service.start(plan, self._trips)

    def finish(self, plan: Plan, outcome: Outcome, moment: Moment) -> Decision:
        decision = super().finish(plan, outcome, moment)
        self._attributes["headgate.limits.code"] = decision.code.name
        if decision.refusal is not None and decision.refusal.rule is not None:
            self._attributes["headgate.limits.rule"] = decision.refusal.rule.label
        self._tell()
        return decision

    def fail(self, error: wire.WireError | StorageError) -> None:
        self._tell(failed=True, said=str(error))
        super().fail(error)  # which closes the call

    def closed(self) -> None:
        super().closed()
        self._tell(failed=True, said="left before it was answered")  # unless it was told

    def _tell(self, *, failed: bool = False, said: str = "") -> None:
        if self._told:
            return
        self._told = True
        if said:
            self._attributes["error.message"] = said
        now = time.time_ns()
        call = Span(
            trace=self._parent.trace,
            id=self._id,
            parent=self._parent.span,
            name=_CALL,
            start_ns=self._begun_ns,
            end_ns=now,
            attributes=self._attributes,
            failed=failed,
            server=True,
        )
        self._tracer.tell(call)
        for trip in self._trips:
            if trip.left_ns:
                self._tracer.tell(_span_of(trip, call, now))


def _span_of(trip: Trip, call: Span, now: int) -> Span:
    """One round trip: a batch, of which this call's decision was a part."""
    return Span(
        trace=call.trace,
        id=secrets.token_hex(8),
        parent=call.id,
        name=_TRIP,
        start_ns=trip.left_ns,
        end_ns=trip.back_ns or now,
        attributes={
            "db.system.name": "redis",
            "db.operation.name": "EVALSHA",
            "db.operation.batch.size": trip.decisions,
        },
        failed=not trip.back_ns,
    )
