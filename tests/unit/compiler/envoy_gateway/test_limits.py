"""LimitPolicies and QuotaPolicies beside Envoy Gateway: what they reach, and what they are told."""

from pathlib import Path
from typing import Any

import pytest
from headgate.compiler.compile import Compiled, compile_world
from headgate.compiler.conditions import Severity
from headgate.compiler.envoy_gateway.needs import needs_of
from headgate.compiler.options import Mode, Options
from headgate.controller.sources.files import load
from support import manifests

SERVED = Options(mode=Mode.ENVOY_GATEWAY, extproc_sockets=("/x.sock",), ratelimit_address="limits.ns.svc:8081")
UNSERVED = Options(mode=Mode.ENVOY_GATEWAY, extproc_sockets=("/x.sock",))


def _policy(kind: str, name: str) -> manifests.Document:
    group = manifests.AI if kind in ("AIGatewayRoute", "AIServiceBackend") else manifests.GATEWAY_API
    rule = {"name": "hourly", "unit": "tokens", "amount": 10, "window": "hour"}
    spec: dict[str, Any] = {"targetRefs": [{"group": group, "kind": kind, "name": name}], "rules": [rule]}
    return manifests.document("headgate.dev/v1alpha1", "LimitPolicy", "limits", spec)


def _compiled(tmp_path: Path, options: Options, *documents: manifests.Document) -> Compiled:
    path = tmp_path / "in.yaml"
    route = manifests.route("chat", [manifests.rule("m", manifests.ref("b"))])
    listed = [*manifests.gateway({"port": 8080}), *manifests.backend("b", 1, key="sk"), route, *documents]
    path.write_text(manifests.text(listed))
    return compile_world(load((path,), environment={}).world, options)


def _told(compiled: Compiled) -> list[tuple[Severity, str]]:
    return [
        (each.severity, each.message) for each in compiled.diagnostics if each.key and each.key.kind == "LimitPolicy"
    ]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("AIGatewayRoute", "chat"), ("HTTPRoute", "chat"), ("AIServiceBackend", "b"), ("Gateway", manifests.GATEWAY)],
)
def test_requests_on_ai_routes_are_counted(tmp_path: Path, kind: str, name: str) -> None:
    found = _compiled(tmp_path, SERVED, _policy(kind, name))
    assert "LimitPolicy/default/limits/hourly" in found.limits
    told = _told(found)
    assert [severity for severity, _ in told] == ([Severity.WARNING] if kind == "Gateway" else [])
    assert all("only requests on AI routes" in message for _, message in told)


@pytest.mark.parametrize("asked", [False, True])
def test_prompts_are_counted_where_a_limit_asks_for_it(tmp_path: Path, asked: bool) -> None:
    policy = _policy("AIGatewayRoute", "chat")
    policy["spec"]["rules"][0]["countPrompts"] = asked
    ports = _compiled(tmp_path, SERVED, policy).program.ports
    hosts = [host for port in ports for listener in port.listeners for host in listener.hosts]
    known = [rule for host in hosts for rule in host.rules if rule.ai]
    assert {rule.counts_prompts for rule in known} == {asked}
    assert needs_of(known, ()).counts is asked


def test_other_routes_are_not(tmp_path: Path) -> None:
    told = _told(_compiled(tmp_path, SERVED, _policy("HTTPRoute", "web")))
    assert [message for severity, message in told if severity is Severity.ERROR and "is no AI route" in message]


def test_without_a_service_they_are_refused(tmp_path: Path) -> None:
    found = _compiled(tmp_path, UNSERVED, _policy("AIGatewayRoute", "chat"))
    assert found.limits == ""
    assert [severity for severity, _ in _told(found)] == [Severity.ERROR]
