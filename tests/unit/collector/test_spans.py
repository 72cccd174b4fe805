"""Envoy's spans as OpenTelemetry's conventions have them."""

from collections.abc import Mapping

import pytest
from headgate.collector.spans_from_envoy import attempt_error, joined, mend, spans_of
from headgate.contract.otel import NO_LIMITS, Limits, Signal
from headgate.runtime.otlp.json_form import as_json
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from support.otlp import CLIENT, ERROR, SERVER, Span, spans_of_json


def message(kind: int, attributes: Mapping[str, str], name: str = "chat m") -> ExportTraceServiceRequest:
    """As Envoy tells of a span."""
    result = ExportTraceServiceRequest()
    of_resource = result.resource_spans.add()
    of_resource.resource.attributes.add(key="service.name").value.string_value = "ai-gateway"
    span = of_resource.instrumentation_library_spans.add().spans.add(
        trace_id=b"\1" * 16, span_id=b"\2" * 8, name=name, start_time_unix_nano=1, end_time_unix_nano=2
    )
    span.kind = kind  # pyright: ignore[reportAttributeAccessIssue]
    for key, value in attributes.items():
        span.attributes.add(key=key).value.string_value = value
    return result


def mended(told: ExportTraceServiceRequest, limits: Limits = NO_LIMITS) -> Span:
    (found,) = spans_of_json(as_json(mend(told, limits).SerializeToString(), Signal.TRACES))
    return found


def test_numbers_are_numbers() -> None:
    said = {
        "gen_ai.usage.input_tokens": "11",
        "llm.token_count.total": "18",
        "http.status_code": "200",
        "headgate.attempts": "2",
        "gen_ai.request.stream": "true",
        "gen_ai.request.model": "4",
        "gen_ai.usage.output_tokens": "-",
        "response_size": "9" * 40,
    }
    span = mended(message(SERVER, said))
    assert span.attributes == {
        **said,
        "gen_ai.usage.input_tokens": 11,
        "llm.token_count.total": 18,
        "http.status_code": 200,
        "headgate.attempts": 2,
        "gen_ai.request.stream": True,
    }


def together(*said: str) -> Mapping[str, str]:
    return {"headgate.together": "\x1f".join(said)}


def test_what_is_told_together_is_taken_apart() -> None:
    said = together(
        "a=",
        "b=-",
        "gen_ai.usage.input_tokens=11",
        "c=x=y",
        'headgate.request.parameters={"n":2}',
        "http.url=http://h/p",
    )
    assert mended(message(SERVER, {"http.url": "http://h/", "d": "x\x1fy=z", **said})).attributes == {
        "c": "x=y",
        "d": "x\x1fy=z",
        "gen_ai.usage.input_tokens": 11,
        "gen_ai.request.choice.count": 2,
        "http.url": "http://h/p",
    }


@pytest.mark.parametrize("name", ["gen_ai.request.model", "llm.model_name"])
@pytest.mark.parametrize(("override", "sent"), [("-", None), ("", None), ("other", "other")])
@pytest.mark.parametrize("model", ["m", "m\x1ferror.type=internal", "m\x1fgen_ai.original.model=n"])
def test_a_client_can_write_nothing_but_its_model(name: str, override: str, sent: str | None, model: str) -> None:
    span = mended(message(SERVER, together("a=1", f"{name}={override}", f"gen_ai.original.model={model}")))
    assert span.attributes == {"a": "1", name: sent or model, "gen_ai.original.model": model}


@pytest.mark.parametrize(
    ("kind", "attributes", "events"),
    [
        (
            SERVER,
            {"openinference.span.kind": "LLM", "http.status_code": "429"},
            [("RateLimitError", "Error code: 429")],
        ),
        (SERVER, {"openinference.span.kind": "LLM", "http.status_code": "504"}, [("Error", "Error code: 504")]),
        (SERVER, {"openinference.span.kind": "LLM", "http.status_code": "200"}, []),
        (SERVER, {"openinference.span.kind": "LLM", "http.status_code": "0"}, []),
        (SERVER, {"openinference.span.kind": "LLM"}, []),
        (CLIENT, {"openinference.span.kind": "LLM", "http.status_code": "429"}, []),
        (SERVER, {"gen_ai.operation.name": "chat", "http.status_code": "429"}, []),
    ],
)
def test_a_request_that_failed_is_an_exception(
    kind: int, attributes: Mapping[str, str], events: list[tuple[str, str]]
) -> None:
    told = mend(message(kind, attributes), NO_LIMITS)
    (span,) = told.resource_spans[0].instrumentation_library_spans[0].spans
    assert [tuple(pair.value.string_value for pair in event.attributes) for event in span.events] == events
    assert all((event.name, event.time_unix_nano) == ("exception", 2) for event in span.events)


def test_a_session_is_a_conversation_where_the_convention_has_those() -> None:
    session = {"session.id": "s-1"}
    told = mended(message(SERVER, {**together("gen_ai.operation.name=chat"), **session})).attributes
    assert (told["session.id"], told["gen_ai.conversation.id"]) == ("s-1", "s-1")
    assert mended(message(SERVER, {"llm.model_name": "m", **session})).attributes == {"llm.model_name": "m", **session}


def test_parameters_of_a_request_are_told_apart() -> None:
    said = '{"max_tokens":64,"temperature":0.5,"seed":99999999999999999999,"n":2,"of_tomorrow":1}'
    span = mended(message(SERVER, {"headgate.request.parameters": said}))
    assert span.attributes == {
        "gen_ai.request.max_tokens": 64,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.seed": 1e20,
        "gen_ai.request.choice.count": 2,
        "headgate.request.parameters.of_tomorrow": 1,
    }
    odd = {"headgate.request.parameters": '{"stop":["x"]}'}
    assert mended(message(SERVER, odd)).attributes == odd


@pytest.mark.parametrize(
    ("status", "flags", "kind"),
    [
        ("200", "-", ""),
        ("204", "-", ""),
        ("400", "-", "upstream_refused"),
        ("429", "-", "upstream_limited"),
        ("500", "-", "upstream_failed"),
        ("503", "-", "upstream_failed"),
        ("0", "UF", "upstream_reset"),
        ("0", "-", "upstream_reset"),
        ("0", "UF,URX", "upstream_reset"),
        ("504", "UT", "upstream_timeout"),
        ("0", "DC", "client_gone"),
        ("0", "UH", "no_backend"),
    ],
)
def test_attempts_say_what_they_failed_of(status: str, flags: str, kind: str) -> None:
    assert attempt_error(status, flags) == kind
    said = {"http.status_code": status, "response_flags": flags, "error.type": "of_the_request"}
    attempt = mended(message(CLIENT, said))
    assert attempt["error.type"] == (kind or None), "Envoy's is of the request"
    assert attempt.status == (ERROR if kind else 0)
    assert mended(message(SERVER, said))["error.type"] == "of_the_request"
    ours = mended(message(CLIENT, said, "async envoy.service.ratelimit.v3.RateLimitService.ShouldRateLimit egress"))
    assert ours["error.type"] == "of_the_request"


def test_limits() -> None:
    span = mended(message(SERVER, {"a": "1234", "b": "x", "c": "y"}), Limits(2, 3))
    assert span.attributes == {"a": "123", "b": "x"}


def test_messages_are_joined() -> None:
    both = [message(SERVER, {"a": "1"}), message(CLIENT, {})]
    assert sum(map(spans_of, both)) == 2
    assert len(list(spans_of_json(as_json(joined(both), Signal.TRACES)))) == 2
