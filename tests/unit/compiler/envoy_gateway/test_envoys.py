"""What is known of the Envoys of a Gateway, and what its AI routes are told of them."""

import json
from collections.abc import Mapping

import pytest
from headgate.compiler.compile import compile_world
from headgate.compiler.envoy_gateway.envoys import NOTHING, Deployed, envoy_problems
from headgate.compiler.envoy_gateway.routes import Problem
from headgate.compiler.envoy_gateway.rules import known_rules
from headgate.compiler.envoy_gateway.sidecar import RUNTIME_GUARD
from headgate.compiler.options import Mode, Options
from headgate.compiler.reading import read_object
from headgate.compiler.resources.metadata import NOWHERE, Name
from headgate.compiler.world import make_world
from support import manifests

LAYER = {"layered_runtime": {"layers": [{"name": "x", "static_layer": {RUNTIME_GUARD: False}}]}}
MERGED = {"type": "Merge", "value": json.dumps(LAYER)}
ENVOY = "gateway.envoyproxy.io/v1alpha1"
OPTIONS = Options(mode=Mode.ENVOY_GATEWAY, extproc_sockets=("/run.sock",))


def problems(
    *,
    by_class: bool = False,
    image: str = "",
    bootstrap: Mapping[str, object] | None = None,
    deployed: Deployed = NOTHING,
) -> list[Problem]:
    spec: dict[str, object] = {}
    if image:
        spec["provider"] = {"type": "Kubernetes", "kubernetes": {"envoyDeployment": {"container": {"image": image}}}}
    if bootstrap is not None:
        spec["bootstrap"] = bootstrap
    documents = [
        *manifests.gateway({"name": "http", "port": 80}),
        *manifests.backend("openai", 1, key="sk"),
        manifests.route("chat", [manifests.rule("m", manifests.ref("openai"))]),
        manifests.document(ENVOY, "EnvoyProxy", "proxy", spec),
    ]
    reference = {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "proxy"}
    for each in documents:
        if each["kind"] == "Gateway" and not by_class:
            each["spec"]["infrastructure"] = {"parametersRef": reference}
        if each["kind"] == "GatewayClass" and by_class:
            each["spec"]["parametersRef"] = {**reference, "namespace": "default"}
    found = [read_object(each, NOWHERE) for each in documents]
    world = make_world(each.resource for each in found if each.resource)
    rules = known_rules(compile_world(world, OPTIONS).program)
    return list(envoy_problems(world, rules, {Name("default", manifests.GATEWAY): deployed}))


@pytest.mark.parametrize(
    "bootstrap",
    [
        MERGED,
        {"value": "layered_runtime:\n  layers:\n  - static_layer: {" + RUNTIME_GUARD + ": 'false'}"},
        {"type": "JSONPatch", "jsonPatches": [{"op": "add", "path": "/layered_runtime", "value": LAYER}]},
        {
            "jsonPatches": [
                {"op": "add", "path": f"/layered_runtime/layers/0/static_layer/{RUNTIME_GUARD}", "value": False}
            ]
        },
    ],
)
def test_a_guard_that_is_off_is_seen(bootstrap: Mapping[str, object]) -> None:
    assert problems(bootstrap=bootstrap) == []
    assert problems(bootstrap=bootstrap, by_class=True) == []


def test_a_guard_that_is_on_is_told_with_what_turns_it_off() -> None:
    on = {"type": "Merge", "value": json.dumps(LAYER).replace("false", "true")}
    for bootstrap in (None, on, {"type": "Merge", "value": "{broken"}):
        (problem,) = problems(bootstrap=bootstrap)
        assert (problem.route, problem.served) == ("default/chat", True)
        assert MERGED["value"] in problem.remedy.replace("headgate", "x")


@pytest.mark.parametrize(
    ("image", "old"),
    [
        ("docker.io/envoyproxy/envoy:distroless-v1.39.0", True),
        ("registry:5000/envoy:v1.38.1@sha256:00", True),
        ("envoyproxy/envoy:v1.40.0", False),
        ("envoyproxy/envoy:dev", False),
        ("registry:5000/envoy", False),
    ],
)
def test_an_old_envoy_is_named(image: str, old: bool) -> None:
    found = problems(image=image, bootstrap=MERGED)
    assert [each.served for each in found] == ([False] if old else [])
    assert all("1.40" in each.message for each in found)


def test_what_runs_counts_whatever_was_asked_for() -> None:
    old = problems(image="envoyproxy/envoy:v1.40.0", bootstrap=MERGED, deployed=Deployed((1, 39), (1, 9)))
    assert [(each.route, each.served) for each in old] == [("default/chat", False)]
    assert problems(image="envoyproxy/envoy:v1.38.0", bootstrap=MERGED, deployed=Deployed((1, 40), (1, 8))) == []


def test_an_old_envoy_gateway_is_named() -> None:
    (found,) = problems(bootstrap=MERGED, deployed=Deployed((1, 40), (1, 7)))
    assert found.served
    assert "1.7" in found.message
    assert "1.8" in found.remedy
