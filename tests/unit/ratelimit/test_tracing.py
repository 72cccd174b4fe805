"""Whose trace a call is in, and where the service's own spans go."""

from collections.abc import Mapping

import pytest
from headgate.contract.otel import Protocol
from headgate.ratelimit.environment import VariableError, arguments_from
from headgate.ratelimit.main import make_parser
from headgate.ratelimit.tracing import Parent, TracingOptions, parent_of, tracing_settings

TRACE, SHORT, SPAN = "0af7651916cd43dd8448eb211c80319c", "8448eb211c80319c", "b7ad6b7169203331"
PADDED = SHORT.zfill(32)


@pytest.mark.parametrize(
    ("metadata", "parent"),
    [
        ({"traceparent": f"00-{TRACE}-{SPAN}-01"}, Parent(TRACE, SPAN, sampled=True)),
        ({"traceparent": f"00-{TRACE}-{SPAN}-00"}, Parent(TRACE, SPAN, sampled=False)),
        ({"traceparent": f"01-{TRACE}-{SPAN}-03-more"}, Parent(TRACE, SPAN, sampled=True)),
        ({"traceparent": f"00-{TRACE}-{SPAN}-01", "b3": "0"}, Parent(TRACE, SPAN, sampled=True)),
        ({"b3": f"{TRACE}-{SPAN}-1-{SPAN}"}, Parent(TRACE, SPAN, sampled=True)),
        ({"b3": f"{SHORT}-{SPAN}-0"}, Parent(PADDED, SPAN, sampled=False)),
        ({"b3": f"{SHORT}-{SPAN}-d"}, Parent(PADDED, SPAN, sampled=True)),
        ({"b3": f"{SHORT}-{SPAN}"}, Parent(PADDED, SPAN, sampled=True)),
        ({"x-b3-traceid": TRACE, "x-b3-spanid": SPAN}, Parent(TRACE, SPAN, sampled=True)),
        ({"x-b3-traceid": SHORT, "x-b3-spanid": SPAN, "x-b3-sampled": "0"}, Parent(PADDED, SPAN, sampled=False)),
        (
            {"x-b3-traceid": TRACE, "x-b3-spanid": SPAN, "x-b3-sampled": "0", "x-b3-flags": "1"},
            Parent(TRACE, SPAN, sampled=True),
        ),
        ({}, None),
        ({"traceparent": f"ff-{TRACE}-{SPAN}-01"}, None),
        ({"traceparent": f"00-{'0' * 32}-{SPAN}-01"}, None),
        ({"traceparent": f"00-{TRACE}-{'0' * 16}-01"}, None),
        ({"traceparent": f"00-{TRACE.upper()}-{SPAN}-01"}, None),
        ({"b3": "1"}, None),
        ({"x-b3-traceid": TRACE}, None),
        ({"x-b3-traceid": TRACE, "x-b3-spanid": TRACE}, None),
    ],
)
def test_a_call_is_in_its_callers_trace(metadata: Mapping[str, str], parent: Parent | None) -> None:
    assert parent_of(metadata) == parent


def test_spans_go_where_otel_says_under_upstreams_names() -> None:
    environment = {
        "TRACING_ENABLED": "true",
        "TRACING_EXPORTER_PROTOCOL": "grpc",
        "TRACING_SERVICE_NAMESPACE": "edge",
        "TRACING_SERVICE_INSTANCE_ID": "pod-7",
        "TRACING_SAMPLING_RATE": "0.25",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317",
        "OTEL_SERVICE_NAME": "not this",
    }
    options = make_parser().parse_args(arguments_from(environment))
    assert options.tracing
    asked = TracingOptions(
        protocol=options.tracing_protocol,
        service_name=options.tracing_service_name,
        service_namespace=options.tracing_service_namespace,
        service_instance=options.tracing_service_instance_id,
        rate=options.tracing_sampling_rate,
    )
    settings, notes = tracing_settings(asked, environment)
    assert settings is not None
    assert notes == ()
    receiver = settings.destination.receiver
    assert receiver is not None
    assert (receiver.protocol, receiver.target) == (Protocol.GRPC, "collector:4317")
    assert settings.rate == 0.25
    assert settings.resource == {
        "service.name": "RateLimit",
        "service.namespace": "edge",
        "service.instance.id": "pod-7",
    }


@pytest.mark.parametrize("enabled", ["", "false", "0"])
def test_nothing_is_traced_unless_it_is_asked_for(enabled: str) -> None:
    environment = {"TRACING_ENABLED": enabled, "TRACING_EXPORTER_PROTOCOL": "grpc", "OTEL_SERVICE_NAME": "x"}
    assert not make_parser().parse_args(arguments_from(environment)).tracing


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ({"TRACING_EXPORTER_PROTOCOL": "thrift"}, "TRACING_EXPORTER_PROTOCOL=thrift is none of http, grpc"),
        ({"TRACING_SAMPLING_RATE": "some"}, "TRACING_SAMPLING_RATE=some is no number"),
        ({"TRACING_ENABLED": "yes"}, "TRACING_ENABLED=yes is neither true nor false"),
    ],
)
def test_a_variable_that_cannot_be_read_is_an_error_by_its_name(variable: Mapping[str, str], message: str) -> None:
    with pytest.raises(VariableError, match=message):
        arguments_from({"TRACING_ENABLED": "true", **variable})


def test_by_itself_the_service_is_called_by_otels_names_and_sends_by_http() -> None:
    settings, _ = tracing_settings(TracingOptions(), {"OTEL_RESOURCE_ATTRIBUTES": "service.name=mine,zone=a"})
    assert settings is not None
    assert (settings.resource["service.name"], settings.resource["zone"]) == ("mine", "a")
    assert settings.resource["service.instance.id"]
    assert settings.destination.receiver is not None
    assert settings.destination.receiver.url == "http://localhost:4318/v1/traces"


@pytest.mark.parametrize("variable", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_otel_can_turn_it_off(variable: Mapping[str, str]) -> None:
    assert tracing_settings(TracingOptions(), variable) == (None, ())
