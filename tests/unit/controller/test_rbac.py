"""What the controller may do is what it does, and what the manifests say."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from headgate.compiler.options import Mode
from headgate.compiler.resources.kinds import BY_NAME, KINDS
from headgate.controller.rbac import NAMESPACE, objects, plural, reads, reported, reports

MANIFESTS = Path(__file__).parents[3] / "manifests"


def test_the_manifests_are_what_the_definition_says() -> None:
    spec = spec_from_file_location("manifests_generate", MANIFESTS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    for path, content in module.files().items():
        assert path.read_text() == content, f"{path.name} is not up to date: run `make manifests`"


@pytest.mark.parametrize(
    ("kind", "resources"),
    [
        ("Gateway", "gateways"),
        ("GatewayClass", "gatewayclasses"),
        ("EnvoyProxy", "envoyproxies"),
        ("Secret", "secrets"),
    ],
)
def test_resources_are_named_as_the_api_names_them(kind: str, resources: str) -> None:
    found = next(each for (_, name), each in BY_NAME.items() if name == kind)
    assert plural(found) == resources


def test_every_kind_that_is_read_may_be_read_and_no_more() -> None:
    allowed = {(rule.group, resource) for rule in reads() for resource in rule.resources}
    assert allowed == {(kind.group, plural(kind)) for kind in KINDS}
    assert {verb for rule in reads() for verb in rule.verbs} == {"list", "watch"}


def test_beside_envoy_gateway_only_kinds_of_ours_are_reported_on() -> None:
    groups = {kind.group for kind in reported(Mode.ENVOY_GATEWAY)}
    assert groups <= {"aigateway.envoyproxy.io", "headgate.dev"}
    verbs = {verb for rule in reports(Mode.STANDALONE) for verb in rule.verbs}
    assert verbs == {"patch", "create"}


def test_with_namespaces_nothing_but_what_lives_in_none_is_cluster_wide() -> None:
    found = objects(Mode.STANDALONE, watch_namespaces=("a", "b"))
    roles = [each for each in found if each["kind"] in ("ClusterRole", "Role")]
    places = [(each["kind"], each["metadata"].get("namespace", "")) for each in roles]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
    assert places == [("ClusterRole", ""), ("Role", "a"), ("Role", "b"), ("Role", NAMESPACE)]
    resources = {name for rule in roles[0]["rules"] for name in rule["resources"]}  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
    definitions = {"customresourcedefinitions"}
    assert resources == {"gatewayclasses", "namespaces", "gatewayclasses/status", "events", *definitions}
