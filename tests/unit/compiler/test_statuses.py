"""Statuses: whose objects are reported on, the form that upstream's scripts read, and the reasons of Gateway API."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from headgate.compiler.compile import Compiled, compile_world
from headgate.compiler.conditions import ObjectStatus
from headgate.compiler.options import CONTROLLER_NAME, Mode, Options
from headgate.controller.sources.files import load
from support import manifests
from support.manifests import Document

OURS = {"controllerName": CONTROLLER_NAME}
THEIRS = {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"}
WEB = {"group": manifests.ENVOY_GATEWAY, "kind": "Backend", "name": "web"}


def compiled(tmp_path: Path, *documents: Document, mode: Mode = Mode.FILES, **options: Any) -> Compiled:
    path = tmp_path / "in.yaml"
    path.write_text(manifests.text(documents))
    given = Options(mode=mode, extproc_sockets=("/x.sock",), ratelimit_socket="/r.sock", ai_route_parents=True)
    return compile_world(load((path,), environment={}).world, replaced(given, **options))


def replaced(options: Options, **fields: Any) -> Options:
    return Options(**{name: getattr(options, name) for name in options.__slots__} | fields)


def named(found: Compiled, kind: str, name: str) -> ObjectStatus:
    (status,) = [each for each in found.statuses if (each.key.kind, each.key.name) == (kind, name)]
    return status


def kinds(found: Compiled) -> set[tuple[str, str]]:
    return {(each.key.kind, each.key.name) for each in found.statuses}


def conditions(status: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}


def classed(name: str, spec: Mapping[str, Any]) -> Document:
    return manifests.document(f"{manifests.GATEWAY_API}/v1", "GatewayClass", name, spec)


def gateway(name: str, class_name: str, *listeners: Mapping[str, Any]) -> Document:
    listed = [{"name": f"l{n}", "protocol": "HTTP", **each} for n, each in enumerate(listeners or ({"port": 8080},))]
    spec = {"gatewayClassName": class_name, "listeners": listed}
    return manifests.document(f"{manifests.GATEWAY_API}/v1", "Gateway", name, spec)


def http_route(name: str, *refs: Document, parent: str = "g") -> Document:
    spec = {"parentRefs": [{"name": parent}], "rules": [{"backendRefs": list(refs)}]}
    return manifests.document(f"{manifests.GATEWAY_API}/v1", "HTTPRoute", name, spec)


def ai_route(name: str, *refs: Document, parent: str = "g", **more: Any) -> Document:
    return manifests.route(name, [manifests.rule("m", *refs)], parent={"name": parent}, **more)


def good(*, class_spec: Mapping[str, Any] = OURS) -> list[Document]:
    return [
        classed("c", class_spec),
        gateway("g", "c"),
        *manifests.backend("b", 1, key="k"),
        ai_route("r", manifests.ref("b")),
    ]


def test_scripts_of_upstream_find_their_one_condition(tmp_path: Path) -> None:
    status: Any = named(compiled(tmp_path, *good()), "AIGatewayRoute", "r").status
    last = status["conditions"][-1]
    assert (last["type"], last["status"], last["reason"]) == ("Accepted", "True", "ReconciliationSucceeded")
    assert last["message"] == "AI Gateway Route reconciled successfully"
    assert conditions(status)["Programmed"] == ("True", "Programmed")
    assert conditions(status)["ResolvedRefs"] == ("True", "ResolvedRefs")


def test_scripts_of_upstream_find_a_failure(tmp_path: Path) -> None:
    status: Any = named(
        compiled(tmp_path, *good(), ai_route("broken", manifests.ref("nobody"))), "AIGatewayRoute", "broken"
    ).status
    last = status["conditions"][-1]
    assert (last["type"], last["status"], last["reason"]) == ("NotAccepted", "False", "ReconciliationFailed")
    assert "spec.rules[0].backendRefs[0].name: there is no AIServiceBackend default/nobody" in last["message"]
    found = conditions(status)
    assert found["Accepted"] == ("False", "ReconciliationFailed")
    assert found["ResolvedRefs"] == ("False", "BackendNotFound")
    assert found["Programmed"] == ("False", "Invalid")


@pytest.mark.parametrize(("kind", "name"), [("AIServiceBackend", "b"), ("BackendSecurityPolicy", "b")])
def test_what_a_served_route_uses_is_programmed(tmp_path: Path, kind: str, name: str) -> None:
    status = named(compiled(tmp_path, *good()), kind, name).status
    assert conditions(status)["Programmed"] == ("True", "Programmed")
    assert conditions(status)["Accepted"] == ("True", "ReconciliationSucceeded")


def test_what_nobody_uses_is_accepted_and_not_programmed(tmp_path: Path) -> None:
    found = named(compiled(tmp_path, *good(), *manifests.backend("spare", 2)), "AIServiceBackend", "spare")
    assert conditions(found.status)["Programmed"] == ("False", "NotUsed")
    assert conditions(found.status)["Accepted"] == ("True", "ReconciliationSucceeded")


def test_a_warning_shows_and_fails_nothing(tmp_path: Path) -> None:
    warned = ai_route("r2", manifests.ref("b"))
    warned["apiVersion"] = f"{manifests.AI}/v1alpha1"
    status: Any = named(compiled(tmp_path, *good(), warned), "AIGatewayRoute", "r2").status
    assert conditions(status)["Accepted"] == ("True", "ReconciliationSucceeded")
    programmed = next(each for each in status["conditions"] if each["type"] == "Programmed")
    assert programmed["status"] == "True"
    assert "v1alpha1 is deprecated" in programmed["message"]


def test_the_generation_is_the_one_that_was_read(tmp_path: Path) -> None:
    documents = good()
    documents[-1]["metadata"] |= {"generation": 7, "uid": "u"}
    broken = ai_route("broken", manifests.ref("b"), nonsense=1)
    broken["metadata"] |= {"generation": 9, "uid": "v"}
    found = compiled(tmp_path, *documents, broken)
    for name, generation, uid in (("r", 7, "u"), ("broken", 9, "v")):
        status: Any = named(found, "AIGatewayRoute", name)
        assert (status.generation, status.uid) == (generation, uid)
        assert {each["observedGeneration"] for each in status.status["conditions"]} == {generation}
        assert "lastTransitionTime" not in str(status.status)


def test_standalone_reports_on_its_own_class_only(tmp_path: Path) -> None:
    documents = [
        *good(),
        classed("theirs", THEIRS),
        gateway("other", "theirs", {"port": 9000}),
        gateway("nobodys", "missing", {"port": 9001}),
        *manifests.backend("away", 2),
        ai_route("away", manifests.ref("away"), parent="other"),
        http_route("web", WEB, parent="other"),
        manifests.endpoint("web", 3),
    ]
    found = compiled(tmp_path, *documents, mode=Mode.STANDALONE, gateway_addresses=("10.0.0.1",))
    assert [port.number for port in found.program.ports] == [8080]
    assert kinds(found) == {
        ("GatewayClass", "c"),
        ("Gateway", "g"),
        ("AIGatewayRoute", "r"),
        ("AIServiceBackend", "b"),
        ("BackendSecurityPolicy", "b"),
        ("Backend", "b"),
        ("HTTPRoute", "web"),
    }
    assert named(found, "HTTPRoute", "web").status == {"parents": []}
    status: Any = named(found, "Gateway", "g").status
    assert status["addresses"] == [{"type": "IPAddress", "value": "10.0.0.1"}]
    assert conditions(status)["Programmed"] == ("True", "Programmed")


def test_files_serve_every_class(tmp_path: Path) -> None:
    found = compiled(tmp_path, *good(class_spec=THEIRS))
    assert {("GatewayClass", "c"), ("Gateway", "g")} <= kinds(found)


def test_beside_envoy_gateway_only_ai_kinds_are_ours(tmp_path: Path) -> None:
    found = compiled(tmp_path, *good(class_spec=THEIRS), mode=Mode.ENVOY_GATEWAY)
    assert kinds(found) == {("AIGatewayRoute", "r"), ("AIServiceBackend", "b"), ("BackendSecurityPolicy", "b")}


def test_a_gateway_without_an_address_is_not_programmed(tmp_path: Path) -> None:
    status = named(compiled(tmp_path, *good(), mode=Mode.STANDALONE), "Gateway", "g").status
    assert conditions(status)["Accepted"] == ("True", "Accepted")
    assert conditions(status)["Programmed"] == ("False", "AddressNotAssigned")


def test_routes_have_parents_only_where_the_kind_has_them(tmp_path: Path) -> None:
    assert "parents" in named(compiled(tmp_path, *good()), "AIGatewayRoute", "r").status
    found = compiled(tmp_path, *good(), ai_route_parents=False)
    assert "parents" not in named(found, "AIGatewayRoute", "r").status


@pytest.mark.parametrize("others", [(), ("example.org/keep",)])
def test_an_object_that_cannot_go_says_whose_finalizer_keeps_it(tmp_path: Path, others: tuple[str, ...]) -> None:
    documents = good()
    for each in documents:
        if each["kind"] in ("AIGatewayRoute", "AIServiceBackend"):
            finalizers = ["aigateway.envoyproxy.io/finalizer", *others]
            each["metadata"] |= {"deletionTimestamp": "2030-01-01T00:00:00Z", "finalizers": finalizers}
    found = compiled(tmp_path, *documents)
    for each in documents:
        if "finalizers" in each["metadata"]:
            kind, name = each["kind"], each["metadata"]["name"]
            status: Any = named(found, kind, name).status
            assert conditions(status)["Programmed"] == ("True", "Programmed")
            (programmed,) = [each for each in status["conditions"] if each["type"] == "Programmed"]
            patch = json.dumps({"metadata": {"finalizers": list(others) or None}})
            command = f"kubectl -n default patch {kind.lower()} {name} --type=merge -p '{patch}'"
            assert command in programmed["message"]


def test_gateway_configs_have_upstreams_reasons(tmp_path: Path) -> None:
    documents = good()
    documents[1]["metadata"]["annotations"] = {"aigateway.envoyproxy.io/gateway-config": "costs"}
    config = manifests.document(f"{manifests.AI}/v1beta1", "GatewayConfig", "costs", {})
    status: Any = named(compiled(tmp_path, *documents, config), "GatewayConfig", "costs").status
    assert conditions(status)["Accepted"] == ("True", "Accepted")
    assert conditions(status)["Programmed"] == ("True", "Programmed")


def _captures(said: Document) -> list[Document]:
    documents = good()
    documents[1]["metadata"]["annotations"] = {"aigateway.envoyproxy.io/gateway-config": "tells"}
    env = [{"name": "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", **said}]
    config = {"extProc": {"kubernetes": {"env": env}}}
    return [*documents, manifests.document(f"{manifests.AI}/v1beta1", "GatewayConfig", "tells", config)]


@pytest.mark.parametrize(
    ("said", "captured", "told"),
    [
        ({"value": "span_only"}, True, ""),
        ({"value": "no_content"}, False, ""),
        ({"value": "yes"}, False, "yes is not known"),
        ({"valueFrom": {"configMapKeyRef": {"name": "telemetry", "key": "capture"}}}, False, "valueFrom is not known"),
    ],
)
def test_a_gateway_config_has_its_gateway_capture_content(
    tmp_path: Path, said: Document, captured: bool, told: str
) -> None:
    found = compiled(tmp_path, *_captures(said), mode=Mode.ENVOY_GATEWAY)
    rules = [rule for port in found.program.ports for each in port.listeners for rule in each.hosts[0].rules]
    assert [(backend.captured, bool(backend.forced_by)) for rule in rules for backend in rule.backends] == [
        (captured, captured)
    ]
    assert told in str(named(found, "GatewayConfig", "tells").status)


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        (WEB | {"name": "absent"}, "BackendNotFound"),
        (WEB | {"namespace": "other"}, "RefNotPermitted"),
        ({"name": "service", "port": 80}, "InvalidKind"),
    ],
)
def test_a_reference_that_leads_nowhere_gets_its_share_answered_500(tmp_path: Path, ref: Document, reason: str) -> None:
    route = http_route("web", WEB | {"weight": 3}, ref)
    found = compiled(tmp_path, classed("c", OURS), gateway("g", "c"), manifests.endpoint("web", 1), route)
    parent: Any = named(found, "HTTPRoute", "web").status["parents"]
    assert conditions(parent[0])["Accepted"] == ("True", "Accepted")
    assert conditions(parent[0])["ResolvedRefs"] == ("False", reason)
    configurations = next(each for url, each in found.resources.items() if url.endswith("RouteConfiguration"))
    (configuration,) = configurations.values()
    text = str(configuration)
    assert "numerator: 250000" in text
    assert text.index("numerator: 250000") < text.index('cluster: "httproute/default/web/rule/0/backend/0"')


def test_an_ai_rule_without_a_usable_backend_is_not_passed_on(tmp_path: Path) -> None:
    """Another rule, one for all models, must not get its requests."""
    found = compiled(tmp_path, *good(), ai_route("lost", manifests.ref("nobody")))
    (rule,) = [
        rule
        for host in found.program.ports[0].listeners[0].hosts
        for rule in host.rules
        if rule.route == "default/lost"
    ]
    assert rule.direct is not None
    assert rule.direct.status == 500


def test_plain_listeners_of_a_port_keep_their_own_policies(tmp_path: Path) -> None:
    """The second one's was lost once: its routes stood open."""
    listeners = ({"port": 8080, "hostname": "a.example.com"}, {"port": 8080, "hostname": "b.example.com"})
    target = manifests.target("Gateway", "g")
    target["targetRefs"][0]["sectionName"] = "l1"
    documents = [
        classed("c", OURS),
        gateway("g", "c", *listeners),
        *manifests.backend("b", 1),
        ai_route("r", manifests.ref("b")),
        *manifests.api_keys("keys", target, {"me": "secret"}),
    ]
    (listener,) = compiled(tmp_path, *documents).program.ports[0].listeners
    guards = {host.hostname: [rule.auth.name if rule.auth else "" for rule in host.rules] for host in listener.hosts}
    assert guards == {"a.example.com": [""], "b.example.com": ["default/keys"]}


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("v1.6.1", ("True", "SupportedVersion")),
        ("v1.1.0", ("False", "UnsupportedVersion")),
        ("v2.0.0-rc.1", ("False", "UnsupportedVersion")),
        ("monthly", ("False", "UnsupportedVersion")),
    ],
)
def test_a_class_says_whether_gateway_api_is_of_a_version_that_we_know(
    tmp_path: Path, version: str, said: tuple[str, str]
) -> None:
    found = compiled(tmp_path, classed("c", OURS), mode=Mode.STANDALONE, gateway_api=version)
    assert conditions(named(found, "GatewayClass", "c").status)["SupportedVersion"] == said


def test_a_class_says_nothing_of_a_version_that_nobody_knows(tmp_path: Path) -> None:
    found = compiled(tmp_path, classed("c", OURS), mode=Mode.STANDALONE)
    assert conditions(named(found, "GatewayClass", "c").status) == {"Accepted": ("True", "Accepted")}
