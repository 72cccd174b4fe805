"""Envoy Gateway's ClientTrafficPolicy, group `gateway.envoyproxy.io`: how requests are received from clients.

Bounds and defaults: https://gateway.envoyproxy.io/docs/api/extension_types/ (v1.9).
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

import msgspec
from headgate.compiler.resources.client_tls import ClientTls
from headgate.compiler.resources.metadata import Resource, Struct, Violation
from headgate.compiler.resources.policy import PolicySpec, TargetKinds
from headgate.compiler.resources.quantities import Duration, Quantity, is_address_range, quantity_bytes
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

    x_forwarded_for: XForwardedFor | None = None
    """By `x-forwarded-for`."""
    custom_header: CustomHeader | None = None
    """By a header of another name."""
    direct_source_ip: DirectSourceIP | None = msgspec.field(name="directSourceIP", default=None)
    """By the connection."""

    def violations(self) -> Iterator[Violation]:
        if sum(each is not None for each in (self.x_forwarded_for, self.custom_header, self.direct_source_ip)) != 1:
            yield Violation("exactly one of xForwardedFor, customHeader, or directSourceIP must be set")


# --- bounds


class ClientHTTPTimeout(Struct, frozen=True, kw_only=True):
    """Timeouts of clients' requests."""

    request_received_timeout: Duration = ""
    """To receive a whole request."""
    idle_timeout: Duration = ""
    """A connection without a request."""
    stream_idle_timeout: Duration = ""
    """A request without a byte in either direction."""
    unsupported: ClassVar[Mapping[str, str]] = {
        "requestHeadersReceivedTimeout": "use requestReceivedTimeout",
    }


class ClientTimeout(Struct, frozen=True, kw_only=True):
    """Timeouts towards clients."""

    http: ClientHTTPTimeout | None = None
    """Of requests."""
    unsupported: ClassVar[Mapping[str, str]] = {
        "tcp": "Envoy's defaults are used",
    }


class ClientConnection(Struct, frozen=True, kw_only=True):
    """About clients' connections."""

    buffer_limit: Quantity | None = None
    """Largest request body; above it 413."""
    unsupported: ClassVar[Mapping[str, str]] = {
        "connectionLimit": "connections are not counted",
        "maxAcceptPerSocketEvent": "Envoy's default is used",
        "socketBufferLimit": "the system's default is used",
    }

    def violations(self) -> Iterator[Violation]:
        if self.buffer_limit is not None and quantity_bytes(self.buffer_limit) > UINT32_MAX:
            yield Violation("is more than Envoy counts", "bufferLimit", "less than 4Gi")


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
    unsupported: ClassVar[Mapping[str, str]] = {
        "grpc": "gRPC-Web is not translated",
        "headers": "Envoy's defaults are used",
        "healthCheck": "the admin port answers /readyz",
        "http1": "Envoy's HTTP/1 defaults are used",
        "http2": "Envoy's HTTP/2 defaults are used",
        "http3": "HTTP/3 is not spoken",
        "path": "paths are normalised and slashes merged",
        "scheme": "backends are told the scheme that they are asked by",
        "tcpKeepalive": "the system's defaults are used",
    }
    refused: ClassVar[Mapping[str, str]] = {
        "enableProxyProtocol": "remove it: the PROXY protocol is not read",
        "proxyProtocol": "remove it: the PROXY protocol is not read",
    }


class ClientTrafficPolicy(Resource, frozen=True, kw_only=True):
    """Bounds and timeouts of the clients of a Gateway."""

    spec: ClientTrafficPolicySpec
