"""Upstream's own kinds, group `aigateway.envoyproxy.io`, v1alpha1 and v1beta1.

Bounds, defaults and messages: Envoy AI Gateway 1.1, https://aigateway.envoyproxy.io/docs/api/.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import msgspec
from headgate.compiler import body_paths
from headgate.compiler.resources.credentials import (
    APIKeyCredential,
    AWSCredentials,
    AzureCredentials,
    CredentialOverride,
    GCPCredentials,
)
from headgate.compiler.resources.expressions import expression_violations
from headgate.compiler.resources.gateway_api import (
    HTTPRouteTimeouts,
    MatchType,
    ParentReference,
)
from headgate.compiler.resources.gateway_api import (
    Port as PortNumber,
)
from headgate.compiler.resources.headers import HTTPHeader, removal_violations
from headgate.compiler.resources.metadata import Name63, Resource, Struct, Violation
from headgate.compiler.resources.quantities import (
    OPTIONAL_KIND_PATTERN,
    Duration,
    Group,
    HeaderName,
    Namespace,
    SectionName,
    WildcardHostname,
)

GROUP = "aigateway.envoyproxy.io"
INFERENCE_GROUP = "inference.networking.k8s.io"


class HTTPHeaderMutation(Struct, frozen=True, kw_only=True):
    """Changes headers of the request that a backend gets."""

    set: Annotated[tuple[HTTPHeader, ...], msgspec.Meta(max_length=16)] = ()
    """Headers to set, replacing what is there."""
    remove: Annotated[tuple[str, ...], msgspec.Meta(max_length=16)] = ()
    """Headers to remove."""

    def violations(self) -> Iterator[Violation]:
        yield from _duplicates("set", "name", [header.name for header in self.set])
        yield from removal_violations(self.remove)


class HTTPBodyField(Struct, frozen=True, kw_only=True):
    """A member of the body and its value."""

    path: Annotated[str, msgspec.Meta(min_length=1)]
    """Name of the member; `a.b` is `b` within the object `a`, which is made where there is none, `a\\.b` one name."""
    value: str
    """Its value, as JSON. A text that begins like no JSON value is taken as a text (compat)."""

    def violations(self) -> Iterator[Violation]:
        yield from _path_violations(self.path, "path")
        text = self.value.strip()
        if not text.startswith(("{", "[", '"')):
            return
        try:
            msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            remedy = "'" + msgspec.json.encode(self.value).decode() + "'"
            yield Violation("value is not JSON", "value", remedy)


class HTTPBodyMutation(Struct, frozen=True, kw_only=True):
    """Changes members of the JSON body that a backend gets."""

    set: Annotated[tuple[HTTPBodyField, ...], msgspec.Meta(max_length=16)] = ()
    """Members to set."""
    remove: Annotated[tuple[str, ...], msgspec.Meta(max_length=16)] = ()
    """Members to remove, named as in `set`."""

    def violations(self) -> Iterator[Violation]:
        yield from _duplicates("set", "path", [field.path for field in self.set])
        for index, path in enumerate(self.remove):
            yield from _path_violations(path, f"remove[{index}]")


def _path_violations(path: str, field: str) -> Iterator[Violation]:
    if problem := body_paths.wrong(path):
        yield Violation(problem[0], field, problem[1])


def _duplicates(list_field: str, key: str, values: list[str]) -> Iterator[Violation]:
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value in seen:
            yield Violation(f'Duplicate value: "{value}"', f"{list_field}[{index}].{key}")
        seen.add(value)


class AIGatewayRouteRuleBackendRef(Struct, frozen=True, kw_only=True):
    """Names a backend of a rule."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    """Name of an AIServiceBackend (or InferencePool)."""
    namespace: Namespace = ""
    """Its namespace; the route's when absent. Another one needs a ReferenceGrant there."""
    group: Group = ""
    """Only `inference.networking.k8s.io`, for an InferencePool."""
    kind: Annotated[str, msgspec.Meta(max_length=63, pattern=OPTIONAL_KIND_PATTERN)] = ""
    """Only `InferencePool`."""
    model_name_override: str = ""
    """Model that the backend is asked for; the client's when absent."""
    header_mutation: HTTPHeaderMutation | None = None
    """Changes headers; wins over those of the AIServiceBackend."""
    body_mutation: HTTPBodyMutation | None = None
    """Changes body members; wins over those of the AIServiceBackend."""
    weight: Annotated[int, msgspec.Meta(ge=0, le=2_147_483_647)] = 1
    """Its share of the requests among the backends of its priority; none at 0."""
    priority: Annotated[int, msgspec.Meta(ge=0, le=2_147_483_647)] | None = None
    """Backends of a higher number are asked when those of a lower one failed; when absent 0, or 1 for a `fallback`
    Backend."""

    def violations(self) -> Iterator[Violation]:
        if bool(self.group) != bool(self.kind):
            yield Violation("group and kind must be specified together")
        elif self.group and (self.group, self.kind) != (INFERENCE_GROUP, "InferencePool"):
            yield Violation("only InferencePool from inference.networking.k8s.io group is supported", "kind")


class ModelHeaderMatch(Struct, frozen=True, kw_only=True):
    """Matches a request header."""

    name: HeaderName
    """Name of the header, case-insensitive. `x-ai-eg-model` is the model that the request asks for."""
    value: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
    """What it is compared with."""
    type: MatchType = "Exact"
    """How it is compared. An exact model is listed by `/v1/models`."""

    def violations(self) -> Iterator[Violation]:
        yield from expression_violations(self.type, self.value)


class AIGatewayRouteRuleMatch(Struct, frozen=True, kw_only=True):
    """A request matches when all of it holds."""

    headers: Annotated[tuple[ModelHeaderMatch, ...], msgspec.Meta(max_length=16)] = ()
    """The headers."""

    def violations(self) -> Iterator[Violation]:
        yield from _duplicates("headers", "name", [header.name for header in self.headers])


class AIGatewayRouteRule(Struct, frozen=True, kw_only=True):
    """Requests, and the backends that answer them."""

    name: SectionName = ""
    """Unique within the route; `sectionName` of policies."""
    backend_refs: Annotated[tuple[AIGatewayRouteRuleBackendRef, ...], msgspec.Meta(max_length=128)] = ()
    """Backends; within a priority they share requests by weight, and a failed attempt goes to the next."""
    matches: Annotated[tuple[AIGatewayRouteRuleMatch, ...], msgspec.Meta(max_length=128)] = ()
    """Any of them; every request when empty."""
    timeouts: HTTPRouteTimeouts | None = None
    """How long a request may take; 60 seconds when absent."""
    stream_idle_timeout: Duration = ""
    """How long an attempt may be silent before the first byte of its response; then the next backend is tried."""
    models_owned_by: str = "Envoy AI Gateway"
    """`owned_by` in `/v1/models`."""
    models_created_at: str = ""
    """`created` in `/v1/models` (RFC 3339); when the route was created when absent."""

    def violations(self) -> Iterator[Violation]:
        if self.name == "route-not-found":
            yield Violation("rule name route-not-found is reserved", "name")
        pools = [bool(ref.group and ref.kind) for ref in self.backend_refs]
        if any(pools) and not all(pools):
            yield Violation("cannot mix InferencePool and AIServiceBackend references in the same rule", "backendRefs")
        if any(pools) and len(pools) > 1:
            yield Violation("only one InferencePool backend is allowed per rule", "backendRefs")


class LLMRequestCost(Struct, frozen=True, kw_only=True):
    """A cost of a finished request, for limits and the access log."""

    metadata_key: str
    """Key in the metadata namespace `io.envoy.ai_gateway`."""
    type: Literal[
        "InputToken",
        "OutputToken",
        "CachedInputToken",
        "CacheCreationInputToken",
        "TotalToken",
        "ReasoningToken",
        "CEL",
    ]
    """What is counted."""
    cel: str = ""
    """For CEL: an expression over `model`, `backend`, `route_name` (texts) and `input_tokens`, `cached_input_tokens`,
    `cache_creation_input_tokens`, `output_tokens`, `total_tokens`, `reasoning_tokens`, `audio_seconds` (unsigned: write
    `1u`)."""

    def violations(self) -> Iterator[Violation]:
        if self.type == "CEL" and not self.cel:
            yield Violation("type CEL needs an expression", "cel", "cel: input_tokens + output_tokens * 3u")


class AIGatewayRouteSpec(Struct, frozen=True, kw_only=True):
    """Where a route attaches, and its rules."""

    rules: Annotated[tuple[AIGatewayRouteRule, ...], msgspec.Meta(max_length=15)]
    """What it does with requests."""
    parent_refs: Annotated[tuple[ParentReference, ...], msgspec.Meta(max_length=16)] = ()
    """Gateways that serve it."""
    hostnames: Annotated[tuple[WildcardHostname, ...], msgspec.Meta(max_length=16)] = ()
    """Hosts of its requests; those of the listeners when empty. `/v1/models` lists the models of the host it is asked
    on."""
    llm_request_costs: Annotated[tuple[LLMRequestCost, ...], msgspec.Meta(max_length=36)] = ()
    """Costs of its requests; win over those of the GatewayConfig with the same key."""
    unsupported: ClassVar[Mapping[str, str]] = {
        "schema": "clients of every API are served",
        "filterConfig": "a GatewayConfig says it",
    }
    """Fields of upstream's first versions, which manifests still have."""

    def violations(self) -> Iterator[Violation]:
        for index, parent in enumerate(self.parent_refs):
            if parent.kind != "Gateway":
                yield Violation("only Gateway is supported", f"parentRefs[{index}].kind", "Gateway")
        names: set[str] = set()
        for index, rule in enumerate(self.rules):
            if rule.name and rule.name in names:
                yield Violation("rule name must be unique within the route", f"rules[{index}].name")
            names.add(rule.name)


class AIGatewayRoute(Resource, frozen=True, kw_only=True):
    """Routes LLM requests by model to AI service backends."""

    spec: AIGatewayRouteSpec


SchemaName = Literal[
    "OpenAI",
    "Cohere",
    "AWSBedrock",
    "AzureOpenAI",
    "GCPVertexAI",
    "GCPAnthropic",
    "Anthropic",
    "AWSAnthropic",
    "Gemini",
]


class VersionedAPISchema(Struct, frozen=True, kw_only=True):
    """The API that a backend speaks."""

    name: SchemaName
    """Which API."""
    prefix: str | None = None
    """Path of the API on the backend; for OpenAI and Anthropic `v1` when absent, for Gemini `v1beta`."""
    version: str = ""
    """For AzureOpenAI and others: version of the API, like `2025-01-01-preview`."""


class BackendObjectReference(Struct, frozen=True, kw_only=True):
    """Names what stands behind an AIServiceBackend."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    """Name of the Backend."""
    kind: Name63 = "Service"
    """`Backend`."""
    group: Group = ""
    """`gateway.envoyproxy.io`."""
    namespace: Namespace = ""
    """Its namespace; the AIServiceBackend's when absent. Another one needs a ReferenceGrant there."""
    port: PortNumber | None = None
    """Not used: a Backend has its ports."""


class AIServiceBackendSpec(Struct, frozen=True, kw_only=True):
    """What a backend speaks, and where it is."""

    schema: VersionedAPISchema
    """The API that it speaks."""
    backend_ref: BackendObjectReference
    """Where it is."""
    header_mutation: HTTPHeaderMutation | None = None
    """Changes headers of the requests it gets."""
    body_mutation: HTTPBodyMutation | None = None
    """Changes body members of the requests it gets."""
    unsupported: ClassVar[Mapping[str, str]] = {"timeouts": "use timeouts of the AIGatewayRoute's rule"}

    def violations(self) -> Iterator[Violation]:
        reference = self.backend_ref
        if (reference.group, reference.kind) != ("gateway.envoyproxy.io", "Backend"):
            yield Violation(
                "BackendRef must be a Backend resource of Envoy Gateway. "
                "See https://github.com/envoyproxy/ai-gateway/issues/902 for more details.",
                "backendRef",
                "kind: Backend, group: gateway.envoyproxy.io",
            )


class AIServiceBackend(Resource, frozen=True, kw_only=True):
    """A service that speaks an LLM API."""

    spec: AIServiceBackendSpec


BackendSecurityType = Literal[
    "APIKey", "AWSCredentials", "AzureAPIKey", "AzureCredentials", "GCPCredentials", "AnthropicAPIKey"
]


class BackendSecurityTarget(Struct, frozen=True, kw_only=True):
    """Names a backend in the policy's namespace."""

    group: Group
    """`aigateway.envoyproxy.io`."""
    kind: Name63
    """`AIServiceBackend`."""
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    """Name of the backend."""


class BackendSecurityPolicySpec(Struct, frozen=True, kw_only=True):
    """How the gateway authenticates to backends."""

    type: BackendSecurityType
    """Which of the fields below is used."""
    target_refs: Annotated[tuple[BackendSecurityTarget, ...], msgspec.Meta(max_length=16)] = ()
    """Backends; each may have one policy."""
    api_key: APIKeyCredential | None = None
    """Sent as `Authorization: Bearer`."""
    azure_api_key: APIKeyCredential | None = msgspec.field(name="azureAPIKey", default=None)
    """Sent as `api-key`."""
    anthropic_api_key: APIKeyCredential | None = msgspec.field(name="anthropicAPIKey", default=None)
    """Sent as `x-api-key`."""
    aws_credentials: AWSCredentials | None = None
    """Signs requests for AWS."""
    azure_credentials: AzureCredentials | None = None
    """Access tokens of Entra ID."""
    gcp_credentials: GCPCredentials | None = None
    """Access tokens of Google Cloud."""
    credential_override: CredentialOverride | None = None
    """Takes the credential from the request (v1beta1)."""

    def violations(self) -> Iterator[Violation]:
        given = {
            "APIKey": ("apiKey", self.api_key),
            "AWSCredentials": ("awsCredentials", self.aws_credentials),
            "AzureAPIKey": ("azureAPIKey", self.azure_api_key),
            "AzureCredentials": ("azureCredentials", self.azure_credentials),
            "GCPCredentials": ("gcpCredentials", self.gcp_credentials),
            "AnthropicAPIKey": ("anthropicAPIKey", self.anthropic_api_key),
        }
        if any((value is not None) != (type_ == self.type) for type_, (_, value) in given.items()):
            field = given[self.type][0]
            yield Violation(f"When type is {self.type}, only {field} field should be set", field)
        for index, target in enumerate(self.target_refs):
            if (target.group, target.kind) not in ((GROUP, "AIServiceBackend"), (INFERENCE_GROUP, "InferencePool")):
                message = "targetRefs must reference AIServiceBackend or InferencePool resources"
                yield Violation(message, f"targetRefs[{index}]", f"group: {GROUP}, kind: AIServiceBackend")


class BackendSecurityPolicy(Resource, frozen=True, kw_only=True):
    """Credentials for AI service backends."""

    spec: BackendSecurityPolicySpec

    @property
    def has_token(self) -> bool:
        """Whether its credential is fetched, and kept in a Secret named after it."""
        aws = self.spec.aws_credentials
        by_token = aws is not None and aws.oidc_exchange_token is not None
        return by_token or self.spec.azure_credentials is not None or self.spec.gcp_credentials is not None

    def violations(self) -> Iterator[Violation]:
        if self.version == "v1alpha1" and self.spec.credential_override is not None:
            message = "v1alpha1 has no credentialOverride"
            yield Violation(message, "spec.credentialOverride", f"apiVersion: {GROUP}/v1beta1")


class GatewayConfigExtProcKubernetes(Struct, frozen=True, kw_only=True):
    """The processor's container in a cluster with Envoy Gateway; elsewhere it is not used."""

    env: tuple[Mapping[str, object], ...] = ()
    """Its environment, as of a container."""
    image: str = ""
    """Its image."""
    image_repository: str = ""
    """Where its image is, with the tag that would be taken otherwise."""
    resources: Mapping[str, object] | None = None
    """What it asks for, as of a container."""
    security_context: Mapping[str, object] | None = None
    """What it may do, as of a container; in place of the default, not merged with it."""
    volume_mounts: tuple[Mapping[str, object], ...] = ()
    """Volumes that it sees; the volumes themselves are the EnvoyProxy's."""

    def violations(self) -> Iterator[Violation]:
        if self.image and self.image_repository:
            yield Violation("Either image or imageRepository can be set.")


class GatewayConfigExtProc(Struct, frozen=True, kw_only=True):
    """About the processor."""

    kubernetes: GatewayConfigExtProcKubernetes | None = None
    """About its container in a cluster."""


class GatewayConfigForwardProxy(Struct, frozen=True, kw_only=True):
    """A proxy on the way to backends. It is asked in clear, and without a credential."""

    address: Annotated[str, msgspec.Meta(min_length=1)]
    """Its `IP:port` (`[IP]:port` of IPv6); Envoy takes no host name here."""


class GatewayConfigSpec(Struct, frozen=True, kw_only=True):
    """What holds for all AI routes of a Gateway."""

    ext_proc: GatewayConfigExtProc | None = None
    """About the processor."""
    forward_proxy: GatewayConfigForwardProxy | None = None
    """Backends are reached through it, by HTTP CONNECT: it is told their names, and looks them up. Of several Gateways
    of a route the first one's counts, for all of them."""
    global_llm_request_costs: tuple[LLMRequestCost, ...] = msgspec.field(name="globalLLMRequestCosts", default=())
    """Costs of all requests; those of a route with the same key win."""

    def violations(self) -> Iterator[Violation]:
        keys = [cost.metadata_key for cost in self.global_llm_request_costs]
        yield from _duplicates("globalLLMRequestCosts", "metadataKey", keys)


class GatewayConfig(Resource, frozen=True, kw_only=True):
    """Configures the Gateways of its namespace whose annotation `aigateway.envoyproxy.io/gateway-config` names it."""

    spec: GatewayConfigSpec = GatewayConfigSpec()
