"""Which listeners take a route, by Gateway API's rules."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from headgate.compiler.options import Options
from headgate.compiler.resolve.attachment import attach
from headgate.compiler.resolve.memory import Memory
from headgate.compiler.resolve.parent import Parent
from headgate.controller.sources.files import load
from support import manifests
from support.manifests import Document

NAMESPACES = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"tier": name}}}
    for name in ("gold", "tin")
]
LISTENERS = [
    {"name": "web", "port": 80, "protocol": "HTTP"},
    {"name": "alt", "port": 81, "protocol": "HTTP", "hostname": "*.example.com"},
]


def parents(
    tmp_path: Path,
    *references: Mapping[str, Any],
    namespace: str = "default",
    hostnames: Sequence[str] = (),
    allowed: Mapping[str, Any] | None = None,
    ai: bool = False,
) -> tuple[Parent, ...]:
    listeners = [{**each, **({"allowedRoutes": allowed} if allowed else {})} for each in LISTENERS]
    gateway = {"gatewayClassName": "c", "listeners": listeners}
    route: Document = {
        "apiVersion": f"{manifests.AI}/v1beta1" if ai else f"{manifests.GATEWAY_API}/v1",
        "kind": "AIGatewayRoute" if ai else "HTTPRoute",
        "metadata": {"name": "r", "namespace": namespace},
        "spec": {"parentRefs": list(references), "hostnames": list(hostnames), "rules": [{}]},
    }
    documents = [*NAMESPACES, manifests.document(f"{manifests.GATEWAY_API}/v1", "Gateway", "g", gateway), route]
    path = tmp_path / "in.yaml"
    path.write_text(manifests.text(documents))
    world = load((path,), environment={}).world
    (found,) = attach(world, world.gateways, Memory(world, Options())).parents.values()
    return found


def listeners(parent: Parent) -> list[str]:
    return [name for name, _ in parent.listeners]


G = {"name": "g", "namespace": "default"}


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        (G, ["web", "alt"]),
        (G | {"sectionName": "alt"}, ["alt"]),
        (G | {"port": 80}, ["web"]),
        (G | {"port": 81, "sectionName": "alt"}, ["alt"]),
    ],
)
def test_a_parent_is_all_listeners_that_its_reference_names(
    tmp_path: Path, reference: Document, found: list[str]
) -> None:
    (parent,) = parents(tmp_path, reference)
    assert (parent.reason, listeners(parent)) == ("", found)


@pytest.mark.parametrize(
    "reference", [G | {"sectionName": "none"}, G | {"port": 82}, G | {"port": 80, "sectionName": "alt"}, {"name": "no"}]
)
def test_a_reference_to_nothing_is_no_parent(tmp_path: Path, reference: Document) -> None:
    (parent,) = parents(tmp_path, reference)
    assert (parent.reason, parent.listeners) == ("NoMatchingParent", ())


@pytest.mark.parametrize(
    ("namespace", "namespaces", "taken"),
    [
        ("default", {"from": "Same"}, True),
        ("gold", {"from": "Same"}, False),
        ("gold", {"from": "All"}, True),
        ("gold", {"from": "Selector", "selector": {"matchLabels": {"tier": "gold"}}}, True),
        ("tin", {"from": "Selector", "selector": {"matchLabels": {"tier": "gold"}}}, False),
        ("tin", {"from": "Selector", "selector": {"matchLabels": {"kubernetes.io/metadata.name": "tin"}}}, True),
        ("tin", {"from": "Selector"}, False),
    ],
)
def test_listeners_take_routes_of_some_namespaces(
    tmp_path: Path, namespace: str, namespaces: Document, *, taken: bool
) -> None:
    (parent,) = parents(tmp_path, G, namespace=namespace, allowed={"namespaces": namespaces})
    assert parent.reason == ("" if taken else "NotAllowedByListeners")


@pytest.mark.parametrize(
    ("kinds", "ai", "taken"),
    [
        ([{"kind": "HTTPRoute"}], False, True),
        ([{"kind": "HTTPRoute"}], True, True),  # to whoever wrote the listener an AI route is one
        ([{"kind": "AIGatewayRoute", "group": manifests.AI}], True, True),
        ([{"kind": "AIGatewayRoute", "group": manifests.AI}], False, False),
        ([{"kind": "GRPCRoute"}], False, False),
        ([{"kind": "HTTPRoute", "group": "example.com"}], False, False),
    ],
)
def test_listeners_take_routes_of_some_kinds(tmp_path: Path, kinds: list[Document], *, ai: bool, taken: bool) -> None:
    (parent,) = parents(tmp_path, G, ai=ai, allowed={"kinds": kinds})
    assert parent.reason == ("" if taken else "NotAllowedByListeners")


def test_hostnames_must_meet(tmp_path: Path) -> None:
    section = G | {"sectionName": "alt"}
    (parent,) = parents(tmp_path, section, hostnames=["a.example.com", "b.example.org", "*.b.example.com"])
    assert parent.listeners == (("alt", ("a.example.com", "*.b.example.com")),)
    (parent,) = parents(tmp_path, section, hostnames=["example.com"])
    assert parent.reason == "NoMatchingListenerHostname"
    (parent,) = parents(tmp_path, G, hostnames=["example.com"])
    assert listeners(parent) == ["web"]


def test_a_parent_of_another_kind_is_not_ours(tmp_path: Path) -> None:
    (parent,) = parents(tmp_path, G | {"kind": "Service", "group": "example.com"})
    assert parent.foreign
    assert not parent.reason
