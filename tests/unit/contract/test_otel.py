"""`OTEL_*` variables, as specified."""

from collections.abc import Mapping

import pytest
from headgate.contract.otel import Convention, Exporter, Protocol, Sampler, Signal, batches, exporter, tracing

BASE = "OTEL_EXPORTER_OTLP_ENDPOINT"
OWN = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


def where(environment: Mapping[str, str]) -> Exporter:
    notes: list[str] = []
    found = exporter(environment, Signal.TRACES, notes)
    assert found is not None
    assert not notes
    return found


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({BASE: "http://otel:4318"}, "http://otel:4318/v1/traces"),
        ({BASE: "http://otel:4318/"}, "http://otel:4318/v1/traces"),
        ({BASE: "https://otel/api"}, "https://otel:443/api/v1/traces"),
        ({OWN: "http://otel:1/x"}, "http://otel:1/x"),
        ({OWN: "http://otel:1"}, "http://otel:1/"),
        ({OWN: "http://otel:1/own", BASE: "http://base"}, "http://otel:1/own"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "http://localhost:4318/v1/traces"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "http://localhost:4317"),
        ({BASE: "otel:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "https://otel:4317"),
        (
            {BASE: "otel:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_INSECURE": "true"},
            "http://otel:4317",
        ),
        ({BASE: "http://otel:4318/?t=a"}, "http://otel:4318/v1/traces?t=a"),
        ({BASE: "http://[::1]:4318"}, "http://[::1]:4318/v1/traces"),
    ],
)
def test_endpoint(environment: Mapping[str, str], url: str) -> None:
    assert where(environment).url == url


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {BASE: ""},
        {BASE: "http://otel:4318", "OTEL_TRACES_EXPORTER": "none"},
        {BASE: "http://otel:4318", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://otel:4318"},
    ],
)
def test_nothing_is_traced(environment: Mapping[str, str]) -> None:
    assert tracing(environment) == (None, ())


def test_own_settings_win() -> None:
    found = where(
        {
            BASE: "http://otel:4318",
            "OTEL_EXPORTER_OTLP_HEADERS": "a=1",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "X-Key=b%20c,other=2",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1000",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
        }
    )
    assert found.protocol is Protocol.GRPC
    assert [(name, value.reveal()) for name, value in found.headers] == [("x-key", "b c"), ("other", "2")]
    assert found.timeout_seconds == 1.0


@pytest.mark.parametrize(
    ("name", "argument", "sampler"),
    [
        ("", "", Sampler(ratio=1.0)),
        ("always_on", "", Sampler(ratio=1.0, parent_based=False)),
        ("always_off", "", Sampler(ratio=0.0, parent_based=False)),
        ("traceidratio", "0.25", Sampler(ratio=0.25, parent_based=False)),
        ("parentbased_always_off", "", Sampler(ratio=0.0)),
        ("parentbased_traceidratio", "0.5", Sampler(ratio=0.5)),
        ("parentbased_traceidratio", "", Sampler(ratio=1.0)),
        ("always_on", "0.5", Sampler(ratio=1.0, parent_based=False)),
    ],
)
def test_sampler(name: str, argument: str, sampler: Sampler) -> None:
    found, notes = tracing({BASE: "http://otel:4318", "OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": argument})
    assert found is not None
    assert found.sampler == sampler
    assert not notes


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("OTEL_TRACES_SAMPLER", "jaeger_remote", "OTEL_TRACES_SAMPLER=jaeger_remote"),
        ("OTEL_PROPAGATORS", "b3,tracecontext", "b3"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "not compressed"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "http/json"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "OTEL_EXPORTER_OTLP_TIMEOUT=soon"),
        ("OTEL_TRACES_EXPORTER", "otlp,console", "console"),
        ("AI_GATEWAY_TRACING_SEMCONV", "mine", "AI_GATEWAY_TRACING_SEMCONV=mine"),
        (OWN, "otel:4318", "otel:4318"),
    ],
)
def test_what_cannot_be_done_is_said(variable: str, value: str, part: str) -> None:
    _, notes = tracing({BASE: "http://otel:4318", variable: value})
    assert len(notes) == 1
    assert part in notes[0]


def test_resource_and_propagators() -> None:
    found, _ = tracing(
        {
            BASE: "http://otel:4318",
            "OTEL_RESOURCE_ATTRIBUTES": "service.name=a,deployment.environment.name=test%2C1",
            "OTEL_PROPAGATORS": "none",
            "AI_GATEWAY_TRACING_SEMCONV": "openinference",
        }
    )
    assert found is not None
    assert (found.service_name, found.resource) == ("a", (("deployment.environment.name", "test,1"),))
    assert (found.trace_context, found.baggage) == (False, False)
    assert found.convention is Convention.OPENINFERENCE


def test_batches() -> None:
    found = batches({"OTEL_BSP_SCHEDULE_DELAY": "250", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "0"})
    assert (found.seconds, found.spans) == (0.25, 512)


def test_a_password_in_an_endpoint_is_neither_used_nor_told() -> None:
    found, notes = tracing({BASE: "http://user:hunter2@otel:4318"})
    assert found is None
    assert "otel:4318" in notes[0]
    assert "hunter2" not in notes[0]


def test_content_that_is_asked_for_in_unknown_words_is_told() -> None:
    _, notes = tracing({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "yes"})
    assert "=yes is not known" in notes[0]
