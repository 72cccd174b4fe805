"""Captures what is said, where users ask for it: a span or an event of each traced attempt, with its content.

    session ── bytes, as they pass ──► Tap ──► queue ──► (off the loop) decode, redact ──► OTLP

No request waits: taps are bounded, the queue is bounded, what does not fit is counted. Only requests that are traced
(`traceparent` says so) are captured, and only chats.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from headgate.contract import otel
from headgate.contract.otel import NO_LIMITS, Batches, Destination, Limits, Signal
from headgate.extproc.redaction import PLAIN, REDACTED, Rules, bounded, redact
from headgate.extproc.tap import Tap
from headgate.extproc.upstream import Report
from headgate.llm.content import Answered, Asked, Json, answered, asked
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import path_facts
from headgate.llm.errors import TranslationError
from headgate.runtime.otlp.values import LogRecord, Span, Value
from opentelemetry.semconv._incubating.attributes import (  # pyright: ignore[reportMissingTypeStubs]
    gen_ai_attributes as gen_ai,
)
from opentelemetry.semconv.attributes import error_attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """What is captured, and how."""

    spans: bool = False
    events: bool = False
    rules: Rules = PLAIN


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
        capture=Capture(spans=traces is not None, events=logs is not None, rules=rules),
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
    told: Mapping[str, Value] | None = None
    """What is told of it, once that is known: a span and an event say the same."""


def span_of(captured: Captured, capture: Capture) -> Span:
    """The attempt, with what was said."""
    _, trace, parent, _ = captured.tap.traceparent.split("-")
    attributes = _told(captured, capture)
    return Span(
        trace=trace,
        id=captured.span,
        parent=parent,
        name=f"{attributes[gen_ai.GEN_AI_OPERATION_NAME]} {captured.report.request_model}",
        start_ns=captured.tap.started_ns,
        end_ns=captured.ended_ns,
        failed=error_attributes.ERROR_TYPE in attributes,
        attributes=attributes,
    )


def event_of(captured: Captured, capture: Capture) -> LogRecord:
    """The same as an event: of the attempt's span where one is sent, else of the one that Envoy sends."""
    _, trace, parent, _ = captured.tap.traceparent.split("-")
    return LogRecord(
        trace=trace,
        span=captured.span if capture.spans else parent,
        event=otel.OPERATION_EVENT,
        time_ns=captured.ended_ns,
        attributes=_told(captured, capture),
    )


def _told(captured: Captured, capture: Capture) -> Mapping[str, Value]:
    if captured.told is None:  # two threads that come at once find the same
        said, answer = _read(captured)
        attributes = dict(_attributes(captured.report, said, answer))
        captured.told = {**attributes, **dict(_content(said, answer, capture.rules))}
    return captured.told


def _read(captured: Captured) -> tuple[Asked, Answered]:
    """What can be read of both; a request that nobody could read is no reason to tell nothing."""
    endpoint, tap = captured.report.endpoint, captured.tap
    assert endpoint is not None, "only chats are captured"
    assert endpoint.dialect is not None, "chats have one"
    dialect = DIALECTS[endpoint.dialect]
    said, answer = Asked(), Answered()
    try:
        if tap.request is not None:
            said = asked(dialect.decode_request(tap.request, path_facts(endpoint, tap.path)))
        if tap.answer and tap.whole and captured.report.status < 400:
            body = bytes(tap.answer)
            # some providers answer whole where they were asked for a stream
            answer = answered(dialect, body, streamed=tap.stream and not body.lstrip().startswith(b"{"))
    except TranslationError:
        pass
    return said, answer


def _attributes(report: Report, said: Asked, answer: Answered) -> Sequence[tuple[str, Value]]:
    usage = report.usage
    error = report.error or (str(report.status) if report.status >= 400 else "")
    known: list[tuple[str, Value | None]] = [
        (gen_ai.GEN_AI_OPERATION_NAME, "chat"),
        (gen_ai.GEN_AI_REQUEST_MODEL, report.request_model),
        (gen_ai.GEN_AI_RESPONSE_MODEL, report.response_model),
        (gen_ai.GEN_AI_RESPONSE_ID, answer.id),
        (gen_ai.GEN_AI_RESPONSE_FINISH_REASONS, tuple(answer.finish_reasons)),
        (gen_ai.GEN_AI_REQUEST_MAX_TOKENS, said.max_tokens),
        (gen_ai.GEN_AI_REQUEST_TEMPERATURE, said.temperature),
        (gen_ai.GEN_AI_REQUEST_TOP_P, said.top_p),
        (gen_ai.GEN_AI_USAGE_INPUT_TOKENS, usage.input),
        (gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS, usage.output),
        (gen_ai.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, usage.cached_input),
        (gen_ai.GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS, usage.cache_creation_input),
        (gen_ai.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS, usage.reasoning),
        (error_attributes.ERROR_TYPE, error),
        ("headgate.backend", report.facts.name),
    ]
    return [(name, value) for name, value in known if value is not None and value not in ("", ())]


def _content(said: Asked, answer: Answered, rules: Rules) -> Sequence[tuple[str, Value]]:
    whole: Mapping[str, Json] = {
        "system": said.system,
        "input": said.messages,
        "output": answer.messages,
        "tools": said.tools,
    }
    left = redact(whole, rules)
    assert isinstance(left, Mapping), "what goes in comes out"
    names = (
        (gen_ai.GEN_AI_SYSTEM_INSTRUCTIONS, "system"),
        (gen_ai.GEN_AI_INPUT_MESSAGES, "input"),
        (gen_ai.GEN_AI_OUTPUT_MESSAGES, "output"),
        (gen_ai.GEN_AI_TOOL_DEFINITIONS, "tools"),
    )
    found: list[tuple[str, Value]] = []
    for attribute, name in names:
        values = left[name]
        if isinstance(values, list) and values:
            found.append((attribute, bounded(values, rules).decode()))
        elif values == REDACTED:
            found.append((attribute, msgspec.json.encode(values).decode()))
    return found
