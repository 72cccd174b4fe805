"""What of upstream's API the compiler does not read: whole kinds, and fields of kinds that it reads.

A cluster's API server takes them all the same, so that manifests apply unchanged; the whole kinds (here and in
`mcp.py`) are not in `KINDS`, and no `World` holds them. Objects of Kubernetes and Envoy Gateway that would only be
passed on are open (`Mapping[str, object]`): their members are not checked here.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

import msgspec
from headgate.compiler.resources.ai_gateway import BackendObjectReference
from headgate.compiler.resources.metadata import Struct
from headgate.compiler.resources.quantities import Duration

Open: TypeAlias = Mapping[str, object]
Path: TypeAlias = Annotated[str, msgspec.Meta(max_length=1024)]
Expression: TypeAlias = Annotated[str, msgspec.Meta(max_length=4096)]
NotEmpty: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]


class BackendRef(BackendObjectReference, frozen=True, kw_only=True):
    """Names what serves an address."""

    fallback: bool | None = None
    """Asked when the others failed."""
    weight: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 1
    """Its share."""


# --- BackendSecurityPolicy


class OIDCProviderUnread(Struct, frozen=True, kw_only=True):
    """What of a provider is about people's logins, or how it is reached."""

    authorization_endpoint: str | None = None
    """URL of its authorization endpoint."""
    end_session_endpoint: str | None = None
    """URL where sessions end."""
    backend_ref: BackendObjectReference | None = None
    """Not supported; use backendRefs."""
    backend_refs: Annotated[tuple[BackendRef, ...], msgspec.Meta(max_length=16)] = ()
    """What serves it, where it is not found by name."""
    backend_settings: Open | None = None
    """How it is called, as of an Envoy Gateway SecurityPolicy."""


class ForwardIDToken(Struct, frozen=True, kw_only=True):
    """Passes the id token on."""

    header: NotEmpty
    """In this header."""


class CookieConfig(Struct, frozen=True, kw_only=True):
    """About cookies."""

    same_site: Literal["Lax", "Strict", "None"] | None = None
    """Their `SameSite`."""


class CookieNames(Struct, frozen=True, kw_only=True):
    """Names of cookies."""

    access_token: str | None = None
    """Of the one with the access token."""
    id_token: str | None = None
    """Of the one with the id token."""


class DenyRedirectHeader(Struct, frozen=True, kw_only=True):
    """Matches a header."""

    name: NotEmpty
    """Its name."""
    value: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    """What it is compared with."""
    type: Literal["Exact", "Prefix", "Suffix", "RegularExpression"] = "Exact"
    """How it is compared."""


class DenyRedirect(Struct, frozen=True, kw_only=True):
    """Requests that are refused instead."""

    headers: Annotated[tuple[DenyRedirectHeader, ...], msgspec.Meta(min_length=1, max_length=16)]
    """Those with any of these headers."""


class OIDCUnread(Struct, frozen=True, kw_only=True):
    """What of Envoy Gateway's OIDC is about people's logins."""

    cookie_config: CookieConfig | None = None
    """About its cookies."""
    cookie_domain: (
        Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9]))*\Z")]
        | None
    ) = None
    """Domain of its cookies."""
    cookie_names: CookieNames | None = None
    """Names of its cookies."""
    csrf_token_ttl: Duration | None = msgspec.field(name="csrfTokenTTL", default=None)
    """How long a login may take."""
    default_refresh_token_ttl: Duration | None = msgspec.field(name="defaultRefreshTokenTTL", default=None)
    """How long refresh tokens hold that do not say so."""
    default_token_ttl: Duration | None = msgspec.field(name="defaultTokenTTL", default=None)
    """How long tokens hold that do not say so."""
    deny_redirect: DenyRedirect | None = None
    """Requests that are not sent to the login."""
    disable_token_encryption: bool | None = None
    """Leaves tokens readable in cookies."""
    forward_access_token: bool | None = None
    """Passes the access token on."""
    forward_id_token: ForwardIDToken | None = msgspec.field(name="forwardIDToken", default=None)
    """Passes the id token on."""
    logout_path: str | None = None
    """Where people log out."""
    pass_through_auth_header: bool | None = None
    """Leaves requests alone that bring a token."""
    redirect_url: str | None = msgspec.field(name="redirectURL", default=None)
    """Where people come back to."""
    refresh_token: bool = True
    """Renews tokens."""
    resources: tuple[str, ...] = ()
    """Resources to ask for."""
