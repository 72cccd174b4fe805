"""Connections of a ClientTrafficPolicy, group `gateway.envoyproxy.io`."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

import msgspec
from headgate.compiler.resources.metadata import Struct, Violation
from headgate.compiler.resources.quantities import Duration, Quantity, duration_seconds, quantity_bytes
from headgate.compiler.resources.rate_limits import UINT32_MAX

Count = Annotated[int, msgspec.Meta(ge=1, le=UINT32_MAX)]


class TcpKeepalive(Struct, frozen=True, kw_only=True):
    """Asks a peer that says nothing whether it is still there. Of what is absent the system's default is used."""

    probes: Annotated[int, msgspec.Meta(ge=1, le=127)] | None = None
    """Questions without an answer after which the connection is over."""
    idle_time: Duration = ""
    """Silence before the first question, in whole seconds."""
    interval: Duration = ""
    """Time between questions, in whole seconds."""

    def violations(self) -> Iterator[Violation]:
        for name, text in (("idleTime", self.idle_time), ("interval", self.interval)):
            if text and not 1 <= duration_seconds(text) <= 32_767:
                yield Violation("is no time that the system takes", name, "from 1s to 32767s")


class ConnectionLimit(Struct, frozen=True, kw_only=True):
    """Bounds of connections."""

    value: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)] | None = None
    """How many a listener has at a time, of each Envoy; more are closed."""
    close_delay: Duration = ""
    """How long one that is too many stays open, so that its client does not come back at once."""
    max_connection_duration: Duration = ""
    """How long one may be used; then it ends between two requests."""
    max_requests_per_connection: Count | None = None
    """How many requests it may carry."""
    max_stream_duration: Duration = ""
    """How long a request may take, with its whole answer; a stream of tokens too is cut off then."""

    def violations(self) -> Iterator[Violation]:
        if self.close_delay and self.value is None:
            yield Violation("closeDelay can only be configured when value is set", "closeDelay", "value: 1000")


class ClientConnection(Struct, frozen=True, kw_only=True):
    """About clients' connections."""

    buffer_limit: Quantity | None = None
    """Largest request body; above it 413."""
    connection_limit: ConnectionLimit | None = None
    """Bounds of connections."""
    max_accept_per_socket_event: Annotated[int, msgspec.Meta(ge=0, le=UINT32_MAX)] | None = None
    """How many connections Envoy takes at once; 0 for all that wait. Envoy's default when absent."""
    unsupported: ClassVar[Mapping[str, str]] = {"socketBufferLimit": "the system's default is used"}

    def violations(self) -> Iterator[Violation]:
        if self.buffer_limit is not None and quantity_bytes(self.buffer_limit) > UINT32_MAX:
            yield Violation("is more than Envoy counts", "bufferLimit", "less than 4Gi")


class ProxyProtocol(Struct, frozen=True, kw_only=True):
    """Connections begin with the PROXY protocol, which says where they come from. Whoever can connect can say
    anything: only the load balancer must be able to."""

    optional: bool = False
    """Takes connections without it too; else they are closed."""


class ClientHTTPTimeout(Struct, frozen=True, kw_only=True):
    """Timeouts of clients' requests."""

    request_received_timeout: Duration = ""
    """To receive a whole request."""
    request_headers_received_timeout: Duration = ""
    """To receive its headers, from their first byte on; 10s when absent."""
    idle_timeout: Duration = ""
    """A connection without a request."""
    stream_idle_timeout: Duration = ""
    """A request without a byte in either direction."""


class ClientTCPTimeout(Struct, frozen=True, kw_only=True):
    """Timeouts of clients' connections."""

    tls_handshake_timeout: Duration = ""
    """To agree on TLS; 10s when absent."""
    connection_inspection_timeout: Duration = ""
    """To say the first words: the PROXY protocol, and TLS' name of the host. 15 s when absent."""
    unsupported: ClassVar[Mapping[str, str]] = {"idleTimeout": "use idleTimeout of http"}


class ClientTimeout(Struct, frozen=True, kw_only=True):
    """Timeouts towards clients."""

    http: ClientHTTPTimeout | None = None
    """Of requests."""
    tcp: ClientTCPTimeout | None = None
    """Of connections."""
