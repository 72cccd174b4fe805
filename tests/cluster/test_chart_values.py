"""What the chart makes of values that Envoy AI Gateway's chart has too."""

import pytest
from headgate.collector.main import make_parser as make_collector_parser
from headgate.controller.main import make_parser
from headgate.controller.modes.envoys import header_attributes

from cluster.test_chart import container, found, render

SESSION = ("agent-session-id", "session.id")
OWN = "controller.requestHeaderAttributes=x-team:team"
METRICS = "controller.metricsRequestHeaderAttributes=x-tenant:tenant"


@pytest.mark.parametrize(
    ("settings", "logs", "labels"),
    [
        ((), {SESSION}, ""),
        ((OWN,), {SESSION, ("x-team", "team")}, "team"),
        ((METRICS,), {SESSION, ("x-tenant", "tenant")}, "tenant"),
        ((OWN, METRICS), {SESSION, ("x-team", "team"), ("x-tenant", "tenant")}, "team,tenant"),
        (("controller.logRequestHeaderAttributes=",), set[tuple[str, str]](), ""),
        (("controller.logRequestHeaderAttributes=x-user:user",), {("x-user", "user")}, ""),
        (("collector.requestHeaderAttributes=x-user:user", OWN), {("x-user", "user"), ("x-team", "team")}, "team"),
    ],
)
@pytest.mark.parametrize("mode", ["envoy-gateway", "standalone"])
def test_controller_and_collector_agree_on_header_attributes(
    mode: str, settings: tuple[str, ...], logs: set[tuple[str, str]], labels: str
) -> None:
    objects = render("ns", None, f"mode={mode}", "collector.enabled=true", *settings)
    controller = container(found(objects, "Deployment", "headgate-controller"), "controller")
    assert set(header_attributes(make_parser().parse_args(controller["args"]))) == logs
    collectors = [
        each
        for deployment in objects
        if deployment["kind"] == "Deployment"
        for kind in ("containers", "initContainers")
        for each in deployment["spec"]["template"]["spec"].get(kind, ())
        if each["name"] == "collector"
    ]
    (collector,) = collectors
    options = make_collector_parser().parse_args(collector["args"])
    told = {tuple(each.split(":")) for each in options.request_header_attributes.split(",") if each}
    assert (told, options.metrics_attributes) == (logs, labels)
