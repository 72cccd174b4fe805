"""Envoy Gateway's SecurityPolicy, group `gateway.envoyproxy.io`: who may ask.

Bounds and defaults: https://gateway.envoyproxy.io/docs/api/extension_types/ (v1.9).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import msgspec
from headgate.compiler.resources.authorization import Authorization
from headgate.compiler.resources.ext_auth import ExtAuth
from headgate.compiler.resources.gateway_api import LocalObjectReference, SecretReference
from headgate.compiler.resources.key_sets import is_key_set
from headgate.compiler.resources.metadata import Struct, Violation
from headgate.compiler.resources.policies import PORTS
from headgate.compiler.resources.policy import MergedPolicy, MergedPolicySpec
from headgate.compiler.resources.quantities import Duration, HeaderName, Origin
from headgate.contract.addresses import is_address

_URL = re.compile(
    r"https?://(?:[\w.-]+|\[(?P<address>[0-9A-Fa-f:.]+)\])(?::(?P<port>\d{1,5}))?(?:[/?][!-~]*)?", re.ASCII
)
"""Of HTTP, as Envoy takes it."""


class ExtractFrom(Struct, frozen=True, kw_only=True):
    """Where a request carries its key: exactly one of the fields."""

    headers: tuple[HeaderName, ...] = ()
    """Headers; of `Authorization`, what follows `Bearer `."""
    params: tuple[Annotated[str, msgspec.Meta(min_length=1)], ...] = ()
    """Query parameters."""
    cookies: tuple[Annotated[str, msgspec.Meta(min_length=1)], ...] = ()
    """Cookies."""

    def violations(self) -> Iterator[Violation]:
        if sum(bool(names) for names in (self.headers, self.params, self.cookies)) != 1:
            remedy = "headers: [x-api-key]"
            yield Violation("exactly one of headers, params, or cookies must be specified", remedy=remedy)


class APIKeyAuth(Struct, frozen=True, kw_only=True):
    """Lets in requests that carry a known key."""

    credential_refs: tuple[SecretReference, ...]
    """Secrets; each entry is a client's name and its key."""
    extract_from: Annotated[tuple[ExtractFrom, ...], msgspec.Meta(min_length=1)]
    """Where a request carries its key; the first that has one counts."""
    forward_client_id_header: HeaderName = msgspec.field(name="forwardClientIDHeader", default="")
    """Header that tells limits, and backends, the client's name."""
    sanitize: bool = False
    """Removes the key before the request goes on."""


class BasicAuth(Struct, frozen=True, kw_only=True):
    """Lets in requests with a known user's name and password, as HTTP's Basic scheme sends them."""

    users: SecretReference
    """A Secret, whose `.htpasswd` has a line for each user: `name:{SHA}` and the password's SHA-1 in base64, as
    `htpasswd -s` writes it."""
    forward_username_header: HeaderName = ""
    """Header that tells limits, authorization and backends the user's name."""


def _is_host(bracketed: str | None) -> bool:
    """Whether what brackets hold, if there are any, is an IPv6 address."""
    return bracketed is None or (":" in bracketed and is_address(bracketed))


class RemoteJWKS(Struct, frozen=True, kw_only=True):
    """Keys of an issuer, fetched."""

    uri: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    """Where they are: an `https` URL, whose certificate the system's CAs must vouch for, or an `http` one, whose answer
    anyone on the way can forge."""
    unsupported: ClassVar[Mapping[str, str]] = {
        "cacheDuration": "keys are kept for 5 minutes",
        "failedRefetchDuration": "a failed fetch is tried again after a second",
        "backendSettings": "keys are fetched with Envoy's defaults",
        "backendRefs": "keys are fetched from the host of the URI",
    }
    refused: ClassVar[Mapping[str, str]] = {"backendRef": "uri alone"}

    def violations(self) -> Iterator[Violation]:
        url = _URL.fullmatch(self.uri)
        if url is None or int(url["port"] or 1) not in PORTS or not _is_host(url["address"]):
            yield Violation("must be the URL of a key set", "uri", "https://issuer.example/.well-known/jwks.json")


class LocalJWKS(Struct, frozen=True, kw_only=True):
    """Keys of an issuer, given."""

    type: Literal["Inline", "ValueRef"] = "Inline"
    """Where they are written."""
    inline: str | None = None
    """The keys, as JSON."""
    value_ref: LocalObjectReference | None = None
    """A ConfigMap: its key `jwks`, else its first key."""

    def violations(self) -> Iterator[Violation]:
        inline, value_ref = self.inline is not None, self.value_ref is not None
        if (self.type == "Inline", self.type == "ValueRef") != (inline, value_ref):
            yield Violation("Exactly one of inline or valueRef must be set with the appropriate type.")
        if self.inline is not None and not is_key_set(self.inline):
            yield Violation(NO_KEY_SET, "inline", KEY_SET)


NO_KEY_SET = "is no set of keys (JWKS) with a key that Envoy takes"
KEY_SET = '{"keys": [{"kty": "RSA", ...}]}'


class ClaimToHeader(Struct, frozen=True, kw_only=True):
    """Tells limits and backends a claim."""

    header: HeaderName
    """Header that carries it."""
    claim: Annotated[str, msgspec.Meta(min_length=1)]
    """The claim; dots go into objects."""


class JWTProvider(Struct, frozen=True, kw_only=True):
    """Whose tokens are accepted."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    """Names the provider."""
    issuer: Annotated[str, msgspec.Meta(max_length=253)] = ""
    """What `iss` must be; not looked at when absent."""
    audiences: Annotated[tuple[str, ...], msgspec.Meta(max_length=8)] = ()
    """What `aud` may be; not looked at when empty."""
    remote_jwks: RemoteJWKS | None = msgspec.field(name="remoteJWKS", default=None)
    """Its keys, fetched."""
    local_jwks: LocalJWKS | None = msgspec.field(name="localJWKS", default=None)
    """Its keys, given."""
    claim_to_headers: tuple[ClaimToHeader, ...] = ()
    """Claims that limits and backends are told."""
    unsupported: ClassVar[Mapping[str, str]] = {"recomputeRoute": "routes do not depend on claims"}
    refused: ClassVar[Mapping[str, str]] = {
        "extractFrom": "remove it: a token comes in Authorization: Bearer",
    }

    def violations(self) -> Iterator[Violation]:
        if self.remote_jwks is None and self.local_jwks is None:
            yield Violation("either remoteJWKS or localJWKS must be specified.")
        if self.remote_jwks is not None and self.local_jwks is not None:
            yield Violation("remoteJWKS and localJWKS cannot both be specified.")


class JWT(Struct, frozen=True, kw_only=True):
    """Lets in requests that carry a valid token."""

    providers: Annotated[tuple[JWTProvider, ...], msgspec.Meta(min_length=1, max_length=16)]
    """Whose tokens are accepted."""
    optional: bool = False
    """Lets in requests without a token too; a bad token is still refused."""
    refused: ClassVar[Mapping[str, str]] = {"failOpen": "optional, which lets in requests without a token"}


class CORS(Struct, frozen=True, kw_only=True):
    """Lets browsers call from other origins."""

    allow_origins: tuple[Origin, ...] = ()
    """Origins, with `*` for any."""
    allow_methods: tuple[HeaderName, ...] = ()
    """Methods."""
    allow_headers: tuple[HeaderName, ...] = ()
    """Request headers."""
    expose_headers: tuple[HeaderName, ...] = ()
    """Response headers that the page may read."""
    max_age: Duration = ""
    """How long a browser may remember the answer."""
    allow_credentials: bool = False
    """Whether requests may carry cookies."""


class SecurityPolicySpec(MergedPolicySpec, frozen=True, kw_only=True):
    """Who may send requests."""

    api_key_auth: APIKeyAuth | None = None
    """Lets in requests that carry a known key."""
    jwt: JWT | None = None
    """Lets in requests that carry a valid token."""
    cors: CORS | None = None
    """Lets browsers call from other origins."""
    basic_auth: BasicAuth | None = None
    """Lets in requests with a known user's name and password. No backend is sent them."""
    ext_auth: ExtAuth | None = None
    """Has another service say whether a request is let in."""
    authorization: Authorization | None = None
    """Which clients may ask for what."""
    refused: ClassVar[Mapping[str, str]] = {
        "csrf": "remove it: use cors",
        "oidc": "jwt",
    }

    @property
    def authenticates(self) -> bool:
        """Whether clients have to show who they are."""
        return any(each is not None for each in (self.api_key_auth, self.basic_auth, self.jwt, self.ext_auth))

    def violations(self) -> Iterator[Violation]:
        yield from super().violations()
        rules = self.authorization.rules if self.authorization is not None else ()
        asked = [rule.principal.jwt for rule in rules if rule.principal is not None]
        if self.jwt is None and any(asked):
            yield Violation("if authorization.rules.principal.jwt is used, jwt must be defined", "jwt")


class SecurityPolicy(MergedPolicy, frozen=True, kw_only=True):
    """Authenticates the clients of a Gateway or route."""

    guards: ClassVar[bool] = True
    spec: SecurityPolicySpec
