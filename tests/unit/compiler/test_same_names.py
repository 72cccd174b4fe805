"""An HTTPRoute and an AIGatewayRoute may have one name: they are two objects."""

from pathlib import Path

import pytest
from headgate.compiler.compile import compile_world
from headgate.compiler.options import Options
from headgate.controller.sources.files import load
from headgate.controller.xds.snapshot import SnapshotTaker, dangling
from support import manifests
from support.manifests import Document


def documents(hostnames: tuple[str, ...]) -> list[Document]:
    plain: Document = {
        "parentRefs": [{"name": "gateway"}],
        "hostnames": list(hostnames),
        "rules": [{"backendRefs": [{"group": manifests.ENVOY_GATEWAY, "kind": "Backend", "name": "plain"}]}],
    }
    limits = {"global": {"rules": [{"limit": {"requests": 9, "unit": "Hour"}}]}}
    return [
        *manifests.gateway({"port": 10080}),
        *manifests.backend("b", 1, key="k"),
        manifests.endpoint("plain", 2),
        manifests.route("r", [manifests.rule("m", manifests.ref("b"))]),
        manifests.document(f"{manifests.GATEWAY_API}/v1", "HTTPRoute", "r", plain),
        manifests.document(
            f"{manifests.ENVOY_GATEWAY}/v1alpha1",
            "BackendTrafficPolicy",
            "limits",
            {**manifests.target("Gateway", "gateway"), "rateLimit": limits},
        ),
    ]


@pytest.mark.parametrize("hostnames", [(), ("a.example.com",)], ids=["one host", "another host"])
def test_routes_of_one_name_are_both_served(tmp_path: Path, hostnames: tuple[str, ...]) -> None:
    path = tmp_path / "in.yaml"
    path.write_text(manifests.text(documents(hostnames)))
    compiled = compile_world(load((path,), environment={}).world, Options(ratelimit_socket="/l"))
    assert not compiled.diagnostics
    assert not dangling(SnapshotTaker().take(compiled.resources), frozenset({"xds"}))
    assert compiled.program is not None
    rules = {
        rule.name: rule
        for port in compiled.program.ports
        for listener in port.listeners
        for host in listener.hosts
        for rule in host.all_rules
    }
    assert rules.keys() == {"default/r/rule/0", "HTTPRoute/default/r/rule/0"}
    assert len({limit.name for rule in rules.values() for limit in rule.limits}) == 2  # each counts alone
