"""One object, from plain values to its type."""

import re
from typing import cast

import pytest
from headgate.compiler.conditions import Severity
from headgate.compiler.reading import Reading, read_object
from headgate.compiler.resources import (
    ai_gateway,
    client_traffic,
    core,
    envoy_gateway,
    gateway_api,
    policies,
    rate_limits,
)
from headgate.compiler.resources.kinds import KINDS
from headgate.compiler.resources.metadata import NOWHERE, Key, Name, Source
from headgate.compiler.world import Rejected, Target

EMPTY: dict[str, object] = {}
GATEWAY = "gateway.networking.k8s.io/v1"
ENVOY = "gateway.envoyproxy.io/v1alpha1"
AI = "aigateway.envoyproxy.io/v1beta1"


def obj(api_version: str, kind: str, spec: object, **metadata: object) -> dict[str, object]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x", **metadata}, "spec": spec}


def read(raw: object) -> Reading:
    return read_object(raw, NOWHERE)


def messages(raw: object) -> list[str]:
    return [f"{each.field}: {each.message}" for each in read(raw).diagnostics]


def route(rule: dict[str, object], **spec: object) -> dict[str, object]:
    return obj(AI, "AIGatewayRoute", {"rules": [rule], **spec})


def http(rule: dict[str, object], **spec: object) -> dict[str, object]:
    return obj(GATEWAY, "HTTPRoute", {"rules": [rule], **spec})


REWRITE = {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}}


def test_fills_in_every_default() -> None:
    gateway = read(
        obj(
            GATEWAY,
            "Gateway",
            {"gatewayClassName": "c", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
        )
    ).resource
    assert isinstance(gateway, gateway_api.Gateway)
    assert gateway.name == Name("default", "x")
    assert gateway.key == Key("gateway.networking.k8s.io", "Gateway", "default", "x")
    assert gateway.version == "v1"
    assert gateway.spec.listeners[0].allowed_routes.namespaces.from_ == "Same"


def test_names_on_the_wire_are_upstreams() -> None:
    spec = {
        "type": "AzureAPIKey",
        "azureAPIKey": {"secretRef": {"name": "key"}},
        "targetRefs": [{"group": "aigateway.envoyproxy.io", "kind": "AIServiceBackend", "name": "azure"}],
    }
    policy = read(obj(AI, "BackendSecurityPolicy", spec)).resource
    assert isinstance(policy, ai_gateway.BackendSecurityPolicy)
    assert policy.spec.azure_api_key is not None
    assert policy.spec.azure_api_key.secret_ref.name == "key"


def test_reads_all_of_a_token_limit() -> None:
    rule = {
        "clientSelectors": [
            {
                "headers": [{"name": "x-client", "type": "Distinct"}, {"name": "x-ai-eg-model", "value": "gpt"}],
                "sourceCIDR": {"value": "10.0.0.0/8"},
            }
        ],
        "limit": {"requests": 1000, "unit": "Hour"},
        "cost": {
            "request": {"from": "Number", "number": 0},
            "response": {"from": "Metadata", "metadata": {"namespace": "io.envoy.ai_gateway", "key": "total"}},
        },
        "shadowMode": True,
    }
    target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g"}
    spec = {"targetRefs": [target], "rateLimit": {"type": "Global", "global": {"rules": [rule]}}}
    policy = read(obj(ENVOY, "BackendTrafficPolicy", spec)).resource
    assert isinstance(policy, policies.BackendTrafficPolicy)
    assert policy.spec.rate_limit is not None
    assert policy.spec.rate_limit.global_ is not None
    limit = policy.spec.rate_limit.global_.rules[0]
    assert limit.cost is not None
    assert limit.cost.response is not None
    assert limit.cost.response.metadata == rate_limits.CostMetadata(namespace="io.envoy.ai_gateway", key="total")
    assert limit.client_selectors[0].source_cidr == rate_limits.SourceMatch(value="10.0.0.0/8")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ([], ": is not an object"),
        ({"kind": "Gateway"}, "apiVersion: required, and missing"),
        ({"apiVersion": "v1"}, "kind: required, and missing"),
        ({"metadata": {}}, "apiVersion: required, and missing"),
        ({"replicas": 3, "image": {}}, ": is no object of Kubernetes, and is left out"),
        ({"apiVersion": "v1", "kind": "Backend"}, "apiVersion: there is no Backend in v1"),
        ({"apiVersion": ENVOY, "kind": "Bakend"}, f"kind: there is no kind Bakend in {ENVOY}"),
        (
            {"apiVersion": "gateway.networking.k8s.io/v1alpha2", "kind": "HTTPRoute"},
            "apiVersion: version v1alpha2 of HTTPRoute is not read",
        ),
        ({"apiVersion": "apps/v1", "kind": "Deployment"}, "kind: Deployment of apps/v1 is not read"),
        ({"apiVersion": AI, "kind": "MCPRoute"}, "kind: MCPRoute is not supported: MCP is not served yet"),
    ],
)
def test_says_what_is_wrong_with_a_head(raw: object, expected: str) -> None:
    assert messages(raw) == [expected]
    assert read(raw).resource is None


def test_a_kind_of_others_is_only_a_warning() -> None:
    (diagnostic,) = read({"apiVersion": "apps/v1", "kind": "Deployment"}).diagnostics
    assert diagnostic.severity is Severity.WARNING


def test_the_older_version_is_read_with_upstreams_warning() -> None:
    reading = read(obj("aigateway.envoyproxy.io/v1alpha1", "AIGatewayRoute", {"rules": []}))
    assert isinstance(reading.resource, ai_gateway.AIGatewayRoute)
    assert [each.message for each in reading.diagnostics] == [
        "aigateway.envoyproxy.io/v1alpha1 is deprecated; use aigateway.envoyproxy.io/v1beta1 instead"
    ]


INFERENCE = {"group": "inference.networking.k8s.io", "kind": "InferencePool"}
KEY = {"secretRef": {"name": "s"}}
POLICY_TYPES = [("APIKey", "apiKey"), ("AzureAPIKey", "azureAPIKey"), ("AnthropicAPIKey", "anthropicAPIKey")]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            obj(AI, "AIGatewayRoute", {"rules": [{"name": "a"}, {"name": "a"}]}),
            "spec.rules[1].name: rule name must be unique within the route",
        ),
        (route({"name": "route-not-found"}), "spec.rules[0].name: rule name route-not-found is reserved"),
        (obj(AI, "AIGatewayRoute", {"rules": [EMPTY] * 16}), "spec.rules: must have at most 15 entries, has 16"),
        (
            route({}, parentRefs=[{"name": "g", "kind": "Service"}]),
            "spec.parentRefs[0].kind: only Gateway is supported",
        ),
        (
            route({"backendRefs": [{"name": "a"}, {"name": "p", **INFERENCE}]}),
            "spec.rules[0].backendRefs: cannot mix InferencePool and AIServiceBackend references in the same rule",
        ),
        (
            route({"backendRefs": [{"name": "a", **INFERENCE}, {"name": "p", **INFERENCE}]}),
            "spec.rules[0].backendRefs: only one InferencePool backend is allowed per rule",
        ),
        (
            route({"backendRefs": [{"name": "a", "group": "inference.networking.k8s.io"}]}),
            "spec.rules[0].backendRefs[0]: group and kind must be specified together",
        ),
        (
            route({"backendRefs": [{"name": "a", "group": "x.io", "kind": "Pool"}]}),
            "spec.rules[0].backendRefs[0].kind: only InferencePool from inference.networking.k8s.io group is supported",
        ),
        (
            route({"timeouts": {"request": "5s", "backendRequest": "6s"}}),
            "spec.rules[0].timeouts.backendRequest: backendRequest timeout cannot be longer than request timeout",
        ),
        (
            obj(
                AI,
                "AIServiceBackend",
                {"schema": {"name": "OpenAI"}, "backendRef": {"name": "s", "port": 80}},
            ),
            "spec.backendRef: BackendRef must be a Backend resource of Envoy Gateway. "
            "See https://github.com/envoyproxy/ai-gateway/issues/902 for more details.",
        ),
        *(
            (
                obj(AI, "BackendSecurityPolicy", {"type": type_, "awsCredentials": {"region": "r"}, field: KEY}),
                f"spec.{field}: When type is {type_}, only {field} field should be set",
            )
            for type_, field in POLICY_TYPES
        ),
        (
            obj(
                AI,
                "BackendSecurityPolicy",
                {"type": "APIKey", "apiKey": KEY, "targetRefs": [{"group": "", "kind": "Service", "name": "s"}]},
            ),
            "spec.targetRefs[0]: targetRefs must reference AIServiceBackend or InferencePool resources",
        ),
        (
            obj(ENVOY, "Backend", {"endpoints": [{"fqdn": {"hostname": "a", "port": 1}, "unix": {"path": "/s"}}]}),
            "spec.endpoints[0]: only one of fqdn, ip or unix can be specified",
        ),
        *(
            (
                http({"matches": [{"path": {"value": value}}]}),
                f"spec.rules[0].matches[0].path.value: {message} ['Exact', 'PathPrefix']",
            )
            for value, message in (
                ("/a//b", "must not contain '//' when type one of"),
                ("/a/../b", "must not contain '/../' when type one of"),
                ("/a/..", "must not end with '/..' when type one of"),
                ("/%2fa", "must not contain '%2f' when type one of"),
            )
        ),
        (
            http({"filters": [REWRITE, REWRITE]}),
            "spec.rules[0].filters: URLRewrite filter cannot be repeated",
        ),
        (
            http({"filters": [REWRITE], "matches": [{"path": {"type": "Exact", "value": "/a"}}]}),
            "spec.rules[0].filters[0]: When using URLRewrite filter with path.replacePrefixMatch, exactly one "
            "PathPrefix match must be specified",
        ),
        (
            http({"backendRefs": [{"name": "s"}]}),
            "spec.rules[0].backendRefs[0].port: Must have port for Service reference",
        ),
        (
            http({}, parentRefs=[{"name": "g", "sectionName": "a"}, {"name": "g"}]),
            "spec.parentRefs[1]: sectionName or port must be specified when parentRefs includes 2 or more references "
            "to the same parent",
        ),
        (
            http({}, parentRefs=[{"name": "g", "port": 80}, {"name": "g", "port": 80}]),
            "spec.parentRefs[1]: sectionName or port must be unique when parentRefs includes 2 or more references to "
            "the same parent",
        ),
        (
            obj(ENVOY, "Backend", {"endpoints": [{"unix": {"path": "/" + "s" * 108}}]}),
            "spec.endpoints[0].unix.path: unix domain socket path must not exceed 108 characters",
        ),
    ],
)
def test_breaks_a_rule_in_upstreams_words(raw: object, expected: str) -> None:
    reading = read(raw)
    assert expected in messages(raw)
    assert reading.resource is None
    assert reading.rejected is not None


def test_an_api_servers_newer_field_is_left_out_with_a_warning_but_not_of_what_guards() -> None:
    newer = route({"matches": [], "newIn2030": {"a": 1}})
    assert read_object(newer, NOWHERE).resource is None
    reading = read_object(newer, NOWHERE, lenient=True)
    assert reading.resource is not None
    assert [str(each) for each in reading.diagnostics] == [
        "warning: AIGatewayRoute default/x: spec.rules[0].newIn2030: not known to this version, and left out"
    ]
    guard: dict[str, object] = {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "SecurityPolicy",
        "metadata": {"name": "p"},
        "spec": {"targetRefs": [{"group": "g", "kind": "Gateway", "name": "g"}], "newIn2030": {}},
    }
    reading = read_object(guard, NOWHERE, lenient=True)
    assert reading.resource is None
    assert reading.rejected is not None
    assert reading.rejected.targets


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"tls": {"clientValidation": {"newIn2030": {}}}}, "spec.tls.clientValidation.newIn2030"),
        (
            {"tls": {"clientValidation": {"subjectAltNames": {"newIn2030": []}}}},
            "spec.tls.clientValidation.subjectAltNames.newIn2030",
        ),
        ({"clientIPDetection": {"newIn2030": {}}}, "spec.clientIPDetection.newIn2030"),
    ],
)
def test_of_what_says_whom_to_let_in_nothing_newer_is_left_out(spec: dict[str, object], field: str) -> None:
    policy: dict[str, object] = {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "ClientTrafficPolicy",
        "metadata": {"name": "p"},
        "spec": {"targetRefs": [{"group": "g", "kind": "Gateway", "name": "g"}], "newIn2030": {}, **spec},
    }
    reading = read_object(policy, NOWHERE, lenient=True)
    assert reading.rejected is not None
    assert reading.rejected.targets
    said = {each.field: each.message for each in reading.diagnostics}
    assert said[field] == "unknown field"
    assert said["spec.newIn2030"] == "not known to this version, and left out"


def test_a_broken_policy_that_asks_for_certificates_counts_for_whatever_it_may_select() -> None:
    def rejected(tls: dict[str, object]) -> Rejected:
        reading = read_object(
            {
                "apiVersion": "gateway.envoyproxy.io/v1alpha1",
                "kind": "ClientTrafficPolicy",
                "metadata": {"name": "p"},
                "spec": {"targetSelectors": [{"kind": "Gateway", "matchLabels": {"a": "b"}}], "tls": tls},
            },
            NOWHERE,
        )
        assert reading.rejected is not None
        return reading.rejected

    assert rejected({"clientValidation": {"newIn2030": 1}}).unclear
    assert not rejected({"minVersion": "9"}).unclear


def test_fields_of_upstreams_first_versions_cost_nothing() -> None:
    old = {"schema": {"name": "OpenAI"}, "filterConfig": {"type": "ExternalProcessor"}}
    reading = read_object(route({}, **old), NOWHERE)
    assert reading.resource is not None
    assert [each.field for each in reading.diagnostics] == ["spec.schema", "spec.filterConfig"]


def test_a_longer_attempt_is_fine_where_the_request_has_no_bound() -> None:
    assert messages(route({"timeouts": {"request": "0s", "backendRequest": "6s"}})) == []


@pytest.mark.parametrize(
    ("spec", "expected", "remedy"),
    [
        ({"rulez": []}, "spec.rulez: unknown field", "rules"),
        ({"rules": {}}, "spec.rules: must be a list, is an object", None),
        ({"rules": ["x"]}, 'spec.rules[0]: must be an object, is "x"', None),
        ({"rules": [{"name": True}]}, "spec.rules[0].name: must be a text, is true", '"true"'),
        ({"rules": [{"name": "A b"}]}, 'spec.rules[0].name: "A b" is not allowed here', None),
        ({"rules": [{"name": ""}]}, "spec.rules[0].name: must not be empty", None),
        (
            {"rules": [{"backendRefs": [{"name": "b", "weight": "3"}]}]},
            'spec.rules[0].backendRefs[0].weight: must be a whole number, is "3"',
            "3",
        ),
        (
            {"rules": [{"backendRefs": [{"name": "b", "weight": -1}]}]},
            "spec.rules[0].backendRefs[0].weight: must be at least 0, is -1",
            None,
        ),
        (
            {"rules": [], "llmRequestCosts": [{"metadataKey": "k", "type": "totalToken"}]},
            "spec.llmRequestCosts[0].type: must be one of CEL, CacheCreationInputToken, CachedInputToken, InputToken, "
            'OutputToken, ReasoningToken, TotalToken, is "totalToken"',
            "TotalToken",
        ),
        ({}, "spec.rules: required, and missing", None),
    ],
)
def test_a_field_that_is_wrong_has_its_place(spec: object, expected: str, remedy: str | None) -> None:
    raw = obj(AI, "AIGatewayRoute", spec)
    assert expected in messages(raw)
    assert read(raw).resource is None
    if remedy is not None:
        assert remedy in [each.remedy for each in read(raw).diagnostics]


def test_everything_wrong_is_said_at_once() -> None:
    raw = obj(
        AI,
        "AIGatewayRoute",
        {"rules": [{"name": 1, "weight": 2}, {"name": "route-not-found"}], "hostnames": ["API"]},
    )
    assert {each.split(":")[0] for each in messages(raw)} == {
        "spec.rules[0].name",
        "spec.rules[0].weight",
        "spec.rules[1].name",
        "spec.hostnames[0]",
    }


def test_an_unsupported_field_is_left_out_with_a_warning() -> None:
    target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g"}
    spec = {"targetRefs": [target], "http3": {}, "timeout": {"http": {"idleTimeout": "5s"}}}
    reading = read(obj(ENVOY, "ClientTrafficPolicy", spec))
    assert isinstance(reading.resource, client_traffic.ClientTrafficPolicy)
    assert reading.resource.spec.timeout is not None
    (diagnostic,) = reading.diagnostics
    assert (diagnostic.field, diagnostic.severity) == ("spec.http3", Severity.WARNING)


def test_a_rule_is_looked_at_beside_an_unsupported_field() -> None:
    raw = obj(ENVOY, "Backend", {"endpoints": [{"zone": "a"}]})
    assert messages(raw) == [
        "spec.endpoints[0].zone: not supported: endpoints are not chosen by zone",
        "spec.endpoints[0]: one of fqdn, ip or unix must be specified",
    ]


def test_what_is_not_safe_to_ignore_is_refused_and_its_targets_are_known() -> None:
    target = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "r", "sectionName": "s"}
    raw = obj(ENVOY, "SecurityPolicy", {"targetRefs": [target, 7], "oidc": {}}, namespace="n")
    rejected = read(raw).rejected
    assert rejected is not None
    assert rejected.key == Key("gateway.envoyproxy.io", "SecurityPolicy", "n", "x")
    assert rejected.targets == (Target("gateway.networking.k8s.io", "HTTPRoute", "n", "r", "s"),)
    assert rejected.unclear  # one of the targets cannot be read
    assert "spec.oidc: not supported, and not safe to ignore" in messages(raw)


@pytest.mark.parametrize(
    ("spec", "unclear"),
    [
        ({"targetRefs": [{"group": "g", "kind": "Gateway", "name": "g"}], "oidc": {}}, False),
        ({"targetSelectors": [{"kind": "HTTPRoute"}], "oidc": {}}, True),
        ({"targetRfs": []}, True),
        ("x", True),
    ],
)
def test_targets_that_cannot_be_told_are_unclear(spec: object, unclear: bool) -> None:
    rejected = read(obj(ENVOY, "SecurityPolicy", spec)).rejected
    assert rejected is not None
    assert rejected.unclear is unclear


def test_objects_of_a_cluster_have_no_namespace() -> None:
    raw = obj(GATEWAY, "GatewayClass", {"controllerName": "a.io/b"}, namespace="n")
    resource = read(raw).resource
    assert resource is not None
    assert resource.name == Name("", "x")


def test_what_the_api_server_adds_is_read() -> None:
    raw = obj(
        AI,
        "AIGatewayRoute",
        {"rules": []},
        uid="u",
        resourceVersion="7",
        generation=3,
        creationTimestamp="2026-01-01T00:00:00Z",
        managedFields=[{"manager": "kubectl", "fieldsV1": {"f:spec": EMPTY}}],
        ownerReferences=[{"name": "o", "controller": True}],
        finalizers=["aigateway.envoyproxy.io/finalizer"],
    )
    raw["status"] = {"conditions": [{"type": "Accepted"}]}
    reading = read(raw)
    assert reading.diagnostics == ()
    assert reading.resource is not None
    assert reading.resource.metadata.generation == 3


def test_reading_twice_gives_equal_objects_wherever_they_stand() -> None:
    raw = obj(ENVOY, "Backend", {"endpoints": [{"ip": {"address": "10.0.0.1", "port": 80}}]})
    first = read_object(raw, Source("a.yaml", 1)).resource
    second = read_object(raw, Source("b.yaml", 9)).resource
    assert first == second
    assert isinstance(first, envoy_gateway.Backend)
    assert first.source.file == "a.yaml"


# --- secrets


def secret(**fields: object) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, **fields}


def test_a_secret_is_decoded_and_never_printed() -> None:
    reading = read(secret(data={"apiKey": "aHVudGVyMg==", "both": "b2xk"}, stringData={"both": "new"}))
    resource = cast("core.Secret", reading.resource)
    value = resource.value("apiKey")
    assert value is not None
    assert value.reveal() == "hunter2"
    both = resource.value("both")
    assert both is not None
    assert both.reveal() == "new"
    assert resource.value("none") is None
    assert resource.keys == ("apiKey", "both")
    assert "hunter2" not in repr(resource) + str(reading)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"data": {"k": "hunter2!"}}, "data.k: is not base64"),
        ({"data": {"k": 12345678}}, "data.k: must be a text"),
        ({"stringData": {"k": 12345678}}, "stringData.k: must be a text"),
        ({"stringData": {"tls.key": ["hunter2"]}}, 'stringData["tls.key"]: must be a text'),
        ({"data": "hunter2"}, "data: must be an object, is not one"),
    ],
)
def test_a_bad_secret_is_reported_without_its_value(fields: dict[str, object], expected: str) -> None:
    found = messages(secret(**fields))
    assert found == [expected]
    assert not re.search("hunter2|12345678", str(read(secret(**fields))))


def test_a_value_that_is_no_text_costs_only_itself() -> None:
    reading = read(secret(data={"image": "/w==", "key": "aw=="}))
    assert isinstance(reading.resource, core.Secret)
    assert reading.resource.keys == ("key",)
    assert [each.severity for each in reading.diagnostics] == [Severity.WARNING]


def test_each_kind_is_there_once() -> None:
    assert len({(kind.group, kind.name) for kind in KINDS}) == len(KINDS)
    assert len({kind.world for kind in KINDS}) == len(KINDS)


def test_a_rejected_object_keeps_what_its_status_needs() -> None:
    spec = {"parentRefs": [{"name": "g"}], "rules": "none"}
    rejected = read(obj(GATEWAY, "HTTPRoute", spec, uid="u-1", generation=7)).rejected
    assert rejected is not None
    assert (rejected.api_version, rejected.uid, rejected.generation) == (GATEWAY, "u-1", 7)
    assert [parent.name for parent in rejected.parents] == ["g"]
