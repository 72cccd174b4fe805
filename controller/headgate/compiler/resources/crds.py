"""Custom resource definitions: what an API server must know of the kinds that are ours to define.

`crds()` makes them of the typed resources (`schema.py`) and of `FACTS`, by the name of the struct. The words of a rule
are those of the struct's own `violations`: a test compares what the API server and the reader of files say of the same
object.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from headgate.compiler.resources import ai_gateway, headgate, mcp, unread
from headgate.compiler.resources.kinds import DEPRECATED, KINDS, Kind
from headgate.compiler.resources.schema import Facts, Rule, Schema, SchemaWriter

GROUPS: Final = (ai_gateway.GROUP, headgate.GROUP)
SHORT_NAMES: Final[Mapping[str, tuple[str, ...]]] = {"GatewayConfig": ("gwconfig",)}
CONDITIONS_MAX: Final = 8
UNREAD_KINDS: Final = (Kind(ai_gateway.GROUP, "MCPRoute", ("v1beta1", "v1alpha1"), mcp.MCPRoute, ""),)
"""Kinds that an API server takes and that are not read; `NOT_SUPPORTED` says what to do instead."""

_PORT_OF_SERVICE: Final = Rule(
    "(size(self.group) == 0 && self.kind == 'Service') ? has(self.port) : true", "Must have port for Service reference"
)
_ONLY_GATEWAYS: Final = Rule("self.all(match, match.kind == 'Gateway')", "only Gateway is supported")
_CREDENTIAL_FIELDS: Final = {
    "APIKey": "apiKey",
    "AWSCredentials": "awsCredentials",
    "AzureAPIKey": "azureAPIKey",
    "AzureCredentials": "azureCredentials",
    "GCPCredentials": "gcpCredentials",
    "AnthropicAPIKey": "anthropicAPIKey",
}


def _only_field_of(type_: str) -> Rule:
    own = _CREDENTIAL_FIELDS[type_]
    others = [f"!has(self.{field})" for field in _CREDENTIAL_FIELDS.values() if field != own]
    held = " && ".join([f"has(self.{own})", *others])
    return Rule(f"self.type == '{type_}' ? ({held}) : true", f"When type is {type_}, only {own} field should be set")


FACTS: Final[Mapping[str, Facts]] = {
    # --- shared
    "HTTPRouteTimeouts": Facts(
        rules=(
            Rule(
                "!(has(self.request) && has(self.backendRequest) && duration(self.request) != duration('0s') && "
                "duration(self.backendRequest) > duration(self.request))",
                "backendRequest timeout cannot be longer than request timeout",
            ),
        )
    ),
    "SecretReference": Facts(defaults={"group": ""}),
    "HTTPHeaderMutation": Facts(keys={"set": "name", "remove": ""}),
    "HTTPBodyMutation": Facts(keys={"set": "path", "remove": ""}),
    # --- AIGatewayRoute
    "AIGatewayRouteSpec": Facts(
        field_rules={
            "parentRefs": (_ONLY_GATEWAYS,),
            "rules": (
                Rule(
                    "self.all(r1, !has(r1.name) || self.exists_one(r2, has(r2.name) && r1.name == r2.name))",
                    "rule name must be unique within the route",
                ),
            ),
        }
    ),
    "AIGatewayRouteRule": Facts(
        formats={"modelsCreatedAt": "date-time"},
        rules=(
            Rule("!has(self.name) || self.name != 'route-not-found'", "rule name route-not-found is reserved"),
            Rule(
                "!has(self.backendRefs) || size(self.backendRefs) == 0 || "
                "self.backendRefs.all(ref, !has(ref.group) && !has(ref.kind)) || "
                "self.backendRefs.all(ref, has(ref.group) && has(ref.kind))",
                "cannot mix InferencePool and AIServiceBackend references in the same rule",
            ),
            Rule(
                "!has(self.backendRefs) || size(self.backendRefs) == 0 || "
                "!self.backendRefs.exists(ref, has(ref.group) && has(ref.kind)) || size(self.backendRefs) == 1",
                "only one InferencePool backend is allowed per rule",
            ),
        ),
    ),
    "AIGatewayRouteRuleMatch": Facts(keys={"headers": "name"}),
    "AIGatewayRouteRuleBackendRef": Facts(
        # Upstream fills in priority 0. Absent must stay absent: it is 1 for a Backend that is a fallback, as in files.
        rules=(
            Rule("has(self.group) == has(self.kind)", "group and kind must be specified together"),
            Rule(
                "!has(self.group) || (self.group == 'inference.networking.k8s.io' && has(self.kind) && "
                "self.kind == 'InferencePool')",
                "only InferencePool from inference.networking.k8s.io group is supported",
            ),
        )
    ),
    # --- AIServiceBackend
    "AIServiceBackendSpec": Facts(
        field_rules={
            "backendRef": (
                Rule(
                    "has(self.kind) && self.kind == 'Backend' && has(self.group) && "
                    "self.group == 'gateway.envoyproxy.io'",
                    "BackendRef must be a Backend resource of Envoy Gateway. "
                    "See https://github.com/envoyproxy/ai-gateway/issues/902 for more details.",
                ),
            )
        }
    ),
    "BackendObjectReference": Facts(rules=(_PORT_OF_SERVICE,), defaults={"group": ""}),
    # --- BackendSecurityPolicy
    "BackendSecurityPolicySpec": Facts(
        rules=tuple(map(_only_field_of, _CREDENTIAL_FIELDS)),
        field_rules={
            "targetRefs": (
                Rule(
                    "self.all(ref, (ref.group == 'aigateway.envoyproxy.io' && ref.kind == 'AIServiceBackend') || "
                    "(ref.group == 'inference.networking.k8s.io' && ref.kind == 'InferencePool'))",
                    "targetRefs must reference AIServiceBackend or InferencePool resources",
                ),
            )
        },
        not_in={"credentialOverride": "v1alpha1"},
        properties_max={"v1alpha1": 3, "": 4},
    ),
    "OIDCProvider": Facts(
        unread=unread.OIDCProviderUnread,
        rules=(Rule("!has(self.backendRef)", "BackendRefs must be used, backendRef is not supported."),),
    ),
    "OIDC": Facts(
        unread=unread.OIDCUnread,
        rules=(
            Rule("has(self.clientID) != has(self.clientIDRef)", "only one of clientID or clientIDRef must be set"),
            Rule(
                "!(has(self.forwardAccessToken) && self.forwardAccessToken && has(self.forwardIDToken) && "
                "self.forwardIDToken.header.lowerAscii() == 'authorization')",
                "forwardAccessToken cannot be true when forwardIDToken.header is Authorization",
            ),
        ),
    ),
    "AzureCredentials": Facts(
        rules=(
            Rule(
                "has(self.clientSecretRef) != has(self.oidcExchangeToken)",
                "Exactly one of clientSecretRef or oidcExchangeToken must be specified",
            ),
        )
    ),
    "GCPCredentials": Facts(
        rules=(
            Rule(
                "!(has(self.credentialsFile) && has(self.workloadIdentityFederationConfig))",
                "At most one of credentialsFile or workloadIdentityFederationConfig may be specified",
                ("v1beta1",),
            ),
            Rule(
                "has(self.credentialsFile) != has(self.workloadIdentityFederationConfig)",
                "Exactly one of GCPWorkloadIdentityFederationConfig or GCPCredentialsFile must be specified",
                ("v1alpha1",),
            ),
        )
    ),
    "CredentialOverride": Facts(properties_min=1, properties_max={"": 1}),
    # --- GatewayConfig
    "GatewayConfigSpec": Facts(keys={"globalLLMRequestCosts": "metadataKey"}),
    "GatewayConfigExtProcKubernetes": Facts(
        rules=(Rule("!has(self.image) || !has(self.imageRepository)", "Either image or imageRepository can be set."),),
        field_rules={
            "image": (
                Rule(
                    r"self.matches('^[a-zA-Z0-9._-]+(:[0-9]+)?(/[a-zA-Z0-9._/-]+)?(:[a-zA-Z0-9._-]+)?"
                    r"(@sha256:[a-z0-9]+)?$')",
                    "Image must include a tag and allowed characters only (e.g., 'repo:tag').",
                ),
            ),
            "imageRepository": (
                Rule(
                    r"self.matches('^[a-zA-Z0-9._-]+(:[0-9]+)?[a-zA-Z0-9._/-]+$')",
                    "ImageRepository must contain only allowed characters and must not include a tag.",
                ),
            ),
        },
    ),
    # --- MCPRoute
    "MCPRouteSpec": Facts(
        keys={"headers": "name"},
        field_rules={
            "parentRefs": (_ONLY_GATEWAYS,),
            "backendRefs": (
                Rule("self.all(i, self.exists_one(j, j.name == i.name))", "all backendRefs names must be unique"),
            ),
        },
    ),
    "MCPRouteBackendRef": Facts(rules=(_PORT_OF_SERVICE,), defaults={"group": ""}),
    "MCPToolFilter": Facts(
        rules=(
            Rule("!(has(self.include) && has(self.includeRegex))", "include and includeRegex are mutually exclusive"),
            Rule("!(has(self.exclude) && has(self.excludeRegex))", "exclude and excludeRegex are mutually exclusive"),
            Rule(
                "has(self.include) || has(self.includeRegex) || has(self.exclude) || has(self.excludeRegex)",
                "at least one of include, includeRegex, exclude, or excludeRegex must be specified",
            ),
        )
    ),
    "MCPBackendAPIKey": Facts(
        rules=(
            Rule("has(self.secretRef) != has(self.inline)", "exactly one of secretRef or inline must be set"),
            Rule("!(has(self.header) && has(self.queryParam))", "only one of header or queryParam can be set"),
        )
    ),
    "MCPRouteSecurityPolicy": Facts(
        rules=(
            Rule(
                "!(has(self.authorization) && has(self.authorization.rules) && "
                "self.authorization.rules.exists(r, has(r.source) && has(r.source.jwt)) && !has(self.oauth))",
                "oauth must be configured when any authorization rule uses a jwt source",
            ),
        ),
    ),
    "MCPRouteOAuth": Facts(formats={"issuer": "uri"}),
    "ProtectedResourceMetadata": Facts(
        formats={"resource": "uri", "resourceDocumentation": "uri", "resourcePolicyUri": "uri"}
    ),
    "JWKS": Facts(
        rules=(
            Rule("has(self.remoteJWKS) || has(self.localJWKS)", "either remoteJWKS or localJWKS must be specified."),
            Rule(
                "!(has(self.remoteJWKS) && has(self.localJWKS))",
                "remoteJWKS and localJWKS cannot both be specified.",
            ),
        )
    ),
    "LocalJWKS": Facts(
        required=("type",),
        rules=(
            Rule(
                "(self.type == 'Inline' && has(self.inline) && !has(self.valueRef)) || "
                "(self.type == 'ValueRef' && !has(self.inline) && has(self.valueRef))",
                "Exactly one of inline or valueRef must be set with correct type.",
            ),
        ),
    ),
    "RemoteJWKS": Facts(
        rules=(Rule("!has(self.backendRef)", "BackendRefs must be used, backendRef is not supported."),)
    ),
    "BackendRef": Facts(rules=(_PORT_OF_SERVICE,), defaults={"group": ""}),
    "ExtAuth": Facts(
        keys={"contextExtensions": "name"},
        defaults={"failOpen": False},
        rules=(
            Rule("has(self.grpc) || has(self.http)", "one of grpc or http must be specified"),
            Rule("!(has(self.grpc) && has(self.http))", "only one of grpc or http can be specified"),
        ),
    ),
    "ExtAuthContextExtension": Facts(
        required=("type",),
        rules=(
            Rule(
                "(self.type == 'Value' && has(self.value) && !has(self.valueRef)) || "
                "(self.type == 'ValueRef' && !has(self.value) && has(self.valueRef))",
                "Exactly one of value or valueRef must be set with correct type.",
            ),
        ),
    ),
    "JWTSource": Facts(
        rules=(
            Rule(
                "(has(self.scopes) && size(self.scopes) > 0) || (has(self.claims) && size(self.claims) > 0)",
                "either scopes or claims must be specified",
            ),
        ),
        field_rules={
            "claims": (Rule("!self.exists(c, c.name == 'scope')", "'scope' claim name is reserved for OAuth scopes"),)
        },
    ),
    # --- QuotaPolicy
    "QuotaPolicySpec": Facts(
        field_rules={
            "targetRefs": (
                Rule(
                    "self.all(ref, ref.group == 'aigateway.envoyproxy.io' && ref.kind == 'AIServiceBackend')",
                    "targetRefs must reference AIServiceBackend resources",
                ),
            )
        }
    ),
    "QuotaClientSelector": Facts(
        rules=(
            Rule(
                "has(self.headers) || has(self.methods) || has(self.path) || has(self.sourceCIDR) || "
                "has(self.queryParams)",
                "at least one of headers, methods, path, sourceCIDR or queryParams must be specified",
            ),
        )
    ),
    # --- headgate.dev
    "TranslationPolicySpec": Facts(
        field_rules={
            "targetRefs": (
                Rule(
                    "self.all(ref, ref.group == 'aigateway.envoyproxy.io' && ref.kind == 'AIServiceBackend')",
                    "this policy can only target an AIServiceBackend",
                ),
            )
        }
    ),
    "ThinkingBudget": Facts(rules=(Rule("self.minimum <= self.maximum", "minimum must not be above maximum"),)),
    "LimitTarget": Facts(
        rules=(
            Rule(
                "self.kind in ['Gateway', 'HTTPRoute'] ? self.group == 'gateway.networking.k8s.io' : "
                "self.group == 'aigateway.envoyproxy.io'",
                "this group has no such kind to limit",
            ),
        )
    ),
    "LimitPolicyRule": Facts(
        rules=(
            Rule(
                "self.unit == 'usd' ? has(self.prices) || has(self.costExpression) : true",
                "prices must be set for unit usd",
            ),
            Rule("self.unit != 'usd' ? !has(self.prices) : true", "prices are for unit usd"),
            Rule(
                "self.unit == 'requests' ? !has(self.costExpression) : true",
                "costExpression is not for unit requests",
            ),
            Rule("has(self.burst) ? self.algorithm == 'TokenBucket' : true", "burst is for algorithm TokenBucket"),
            Rule("has(self.timeZone) ? self.algorithm == 'Fixed' : true", "timeZone is for algorithm Fixed"),
            Rule(
                "self.window == 'lifetime' ? self.algorithm == 'Fixed' && !has(self.timeZone) : true",
                "window lifetime is for algorithm Fixed, without timeZone",
            ),
        )
    ),
    "LimitPool": Facts(
        rules=(Rule("self.maxReservation >= self.minReservation", "maxReservation must not be below minReservation"),)
    ),
    "LimitPolicySpec": Facts(
        keys={"rules": "name", "pools": "name"},
        field_rules={
            "pools": (
                Rule(
                    "self.map(pool, pool.minReservation).sum() <= 100",
                    "the minReservations of all pools must not be above 100 together",
                ),
            )
        },
        rules=(
            Rule("has(self.pooledRule) ? has(self.pools) : true", "pooledRule needs pools"),
            Rule(
                "!has(self.pools) || size(self.pools) == 0 || (has(self.rules) && self.rules.exists_one(rule, "
                "has(self.pooledRule) ? rule.name == self.pooledRule : "
                "rule.unit == 'tokens' && rule.window == 'minute'))",
                "pools need one rule to share: pooledRule must name it",
            ),
        ),
    ),
    # --- parts of a quota
    "QuotaPathMatch": Facts(defaults={"value": "/", "invert": False}),
    "QuotaValueMatch": Facts(defaults={"invert": False}),
    "QuotaMethodMatch": Facts(defaults={"invert": False}),
    "QuotaSourceMatch": Facts(defaults={"invert": False}),
}

STATUS: Final[Schema] = {
    "type": "object",
    "description": "What became of it; written by the controller.",
    "properties": {
        "conditions": {
            "type": "array",
            "description": "One per type.",
            "maxItems": CONDITIONS_MAX,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": {
                "type": "object",
                "required": ["lastTransitionTime", "message", "reason", "status", "type"],
                "properties": {
                    "type": {
                        "type": "string",
                        "maxLength": 316,
                        "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
                        r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                    },
                    "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                    "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
                    "lastTransitionTime": {"type": "string", "format": "date-time"},
                    "reason": {
                        "type": "string",
                        "minLength": 1,
                        "maxLength": 1024,
                        "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                    },
                    "message": {"type": "string", "maxLength": 32768},
                },
            },
        }
    },
}
"""Several conditions, told apart by type. Upstream's list takes any number and has one at a time, which makes no
difference to whoever reads it."""


def crds() -> Iterator[Schema]:
    """The definition of every kind of `GROUPS`, read or not, in the order of the tables."""
    for kind in (*KINDS, *UNREAD_KINDS):
        if kind.group in GROUPS:
            yield crd(kind)


def crd(kind: Kind) -> Schema:
    """The definition of one kind. The first version that is served is the one that is stored."""
    plural = plural_of(kind.name)
    metadata: Schema = {"name": f"{plural}.{kind.group}"}
    if kind.name.endswith("Policy"):
        metadata["labels"] = {"gateway.networking.k8s.io/policy": "direct"}
    names: Schema = {
        "kind": kind.name,
        "listKind": f"{kind.name}List",
        "plural": plural,
        "singular": kind.name.lower(),
    }
    if kind.name in SHORT_NAMES:
        names["shortNames"] = list(SHORT_NAMES[kind.name])
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": {
            "group": kind.group,
            "names": names,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": [_version(kind, version) for version in sorted(kind.served)],
        },
    }


def plural_of(name: str) -> str:
    """The plural of a kind, as in paths."""
    lower = name.lower()
    return f"{lower[:-1]}ies" if lower.endswith("y") else f"{lower}s"


def _version(kind: Kind, version: str) -> Schema:
    described: Schema = {
        "name": version,
        "served": True,
        "storage": version == kind.served[0],
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": "Status", "type": "string", "jsonPath": ".status.conditions[-1:].type"},
        ],
    }
    # A kind that has nothing newer is not deprecated with its version.
    if len(kind.served) > 1 and (warning := DEPRECATED.get(f"{kind.group}/{version}")):
        described |= {"deprecated": True, "deprecationWarning": warning}
    writer = SchemaWriter(FACTS, version)
    described["schema"] = {"openAPIV3Schema": writer.resource(kind.type, STATUS)}
    return described
