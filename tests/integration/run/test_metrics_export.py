"""Metrics over OTLP, of each process: where, how often and as whom `OTEL_*` variables say."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from support.limiter import client_limits
from support.manifests import backend, gateway, ref, route, rule, text
from support.otlp import OtlpReceiver
from support.ports import free_port
from support.processes import Child
from support.waiting import wait_until

INTERVAL = {"OTEL_METRIC_EXPORT_INTERVAL": "100"}


def _limits(directory: Path) -> Path:
    path = directory / "limits.yaml"
    path.write_text(client_limits(5))
    return path


def _resources(directory: Path) -> Path:
    path = directory / "gateway.yaml"
    port = free_port()
    path.write_text(text([*gateway({"port": port}), *backend("a", port), route("r", [rule("m", ref("a"))])]))
    return path


def processor(directory: Path) -> Sequence[str]:
    return "headgate.extproc.main", "--address", f"unix:{directory}/s"


def limiter(directory: Path) -> Sequence[str]:
    return "headgate.ratelimit.main", "--address", f"unix:{directory}/s", "--config", str(_limits(directory))


def collector(directory: Path) -> Sequence[str]:
    return "headgate.collector.main", "--address", f"unix:{directory}/s"


def controller(directory: Path) -> Sequence[str]:
    resources = str(_resources(directory))
    own = ("--address", f"unix:{directory}/s", "--state-dir", str(directory / "state"), "--health-address", "")
    return "headgate.controller.main", "--mode", "files", *own, resources


Made = Callable[[Path], Sequence[str]]
OWN: Mapping[Made, str] = {
    processor: "headgate.extproc.streams.open",
    limiter: "ratelimit.service.total_requests",
    collector: "headgate.collector.records",
    controller: "headgate.controller.envoys",
}
"""A metric that only this one has."""


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


def start(made: Made, directory: Path, environment: Mapping[str, str]) -> Child:
    module, *arguments = made(directory)
    program = f"import sys; from {module} import main; sys.exit(main())"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return Child(
        [sys.executable, "-c", program, *arguments, "--log-format", "json"],
        directory=directory,
        name=made.__name__,
        environment={**kept, **environment},
    )


@pytest.mark.parametrize("made", OWN, ids=lambda made: made.__name__)
def test_each_process_tells_of_itself(made: Made, receiver: OtlpReceiver, tmp_path: Path) -> None:
    receiver.forget()
    environment = {
        **INTERVAL,
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url,
        "OTEL_EXPORTER_OTLP_METRICS_HEADERS": "authorization=Bearer%20x",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
    }
    child = start(made, tmp_path, environment)
    try:
        found = wait_until(
            lambda: [each for each in receiver.received.metrics if each.name == OWN[made]],
            f"metrics of the {made.__name__}",
            progress=child.progress,
        )
    finally:
        child.close()
    names = {each.name for each in receiver.received.metrics}
    assert {"process.cpu", OWN[made]} <= names
    assert names.isdisjoint({name for other, name in OWN.items() if other is not made})
    resource = dict(found[0].resource)
    assert resource.pop("service.instance.id")
    process = made.__name__
    assert resource == {
        "service.name": "ai-gateway",
        "deployment.environment.name": "test",
        "headgate.process": process,
    }
    assert {headers["authorization"] for headers in receiver.received.headers} == {"Bearer x"}


@pytest.mark.parametrize("made", OWN, ids=lambda made: made.__name__)
def test_each_process_tells_by_grpc_as_itself(made: Made, receiver: OtlpReceiver, tmp_path: Path) -> None:
    receiver.forget()
    environment = {
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": receiver.grpc_url,
        "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "grpc",
        "OTEL_SERVICE_NAME": "mine",
        "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=chosen",
    }
    child = start(made, tmp_path, environment)
    try:
        wait_until(lambda: "listening" in child.stderr or "serving" in child.stderr, "it to serve")
        assert receiver.received.metrics == [], "a minute has not gone by"
    finally:
        child.close()
    (told,) = [each for each in receiver.received.metrics if each.name == OWN[made]]
    assert told.resource["service.name"] == "mine"
    assert told.resource["service.instance.id"] == "chosen"


@pytest.mark.parametrize("made", OWN, ids=lambda made: made.__name__)
@pytest.mark.parametrize("off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_METRICS_EXPORTER": "none"}], ids=str)
def test_nothing_is_told_where_variables_say_so(
    made: Made, off: Mapping[str, str], receiver: OtlpReceiver, tmp_path: Path
) -> None:
    receiver.forget()
    child = start(made, tmp_path, {**INTERVAL, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url, **off})
    try:
        wait_until(lambda: "listening" in child.stderr or "serving" in child.stderr, "it to serve")
    finally:
        child.close()
    assert receiver.received.headers == []


@pytest.mark.parametrize("made", OWN, ids=lambda made: made.__name__)
def test_a_certificate_that_cannot_be_read_is_said_in_a_line(made: Made, tmp_path: Path) -> None:
    environment = {
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "https://localhost:1",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(tmp_path / "none.pem"),
    }
    child = start(made, tmp_path, environment)
    try:
        assert child.wait() == 1
        last = child.stderr.splitlines()[-1]
        assert "OTLP: " in last
        assert "none.pem" in last
    finally:
        child.close()
