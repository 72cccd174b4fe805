"""What Envoy Gateway is given to translate."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from headgate.compiler.compile import compile_world
from headgate.compiler.envoy_gateway.objects import (
    MATCHES_OF_ROUTE_MAX,
    REFS_MAX,
    Objects,
    Wanted,
    matches_of_rules,
    missing,
    wanted_objects,
)
from headgate.compiler.envoy_gateway.rules import known_rules
from headgate.compiler.options import Mode, Options
from headgate.compiler.reading import read_object
from headgate.compiler.resources import ai_gateway
from headgate.compiler.resources.metadata import NOWHERE, Name
from headgate.compiler.world import World, make_world
from support import manifests

OPTIONS = Options(mode=Mode.ENVOY_GATEWAY)


def world(*documents: manifests.Document) -> World:
    found = [read_object(each, NOWHERE) for each in documents]
    assert all(each.resource for each in found), [each.diagnostics for each in found]
    return make_world(each.resource for each in found if each.resource)


def objects(found: World, *, build: str = "1", previous: Objects | None = None) -> Objects:
    compiled = compile_world(found, OPTIONS)
    return wanted_objects(compiled.scope, known_rules(compiled.program), build=build, previous=previous)


def wanted(found: World) -> tuple[Wanted, ...]:
    return objects(found).wanted


def http_route(found: World) -> Mapping[str, Any]:
    (value,) = (each.value for each in wanted(found) if each.kind == "HTTPRoute")
    return cast("Mapping[str, Any]", value)


def documents(
    *rules: manifests.Document, key: str = "sk-1", metadata: Mapping[str, Any] | None = None, **route: Any
) -> list[manifests.Document]:
    made = manifests.route("chat", list(rules) or [manifests.rule("gpt", manifests.ref("openai"))], **route)
    made["metadata"] |= metadata or {}
    return [*manifests.gateway({"port": 8080}), *manifests.backend("openai", 1, key=key), made]


def test_the_route_has_the_names_and_rules_that_users_know() -> None:
    route = http_route(world(*documents(hostnames=["a.example"])))
    assert route["metadata"]["name"] == "chat"
    annotations = route["metadata"]["annotations"]
    assert annotations["gateway.envoyproxy.io/ai-gateway-generated"] == "true"
    assert annotations["gateway.envoyproxy.io/backend-ref-priority"] == "0:openai:0"
    assert route["spec"]["hostnames"] == ["a.example"]
    first, last = route["spec"]["rules"]
    assert first == {
        "matches": [
            {
                "path": {"type": "PathPrefix", "value": "/"},
                "headers": [{"type": "Exact", "name": "x-ai-eg-model", "value": "gpt"}],
            }
        ],
        "filters": [
            {
                "type": "ExtensionRef",
                "extensionRef": {
                    "group": "gateway.envoyproxy.io",
                    "kind": "HTTPRouteFilter",
                    "name": "ai-eg-host-rewrite-chat",
                },
            }
        ],
        "backendRefs": [{"group": "gateway.envoyproxy.io", "kind": "Backend", "name": "openai", "weight": 1}],
        "timeouts": {"request": "60s"},
    }
    assert last["name"] == "route-not-found"
    assert last["filters"][0]["extensionRef"]["name"] == "ai-eg-route-not-found-response-chat"


def test_labels_and_annotations_are_the_routes_but_not_those_about_itself() -> None:
    metadata = {
        "labels": {"team": "a"},
        "annotations": {"note": "x", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
    }
    route = http_route(world(*documents(metadata=metadata)))
    assert route["metadata"]["labels"] == {"team": "a"}
    assert route["metadata"]["annotations"]["note"] == "x"
    assert not [name for name in route["metadata"]["annotations"] if name.startswith("kubectl")]


def test_the_owner_is_named_once_the_api_server_knows_it() -> None:
    metadata = {"uid": "u-1"}
    (owner,) = http_route(world(*documents(metadata=metadata)))["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("AIGatewayRoute", "u-1", True)


def test_of_a_route_that_is_to_go_nothing_is_written_and_its_hash_is_known() -> None:
    """A call of Envoy Gateway's with it does not have to wait."""
    kept = world(*documents(metadata={"uid": "u-1"}))
    gone = world(*documents(metadata={"uid": "u-1", "deletionTimestamp": "2030-01-01T00:00:00Z"}))
    assert wanted(gone) == ()
    assert objects(gone).inputs == objects(kept).inputs


def test_more_than_an_http_route_holds_is_left_to_the_hook() -> None:
    refs = [manifests.ref("openai", weight=2_000_000) for _ in range(20)]
    route = http_route(world(*documents(manifests.rule("gpt", *refs))))
    listed: Sequence[Mapping[str, Any]] = route["spec"]["rules"][0]["backendRefs"]
    assert len(listed) == REFS_MAX
    assert {each["weight"] for each in listed} == {1_000_000}


def test_every_rule_keeps_a_match_when_there_are_too_many() -> None:
    match = ai_gateway.AIGatewayRouteRuleMatch(headers=())
    rule = ai_gateway.AIGatewayRouteRule(matches=(match,) * 100)
    found = matches_of_rules([rule] * 15)
    assert sum(found) + 1 <= MATCHES_OF_ROUTE_MAX
    assert min(found) == 1
    assert max(found) == 64


def test_the_hash_changes_with_whatever_routes_are_made_of() -> None:
    base = documents()

    def inputs(*changed: manifests.Document, build: str = "1") -> str:
        return objects(world(*changed), build=build).inputs["default/chat"]

    first = inputs(*base)
    assert inputs(*reversed(base)) == first
    others = [
        inputs(*documents(key="sk-2")),
        inputs(*(each for each in base if each["kind"] != "BackendSecurityPolicy")),  # which may come after the route
        inputs(*documents(manifests.rule("gpt", manifests.ref("openai", modelNameOverride="other")))),
        inputs(*documents(manifests.rule("gpt", manifests.ref("openai"), streamIdleTimeout="3s"))),
        inputs(*documents(metadata={"labels": {"a": "b"}})),
        inputs(*base, build="2"),
    ]
    assert len({first, *others}) == len(others) + 1
    assert "sk-1" not in str(wanted(world(*base)))


def test_only_what_differs_is_written() -> None:
    found = world(*documents())
    made = wanted(found)
    assert missing(found, made) == made
    there = [read_object(dict(each.value), NOWHERE).resource for each in made]
    with_objects = make_world([*_resources(found), *(each for each in there if each)])
    again = wanted(with_objects)
    assert missing(with_objects, again) == ()
    changed = world(*documents(manifests.rule("other", manifests.ref("openai"))))
    with_old = make_world([*_resources(changed), *(each for each in there if each)])
    assert [each.kind for each in missing(with_old, wanted(with_old))] == ["HTTPRoute"]


def test_what_did_not_change_is_not_made_again_and_what_did_is() -> None:
    other = manifests.route("other", [manifests.rule("o", manifests.ref("openai"))])
    before = world(*documents(), other)
    first = objects(before)
    (edited,) = _resources(world(manifests.route("other", [manifests.rule("p", manifests.ref("openai"))])))
    after = make_world([*_resources(before), edited])
    second = objects(after, previous=first)
    assert second.wanted == objects(after).wanted
    kept, changed = Name("default", "chat"), Name("default", "other")
    assert second.by_route[kept] is first.by_route[kept]
    assert second.inputs[str(changed)] != first.inputs[str(changed)]

    for surroundings in (
        make_world(each for each in _resources(after) if each.kind != "Secret"),
        make_world(each for each in _resources(after) if each.kind != "AIServiceBackend"),
    ):
        assert objects(surroundings, previous=second).wanted == objects(surroundings).wanted
    newer = objects(after, build="2", previous=second)
    assert newer.inputs.keys() == second.inputs.keys()
    assert not set(newer.inputs.values()) & set(second.inputs.values())


@pytest.mark.parametrize("through", [True, False])
def test_the_http_route_needs_a_grant_of_its_own(through: bool) -> None:
    """Envoy Gateway answers 500 for a reference that it may not follow, whatever the AIGatewayRoute may."""
    ours = {"group": ai_gateway.GROUP, "kind": "AIGatewayRoute", "namespace": "default"}
    http = {"group": manifests.GATEWAY_API, "kind": "HTTPRoute", "namespace": "default"}
    to = [
        {"group": ai_gateway.GROUP, "kind": "AIServiceBackend"},
        {"group": manifests.ENVOY_GATEWAY, "kind": "Backend"},
    ]
    spec = {"from": [ours, http] if through else [ours], "to": to}
    grant = manifests.document(f"{manifests.GATEWAY_API}/v1beta1", "ReferenceGrant", "ai", spec)
    there = [grant, *manifests.backend("openai", 1, key="sk-1")]
    for each in there:
        each["metadata"]["namespace"] = "shared"
    route = manifests.route("chat", [manifests.rule("gpt", manifests.ref("openai", namespace="shared"))])
    found = compile_world(world(*manifests.gateway({"port": 8080}), *there, route), OPTIONS)
    told = [f"{each.field}: {each.remedy}" for each in found.diagnostics]
    if through:
        assert told == []
    else:
        (one,) = told
        assert one.startswith("spec.rules[0].backendRefs[0].namespace: a ReferenceGrant in namespace shared")
        assert "gateway.networking.k8s.io/HTTPRoute in namespace default" in one


def test_an_http_route_of_somebody_else_is_left_alone() -> None:
    foreign = manifests.document(f"{manifests.GATEWAY_API}/v1", "HTTPRoute", "chat", {})
    assert wanted(world(*documents(), foreign)) == ()


def _resources(found: World) -> list[Any]:
    kinds = ("gateway_classes", "gateways", "backends", "ai_gateway_routes", "ai_service_backends", "secrets")
    kinds += ("backend_security_policies",)
    return [resource for kind in kinds for resource in getattr(found, kind).values()]
