"""Whom `extAuth` asks on a cluster, and that a policy whose service cannot be asked lets nobody in."""

from typing import Any

import pytest
from headgate.compiler import ir
from headgate.compiler.compile import Compiled, compile_world
from headgate.compiler.options import Mode, Options
from headgate.compiler.reading import read_object
from headgate.compiler.resources.metadata import NOWHERE
from headgate.compiler.world import make_world
from support import manifests
from support.manifests import ENVOY_GATEWAY, GATEWAY_API, Document, backend, document, ref, route, rule, target


def compiled(reference: Document, *more: Document, mode: Mode = Mode.STANDALONE) -> Compiled:
    """A route with a policy that asks what `reference` names."""
    spec = {**target("AIGatewayRoute", "r"), "extAuth": {"grpc": {"backendRefs": [reference]}}}
    asks = document(f"{ENVOY_GATEWAY}/v1alpha1", "SecurityPolicy", "asks", spec)
    gateway = manifests.gateway({"port": 80})
    gateway[0]["spec"]["controllerName"] = Options().controller_name
    served = (*gateway, *backend("b", 1, key="k"), route("r", [rule("m", ref("b"))]))
    read = [read_object(each, NOWHERE) for each in (*served, asks, *more)]
    assert not [each.diagnostics for each in read if each.rejected]
    return compile_world(make_world(each.resource for each in read if each.resource), Options(mode=mode))


def served_rule(found: Compiled) -> ir.Rule:
    (only,) = {each for port in found.program.ports for host in port.listeners[0].hosts for each in host.rules}
    return only


def granted(name: str) -> Document:
    kind = {"group": ENVOY_GATEWAY, "kind": "SecurityPolicy", "namespace": "default"}
    spec: Document = {"from": [kind], "to": [{"group": "", "kind": "Service", "name": name}]}
    grant = document(f"{GATEWAY_API}/v1beta1", "ReferenceGrant", "g", spec)
    grant["metadata"]["namespace"] = "auth"
    return grant


@pytest.mark.parametrize(
    ("reference", "more", "host"),
    [
        ({"name": "s", "port": 9001}, [], "s.default.svc"),
        ({"name": "s", "port": 9001, "namespace": "auth"}, [granted("s")], "s.auth.svc"),
    ],
    ids=["own namespace", "granted"],
)
def test_a_service_of_the_cluster_is_asked(reference: Document, more: list[Document], host: str) -> None:
    auth = served_rule(compiled(reference, *more)).auth
    assert auth is not None
    assert auth.external is not None
    assert auth.external.backend.endpoints == (ir.Endpoint(host, 9001, is_dns=True),)


@pytest.mark.parametrize(
    ("reference", "mode", "said"),
    [
        ({"name": "s"}, Mode.STANDALONE, "a Service needs a port"),
        ({"name": "s", "port": 9001, "namespace": "auth"}, Mode.STANDALONE, "may not refer to Service auth/s"),
        ({"name": "s", "port": 9001}, Mode.FILES, "only a cluster has Services"),
    ],
    ids=["no port", "not granted", "no cluster"],
)
def test_what_cannot_be_asked_lets_nobody_in(reference: Document, mode: Mode, said: str) -> None:
    found = compiled(reference, mode=mode)
    (told,) = [each for each in found.diagnostics if "extAuth" in each.field]
    assert said in told.message
    only: Any = served_rule(found)
    assert only.direct is not None
    assert not only.ai
