"""What the controller tells of objects, builds and Envoys."""

from headgate.compiler.conditions import ObjectStatus
from headgate.compiler.resources.metadata import Key
from headgate.controller.metrics import ControllerMetrics, objects_by_condition
from headgate.runtime.metrics import Registry
from support.prometheus import Page


def status(name: str, value: object) -> ObjectStatus:
    key = Key("gateway.networking.k8s.io", "HTTPRoute", "default", name)
    return ObjectStatus(key=key, api_version="v1", uid="", generation=1, status={"parents": value})


def parent(accepted: str) -> object:
    return {"conditions": [{"type": "Accepted", "status": accepted}, {"type": "ResolvedRefs", "status": "True"}]}


def test_an_object_counts_as_its_worst_parent() -> None:
    found = objects_by_condition(
        [status("a", [parent("True"), parent("False"), parent("True")]), status("b", [parent("True")]), status("c", [])]
    )
    assert found == {
        ("HTTPRoute", "Accepted", "False"): 1,
        ("HTTPRoute", "Accepted", "True"): 1,
        ("HTTPRoute", "ResolvedRefs", "True"): 2,
    }


def test_what_a_mode_does_not_have_has_no_series() -> None:
    metrics = ControllerMetrics(Registry())
    metrics.numbers["leading"] = lambda: 1
    metrics.built(0.02)
    metrics.built(0.02, failed=True)
    metrics.rejected("type.googleapis.com/envoy.config.cluster.v3.Cluster")
    page = Page(metrics.registry.text())
    assert page.sum("headgate_controller_leading") == 1
    assert not list(page.of("headgate_controller_envoys"))
    assert page.by("result", "headgate_controller_build_duration_seconds_count") == {"ok": 1, "failed": 1}
    assert page.by("type", "headgate_controller_nacks_total") == {"Cluster": 1}
