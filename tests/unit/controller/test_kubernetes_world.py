"""What a KubernetesWorld says after events."""

from typing import Any

from headgate.compiler.compile import compile_world
from headgate.compiler.options import Mode, Options
from headgate.compiler.resources.metadata import Key, Name
from headgate.controller.sources.kubernetes.world import Collection, KubernetesWorld, Seen, read_entry

GATEWAYS = Collection("gateway.networking.k8s.io", "Gateway")
POLICIES = Collection("aigateway.envoyproxy.io", "BackendSecurityPolicy")


def gateway(name: str = "gateway", port: int = 80, *, version: int = 1, **members: Any) -> dict[str, Any]:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": "team", "uid": f"uid-{name}", "resourceVersion": str(version)},
        "spec": {"gatewayClassName": "c", "listeners": [{"name": "http", "port": port, "protocol": "HTTP"}]},
        **members,
    }


def key(name: str = "gateway") -> Key:
    return Key("gateway.networking.k8s.io", "Gateway", "team", name)


def test_an_object_is_there_until_it_is_gone() -> None:
    world = KubernetesWorld()
    assert world.put(GATEWAYS, gateway())
    assert set(world.view().world.gateways) == {Name("team", "gateway")}
    assert world.remove(GATEWAYS, gateway(version=2))
    assert not world.remove(GATEWAYS, gateway(version=2))
    assert not world.view().world.gateways


def test_a_change_of_status_alone_changes_no_world() -> None:
    world = KubernetesWorld()
    world.put(GATEWAYS, gateway())
    assert not world.put(GATEWAYS, gateway(version=2, status={"conditions": []}))
    seen = world.seen(key())
    assert seen is not None
    assert (seen.version, seen.decoded()) == ("2", {"conditions": []})


def test_a_change_of_labels_alone_changes_the_world() -> None:
    world = KubernetesWorld()
    world.put(GATEWAYS, gateway())
    changed = gateway(version=2)
    changed["metadata"]["labels"] = {"a": "b"}
    assert world.put(GATEWAYS, changed)


def test_a_new_list_takes_away_what_it_does_not_name() -> None:
    world = KubernetesWorld()
    for name in ("a", "b"):
        world.put(GATEWAYS, gateway(name))
    listed = [entry for raw in (gateway("b"), gateway("c")) if (entry := read_entry(raw))]
    assert world.replace(GATEWAYS, listed)
    assert [str(name) for name in world.view().world.gateways] == ["team/b", "team/c"]
    again = [entry for raw in (gateway("b"), gateway("c")) if (entry := read_entry(raw))]
    assert not world.replace(GATEWAYS, again)


def test_an_object_that_became_invalid_is_not_in_force_any_more() -> None:
    """Whatever it said before: a replica that starts now must serve the same."""
    world = KubernetesWorld()
    world.put(GATEWAYS, gateway())
    assert world.put(GATEWAYS, gateway(port=70_000, version=2))
    view = world.view()
    assert not view.world.gateways
    assert set(view.world.rejected) == {key()}
    assert "spec.listeners[0].port" in str(view.diagnostics[0])


SECURITY = Collection("gateway.envoyproxy.io", "SecurityPolicy")


def _guard() -> dict[str, Any]:
    target = {"group": "gateway.networking.k8s.io", "kind": "GRPCRoute", "name": "calls"}
    return {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "SecurityPolicy",
        "metadata": {"name": "guard", "namespace": "team"},
        "spec": {"targetRefs": [target], "oidc": {"provider": {}}, "fromTomorrow": {}},
    }


def test_what_envoy_gateway_serves_is_its_own_to_tell() -> None:
    """A Gateway that verifies clients' certificates is no mistake there, and takes our routes."""
    world = KubernetesWorld()
    verifying = gateway()
    verifying["spec"]["tls"] = {"frontend": {"default": {"validation": {}}}}
    world.put(GATEWAYS, verifying)
    world.put(SECURITY, _guard())
    alone, beside = world.view(), world.view(beside_envoy_gateway=True)
    assert {each.field for each in alone.diagnostics} == {"spec.tls", "spec.oidc", "spec.fromTomorrow"}
    assert (len(alone.world.gateways), len(alone.world.security_policies), len(alone.world.rejected)) == (0, 0, 2)
    assert (len(beside.world.gateways), len(beside.world.security_policies), len(beside.world.rejected)) == (1, 1, 0)
    assert not beside.diagnostics
    assert not compile_world(beside.world, Options(mode=Mode.ENVOY_GATEWAY)).diagnostics
    assert not beside.world.diagnostics


def test_what_is_wrong_with_ours_is_told_beside_envoy_gateway_too() -> None:
    world = KubernetesWorld()
    policy = {"apiVersion": "aigateway.envoyproxy.io/v1beta1", "kind": "BackendSecurityPolicy"}
    world.put(POLICIES, {**policy, "metadata": {"name": "p", "namespace": "team"}, "spec": {"type": "APIKey"}})
    world.put(GATEWAYS, gateway(port=70_000))
    found = world.view(beside_envoy_gateway=True)
    assert [each.key.kind for each in found.diagnostics if each.key] == ["BackendSecurityPolicy", "Gateway"]
    assert len(found.world.rejected) == 2


def test_what_we_wrote_is_known_before_the_watch_tells_it() -> None:
    world = KubernetesWorld()
    world.put(GATEWAYS, gateway(version=5))
    world.wrote(key(), Seen("gateway.networking.k8s.io/v1", "uid-gateway", "8", b'{"ours":1}'))
    world.put(GATEWAYS, gateway(version=6, status={"older": 1}))
    seen = world.seen(key())
    assert seen is not None
    assert seen.decoded() == {"ours": 1}
    world.wrote(key(), Seen("gateway.networking.k8s.io/v1", "another", "9", b"{}"))
    assert world.seen(key()) == seen


def test_secrets_that_objects_name_are_known() -> None:
    world = KubernetesWorld()
    policy: dict[str, Any] = {
        "apiVersion": "aigateway.envoyproxy.io/v1beta1",
        "kind": "BackendSecurityPolicy",
        "metadata": {"name": "p", "namespace": "team"},
        "spec": {
            "type": "APIKey",
            "apiKey": {"secretRef": {"name": "key"}},
            "targetRefs": [{"group": "aigateway.envoyproxy.io", "kind": "AIServiceBackend", "name": "b"}],
        },
    }
    world.put(POLICIES, policy)
    secure = gateway()
    reference = {"name": "certificate", "namespace": "certificates"}
    secure["spec"]["listeners"][0] |= {"protocol": "HTTPS", "tls": {"certificateRefs": [reference]}}
    world.put(GATEWAYS, secure)
    assert world.references() == {
        Key("", "Secret", "team", "key"),
        Key("", "Secret", "certificates", "certificate"),
    }
    world.drop(POLICIES)
    assert world.references() == {Key("", "Secret", "certificates", "certificate")}
