"""The kind MCPRoute, which the compiler does not read yet; a cluster's API server takes it all the same.

Bounds, defaults and rules: Envoy AI Gateway 1.1, https://aigateway.envoyproxy.io/docs/api/.
"""

from typing import Annotated, Literal

import msgspec
from headgate.compiler.resources.ai_gateway import BackendObjectReference, ModelHeaderMatch
from headgate.compiler.resources.gateway_api import ParentReference, SecretReference
from headgate.compiler.resources.metadata import Name63, Name253, Resource, Struct
from headgate.compiler.resources.quantities import Duration, Group, WildcardHostname
from headgate.compiler.resources.unread import BackendRef, Expression, NotEmpty, Open, Path


class MCPToolFilter(Struct, frozen=True, kw_only=True):
    """Selects tools of a server; what is excluded is, even if included."""

    include: Annotated[tuple[str, ...], msgspec.Meta(max_length=32)] = ()
    """Only these."""
    include_regex: Annotated[tuple[str, ...], msgspec.Meta(max_length=32)] = ()
    """Only those that match one of these."""
    exclude: Annotated[tuple[str, ...], msgspec.Meta(max_length=32)] = ()
    """Not these."""
    exclude_regex: Annotated[tuple[str, ...], msgspec.Meta(max_length=32)] = ()
    """Not those that match one of these."""


class MCPForwardHeader(Struct, frozen=True, kw_only=True):
    """A client's header that a server gets."""

    name: NotEmpty
    """The client's header."""
    backend_header: NotEmpty | None = None
    """The server's; the same when absent."""


class MCPBackendAPIKey(Struct, frozen=True, kw_only=True):
    """A key for a server."""

    secret_ref: SecretReference | None = None
    """A Secret with key `apiKey`."""
    inline: str | None = None
    """The key itself."""
    header: NotEmpty | None = None
    """Header that carries it; `Authorization` when absent."""
    query_param: NotEmpty | None = None
    """Query parameter that carries it instead."""


class MCPBackendSecurityPolicy(Struct, frozen=True, kw_only=True):
    """How the gateway authenticates to a server."""

    api_key: MCPBackendAPIKey | None = None
    """With a key."""


class MCPRouteBackendRef(BackendObjectReference, frozen=True, kw_only=True):
    """An MCP server."""

    path: Path = "/mcp"
    """Where it speaks MCP."""
    tool_selector: MCPToolFilter | None = None
    """Which of its tools clients see; all when absent."""
    security_policy: MCPBackendSecurityPolicy | None = None
    """How the gateway authenticates to it."""
    forward_headers: Annotated[tuple[MCPForwardHeader, ...], msgspec.Meta(max_length=32)] = ()
    """Headers of clients that it gets."""


class LocalObject(Struct, frozen=True, kw_only=True):
    """Names an object in the same namespace."""

    group: Group
    """Its API group."""
    kind: Name63
    """Its kind."""
    name: Name253
    """Its name."""


class LocalJWKS(Struct, frozen=True, kw_only=True):
    """Keys from here."""

    type: Literal["Inline", "ValueRef"] = "Inline"
    """Where from."""
    inline: str | None = None
    """The keys, as a JSON Web Key Set."""
    value_ref: LocalObject | None = None
    """A ConfigMap or Secret that holds them."""


class RemoteJWKS(Struct, frozen=True, kw_only=True):
    """Keys from an address."""

    uri: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    """The address."""
    cache_duration: Duration = "300s"
    """How long they are kept."""
    backend_ref: BackendObjectReference | None = None
    """Not supported; use backendRefs."""
    backend_refs: Annotated[tuple[BackendRef, ...], msgspec.Meta(max_length=16)] = ()
    """What serves the address, where it is not found by name."""
    backend_settings: Open | None = None
    """How it is called, as of an Envoy Gateway SecurityPolicy."""


class JWKS(Struct, frozen=True, kw_only=True):
    """Keys that tokens are verified with."""

    # The names are upstream's, which our own renaming would not give.
    remote_jwks: RemoteJWKS | None = msgspec.field(name="remoteJWKS", default=None)
    """Keys from an address."""
    local_jwks: LocalJWKS | None = msgspec.field(name="localJWKS", default=None)
    """Keys from here."""


class ClaimToHeader(Struct, frozen=True, kw_only=True):
    """A claim that servers get."""

    claim: str
    """The claim."""
    header: str
    """The header that carries it."""


class ProtectedResourceMetadata(Struct, frozen=True, kw_only=True):
    """What clients are told of the resource (RFC 9728)."""

    resource: str
    """Its URL."""
    resource_name: Annotated[str, msgspec.Meta(max_length=256)] = ""
    """Its name for people."""
    scopes_supported: Annotated[tuple[str, ...], msgspec.Meta(max_length=32)] = ()
    """Scopes that it knows."""
    resource_signing_alg_values_supported: (
        Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=16)] | None
    ) = None
    """Algorithms that it signs with."""
    resource_documentation: str = ""
    """URL of its documentation."""
    resource_policy_uri: str = ""
    """URL of its policy."""


class MCPRouteOAuth(Struct, frozen=True, kw_only=True):
    """Clients bring tokens of an authorization server."""

    issuer: str
    """The server's URL."""
    protected_resource_metadata: ProtectedResourceMetadata
    """What clients are told of the resource."""
    audiences: Annotated[tuple[str, ...], msgspec.Meta(max_length=32)] = ()
    """Audiences of which a token must have one."""
    jwks: JWKS | None = None
    """Keys that tokens are verified with; the issuer's when absent."""
    claim_to_headers: Annotated[tuple[ClaimToHeader, ...], msgspec.Meta(max_length=16)] = ()
    """Claims that servers get."""


class APIKeySource(Struct, frozen=True, kw_only=True):
    """Places where a key may be."""

    headers: tuple[str, ...] = ()
    """Headers."""
    params: tuple[str, ...] = ()
    """Query parameters."""
    cookies: tuple[str, ...] = ()
    """Cookies."""


class APIKeyAuth(Struct, frozen=True, kw_only=True):
    """Clients bring keys, as of an Envoy Gateway SecurityPolicy."""

    credential_refs: tuple[SecretReference, ...]
    """Secrets whose values are the keys, by client."""
    extract_from: tuple[APIKeySource, ...]
    """Where keys are looked for."""
    forward_client_id_header: str | None = msgspec.field(name="forwardClientIDHeader", default=None)
    """Header that tells servers the client."""
    sanitize: bool | None = None
    """Servers do not get the key."""


class ExtAuthBody(Struct, frozen=True, kw_only=True):
    """The request's body for the service."""

    max_request_bytes: Annotated[int, msgspec.Meta(ge=1, le=2_147_483_647)]
    """How much of it."""


class ExtAuthContextExtension(Struct, frozen=True, kw_only=True):
    """Something that the service is told with every request."""

    name: str
    """Its name."""
    type: Literal["Value", "ValueRef"] = "Value"
    """Where it comes from."""
    value: str | None = None
    """What it is."""
    value_ref: Open | None = None
    """A ConfigMap or Secret that holds it."""


class ExtAuth(Struct, frozen=True, kw_only=True):
    """Asks a service about every request, as of an Envoy Gateway SecurityPolicy."""

    grpc: Open | None = None
    """A service that speaks gRPC."""
    http: Open | None = None
    """A service that speaks HTTP."""
    headers_to_ext_auth: tuple[str, ...] = ()
    """Headers that it gets."""
    body_to_ext_auth: ExtAuthBody | None = None
    """The body that it gets."""
    context_extensions: tuple[ExtAuthContextExtension, ...] = ()
    """What it is told besides."""
    fail_open: bool = False
    """Lets requests pass when it does not answer."""
    recompute_route: bool | None = None
    """Chooses the route again after its answer."""
    include_route_metadata: bool | None = None
    """Tells it the route's metadata."""
    status_on_error: int | None = None
    """Status of the answer when it does not answer."""
    timeout: Duration | None = None
    """How long it may take."""


class JWTClaim(Struct, frozen=True, kw_only=True):
    """A claim and values of it."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    """The claim."""
    values: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=128)]
    """Any of these."""
    value_type: Literal["String", "StringArray"] = "String"
    """What it holds."""


class JWTSource(Struct, frozen=True, kw_only=True):
    """Tokens; all of it must hold."""

    scopes: Annotated[
        tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=253)], ...], msgspec.Meta(max_length=16)
    ] = ()
    """All of these scopes."""
    claims: Annotated[tuple[JWTClaim, ...], msgspec.Meta(max_length=16)] = ()
    """All of these claims."""


class MCPAuthorizationSource(Struct, frozen=True, kw_only=True):
    """Who asks."""

    jwt: JWTSource
    """By their token."""


class ToolCall(Struct, frozen=True, kw_only=True):
    """A tool of a server."""

    backend: str
    """Name of the server."""
    tool: str
    """Name of the tool."""


class MCPAuthorizationTarget(Struct, frozen=True, kw_only=True):
    """What is asked for."""

    tools: Annotated[tuple[ToolCall, ...], msgspec.Meta(min_length=1, max_length=16)]
    """Any of these tools."""


class MCPAuthorizationRule(Struct, frozen=True, kw_only=True):
    """Decides a request when all of it holds."""

    source: MCPAuthorizationSource | None = None
    """Who asks; anybody when absent."""
    target: MCPAuthorizationTarget | None = None
    """What for; anything when absent."""
    cel: Expression | None = None
    """An expression over `request` that must be true."""
    action: Literal["Allow", "Deny"] = "Allow"
    """The decision."""


class MCPRouteAuthorization(Struct, frozen=True, kw_only=True):
    """Who may use what; the first rule that holds decides."""

    default_action: Literal["Allow", "Deny"] = "Deny"
    """The decision when none holds."""
    rules: Annotated[tuple[MCPAuthorizationRule, ...], msgspec.Meta(max_length=32)] = ()
    """The rules, in order."""


class MCPRouteSecurityPolicy(Struct, frozen=True, kw_only=True):
    """How clients are authenticated and what they may use."""

    oauth: MCPRouteOAuth | None = None
    """With tokens of an authorization server."""
    api_key_auth: APIKeyAuth | None = None
    """With keys."""
    ext_auth: ExtAuth | None = None
    """By a service of yours."""
    authorization: MCPRouteAuthorization | None = None
    """Who may use what."""


class MCPBackendSelectorRule(Struct, frozen=True, kw_only=True):
    """Decides whether a server takes part in a session."""

    cel: Expression | None = None
    """An expression that must be true."""
    action: Literal["Allow", "Deny"] = "Allow"
    """The decision."""


class MCPBackendSelector(Struct, frozen=True, kw_only=True):
    """Which servers take part in a session."""

    default_action: Literal["Allow", "Deny"] = "Deny"
    """The decision when no rule holds."""
    rules: Annotated[tuple[MCPBackendSelectorRule, ...], msgspec.Meta(max_length=32)] = ()
    """The rules, in order."""


class MCPRouteSpec(Struct, frozen=True, kw_only=True):
    """Where a route attaches, and the MCP servers behind it."""

    parent_refs: Annotated[tuple[ParentReference, ...], msgspec.Meta(min_length=1, max_length=16)]
    """Gateways that serve it."""
    backend_refs: Annotated[tuple[MCPRouteBackendRef, ...], msgspec.Meta(min_length=1, max_length=256)]
    """The servers; clients see them as one."""
    path: Path = "/mcp"
    """Where clients speak MCP."""
    headers: Annotated[tuple[ModelHeaderMatch, ...], msgspec.Meta(max_length=16)] = ()
    """Headers that requests must have."""
    hostnames: Annotated[tuple[WildcardHostname, ...], msgspec.Meta(max_length=16)] = ()
    """Hosts of its requests; those of the listeners when empty."""
    security_policy: MCPRouteSecurityPolicy | None = None
    """How clients are authenticated and what they may use."""
    backend_selector: MCPBackendSelector | None = None
    """Which servers take part in a session; all when absent."""


class MCPRoute(Resource, frozen=True, kw_only=True):
    """Serves MCP servers as one. Not read by Headgate: MCP is not served yet."""

    spec: MCPRouteSpec
