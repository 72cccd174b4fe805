"""Captures what is said, where users ask for it: a span or an event of each traced attempt, with its content.

    session ── bytes, as they pass ──► Tap ──► queue ──► (off the loop) decode, redact ──► OTLP

No request waits: taps are bounded, the queue is bounded, what does not fit is counted. Only requests that are traced
(`traceparent` says so) are captured, and only chats.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from headgate.contract import otel
from headgate.contract.openinference import NOTHING_HIDDEN, Hiding, hiding
from headgate.contract.otel import NO_LIMITS, Batches, Convention, Destination, Limits, Signal
from headgate.extproc.hiding import hide
from headgate.extproc.redaction import PLAIN, Rules, bounded, redact
from headgate.extproc.report import Report
from headgate.extproc.tap import Tap
from headgate.extproc.told import Told, exception_attributes_of, gen_ai_attributes, openinference_attributes
from headgate.llm import openinference
from headgate.llm.content import Answered, Asked, Json, answered, asked
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import path_facts
from headgate.llm.errors import TranslationError
from headgate.runtime.otlp.values import LogRecord, Span, SpanEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """What is captured, and how."""

    spans: bool = False
    events: bool = False
    rules: Rules = PLAIN
    convention: Convention = Convention.GEN_AI
    """Of spans; events have a name of OpenTelemetry's, and so its attributes."""
    hiding: Hiding = NOTHING_HIDDEN


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureSettings:
    """What is captured, and where it goes; None for a signal that goes nowhere."""

    capture: Capture
    traces: Destination | None
    logs: Destination | None
    resource: Mapping[str, str]
    span_batches: Batches = field(default_factory=Batches)
    event_batches: Batches = field(default_factory=Batches)
    span_limits: Limits = NO_LIMITS
    event_limits: Limits = NO_LIMITS


def capture_settings(environment: Mapping[str, str], rules: Rules = PLAIN) -> CaptureSettings | None:
    """What variables ask for; None where no content is captured, or nobody would get it."""
    wanted = otel.captured_content(environment)
    if not wanted.any:
        return None
    notes: list[str] = []  # told where the gateway starts
    traces = otel.destination(environment, Signal.TRACES, notes) if wanted.spans else None
    logs = otel.destination(environment, Signal.LOGS, notes) if wanted.events else None
    if traces is None and logs is None:
        return None
    name, others = otel.resource(environment)
    return CaptureSettings(
        capture=Capture(
            spans=traces is not None,
            events=logs is not None,
            rules=rules,
            convention=otel.convention(environment),
            hiding=hiding(environment),
        ),
        traces=traces,
        logs=logs,
        resource={**dict(others), "service.name": name},
        span_batches=otel.batches(environment, Signal.TRACES),
        event_batches=otel.batches(environment, Signal.LOGS),
        span_limits=otel.attribute_limits(environment, Signal.TRACES),
        event_limits=otel.attribute_limits(environment, Signal.LOGS),
    )


@dataclass(slots=True)
class Captured:
    """An attempt that is over."""

    tap: Tap
    report: Report
    ended_ns: int
    span: str
    """The id of its span, which its event names too."""
    told: Told | None = None
    """What is told of it, once that is known: a span and an event say the same."""


def span_of(captured: Captured, capture: Capture) -> Span:
    """The attempt, with what was said."""
    _, trace, parent, _ = captured.tap.traceparent.split("-")
    told, events = tell(captured, capture), ()
    attributes, name = gen_ai_attributes(told), f"chat {told.report.request_model}"
    if capture.convention is Convention.OPENINFERENCE:
        assert told.report.endpoint is not None, "only chats are captured"
        attributes = openinference_attributes(told, parameters=not capture.hiding.parameters)
        name, events = openinference.span_name(told.report.endpoint), tuple(_events(captured, told))
    return Span(
        trace=trace,
        id=captured.span,
        parent=parent,
        name=name,
        start_ns=captured.tap.started_ns,
        end_ns=captured.ended_ns,
        failed=bool(told.error),
        attributes=dict(attributes),
        events=events,
    )


def _events(captured: Captured, told: Told) -> Iterator[SpanEvent]:
    """compat: OpenInference's."""
    if told.report.first_seconds is not None:
        first_ns = captured.tap.started_ns + round(told.report.first_seconds * 1e9)
        yield SpanEvent(name="First Token Stream Event", time_ns=min(first_ns, captured.ended_ns))
    if told.error:
        yield SpanEvent(name="exception", time_ns=captured.ended_ns, attributes=exception_attributes_of(told))
    elif told.report.complete:
        yield SpanEvent(name="Response Completed Event", time_ns=captured.ended_ns)


def event_of(captured: Captured, capture: Capture) -> LogRecord:
    """The same as an event: of the attempt's span where one is sent, else of the one that Envoy sends."""
    _, trace, parent, _ = captured.tap.traceparent.split("-")
    return LogRecord(
        trace=trace,
        span=captured.span if capture.spans else parent,
        event=otel.OPERATION_EVENT,
        time_ns=captured.ended_ns,
        attributes=dict(gen_ai_attributes(tell(captured, capture))),
    )


def tell(captured: Captured, capture: Capture) -> Told:
    """What was said, less what must not be told of it."""
    if captured.told is None:  # two threads that come at once find the same
        rules, hidden = capture.rules, capture.hiding
        said, answer = _read(captured, hidden.image_length_max)
        whole: Mapping[str, Json] = {
            "system": said.system,
            "input": said.messages,
            "output": answer.messages,
            "tools": said.tools,
            "stop": said.stop,
        }
        left = redact(whole, rules)
        assert isinstance(left, Mapping), "what goes in comes out"
        captured.told = Told(
            report=captured.report,
            asked=said,
            answered=answer,
            content={name: _bounded(each, rules) for name, each in hide(left, hidden).items()},
            failure="" if hidden.words else _failure(captured, rules),
        )
    return captured.told


def _bounded(value: Json, rules: Rules) -> Json:
    return bounded(value, rules) if isinstance(value, list) else value


def _failure(captured: Captured, rules: Rules) -> str:
    """What an error said, which may repeat what was asked."""
    if captured.report.status < 400:
        return ""
    return str(redact(captured.tap.answer.decode("utf-8", "replace"), rules))


def _read(captured: Captured, image_length_max: int) -> tuple[Asked, Answered]:
    """What can be read of both; a request that nobody could read is no reason to tell nothing."""
    endpoint, tap = captured.report.endpoint, captured.tap
    assert endpoint is not None, "only chats are captured"
    assert endpoint.dialect is not None, "chats have one"
    dialect = DIALECTS[endpoint.dialect]
    said, answer = Asked(), Answered()
    try:
        if tap.request is not None:
            said = asked(dialect.decode_request(tap.request, path_facts(endpoint, tap.path)), image_length_max)
        if tap.answer and tap.whole and captured.report.status < 400:
            body = bytes(tap.answer)
            # some providers answer whole where they were asked for a stream
            answer = answered(dialect, body, streamed=tap.stream and not body.lstrip().startswith(b"{"))
    except TranslationError:
        pass
    return said, answer
