"""A route's policy with `mergeType`: what the Gateway's says stays in force, and nothing that was closed is opened."""

from typing import Any

import pytest
from headgate.compiler import ir
from headgate.compiler.compile import Compiled, compile_world
from headgate.compiler.options import Options
from headgate.compiler.reading import read_object
from headgate.compiler.resources.metadata import NOWHERE
from headgate.compiler.world import make_world
from support import manifests
from support.manifests import (
    ENVOY_GATEWAY,
    Document,
    backend,
    document,
    ref,
    route,
    rule,
    secret,
    target,
)

KEYS: Document = {"credentialRefs": [{"name": "clients"}], "extractFrom": [{"headers": ["x-api-key"]}]}
RULES: Document = {"rules": [{"action": "Deny", "principal": {"clientCIDRs": ["10.0.0.0/8"]}}]}
BASE: Document = {"requests": 5, "unit": "Hour"}


def security(name: str, at: Document, **spec: Any) -> Document:
    return document(f"{ENVOY_GATEWAY}/v1alpha1", "SecurityPolicy", name, {**at, **spec})


def traffic(name: str, at: Document, **spec: Any) -> Document:
    return document(f"{ENVOY_GATEWAY}/v1alpha1", "BackendTrafficPolicy", name, {**at, **spec})


def own(**spec: Any) -> Document:
    return security("own", target("AIGatewayRoute", "r"), mergeType="StrategicMerge", **spec)


def shared(**spec: Any) -> Document:
    return security("shared", target("Gateway", "gateway"), **spec)


def placed(found: Document, namespace: str) -> Document:
    return {**found, "metadata": {**found["metadata"], "namespace": namespace}}


def compiled(*policies: Document) -> Compiled:
    """A Gateway, the route `r` and the route `s`, which has no policy of its own, with these policies."""
    gateway = manifests.gateway({"port": 80, "allowedRoutes": {"namespaces": {"from": "All"}}})
    served = (*backend("b", 1, key="k"), route("r", [rule("m", ref("b"))]), route("s", [rule("n", ref("b"))]))
    objects = (*gateway, *served, secret("clients", ann="ann-key"), *policies)
    read = [read_object(each, NOWHERE) for each in objects]
    world = make_world(
        (each.resource for each in read if each.resource), (each.rejected for each in read if each.rejected)
    )
    return compile_world(world, Options(ratelimit_socket="/limits"))


def served_rule(found: Compiled, name: str = "r") -> ir.Rule:
    rules = (each for port in found.program.ports for host in port.listeners[0].hosts for each in host.rules)
    return next(each for each in rules if each.route.endswith(f"/{name}"))


def auth(found: Compiled) -> ir.Auth:
    rule = served_rule(found)
    assert rule.auth is not None
    assert rule.direct is None
    return rule.auth


def errors(found: Compiled) -> list[str]:
    return [each.message for each in found.diagnostics if each.severity.value == "error"]


def test_what_only_the_gateways_policy_says_stays_in_force() -> None:
    found = auth(compiled(shared(apiKeyAuth=KEYS, authorization=RULES), own(cors={"allowOrigins": ["*"]})))
    assert found.api_keys is not None
    assert [client for client, _ in found.api_keys.keys] == ["ann"]
    assert found.authorization is not None
    assert found.cors is not None


def test_without_it_the_routes_policy_replaces_the_gateways() -> None:
    policy = security("own", target("AIGatewayRoute", "r"), cors={"allowOrigins": ["*"]})
    found = compiled(shared(apiKeyAuth=KEYS), policy)
    assert auth(found).api_keys is None
    assert any("mergeType" in each.remedy for each in found.diagnostics)


def test_lists_are_replaced_and_objects_merged() -> None:
    mine: Document = {**KEYS, "extractFrom": [{"params": ["key"]}]}
    found = auth(compiled(shared(apiKeyAuth={**KEYS, "forwardClientIDHeader": "x-client"}), own(apiKeyAuth=mine)))
    assert found.api_keys is not None
    assert (found.api_keys.headers, found.api_keys.queries) == ((), ("key",))
    assert found.api_keys.client_header == "x-client"


@pytest.mark.parametrize(
    ("mine", "allows"),
    [({}, True), ({"defaultAction": "Deny"}, False)],
    ids=["said by the Gateway's", "said as a default is"],
)
def test_a_default_counts_where_it_is_written(mine: Document, allows: bool) -> None:
    allow = {"rules": [{"action": "Allow", "principal": {"clientCIDRs": ["10.0.0.0/8"]}}]}
    found = auth(
        compiled(shared(authorization={**RULES, "defaultAction": "Allow"}), own(authorization={**allow, **mine}))
    )
    assert found.authorization is not None
    assert found.authorization.allows is allows
    assert [rule.allows for rule in found.authorization.rules] == [True]


def test_an_empty_list_takes_nothing_away() -> None:
    found = auth(compiled(shared(authorization=RULES), own(authorization={"rules": [], "defaultAction": "Allow"})))
    assert found.authorization is not None
    assert [rule.allows for rule in found.authorization.rules] == [False]


def test_a_service_that_the_route_names_fails_closed_unless_the_route_says_otherwise() -> None:
    """As where an API server fills defaults in."""
    service = {"http": {"backendRefs": [{"group": ENVOY_GATEWAY, "kind": "Backend", "name": "b"}]}}
    found = auth(compiled(shared(extAuth={**service, "failOpen": True, "timeout": "3s"}), own(extAuth=service)))
    assert found.external is not None
    assert (found.external.fail_open, found.external.timeout_seconds) == (False, 3.0)


def test_rules_may_name_providers_of_the_gateways_policy() -> None:
    keys = {
        "inline": '{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'
    }
    jwt = {"providers": [{"name": "corp", "localJWKS": keys}]}
    asked = {"rules": [{"action": "Allow", "principal": {"jwt": {"provider": "corp", "scopes": ["chat"]}}}]}
    found = compiled(shared(jwt=jwt), own(authorization=asked, cors={"allowOrigins": ["*"]}, jwt=jwt))
    assert auth(found).authorization is not None


def test_what_the_gateways_policy_refers_to_is_looked_for_in_its_own_namespace() -> None:
    elsewhere = [route("r", [rule("m", ref("b", namespace="default"))]), own(cors={"allowOrigins": ["*"]})]
    parent = [{"name": "gateway", "namespace": "default"}]
    elsewhere[0]["spec"]["parentRefs"] = parent
    found = compiled(
        shared(apiKeyAuth=KEYS),
        *(placed(each, "team") for each in elsewhere),
        placed(secret("clients", bob="bob-key"), "team"),
    )
    rules = (each for port in found.program.ports for host in port.listeners[0].hosts for each in host.rules)
    team = next(each for each in rules if each.route == "team/r")
    assert team.auth is not None
    assert team.auth.api_keys is not None
    assert [client for client, _ in team.auth.api_keys.keys] == ["ann"]


@pytest.mark.parametrize(
    "policies",
    [
        [shared(apiKeyAuth={**KEYS, "credentialRefs": [{"name": "absent"}]}), own(cors={"allowOrigins": ["*"]})],
        [shared(apiKeyAuth=KEYS, mystery=1), own(cors={"allowOrigins": ["*"]})],
        [
            shared(extAuth={"grpc": {"backendRefs": [{"group": ENVOY_GATEWAY, "kind": "Backend", "name": "b"}]}}),
            own(extAuth={"http": {"backendRefs": [{"group": ENVOY_GATEWAY, "kind": "Backend", "name": "b"}]}}),
        ],
        [shared(mergeType="StrategicMerge", apiKeyAuth=KEYS)],
    ],
    ids=[
        "a part of the Gateway's fails",
        "the Gateway's is not valid",
        "both are none together",
        "merged into nothing",
    ],
)
def test_what_cannot_be_merged_is_closed(policies: list[Document]) -> None:
    found = compiled(*policies)
    assert served_rule(found).direct is not None
    if "mergeType" in policies[0]["spec"]:
        assert served_rule(found, "s").direct is not None


def test_both_together_are_said_to_be_wrong_at_the_routes_policy() -> None:
    grpc = {"grpc": {"backendRefs": [{"group": ENVOY_GATEWAY, "kind": "Backend", "name": "b"}]}}
    found = compiled(shared(extAuth=grpc), own(extAuth={"http": grpc["grpc"]}))
    assert errors(found) == ["merged with default/shared: only one of grpc or http can be specified"]


def test_a_policy_without_one_to_merge_with_is_itself() -> None:
    assert auth(compiled(own(apiKeyAuth=KEYS))).name == "default/own"


# --- traffic


def _limit(requests: int, *, share: bool = False) -> Document:
    return {"global": {"rules": [{"limit": {**BASE, "requests": requests}, "shared": share}]}}


def test_a_limit_of_the_gateway_stays_and_counts_with_the_others() -> None:
    policies = [
        traffic("shared", target("Gateway", "gateway"), rateLimit=_limit(5, share=True), retry={"numRetries": 7}),
        traffic(
            "own", target("AIGatewayRoute", "r"), mergeType="JSONMerge", timeout={"http": {"requestTimeout": "9s"}}
        ),
    ]
    found = compiled(*policies)
    merged, other = served_rule(found), served_rule(found, "s")
    assert merged.limits == other.limits
    assert len(merged.limits) == 1
    assert (merged.request_seconds, merged.retry) == (9.0, other.retry)


@pytest.mark.parametrize(("merge", "requests"), [("StrategicMerge", [3, 5]), ("JSONMerge", [3])])
def test_limits_of_both_count_or_the_routes_alone(merge: str, requests: list[int]) -> None:
    policies = [
        traffic("shared", target("Gateway", "gateway"), rateLimit=_limit(5)),
        traffic("own", target("AIGatewayRoute", "r"), mergeType=merge, rateLimit=_limit(3)),
    ]
    assert [limit.requests for limit in served_rule(compiled(*policies)).limits] == requests


def test_another_balancer_takes_the_hash_of_the_gateway_away() -> None:
    hashed = {"type": "ConsistentHash", "consistentHash": {"type": "SourceIP"}}
    found = compiled(
        traffic("shared", target("Gateway", "gateway"), loadBalancer=hashed),
        traffic("own", target("AIGatewayRoute", "r"), mergeType="StrategicMerge", loadBalancer={"type": "RoundRobin"}),
    )
    merged, other = served_rule(found), served_rule(found, "s")
    assert merged.direct is None
    assert (merged.backends[0].balancing.kind, merged.hash_keys) == ("round_robin", ())
    assert other.backends[0].balancing.kind == "hash"


def test_what_an_api_server_fills_in_replaces_the_gateways_in_files_too() -> None:
    policies = [
        traffic("shared", target("Gateway", "gateway"), retry={"numRetries": 7, "perRetry": {"timeout": "2s"}}),
        traffic(
            "own",
            target("AIGatewayRoute", "r"),
            mergeType="StrategicMerge",
            retry={"retryOn": {"triggers": ["reset"]}},
        ),
    ]
    retry = served_rule(compiled(*policies)).retry
    assert retry is not None
    assert (retry.count, retry.on, retry.per_try_seconds) == (2, "reset", 2.0)


def test_only_routes_have_something_to_be_merged_with() -> None:
    policy = traffic("shared", target("Gateway", "gateway"), mergeType="StrategicMerge", retry={"numRetries": 7})
    read = read_object(policy, NOWHERE)
    assert read.resource is None
    assert [each.message for each in read.diagnostics] == ["mergeType can only be used with xRoute targets"]
