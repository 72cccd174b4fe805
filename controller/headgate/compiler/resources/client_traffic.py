"""Envoy Gateway's ClientTrafficPolicy, group `gateway.envoyproxy.io`: how requests are received from clients.

Bounds and defaults: https://gateway.envoyproxy.io/docs/api/extension_types/ (v1.9).
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

import msgspec
from headgate.compiler.resources.client_connections import ClientConnection, ClientTimeout, ProxyProtocol, TcpKeepalive
from headgate.compiler.resources.client_http import ClientHeaders, ClientHttp2, ClientPath, Http1, ListenerHealthCheck
from headgate.compiler.resources.client_tls import ClientTls
from headgate.compiler.resources.metadata import Resource, Struct, Violation
from headgate.compiler.resources.policy import PolicySpec, TargetKinds
from headgate.compiler.resources.quantities import is_address_range
from headgate.compiler.resources.rate_limits import UINT32_MAX

# --- who the client is


class XForwardedFor(Struct, frozen=True, kw_only=True):
    """Whom to believe what `x-forwarded-for` says."""

    num_trusted_hops: Annotated[int, msgspec.Meta(ge=0, le=UINT32_MAX)] | None = None
    """How many proxies stand in front of this one: the client's is the address that the first of them has added, which
    is the Nth from the right. Whoever gets past them chooses his address."""
    trusted_cidrs: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] | None = msgspec.field(
        name="trustedCIDRs", default=None
    )
    """Ranges of the proxies that are believed, like `10.0.0.0/8`: the client's is the last address that is in none of
    them. Of a connection from elsewhere the header counts for nothing."""
    disable_x_forwarded_for_append: bool = False
    """Backends are sent the header as it came."""

    def violations(self) -> Iterator[Violation]:
        if self.num_trusted_hops is not None and self.trusted_cidrs is not None:
            yield Violation("only one of numTrustedHops or trustedCIDRs must be set", "trustedCIDRs")
        for index, text in enumerate(self.trusted_cidrs or ()):
            if not is_address_range(text):
                yield Violation(f"{text} is no address range", f"trustedCIDRs[{index}]", "like 10.0.0.0/8")


class CustomHeader(Struct, frozen=True, kw_only=True):
    """A header with the client's address, which whoever reaches the gateway must not be able to choose."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern="^[A-Za-z0-9-]+\\Z")]
    """The header. No AI provider is sent it."""
    fail_closed: bool = False
    """Answers 403 without it; else the address is the connection's."""


class DirectSourceIP(Struct, frozen=True, kw_only=True):
    """The connection's address, as without any of the others."""


class ClientIPDetection(Struct, frozen=True, kw_only=True):
    """Which address a client has, for authorization, limits and logs. Without it, its connection's."""

    guards: ClassVar[bool] = True
    x_forwarded_for: XForwardedFor | None = None
    """By `x-forwarded-for`."""
    custom_header: CustomHeader | None = None
    """By a header of another name."""
    direct_source_ip: DirectSourceIP | None = msgspec.field(name="directSourceIP", default=None)
    """By the connection."""

    def violations(self) -> Iterator[Violation]:
        if sum(each is not None for each in (self.x_forwarded_for, self.custom_header, self.direct_source_ip)) != 1:
            yield Violation("exactly one of xForwardedFor, customHeader, or directSourceIP must be set")


class ClientTrafficPolicySpec(PolicySpec, frozen=True, kw_only=True):
    """How requests are received from clients."""

    target_kinds: ClassVar[TargetKinds] = ("Gateway",)
    client_ip_detection: ClientIPDetection | None = msgspec.field(name="clientIPDetection", default=None)
    """Which address a client has."""
    connection: ClientConnection | None = None
    """About connections."""
    timeout: ClientTimeout | None = None
    """How long things may take."""
    tls: ClientTls | None = None
    """How TLS is spoken."""
    headers: ClientHeaders | None = None
    """About headers."""
    path: ClientPath | None = None
    """About the paths that clients ask for."""
    http1: Http1 | None = None
    """About HTTP/1."""
    http2: ClientHttp2 | None = None
    """About HTTP/2."""
    health_check: ListenerHealthCheck | None = None
    """Answers whether the gateway is well."""
    tcp_keepalive: TcpKeepalive | None = None
    """Asks clients that say nothing whether they are still there."""
    proxy_protocol: ProxyProtocol | None = None
    """Connections begin with the PROXY protocol."""
    enable_proxy_protocol: bool = False
    """The older form of `proxyProtocol: {}`."""
    unsupported: ClassVar[Mapping[str, str]] = {
        "grpc": "gRPC-Web is not translated",
        "http3": "HTTP/3 is not spoken",
        "scheme": "backends are told the scheme that they are asked by",
    }


class ClientTrafficPolicy(Resource, frozen=True, kw_only=True):
    """How the clients of a Gateway are received."""

    spec: ClientTrafficPolicySpec
