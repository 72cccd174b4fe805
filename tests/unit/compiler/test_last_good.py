"""An edit that breaks an AI object does not take effect."""

from pathlib import Path
from typing import Any

from headgate.compiler import ir
from headgate.compiler.conditions import STAYS, Diagnostic, Severity
from headgate.compiler.last_good import Good, Settled, compile_settled
from headgate.compiler.options import Options
from headgate.controller.sources.files import Loaded, load
from support import manifests
from support.manifests import Document

GATEWAY = manifests.document(
    f"{manifests.GATEWAY_API}/v1",
    "Gateway",
    "g",
    {"gatewayClassName": "c", "listeners": [{"name": "http", "protocol": "HTTP", "port": 80}]},
)


def backend(name: str, port: int = 80) -> list[Document]:
    endpoints = [{"ip": {"address": "192.0.2.1", "port": port}}]
    return [
        manifests.document(f"{manifests.ENVOY_GATEWAY}/v1alpha1", "Backend", name, {"endpoints": endpoints}),
        service(name, name),
    ]


def service(name: str, target: str) -> Document:
    ref = {"name": target, "kind": "Backend", "group": manifests.ENVOY_GATEWAY}
    return manifests.document(
        f"{manifests.AI}/v1beta1", "AIServiceBackend", name, {"schema": {"name": "OpenAI"}, "backendRef": ref}
    )


def route(model: str, *backends: str, generation: int = 1) -> Document:
    made = manifests.route("r", [manifests.rule(model, *({"name": name} for name in backends))], parent={"name": "g"})
    return {**made, "metadata": {**made["metadata"], "generation": generation}}


class Versions:
    """Manifests, and what each version of them became."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "in.yaml"
        self._loaded: Loaded | None = None
        self._good: Good = {}

    def settled(self, *documents: Document) -> Settled:
        self._path.write_text(manifests.text((GATEWAY, *documents)))
        self._loaded = load([self._path], environment={}, previous=self._loaded)
        found = compile_settled(self._loaded.world, Options(), self._good)
        self._good = found.good
        return found


def rules(found: Settled) -> list[ir.Rule]:
    (port,) = found.compiled.program.ports
    return [rule for rule in port.listeners[0].hosts[0].rules if rule.ai]


def served(found: Settled) -> list[tuple[str, list[str]]]:
    return [(rule.matches[0].headers[0].value, [each.service for each in rule.backends]) for rule in rules(found)]


def errors(found: Settled) -> list[Diagnostic]:
    return [each for each in found.compiled.diagnostics if each.severity is Severity.ERROR]


def conditions(found: Settled, kind: str) -> dict[str, Any]:
    (status,) = [each for each in found.compiled.statuses if each.key.kind == kind]
    listed: Any = status.status["conditions"]
    return {each["type"]: each for each in listed}


def test_a_route_that_was_changed_to_name_nothing_serves_as_before_and_says_so(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.settled(*backend("b"), route("m", "b"))
    broken = versions.settled(*backend("b"), route("other", "b", "missing", generation=2))
    assert served(broken) == [("m", ["default/b"])]
    (error,) = errors(broken)
    assert "missing" in error.message
    assert error.message.endswith(STAYS)
    found = conditions(broken, "AIGatewayRoute")
    assert {type_: each["status"] for type_, each in found.items()} == dict.fromkeys(
        ("ResolvedRefs", "Programmed", "Accepted", "NotAccepted"), "False"
    )
    assert found["Programmed"]["reason"] == "LastGoodVersion"
    assert found["Programmed"]["message"] == "generation 1, the last good version, stays in force"
    assert {each["observedGeneration"] for each in found.values()} == {2}


def test_it_takes_effect_once_what_it_names_is_there(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.settled(*backend("b"), route("m", "b"))
    versions.settled(*backend("b"), route("other", "new"))
    mended = versions.settled(*backend("b"), *backend("new"), route("other", "new"))
    assert served(mended) == [("other", ["default/new"])]
    assert not errors(mended)


def test_a_last_good_version_that_is_broken_by_now_is_not_used(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.settled(*backend("b"), *backend("c"), route("m", "b"))
    broken = versions.settled(*backend("c"), route("other", "c", "missing"))
    assert served(broken) == [("other", ["default/c"])]
    assert not any(each.message.endswith(STAYS) for each in broken.compiled.diagnostics)


def test_what_is_broken_from_the_start_serves_what_it_can(tmp_path: Path) -> None:
    found = Versions(tmp_path).settled(*backend("b"), route("m", "b", "missing"))
    assert served(found) == [("m", ["default/b"])]
    assert not any(each.message.endswith(STAYS) for each in found.compiled.diagnostics)


def test_a_backend_that_was_changed_to_name_nothing_stays_where_it_was(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    address, good = backend("b", 81)
    versions.settled(address, good, route("m", "b"))
    broken = versions.settled(address, service("b", "missing"), route("m", "b"))
    assert rules(broken)[0].backends[0].endpoints[0].port == 81
    assert [each.field for each in errors(broken)] == ["spec.backendRef"]


def test_a_deleted_route_is_gone_and_does_not_come_back(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.settled(*backend("b"), route("m", "b"))
    versions.settled(*backend("b"))
    again = versions.settled(*backend("b"), route("other", "missing"))
    assert not any(each.message.endswith(STAYS) for each in errors(again))
    assert not rules(again)


def test_a_credential_is_used_until_the_token_of_its_next_version_is_there(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    target = [{"group": manifests.AI, "kind": "AIServiceBackend", "name": "b"}]

    def policy(spec: Document) -> Document:
        return manifests.document(
            f"{manifests.AI}/v1beta1", "BackendSecurityPolicy", "p", {"targetRefs": target, **spec}
        )

    secret = manifests.secret("b", **{"apiKey": "sk", "client-secret": "cs"})
    key = policy({"type": "APIKey", "apiKey": {"secretRef": {"name": "b"}}})
    azure = {"clientID": "c", "tenantID": "t", "clientSecretRef": {"name": "b"}}
    cloud = policy({"type": "AzureCredentials", "azureCredentials": azure})
    before = versions.settled(*backend("b"), secret, key, route("m", "b"))
    assert not before.compiled.exchanges
    waiting = versions.settled(*backend("b"), secret, cloud, route("m", "b"))
    assert len(waiting.compiled.exchanges) == 1
    assert rules(waiting)[0].backends[0].credential == rules(before)[0].backends[0].credential
