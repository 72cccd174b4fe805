"""The chart's NetworkPolicies: whoever has to reach a pod may, and nobody else reaches what carries keys or counts.

A network plugin enforces them, which there is none of here; what they say is worked out as the API's reference has it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.helm import monitored, rendered
from support.kube import Object

CHART = Path(__file__).parents[2] / "manifests" / "chart"
PROXIES = "envoy-gateway-system"
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Who:
    """A pod: its namespace and labels."""

    namespace: str
    labels: Labels


SOMEBODY = Who("elsewhere", {"app": "somebody"})
NEIGHBOUR = Who(PROXIES, {"app": "somebody"})
PROXY = Who(PROXIES, {"app.kubernetes.io/managed-by": "envoy-gateway"})
FALSE_PROXY = Who("elsewhere", {"app.kubernetes.io/managed-by": "envoy-gateway"})


def _matches(selector: Object, labels: Labels) -> bool:
    assert set(selector) <= {"matchLabels"}
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())


def _is_peer(peer: Object, who: Who, namespace: str) -> bool:
    assert set(peer) <= {"podSelector", "namespaceSelector"}
    named = {"kubernetes.io/metadata.name": who.namespace}
    there = _matches(peer["namespaceSelector"], named) if "namespaceSelector" in peer else who.namespace == namespace
    return there and _matches(peer.get("podSelector", {}), who.labels)


def _admits(policy: Object, who: Who, port: int) -> bool:
    namespace = policy["metadata"]["namespace"]
    for rule in policy["spec"]["ingress"]:
        ports = any(each["port"] <= port <= each.get("endPort", each["port"]) for each in rule["ports"])
        if ports and ("from" not in rule or any(_is_peer(each, who, namespace) for each in rule["from"])):
            return True
    return False


def _pods(objects: Sequence[Object]) -> Iterator[tuple[str, Who]]:
    for each in objects:
        if each["kind"] == "Deployment":
            labels = each["spec"]["template"]["metadata"]["labels"]
            yield labels["app.kubernetes.io/component"], Who(each["metadata"]["namespace"], labels)


def _may(objects: Sequence[Object], who: Who, component: str, port: int) -> bool:
    target = dict(_pods(objects))[component]
    policies = [
        each
        for each in objects
        if each["kind"] == "NetworkPolicy"
        and each["metadata"]["namespace"] == target.namespace
        and _matches(each["spec"]["podSelector"], target.labels)
    ]
    assert policies, f"{component} is open to everybody"
    return any(_admits(each, who, port) for each in policies)


def _objects(values: str) -> list[Object]:
    path = CHART / "ci" / f"{values}-values.yaml"
    return rendered("headgate", CHART, "ns", "--values", str(path), "--set", f"envoyGateway.namespace={PROXIES}")


@pytest.mark.parametrize(
    ("who", "component", "port", "may"),
    [
        (NEIGHBOUR, "controller", 1063, True),  # Envoy Gateway itself, by its namespace
        (SOMEBODY, "controller", 1063, False),
        (SOMEBODY, "controller", 10443, True),  # the API server, which no selector names
        (SOMEBODY, "controller", 8082, True),
        (PROXY, "ratelimit", 8081, True),
        (NEIGHBOUR, "ratelimit", 8081, False),
        (FALSE_PROXY, "ratelimit", 8081, False),
        (SOMEBODY, "ratelimit", 8080, True),
        (PROXY, "collector", 9190, True),
        (NEIGHBOUR, "collector", 9190, False),
        (FALSE_PROXY, "collector", 9190, False),
        (SOMEBODY, "collector", 8080, True),
    ],
)
def test_beside_envoy_gateway(who: Who, component: str, port: int, may: bool) -> None:
    assert _may(_objects("envoy-gateway-all"), who, component, port) is may


def test_standalone() -> None:
    objects = _objects("standalone-scaled")
    envoy = dict(_pods(objects))["envoy"]
    assert _may(objects, envoy, "controller", 18000)
    assert not _may(objects, SOMEBODY, "controller", 18000)
    assert _may(objects, envoy, "controller", 8082)
    assert not _may(objects, SOMEBODY, "envoy", 9901)
    for port in (80, 443, 19001, 1064, 1065, 8080, 8084):
        assert _may(objects, SOMEBODY, "envoy", port), port
    assert not _may(objects, SOMEBODY, "envoy", 1066)


@pytest.mark.parametrize("values", ["envoy-gateway-all", "standalone-scaled"])
def test_what_monitors_ask_may_be_asked(values: str) -> None:
    objects = _objects(values)
    ports = {
        part["name"]: (each["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"], port)
        for each in objects
        if each["kind"] == "Deployment"
        for spec in (each["spec"]["template"]["spec"],)
        for container in (*spec["containers"], *spec.get("initContainers", ()))
        for part in container["ports"]
        for port in (part["containerPort"],)
    }
    for _, endpoints in monitored(objects):
        for endpoint in endpoints:
            if endpoint["port"] in ports:  # Envoy Gateway's pods have no policy of ours
                assert _may(objects, SOMEBODY, *ports[endpoint["port"]]), endpoint
