"""What upstream's API means, where nothing else asks: a row of control-plane.md each."""

import re
from typing import Any

import pytest
from headgate.compiler import ir
from headgate.compiler.body_paths import mutation_of
from headgate.compiler.compile import Compiled, compile_world
from headgate.compiler.options import Options
from headgate.compiler.reading import read_object
from headgate.compiler.resolve.scope import CONFIG_ANNOTATION
from headgate.compiler.resources.metadata import NOWHERE
from headgate.compiler.world import make_world
from headgate.contract.facts import BodyMutation
from headgate.pb import overlay
from support import manifests
from support.manifests import AI, GATEWAY_API, Document, backend, document, ref, route, rule, secret, target

ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"


def compiled(*documents: Document, config: Document | None = None) -> Compiled:
    """What they become on one Gateway."""
    found = manifests.gateway({"port": 80})
    if config is not None:
        found[1]["metadata"]["annotations"] = {CONFIG_ANNOTATION: "config"}
        found.append(document(f"{AI}/v1beta1", "GatewayConfig", "config", config))
    read = [read_object(each, NOWHERE) for each in (*found, *documents)]
    assert not [each.diagnostics for each in read if each.rejected]
    world = make_world(each.resource for each in read if each.resource)
    return compile_world(world, Options(extproc_sockets=("/x.sock",)))


def served(found: Compiled) -> ir.Rule:
    (rule_,) = {each for port in found.program.ports for host in port.listeners[0].hosts for each in host.rules}
    return rule_


def condition(found: Compiled, kind: str, name: str, type_: str) -> str:
    (status,) = [each.status for each in found.statuses if (each.key.kind, each.key.name) == (kind, name)]
    conditions: Any = status["conditions"]
    (message,) = [each["message"] for each in conditions if each["type"] == type_]
    return str(message)


def policy(name: str, where: Document) -> Document:
    spec = {**target("AIServiceBackend", "b"), "type": "APIKey", "apiKey": {"secretRef": where}}
    return document(f"{AI}/v1beta1", "BackendSecurityPolicy", name, spec)


def test_a_backend_has_one_policy() -> None:
    """2.6; the words are compat."""
    found = compiled(*backend("b", 1, key="k"), policy("other", {"name": "b"}), route("r", [rule("m", ref("b"))]))
    said = condition(found, "AIServiceBackend", "b", "NotAccepted")
    assert "multiple BackendSecurityPolicies found for AIServiceBackend b: [default/b, default/other]" in said
    assert not served(found).backends


@pytest.mark.parametrize(
    ("to", "granted"),
    [([], False), ([""], True), (["k"], True), (["other"], False), (["other", ""], True)],
    ids=["nothing", "all", "this one", "another one", "all and another one"],
)
def test_a_key_may_be_in_another_namespace_where_that_grants_it(to: list[str], granted: bool) -> None:
    """2.4, 2.6: the namespace of `secretRef` is honoured, and asks for a grant, whose name counts."""
    elsewhere = secret("k", apiKey="theirs")
    elsewhere["metadata"]["namespace"] = "keys"
    sources = [{"group": AI, "kind": "BackendSecurityPolicy", "namespace": "default"}]
    secrets = [{"group": "", "kind": "Secret", **({"name": name} if name else {})} for name in to]
    grant = document(f"{GATEWAY_API}/v1beta1", "ReferenceGrant", "g", {"from": sources, "to": secrets})
    grant["metadata"]["namespace"] = "keys"
    named = policy("p", {"name": "k", "namespace": "keys"})
    rest = (*backend("b", 1), elsewhere, named, route("r", [rule("m", ref("b"))]))
    found = compiled(*rest, *([grant] if to else []))
    if granted:
        (asked,) = served(found).backends
        assert asked.credential is not None
        assert asked.credential.value.reveal() == "Bearer theirs"
    else:
        assert not served(found).backends
        assert "a ReferenceGrant in namespace keys" in condition(found, "BackendSecurityPolicy", "p", "NotAccepted")


@pytest.mark.parametrize(("written", "idle"), [("1500ms", ["1.500s"]), ("2m30s", ["150s"]), ("0s", [])])
def test_an_attempt_may_be_silent_for_so_long(written: str, idle: list[str]) -> None:
    """1.3.1: `streamIdleTimeout`; not above nothing is ignored."""
    found = compiled(*backend("b", 1), route("r", [rule("m", ref("b"), streamIdleTimeout=written)]))
    (configuration,) = found.resources[ROUTES].values()
    assert sorted(set(re.findall(r'"per_try_idle_timeout": "(.*)"', overlay.to_json(configuration)))) == idle


def test_costs_of_a_route_win_and_the_last_of_one_key_counts() -> None:
    """1.3.3, 1.6."""
    own = [
        {"metadataKey": "a", "type": "InputToken"},
        {"metadataKey": "b", "type": "CEL", "cel": "1u"},
        {"metadataKey": "b", "type": "CEL", "cel": "2u"},
    ]
    everywhere = [{"metadataKey": "a", "type": "OutputToken"}, {"metadataKey": "c", "type": "TotalToken"}]
    found = compiled(
        *backend("b", 1),
        route("r", [rule("m", ref("b"))], llmRequestCosts=own),
        config={"globalLLMRequestCosts": everywhere},
    )
    assert {cost.key: cost.expression for cost in served(found).costs} == {
        "a": "input_tokens",
        "b": "2u",
        "c": "total_tokens",
    }


@pytest.mark.parametrize(("said", "priority"), [({}, 1), ({"priority": 0}, 0), ({"priority": 3}, 3)])
def test_a_priority_wins_over_a_backend_that_is_a_fallback(said: dict[str, int], priority: int) -> None:
    """1.3.2."""
    documents = backend("b", 1)
    documents[0]["spec"]["fallback"] = True
    (asked,) = served(compiled(*documents, route("r", [rule("m", ref("b", **said))]))).backends
    assert asked.priority == priority


def test_mutations_of_the_route_win_over_the_backends() -> None:
    """1.3.4: `set` by key, headers in any case; what is removed adds up."""
    ours = {"set": [{"name": "X-Team", "value": "backend"}, {"name": "x-kept", "value": "1"}], "remove": ["x-a"]}
    theirs = {"set": [{"name": "x-team", "value": "route"}], "remove": ["X-B"]}
    body = {"set": [{"path": "tier", "value": '"flex"'}], "remove": ["user"]}
    by_route = {"set": [{"path": "tier", "value": "auto"}], "remove": ["seed"]}
    found = compiled(
        *backend("b", 1, headerMutation=ours, bodyMutation=body),
        route("r", [rule("m", ref("b", headerMutation=theirs, bodyMutation=by_route))]),
    )
    (asked,) = served(found).backends
    assert dict(asked.header_set) == {"x-team": "route", "x-kept": "1"}
    assert set(asked.header_remove) == {"x-a", "x-b"}
    assert (dict(asked.body_set), set(asked.body_remove)) == ({"tier": '"auto"'}, {"user", "seed"})


def test_a_path_goes_into_members() -> None:
    """data-plane.md 4.4: dots descend, unless escaped."""
    body = {
        "set": [
            {"path": "thinking.type", "value": "enabled"},
            {"path": "thinking.budget.tokens", "value": "1"},
            {"path": r"x\.y", "value": "true"},
        ],
        "remove": ["metadata.user", "seed"],
    }
    found = compiled(*backend("b", 1, bodyMutation=body), route("r", [rule("m", ref("b"))]))
    (asked,) = served(found).backends
    assert mutation_of(asked.body_set, asked.body_remove) == BodyMutation(
        set={"x.y": "true"},
        remove=("seed",),
        within={
            "thinking": BodyMutation(set={"type": '"enabled"'}, within={"budget": BodyMutation(set={"tokens": "1"})}),
            "metadata": BodyMutation(remove=("user",)),
        },
    )


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("messages.0.role", "steps into a list"),
        ("tools.-1", "steps into a list"),
        ("a..b", "an empty name"),
        ("a." * 40 + "a", "has 41 names"),
    ],
)
def test_a_path_that_names_no_member_is_told(path: str, said: str) -> None:
    for mutation in ({"set": [{"path": path, "value": "1"}]}, {"remove": [path]}):
        read = read_object(backend("b", 1, bodyMutation=mutation)[1], NOWHERE)
        assert read.rejected
        assert said in read.diagnostics[0].message


@pytest.mark.parametrize(
    ("schema", "fields", "prefix"),
    [
        ("OpenAI", {"version": "v9"}, "/v1"),
        ("OpenAI", {"prefix": "/llm/v2/"}, "/llm/v2"),
        ("OpenAI", {"prefix": ""}, ""),
        ("Anthropic", {"version": "v9"}, "/v1"),
    ],
)
def test_a_version_of_openais_and_anthropics_api_is_no_path(schema: str, fields: dict[str, str], prefix: str) -> None:
    """1.4: `version` is dropped, `prefix` is `v1` by default."""
    (asked,) = served(
        compiled(*backend("b", 1, schema, schema_fields=fields), route("r", [rule("m", ref("b"))]))
    ).backends
    assert asked.prefix == prefix


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        (" 0.5 ", "0.5"),
        ('{"a":[1]}', '{"a":[1]}'),
        ("null", "null"),
        ('"1"', '"1"'),
        ("flex", '"flex"'),
        ("NaN", '"NaN"'),
        ("-Infinity", '"-Infinity"'),
        ("+5", '"+5"'),
        ("", '""'),
    ],
)
def test_a_member_that_is_set_is_json_and_any_other_text_a_text(written: str, sent: str) -> None:
    """data-plane.md 4.4; what Python takes for a number and JSON does not would make a body that is none."""
    mutation = {"set": [{"path": "m", "value": written}]}
    found = compiled(*backend("b", 1, bodyMutation=mutation), route("r", [rule("m", ref("b"))]))
    (asked,) = served(found).backends
    assert asked.body_set == (("m", sent),)


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("bedrock-runtime.us-west-2.amazonaws.com", "us-west-2"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("vpce-0a1b-2c3d.bedrock-runtime.eu-central-1.vpce.amazonaws.com", "eu-central-1"),
        ("bedrock-runtime.ap-southeast-2.api.aws", "ap-southeast-2"),
        ("bedrock-agent-runtime.us-west-2.amazonaws.com", "us-west-2"),
        ("bedrock-runtime.us-west-2.amazonaws.com.example.test", "us-east-1"),
        ("bedrock.internal.test", "us-east-1"),
    ],
)
def test_requests_are_signed_for_the_region_of_their_host(host: str, region: str) -> None:
    """data-plane.md 7: so one policy does for backends of several regions."""
    documents = backend("b", 1, "AWSBedrock")
    documents[0]["spec"] = {"endpoints": [{"fqdn": {"hostname": host, "port": 443}}]}
    aws = {**target("AIServiceBackend", "b"), "type": "AWSCredentials", "awsCredentials": {"region": "us-east-1"}}
    signs = document(f"{AI}/v1beta1", "BackendSecurityPolicy", "p", aws)
    found = compiled(*documents, signs, route("r", [rule("m", ref("b"))]))
    (asked,) = served(found).backends
    assert asked.credential is not None
    assert asked.credential.region == region


def test_a_backend_without_weight_is_not_asked() -> None:
    """1.3.2."""
    documents = (*backend("a", 1), *backend("b", 2))
    found = compiled(*documents, route("r", [rule("m", ref("a", weight=0), ref("b", weight=2))]))
    named = str(list(found.resources[ROUTES].values()))
    assert "default/b/route/r/rule/0/ref/1" in named
    assert "default/a/route/r/rule/0/ref/0" not in named


def test_a_missing_gateway_is_told_and_the_others_serve() -> None:
    """1.3."""
    made = route("r", [rule("m", ref("b"))])
    made["spec"]["parentRefs"].append({"name": "nowhere"})
    found = compiled(*backend("b", 1), made)
    assert served(found).backends
    said = condition(found, "AIGatewayRoute", "r", "NotAccepted")
    assert "spec.parentRefs[1]: there is no Gateway default/nowhere" in said
