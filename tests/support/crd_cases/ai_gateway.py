"""Objects of Envoy AI Gateway's group."""

from collections.abc import Sequence
from typing import Any

from support.crd_cases.case import GROUP, Case, Spec

POOL: Spec = {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "pool"}
SECRET: Spec = {"name": "secret"}
OIDC: Spec = {"provider": {"issuer": "https://issuer.example.com"}, "clientID": "client", "clientSecret": SECRET}


def _route(*rules: Spec, **more: Any) -> Spec:
    return {"parentRefs": [{"name": "gateway"}], "rules": list(rules), **more}


def _rule(*references: Spec, **more: Any) -> Spec:
    match = {"headers": [{"type": "Exact", "name": "x-ai-eg-model", "value": "model"}]}
    return {"matches": [match], "backendRefs": list(references) or [{"name": "backend"}], **more}


def _backend(schema: str = "OpenAI", **reference: str) -> Spec:
    given = reference or {"name": "backend", "kind": "Backend", "group": "gateway.envoyproxy.io"}
    return {"schema": {"name": schema}, "backendRef": given}


def _only(type_: str, field: str) -> str:
    return f"When type is {type_}, only {field} field should be set"


KEY: Spec = {"secretRef": SECRET}
AWS: Spec = {"region": "us-east-1", "credentialsFile": {"secretRef": SECRET}}
AZURE: Spec = {"clientID": "client", "tenantID": "tenant", "clientSecretRef": SECRET}
FEDERATION: Spec = {
    "projectID": "project",
    "workloadIdentityPoolName": "pool",
    "workloadIdentityProviderName": "provider",
    "oidcExchangeToken": {"oidc": OIDC},
}
GCP: Spec = {"projectName": "project", "region": "us", "credentialsFile": {"secretRef": SECRET}}
FEDERATED: Spec = {"projectName": "project", "region": "us", "workloadIdentityFederationConfig": FEDERATION}
EXCHANGE: Spec = {"oidc": OIDC}
CREDENTIALS: dict[str, tuple[str, Spec]] = {
    "APIKey": ("apiKey", KEY),
    "AzureAPIKey": ("azureAPIKey", KEY),
    "AnthropicAPIKey": ("anthropicAPIKey", KEY),
    "AWSCredentials": ("awsCredentials", AWS),
    "AzureCredentials": ("azureCredentials", AZURE),
    "GCPCredentials": ("gcpCredentials", GCP),
}
"""The field of each type, and something to put there."""


def _policy(type_: str, **fields: Any) -> Spec:
    return {"type": type_, **fields}


def _targets(*targets: tuple[str, str]) -> Spec:
    references = [{"group": group, "kind": kind, "name": "target"} for group, kind in targets]
    return _policy("APIKey", apiKey=KEY, targetRefs=references)


def _mcp(*backends: Spec, **more: Any) -> Spec:
    return {"parentRefs": [{"name": "gateway"}], "backendRefs": list(backends) or [_server()], **more}


def _server(name: str = "server", **more: Any) -> Spec:
    return {"name": name, "port": 80, **more}


def _key(**fields: Any) -> Spec:
    return _mcp(_server(securityPolicy={"apiKey": fields}))


def _tools(**fields: Any) -> Spec:
    return _mcp(_server(toolSelector=fields))


def _secured(*rules: Spec, oauth: Spec | None = None) -> Spec:
    policy: Spec = {"authorization": {"rules": list(rules)}}
    return _mcp(securityPolicy=policy if oauth is None else {**policy, "oauth": oauth})


def _jwt(**source: Any) -> Spec:
    return {"source": {"jwt": source}}


OAUTH: Spec = {
    "issuer": "https://issuer.example.com",
    "protectedResourceMetadata": {"resource": "https://mcp.example.com/mcp"},
}


def _jwks(**sources: Any) -> Spec:
    return _secured(oauth={**OAUTH, "jwks": sources})


def _quota(**fields: Any) -> Spec:
    return {"targetRefs": [{"group": GROUP, "kind": "AIServiceBackend", "name": "backend"}], **fields}


ROUTES: Sequence[Case] = (
    Case("a route", "AIGatewayRoute", _route(_rule())),
    Case("a route of the old version", "AIGatewayRoute", _route(_rule()), version="v1alpha1"),
    Case("named rules", "AIGatewayRoute", _route(_rule(name="one"), _rule(name="two"), _rule(), _rule())),
    Case(
        "rules of the same name",
        "AIGatewayRoute",
        _route(_rule(name="one"), _rule(name="one")),
        "rule name must be unique within the route",
    ),
    Case(
        "a reserved name",
        "AIGatewayRoute",
        _route(_rule(name="route-not-found")),
        "rule name route-not-found is reserved",
    ),
    Case(
        "sixteen rules",
        "AIGatewayRoute",
        _route(*[_rule()] * 16),
        "must have at most 15 items",
        "must have at most 15 entries, has 16",
    ),
    Case(
        "costs",
        "AIGatewayRoute",
        _route(
            _rule(),
            llmRequestCosts=[
                {"metadataKey": "input", "type": "InputToken"},
                {"metadataKey": "all", "type": "CEL", "cel": "input_tokens + output_tokens"},
            ],
        ),
    ),
    Case(
        "an unknown cost",
        "AIGatewayRoute",
        _route(_rule(), llmRequestCosts=[{"metadataKey": "input", "type": "Words"}]),
        'Unsupported value: "Words"',
        "must be one of",
    ),
    Case(
        "a parent that is no Gateway",
        "AIGatewayRoute",
        _route(_rule(), parentRefs=[{"name": "gateway", "kind": "Service", "group": ""}]),
        "only Gateway is supported",
    ),
    Case("a pool", "AIGatewayRoute", _route(_rule(POOL))),
    Case(
        "a pool and a backend",
        "AIGatewayRoute",
        _route(_rule(POOL, {"name": "backend"})),
        "cannot mix InferencePool and AIServiceBackend references in the same rule",
    ),
    Case(
        "two pools",
        "AIGatewayRoute",
        _route(_rule(POOL, {**POOL, "name": "other"})),
        "only one InferencePool backend is allowed per rule",
    ),
    Case(
        "a group without a kind",
        "AIGatewayRoute",
        _route(_rule({"name": "pool", "group": "inference.networking.k8s.io"})),
        "group and kind must be specified together",
    ),
    Case(
        "a pool of another group",
        "AIGatewayRoute",
        _route(_rule({**POOL, "group": "example.com"})),
        "only InferencePool from inference.networking.k8s.io group is supported",
    ),
    Case(
        "a Service as a pool",
        "AIGatewayRoute",
        _route(_rule({**POOL, "kind": "Service"})),
        "only InferencePool from inference.networking.k8s.io group is supported",
    ),
    Case(
        "a kind without a group",
        "AIGatewayRoute",
        _route(_rule({"name": "pool", "kind": "InferencePool"})),
        "group and kind must be specified together",
    ),
    Case(
        "attempts longer than the request",
        "AIGatewayRoute",
        _route(_rule(timeouts={"request": "1s", "backendRequest": "2s"})),
        "backendRequest timeout cannot be longer than request timeout",
    ),
    Case(
        "a header twice",
        "AIGatewayRoute",
        _route(_rule({"name": "backend", "headerMutation": {"set": [{"name": "x-a", "value": "1"}] * 2}})),
        "Duplicate value",
    ),
    Case(
        "a body field twice",
        "AIGatewayRoute",
        _route(_rule({"name": "backend", "bodyMutation": {"set": [{"path": "user", "value": '"a"'}] * 2}})),
        "Duplicate value",
    ),
    Case(
        "a duration that is none",
        "AIGatewayRoute",
        _route(_rule(streamIdleTimeout="soon")),
        "should match",
        "is not allowed here",
    ),
)

BACKENDS: Sequence[Case] = (
    Case("a backend", "AIServiceBackend", _backend()),
    *(
        Case(f"a backend that speaks {schema}", "AIServiceBackend", _backend(schema))
        for schema in (
            "Cohere",
            "AWSBedrock",
            "AzureOpenAI",
            "GCPVertexAI",
            "GCPAnthropic",
            "Anthropic",
            "AWSAnthropic",
        )
    ),
    Case(
        "an unknown schema",
        "AIServiceBackend",
        _backend("SomeRandomVendor"),
        'Unsupported value: "SomeRandomVendor": supported values: "OpenAI", "Cohere", "AWSBedrock", "AzureOpenAI", '
        '"GCPVertexAI", "GCPAnthropic", "Anthropic"',
        "must be one of",
    ),
    Case(
        "a Service",
        "AIServiceBackend",
        _backend(name="service", kind="Service"),
        "BackendRef must be a Backend resource of Envoy Gateway. "
        "See https://github.com/envoyproxy/ai-gateway/issues/902 for more details.",
    ),
)

POLICIES: Sequence[Case] = (
    Case("a key", "BackendSecurityPolicy", _policy("APIKey", apiKey=KEY)),
    Case("an Anthropic key", "BackendSecurityPolicy", _policy("AnthropicAPIKey", anthropicAPIKey=KEY)),
    Case("an Azure key", "BackendSecurityPolicy", _policy("AzureAPIKey", azureAPIKey=KEY)),
    Case("a file of AWS", "BackendSecurityPolicy", _policy("AWSCredentials", awsCredentials=AWS)),
    Case("AWS by chance", "BackendSecurityPolicy", _policy("AWSCredentials", awsCredentials={"region": "us-east-1"})),
    Case(
        "AWS by token",
        "BackendSecurityPolicy",
        _policy(
            "AWSCredentials",
            awsCredentials={
                "region": "us-east-1",
                "oidcExchangeToken": {**EXCHANGE, "awsRoleArn": "arn:aws:iam::1:role/a"},
            },
        ),
    ),
    Case("Azure by secret", "BackendSecurityPolicy", _policy("AzureCredentials", azureCredentials=AZURE)),
    Case(
        "Azure by token",
        "BackendSecurityPolicy",
        _policy("AzureCredentials", azureCredentials={"clientID": "c", "tenantID": "t", "oidcExchangeToken": EXCHANGE}),
    ),
    Case("Google by file", "BackendSecurityPolicy", _policy("GCPCredentials", gcpCredentials=GCP)),
    Case("Google by token", "BackendSecurityPolicy", _policy("GCPCredentials", gcpCredentials=FEDERATED)),
    Case(
        "a key from the request",
        "BackendSecurityPolicy",
        _policy("APIKey", apiKey=KEY, credentialOverride={"fromRequestHeaders": {}}),
    ),
    Case(
        "a key from metadata",
        "BackendSecurityPolicy",
        _policy(
            "AWSCredentials",
            awsCredentials={"region": "us-east-1"},
            credentialOverride={"fromDynamicMetadata": {"namespace": "envoy.filters.http.ext_authz"}},
        ),
    ),
    Case(
        "a key from metadata of no filter",
        "BackendSecurityPolicy",
        _policy("APIKey", apiKey=KEY, credentialOverride={"fromDynamicMetadata": {}}),
        "spec.credentialOverride.fromDynamicMetadata.namespace: Required value",
        "required, and missing",
    ),
    *(
        Case(
            f"an override of {count} sources",
            "BackendSecurityPolicy",
            _policy("APIKey", apiKey=KEY, credentialOverride=sources),
            refused,
            "exactly one of fromRequestHeaders or fromDynamicMetadata must be specified",
        )
        for count, sources, refused in (
            (0, {}, "should have at least 1 properties"),
            (2, {"fromRequestHeaders": {}, "fromDynamicMetadata": {"namespace": "a"}}, "must have at most 1 item"),
        )
    ),
    *(
        Case(f"{type_} without its field", "BackendSecurityPolicy", _policy(type_), _only(type_, field))
        for type_, (field, _) in CREDENTIALS.items()
    ),
    *(
        Case(
            f"{type_} with {other}",
            "BackendSecurityPolicy",
            _policy(type_, **{field: value, other: more}),
            _only(type_, field),
        )
        for type_, (field, value) in CREDENTIALS.items()
        for other, more in CREDENTIALS.values()
        if other != field
    ),
    Case(
        "an unknown provider",
        "BackendSecurityPolicy",
        _policy("UnknownType"),
        'Unsupported value: "UnknownType": supported values: "APIKey", "AWSCredentials", "AzureAPIKey", '
        '"AzureCredentials"',
        "must be one of",
    ),
    Case("no type", "BackendSecurityPolicy", {"apiKey": KEY}, "spec.type: Required value", "required, and missing"),
    Case("an empty type", "BackendSecurityPolicy", _policy("", apiKey=KEY), 'Unsupported value: ""', "must be one of"),
    *(
        Case(
            f"Azure with an empty {field}",
            "BackendSecurityPolicy",
            _policy("AzureCredentials", azureCredentials={**AZURE, field: ""}),
            f"spec.azureCredentials.{field} in body should be at least 1 chars long",
            "must not be empty",
        )
        for field in ("clientID", "tenantID")
    ),
    *(
        Case(
            f"Azure without {missing}",
            "BackendSecurityPolicy",
            _policy("AzureCredentials", azureCredentials={k: v for k, v in AZURE.items() if k != missing}),
            f"spec.azureCredentials.{missing}: Required value",
            "required, and missing",
        )
        for missing in ("clientID", "tenantID")
    ),
    Case(
        "Azure without authentication",
        "BackendSecurityPolicy",
        _policy("AzureCredentials", azureCredentials={"clientID": "client", "tenantID": "tenant"}),
        "Exactly one of clientSecretRef or oidcExchangeToken must be specified",
    ),
    Case(
        "Azure with two authentications",
        "BackendSecurityPolicy",
        _policy("AzureCredentials", azureCredentials={**AZURE, "oidcExchangeToken": EXCHANGE}),
        "Exactly one of clientSecretRef or oidcExchangeToken must be specified",
    ),
    Case(
        "Google with two sources",
        "BackendSecurityPolicy",
        _policy("GCPCredentials", gcpCredentials={**GCP, **FEDERATED}),
        "At most one of credentialsFile or workloadIdentityFederationConfig may be specified",
    ),
    Case(
        "a token without a client",
        "BackendSecurityPolicy",
        _policy(
            "AzureCredentials",
            azureCredentials={
                "clientID": "c",
                "tenantID": "t",
                "oidcExchangeToken": {"oidc": {k: v for k, v in OIDC.items() if k != "clientID"}},
            },
        ),
        "only one of clientID or clientIDRef must be set",
    ),
    Case("a target", "BackendSecurityPolicy", _targets((GROUP, "AIServiceBackend"))),
    Case("two targets", "BackendSecurityPolicy", _targets(*[(GROUP, "AIServiceBackend")] * 2)),
    Case("a pool as target", "BackendSecurityPolicy", _targets(("inference.networking.k8s.io", "InferencePool"))),
    Case(
        "targets of both kinds",
        "BackendSecurityPolicy",
        _targets((GROUP, "AIServiceBackend"), ("inference.networking.k8s.io", "InferencePool")),
    ),
    *(
        Case(
            f"a target {kind} of {group}",
            "BackendSecurityPolicy",
            _targets((group, kind)),
            "targetRefs must reference AIServiceBackend or InferencePool resources",
        )
        for group, kind in (("example.com", "AIServiceBackend"), (GROUP, "AIGatewayRoute"))
    ),
    Case(
        "five fields",
        "BackendSecurityPolicy",
        _policy("APIKey", apiKey=KEY, targetRefs=[], credentialOverride={"fromRequestHeaders": {}}, azureAPIKey=KEY),
        "must have at most 4 items",
        _only("APIKey", "apiKey"),
    ),
)

OLD_POLICIES: Sequence[Case] = (
    Case("an old key", "BackendSecurityPolicy", _policy("APIKey", apiKey=KEY), version="v1alpha1"),
    Case(
        "four fields in the old version",
        "BackendSecurityPolicy",
        _policy("APIKey", apiKey=KEY, targetRefs=[], azureAPIKey=KEY),
        "must have at most 3 items",
        _only("APIKey", "apiKey"),
        version="v1alpha1",
    ),
)
"""Of v1alpha1. The reader reads both versions alike; what only the old one refuses is in `OLD_ONLY`."""

OLD_ONLY: Sequence[Case] = (
    Case(
        "Google without a source in the old version",
        "BackendSecurityPolicy",
        _policy("GCPCredentials", gcpCredentials={"projectName": "project", "region": "us"}),
        "Exactly one of GCPWorkloadIdentityFederationConfig or GCPCredentialsFile must be specified",
        version="v1alpha1",
    ),
)

CONFIGS: Sequence[Case] = (
    Case("a configuration", "GatewayConfig", {"globalLLMRequestCosts": [{"metadataKey": "all", "type": "TotalToken"}]}),
    Case(
        "a cost twice",
        "GatewayConfig",
        {"globalLLMRequestCosts": [{"metadataKey": "all", "type": "TotalToken"}] * 2},
        "Duplicate value",
    ),
    Case(
        "an image and a repository",
        "GatewayConfig",
        {"extProc": {"kubernetes": {"image": "example.com/image:1", "imageRepository": "example.com/image"}}},
        "Either image or imageRepository can be set.",
    ),
    Case("a container", "GatewayConfig", {"extProc": {"kubernetes": {"env": [{"name": "A", "value": "b"}]}}}),
)

UNREAD: Sequence[Case] = (
    Case("servers", "MCPRoute", _mcp(_server("one"), _server("two"))),
    Case("a key for a server", "MCPRoute", _key(secretRef=SECRET)),
    Case("two keys", "MCPRoute", _key(secretRef=SECRET, inline="a"), "exactly one of secretRef or inline must be set"),
    Case("no key", "MCPRoute", _key(header="x-key"), "exactly one of secretRef or inline must be set"),
    Case(
        "a key in two places",
        "MCPRoute",
        _key(inline="a", header="x-key", queryParam="key"),
        "only one of header or queryParam can be set",
    ),
    Case(
        "servers of the same name",
        "MCPRoute",
        _mcp(_server("one"), _server("one")),
        "all backendRefs names must be unique",
    ),
    Case("a server without a port", "MCPRoute", _mcp({"name": "one"}), "Must have port for Service reference"),
    Case("tools", "MCPRoute", _tools(include=["a"], exclude=["b"])),
    Case("all tools but some", "MCPRoute", _tools(excludeRegex=["a.*"])),
    Case(
        "a parent of servers that is no Gateway",
        "MCPRoute",
        _mcp(parentRefs=[{"name": "gateway", "kind": "Service", "group": ""}]),
        "only Gateway is supported",
    ),
    Case(
        "included twice",
        "MCPRoute",
        _tools(include=["a"], includeRegex=["a.*"]),
        "include and includeRegex are mutually exclusive",
    ),
    Case(
        "excluded twice",
        "MCPRoute",
        _tools(exclude=["a"], excludeRegex=["a.*"]),
        "exclude and excludeRegex are mutually exclusive",
    ),
    Case(
        "no tools",
        "MCPRoute",
        _tools(),
        "at least one of include, includeRegex, exclude, or excludeRegex must be specified",
    ),
    Case("a token", "MCPRoute", _secured(_jwt(scopes=["read"]), oauth=OAUTH)),
    Case("a rule without a source", "MCPRoute", _secured({"cel": "true"})),
    Case(
        "a claim named scope",
        "MCPRoute",
        _secured(_jwt(claims=[{"name": "scope", "values": ["read"]}]), oauth=OAUTH),
        "'scope' claim name is reserved for OAuth scopes",
    ),
    Case(
        "a token of any kind",
        "MCPRoute",
        _secured(_jwt(), oauth=OAUTH),
        "either scopes or claims must be specified",
    ),
    Case(
        "a token of nobody",
        "MCPRoute",
        _secured(_jwt(scopes=["read"])),
        "oauth must be configured when any authorization rule uses a jwt source",
    ),
    Case("keys from an address", "MCPRoute", _jwks(remoteJWKS={"uri": "https://issuer.example.com/keys"})),
    Case(
        "keys from two places",
        "MCPRoute",
        _jwks(remoteJWKS={"uri": "https://a.example.com"}, localJWKS={"type": "Inline", "inline": "{}"}),
        "remoteJWKS and localJWKS cannot both be specified.",
    ),
    Case("keys from nowhere", "MCPRoute", _jwks(), "either remoteJWKS or localJWKS must be specified."),
)
"""Of kinds and fields that the reader leaves out, with a warning."""

QUOTAS: Sequence[Case] = (
    Case(
        "a quota",
        "QuotaPolicy",
        _quota(perModelQuotas=[{"modelName": "m", "quota": {"defaultBucket": {"limit": 5, "duration": "1h"}}}]),
        version="v1alpha1",
    ),
    Case(
        "a quota of a route",
        "QuotaPolicy",
        {"targetRefs": [{"group": GROUP, "kind": "AIGatewayRoute", "name": "route"}]},
        "targetRefs must reference AIServiceBackend resources",
        version="v1alpha1",
    ),
    Case(
        "a quota of nobody",
        "QuotaPolicy",
        _quota(
            perModelQuotas=[
                {
                    "modelName": "m",
                    "quota": {"bucketRules": [{"clientSelectors": [{}], "quota": {"limit": 5, "duration": "1h"}}]},
                }
            ]
        ),
        "at least one of headers, methods, path, sourceCIDR or queryParams must be specified",
        version="v1alpha1",
    ),
)

READ: Sequence[Case] = (*ROUTES, *BACKENDS, *POLICIES, *OLD_POLICIES, *CONFIGS, *QUOTAS)
