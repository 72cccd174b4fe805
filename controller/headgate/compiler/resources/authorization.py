"""Authorization of a SecurityPolicy, group `gateway.envoyproxy.io`: what a client that was let in may ask for."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import msgspec
from headgate.compiler.resources.gateway_api import Method
from headgate.compiler.resources.metadata import Struct, Violation
from headgate.compiler.resources.quantities import HeaderName
from headgate.compiler.resources.rate_limits import PathMatch

Text253 = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
Action = Literal["Allow", "Deny"]


class Operation(Struct, frozen=True, kw_only=True):
    """What is done; all of it must hold."""

    methods: Annotated[tuple[Method, ...], msgspec.Meta(max_length=16)] = ()
    """By any of these methods."""
    path: PathMatch | None = None
    """At this path."""

    def violations(self) -> Iterator[Violation]:
        if not self.methods and self.path is None:
            yield Violation("at least one of methods or path must be specified", remedy="methods: [GET]")


class AuthorizationHeaderMatch(Struct, frozen=True, kw_only=True):
    """A header and what it may be."""

    name: HeaderName
    """The header; `x-ai-eg-model` is the model, and what `forwardClientIDHeader` and `claimToHeaders` name is nothing
    that clients can choose."""
    values: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=256)]
    """Values, of which it must have one."""


class JWTClaim(Struct, frozen=True, kw_only=True):
    """A claim and what it may be."""

    name: Text253
    """The claim; dots go into objects."""
    value_type: Literal["String", "StringArray"] = "String"
    """Whether it is a text or a list of them."""
    values: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=128)]
    """Values, of which it must be one, or hold one."""


class JWTPrincipal(Struct, frozen=True, kw_only=True):
    """What the client's token says; all of it must hold."""

    provider: Text253
    """Whose token it is: a provider of the same policy's `jwt`."""
    claims: Annotated[tuple[JWTClaim, ...], msgspec.Meta(max_length=16)] = ()
    """Claims that it must have."""
    scopes: Annotated[tuple[Text253, ...], msgspec.Meta(max_length=16)] = ()
    """Scopes that it must have, in `scope` or `scp`."""

    def violations(self) -> Iterator[Violation]:
        if not self.claims and not self.scopes:
            yield Violation("at least one of claims or scopes must be specified", remedy="scopes: [models.read]")


class Principal(Struct, frozen=True, kw_only=True):
    """Who asks; all of it must hold."""

    client_cidrs: tuple[str, ...] = msgspec.field(name="clientCIDRs", default=())
    """Address ranges, like `10.0.0.0/8`, in one of which the client is."""
    jwt: JWTPrincipal | None = None
    """What its token says."""
    headers: Annotated[tuple[AuthorizationHeaderMatch, ...], msgspec.Meta(max_length=256)] = ()
    """Headers of the request."""
    refused: ClassVar[Mapping[str, str]] = {"clientIPGeoLocations": "clientCIDRs"}

    def violations(self) -> Iterator[Violation]:
        if not (self.client_cidrs or self.jwt is not None or self.headers):
            yield Violation("at least one of clientCIDRs, jwt, headers must be specified")


class AuthorizationRule(Struct, frozen=True, kw_only=True):
    """What is done with the requests that it matches."""

    name: Annotated[str, msgspec.Meta(max_length=253)] = ""
    """Names it in access logs."""
    action: Action
    """Whether they are let in."""
    operation: Operation | None = None
    """What they are for; anything when absent."""
    principal: Principal | None = None
    """Who asks. Needed."""
    refused: ClassVar[Mapping[str, str]] = {"cel": "principal and operation"}


class Authorization(Struct, frozen=True, kw_only=True):
    """Which clients may ask for what. The first rule that matches decides; who it refuses is answered 403."""

    rules: tuple[AuthorizationRule, ...] = ()
    """The rules, in order."""
    default_action: Action = "Deny"
    """What is done where none matches."""
