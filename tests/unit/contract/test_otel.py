"""`OTEL_*` variables, as specified."""

from collections.abc import Mapping

import pytest
from headgate.contract.otel import (
    NO_LIMITS,
    Batches,
    Convention,
    Destination,
    Exporter,
    Limits,
    Protocol,
    Sampler,
    Signal,
    attribute_limits,
    batches,
    destination,
    envoy_can_send,
    log_destination,
    periods,
    resource,
    tracing,
)
from headgate.contract.otel_unread import notes as unread_notes

BASE = "OTEL_EXPORTER_OTLP_ENDPOINT"
OWN = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


def where(environment: Mapping[str, str]) -> Exporter:
    notes: list[str] = []
    found = destination(environment, Signal.TRACES, notes)
    assert found is not None
    assert found.receiver is not None
    assert not notes
    return found.receiver


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


COLLECTOR = Exporter(protocol=Protocol.GRPC, authority="collector", addresses=(), socket="/run/collector.sock")


@pytest.mark.parametrize(
    ("variable", "value", "parts"),
    [
        (
            "OTEL_TRACES_SAMPLER",
            "jaeger_remote",
            ("OTEL_TRACES_SAMPLER=jaeger_remote", "parentbased_always_on is taken"),
        ),
        ("OTEL_PROPAGATORS", "b3,tracecontext", ("b3 is left out",)),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", ("OTEL_EXPORTER_OTLP_COMPRESSION=zstd", "nothing is compressed")),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zstd", ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION=zstd",)),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/xml", ("OTEL_EXPORTER_OTLP_PROTOCOL=http/xml", "http/protobuf is taken")),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", ("OTEL_EXPORTER_OTLP_TIMEOUT=soon", "10000 is taken")),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "-1", ("OTEL_EXPORTER_OTLP_TIMEOUT=-1",)),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1.5", ("OTEL_EXPORTER_OTLP_TIMEOUT=1.5",)),
        ("OTEL_EXPORTER_OTLP_INSECURE", "1", ("OTEL_EXPORTER_OTLP_INSECURE=1", "false is taken")),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key.pem", ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",)),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization: sekret", ("OTEL_EXPORTER_OTLP_HEADERS",)),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,x-key=sekret%0d%0ahost: other", ("OTEL_EXPORTER_OTLP_HEADERS",)),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x key=sekret", ("OTEL_EXPORTER_OTLP_TRACES_HEADERS",)),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b,c", ("OTEL_RESOURCE_ATTRIBUTES is not read",)),
        ("OTEL_TRACES_EXPORTER", "otlp,zipkin", ("zipkin", "left out")),
        ("OTEL_TRACES_EXPORTER", "zipkin", ("zipkin", "left out")),
        ("OTEL_TRACES_SAMPLER_ARG", "2", ("OTEL_TRACES_SAMPLER_ARG=2", "1 is taken")),
        ("OTEL_BSP_SCHEDULE_DELAY", "-5", ("OTEL_BSP_SCHEDULE_DELAY=-5", "5000 is taken")),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", ("OTEL_BSP_MAX_QUEUE_SIZE=0", "2048 is taken")),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096", ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE=4096", "2048 is taken")),
        ("OTEL_BSP_EXPORT_TIMEOUT", "x", ("OTEL_BSP_EXPORT_TIMEOUT=x", "30000 is taken")),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many", ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=many", "no limit is taken")),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "-1", ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT=-1", "no limit is taken")),
        ("AI_GATEWAY_TRACING_SEMCONV", "mine", ("AI_GATEWAY_TRACING_SEMCONV=mine", "gen_ai is taken")),
        (OWN, "otel:4318", ("otel:4318",)),
    ],
)
def test_what_is_not_read_is_said(variable: str, value: str, parts: tuple[str, ...]) -> None:
    more = {"OTEL_TRACES_SAMPLER": "traceidratio"} if variable.endswith("_ARG") else {}
    found, notes = tracing({BASE: "http://otel:4318", **more, variable: value}, via=COLLECTOR)
    assert len(notes) == 1
    assert all(part in notes[0] for part in parts), notes
    assert "sekret" not in notes[0]
    assert found is not None or variable == OWN


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "compresses no spans"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "http/protobuf is taken"),
        ("OTEL_TRACES_EXPORTER", "otlp,console", "console"),
        ("OTEL_TRACES_EXPORTER", "console", "console"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "5", "limits"),
    ],
)
def test_what_envoy_cannot_send_is_said_and_our_collector_does(variable: str, value: str, part: str) -> None:
    environment = {BASE: "http://otel:4318", variable: value}
    direct, notes = tracing(environment)
    assert len(notes) == 1
    assert part in notes[0]
    if direct is None:
        assert value == "console"
    else:
        assert (direct.exporter.protocol, direct.exporter.compressed) == (Protocol.HTTP, False)
    found, notes = tracing(environment, via=COLLECTOR)
    assert notes == ()
    assert found is not None
    assert found.exporter is COLLECTOR
    said = destination(environment, Signal.TRACES, [])
    assert said is not None
    assert not envoy_can_send(said, attribute_limits(environment, Signal.TRACES))


@pytest.mark.parametrize(
    ("value", "receiver", "console"),
    [
        ("otlp", True, False),
        ("console", False, True),
        ("otlp/stdout", False, True),
        ("otlp, console", True, True),
        ("otlp,none", True, False),
    ],
)
def test_exporters(value: str, receiver: bool, console: bool) -> None:
    for signal in Signal:
        notes: list[str] = []
        found = destination({f"OTEL_{signal.upper()}_EXPORTER": value}, signal, notes)
        assert found is not None
        assert (found.receiver is not None, found.console) == (receiver, console)
        assert not notes


def test_prometheus_is_there_anyway() -> None:
    notes: list[str] = []
    assert destination({"OTEL_METRICS_EXPORTER": "prometheus"}, Signal.METRICS, notes) is None
    assert not notes


def test_each_signal_has_its_own() -> None:
    environment = {
        BASE: "http://otel:4318",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca.pem",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/cert.pem",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/key.pem",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "0",
    }
    for signal in Signal:
        name = signal.upper()
        own = {
            f"OTEL_EXPORTER_OTLP_{name}_ENDPOINT": "https://own:1/x",
            f"OTEL_EXPORTER_OTLP_{name}_COMPRESSION": "none",
            f"OTEL_EXPORTER_OTLP_{name}_CERTIFICATE": "/own-ca.pem",
            f"OTEL_EXPORTER_OTLP_{name}_CLIENT_CERTIFICATE": "/own-cert.pem",
            f"OTEL_EXPORTER_OTLP_{name}_CLIENT_KEY": "/own-key.pem",
            f"OTEL_EXPORTER_OTLP_{name}_PROTOCOL": "http/json",
            f"OTEL_EXPORTER_OTLP_{name}_TIMEOUT": "250",
        }
        common = destination(environment, signal, [])
        assert common is not None
        assert common.receiver is not None
        assert (common.receiver.compressed, common.receiver.ca_file, common.receiver.certificate_file) == (
            True,
            "/ca.pem",
            "/cert.pem",
        )
        assert common.receiver.timeout_seconds > 1_000_000, "0 is for ever"
        assert common.receiver.url == f"http://otel:4318/v1/{signal}"
        alone = destination({**environment, **own}, signal, [])
        assert alone is not None
        assert alone.receiver is not None
        assert (alone.receiver.url, alone.receiver.compressed) == ("https://own:1/x", False)
        assert (alone.receiver.ca_file, alone.receiver.key_file) == ("/own-ca.pem", "/own-key.pem")
        assert (alone.receiver.protocol, alone.receiver.timeout_seconds) == (Protocol.JSON, 0.25)
        assert "/own-key.pem" in alone.receiver.key_file


def test_a_log_is_asked_for_by_name() -> None:
    assert log_destination({BASE: "http://otel:4318"}, []) is None
    assert log_destination({BASE: "http://otel:4318", "OTEL_LOGS_EXPORTER": "none"}, []) is None
    assert log_destination({"OTEL_LOGS_EXPORTER": "console"}, []) == Destination(console=True)
    found = log_destination({BASE: "http://otel:4318", "OTEL_LOGS_EXPORTER": "otlp"}, [])
    assert found is not None
    assert envoy_can_send(found, NO_LIMITS)


def test_limits() -> None:
    common = {"OTEL_ATTRIBUTE_COUNT_LIMIT": "9", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "0"}
    assert attribute_limits({}, Signal.TRACES) == NO_LIMITS
    assert attribute_limits(common, Signal.LOGS) == Limits(9, 0)
    assert attribute_limits({**common, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "3"}, Signal.TRACES) == Limits(3, 0)
    own = {**common, "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT": "7"}
    assert attribute_limits(own, Signal.LOGS) == Limits(9, 7)


def test_periods_of_metrics() -> None:
    notes: list[str] = []
    assert periods({}, notes) == (60.0, 30.0)
    assert periods({"OTEL_METRIC_EXPORT_INTERVAL": "500", "OTEL_METRIC_EXPORT_TIMEOUT": "100"}, notes) == (0.5, 0.1)
    assert not notes
    assert periods({"OTEL_METRIC_EXPORT_INTERVAL": "0"}, notes)[0] == 60.0
    assert len(notes) == 1


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("OTEL_LOG_LEVEL", "debug", "--log-level"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "trace_based", "no exemplars"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "always_off", ""),
        ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "base2_exponential_bucket_histogram", "buckets"),
        ("OTEL_EXPORTER_PROMETHEUS_PORT", "9464", "--admin-port"),
        ("OTEL_EXPORTER_ZIPKIN_ENDPOINT", "http://z", "OTLP"),
        ("OTEL_CONFIG_FILE", "/x.yaml", "variables are read"),
        ("OTEL_SDK_DISABLED", "1", "false is taken"),
        ("OTEL_SDK_DISABLED", "True", ""),
        ("OPENINFERENCE_HIDE_INPUTS", "true", "--capture-rules"),
    ],
)
def test_what_nobody_reads_is_said(variable: str, value: str, told: str) -> None:
    notes = tuple(unread_notes({variable: value}))
    assert len(notes) == bool(told)
    assert not told or (variable in notes[0] and told in notes[0])


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


def test_a_resource_that_is_wrong_is_discarded_whole() -> None:
    notes: list[str] = []
    assert resource({"OTEL_RESOURCE_ATTRIBUTES": "a=b,c"}, notes) == ("ai-gateway", ())
    assert len(notes) == 1
    assert resource({"OTEL_RESOURCE_ATTRIBUTES": "service.name=a", "OTEL_SERVICE_NAME": "b"}) == ("b", ())


def test_batches() -> None:
    assert batches({}) == Batches(items=512, seconds=5.0, queue_max=2048, timeout_seconds=30.0)
    assert batches({}, Signal.LOGS).seconds == 1.0
    said = {
        "OTEL_{}_SCHEDULE_DELAY": "250",
        "OTEL_{}_MAX_EXPORT_BATCH_SIZE": "7",
        "OTEL_{}_MAX_QUEUE_SIZE": "70",
        "OTEL_{}_EXPORT_TIMEOUT": "1000",
    }
    wanted = Batches(items=7, seconds=0.25, queue_max=70, timeout_seconds=1.0)
    assert batches({key.format("BSP"): value for key, value in said.items()}) == wanted
    assert batches({key.format("BLRP"): value for key, value in said.items()}, Signal.LOGS) == wanted
    assert batches({"OTEL_BSP_MAX_QUEUE_SIZE": "100"}).items == 100, "a batch is no more than the queue"


def test_a_password_in_an_endpoint_is_neither_used_nor_told() -> None:
    found, notes = tracing({BASE: "http://user:hunter2@otel:4318"})
    assert found is None
    assert "otel:4318" in notes[0]
    assert "hunter2" not in notes[0]


def test_content_that_is_asked_for_in_unknown_words_is_told() -> None:
    _, notes = tracing({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "yes"})
    assert "=yes is not known" in notes[0]
