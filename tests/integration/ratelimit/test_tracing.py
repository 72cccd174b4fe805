"""The limiter's own spans, at a real OTLP receiver, below those of the real Envoy."""

import secrets
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.envoy import EnvoyProcess
from support.limiter import LimiterProcess, client_limits
from support.otlp import CLIENT, ERROR, SERVER, OtlpReceiver, Span
from support.ports import LOOPBACK, free_port
from support.redis import RedisServer
from support.static_envoy import Config, bootstrap, cluster, extension, listener, pipe, routed, tcp
from support.waiting import wait_until

CALL = "envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
Start = Callable[..., LimiterProcess]


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture
def start(short_path: Path) -> Iterator[Start]:
    """Starts a limiter with upstream's variables for tracing."""
    with ExitStack() as started:

        def begin(endpoint: str, *arguments: str, protocol: str = "grpc", **variables: str) -> LimiterProcess:
            environment = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
                "OTEL_BSP_SCHEDULE_DELAY": "50",
                **{name.upper(): value for name, value in variables.items()},
            }
            traced = ("--tracing", "--tracing-protocol", protocol, "--tracing-service-name", "RateLimit")
            limiter = LimiterProcess(short_path, client_limits(2), *traced, *arguments, environment=environment)
            started.callback(limiter.close)
            return limiter

        yield begin


def traceparent(trace: str, span: str, *, sampled: bool = True) -> Sequence[tuple[str, str]]:
    return (("traceparent", f"00-{trace}-{span}-{'01' if sampled else '00'}"),)


@pytest.mark.redis
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_call_and_its_round_trip_are_in_the_callers_trace(
    receiver: OtlpReceiver, start: Start, redis_server: RedisServer, protocol: str
) -> None:
    url = receiver.http_url if protocol == "http" else receiver.grpc_url
    limiter = start(url, "--redis-url", redis_server.url, protocol=protocol)
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    for _ in range(3):
        limiter.ask(metadata=traceparent(trace, span))
    spans = receiver.trace(trace, 6)
    calls, trips = ([each for each in spans if each.kind == kind] for kind in (SERVER, CLIENT))
    assert [(call.name, call.parent, call["domain"]) for call in calls] == [(CALL, span, "d")] * 3
    assert [call["headgate.limits.code"] for call in calls] == ["OK", "OK", "OVER_LIMIT"]
    assert [call["headgate.limits.rule"] for call in calls] == [None, None, "client"]
    for call, trip in zip(calls, trips, strict=True):
        assert (trip.parent, trip["db.system.name"], trip["db.operation.batch.size"]) == (call.id, "redis", 1)
        assert call.start <= trip.start <= trip.end <= call.end
    assert calls[0].resource["service.name"] == "RateLimit"
    assert not any(b"alice" in data for data in receiver.received.raw), "values of descriptors are not told"
    wait_until(lambda: limiter.metric("headgate_ratelimit_spans_sent") == 6, "the spans to be counted")


def test_what_its_caller_does_not_sample_is_not_traced(receiver: OtlpReceiver, start: Start) -> None:
    limiter = start(receiver.grpc_url, "--tracing-sampling-rate", "0")
    left, taken = secrets.token_hex(16), secrets.token_hex(16)
    limiter.ask()
    limiter.ask(metadata=traceparent(left, secrets.token_hex(8), sampled=False))
    limiter.ask(metadata=traceparent(taken, secrets.token_hex(8)))
    receiver.trace(taken, 1)
    assert {span.trace for span in receiver.received.spans} == {taken}


def test_a_call_without_a_trace_begins_one(receiver: OtlpReceiver, start: Start) -> None:
    start(receiver.grpc_url).ask()
    (span,) = receiver.wait(lambda span: span.name == CALL)
    assert span.parent == ""


@pytest.mark.redis
def test_a_call_that_fails_is_told_as_such(receiver: OtlpReceiver, start: Start) -> None:
    limiter = start(receiver.grpc_url, "--redis-url", f"redis://{LOOPBACK}:{free_port()}")
    with pytest.raises(Exception, match="UNAVAILABLE"):
        limiter.ask()
    (span,) = receiver.wait(lambda span: span.kind == SERVER)
    assert span.status == ERROR
    assert "Redis" in str(span["error.message"])


def test_a_receiver_that_is_away_costs_spans_and_no_decision(start: Start) -> None:
    limiter = start(f"http://{LOOPBACK}:{free_port()}", OTEL_BSP_EXPORT_TIMEOUT="200")
    codes = [limiter.ask(f"c{number}").overall_code for number in range(50)]
    assert codes == [1] * 50
    wait_until(lambda: limiter.metric("headgate_ratelimit_spans_dropped") == 50, "spans to be given up")
    assert limiter.metric("headgate_ratelimit_spans_sent") == 0


def test_nothing_is_sent_or_imported_without_tracing(receiver: OtlpReceiver, short_path: Path) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_url, "OTEL_BSP_SCHEDULE_DELAY": "1"}
    limiter = LimiterProcess(short_path, client_limits(2), environment={**environment, "PYTHONPROFILEIMPORTTIME": "1"})
    try:
        limiter.ask(metadata=traceparent(secrets.token_hex(16), secrets.token_hex(8)))
        assert "headgate.ratelimit.service" in limiter.child.stderr
        assert "headgate.ratelimit.tracing" not in limiter.child.stderr
    finally:
        limiter.close()
    assert receiver.received.raw == []


def traced_envoy(limiter: LimiterProcess, receiver: OtlpReceiver) -> Config:
    """Its bootstrap: it asks the limiter, and sends its spans to the receiver."""
    tracer = {
        "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
        "grpc_service": {"envoy_grpc": {"cluster_name": "receiver"}, "timeout": "1s"},
        "service_name": "edge",
    }
    limited = extension(
        "envoy.filters.http.ratelimit",
        "filters.http.ratelimit.v3.RateLimit",
        domain="d",
        timeout="5s",
        rate_limit_service={
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": "limiter"}},
        },
        rate_limits=[{"actions": [{"generic_key": {"descriptor_key": "client", "descriptor_value": "alice"}}]}],
    )
    tracing = {"provider": {"name": "envoy.tracers.opentelemetry", "typed_config": tracer}}
    flush = {"tracing.opentelemetry.min_flush_spans": 1, "tracing.opentelemetry.flush_interval_ms": 100}
    return bootstrap(
        [listener("in", tcp(), routed("provider"), limited, tracing=tracing)],
        [
            cluster("limiter", pipe(limiter.address.removeprefix("unix:")), http2=True),
            cluster("receiver", tcp(receiver.grpc_port), http2=True),
            cluster("provider", tcp(receiver.http_port)),  # which answers 200 to all that is posted
        ],
        layered_runtime={"layers": [{"name": "flush", "static_layer": flush}]},
    )


@pytest.mark.envoy
@pytest.mark.redis
def test_envoys_trace_goes_on_in_the_limiter_and_its_redis(
    receiver: OtlpReceiver, start: Start, redis_server: RedisServer, start_envoy: Callable[..., EnvoyProcess]
) -> None:
    limiter = start(receiver.grpc_url, "--redis-url", redis_server.url)
    envoy = start_envoy(traced_envoy(limiter, receiver))
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    request = urllib.request.Request(
        f"http://{LOOPBACK}:{envoy.listeners()['in']}/", data=b"", headers={"traceparent": f"00-{trace}-{span}-01"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200

    def of(service: str, *, answers: bool) -> Span:
        """Envoy's span of what it asks has no kind of its own in all versions."""

        def wanted(each: Span) -> bool:
            told = each.trace == trace and each.resource["service.name"] == service
            return told and (each.kind == SERVER) is answers

        (found,) = receiver.wait(wanted)
        return found

    request_span, asking = of("edge", answers=True), of("edge", answers=False)
    call, trip = of("RateLimit", answers=True), of("RateLimit", answers=False)
    assert (request_span.parent, asking.parent) == (span, request_span.id)
    assert (call.parent, trip.parent) == (asking.id, call.id)
    assert call["headgate.limits.code"] == "OK"
