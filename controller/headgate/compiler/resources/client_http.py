"""HTTP of a ClientTrafficPolicy, group `gateway.envoyproxy.io`."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import msgspec
from headgate.compiler.resources.headers import HTTPHeader, removal_violations
from headgate.compiler.resources.metadata import Struct, Violation
from headgate.compiler.resources.quantities import Duration, Quantity, duration_seconds, quantity_bytes
from headgate.compiler.resources.text_matches import StringMatch

Headers = Annotated[tuple[HTTPHeader, ...], msgspec.Meta(max_length=64)]
CertificateDetail = Literal["Subject", "Cert", "Chain", "DNS", "URI"]
XfccMode = Literal["Sanitize", "ForwardOnly", "AppendForward", "SanitizeSet", "AlwaysForwardOnly"]
HEADERS_BYTES_MAX = 8_388_608
"""Envoy's bound."""


class HeaderEdits(Struct, frozen=True, kw_only=True):
    """Changes headers."""

    set: Headers = ()
    """Headers to set, replacing what is there."""
    add: Headers = ()
    """Values to append."""
    add_if_absent: Headers = ()
    """Headers to set where there are none."""
    remove: Annotated[tuple[str, ...], msgspec.Meta(max_length=64)] = ()
    """Headers to remove."""
    remove_on_match: Annotated[tuple[StringMatch, ...], msgspec.Meta(max_length=64)] = ()
    """Headers to remove, by what their lower-case names are like."""

    def violations(self) -> Iterator[Violation]:
        yield from removal_violations(self.remove)
        for field, headers in (("set", self.set), ("add", self.add), ("addIfAbsent", self.add_if_absent)):
            for index, header in enumerate(headers):
                if header.name.lower() == "host":
                    yield Violation("the host cannot be changed here", f"{field}[{index}].name")


class XForwardedClientCert(Struct, frozen=True, kw_only=True):
    """What backends of HTTPRoutes are told of a client's certificate. No AI provider is told."""

    mode: XfccMode = "Sanitize"
    """What becomes of the header `x-forwarded-client-cert`: `Sanitize` removes it, `SanitizeSet` sets it."""
    cert_details_to_add: Annotated[tuple[CertificateDetail, ...], msgspec.Meta(max_length=5)] = ()
    """What it says, beside the certificate's hash."""

    def violations(self) -> Iterator[Violation]:
        if self.cert_details_to_add and self.mode not in ("AppendForward", "SanitizeSet"):
            message = "certDetailsToAdd can only be set when mode is AppendForward or SanitizeSet"
            yield Violation(message, "certDetailsToAdd", "mode: SanitizeSet")


class Host(Struct, frozen=True, kw_only=True):
    """About the host that clients name."""

    strip_trailing_host_dot: bool = False
    """Takes `example.com.` for `example.com`."""


class ClientHeaders(Struct, frozen=True, kw_only=True):
    """About headers."""

    early_request_headers: HeaderEdits | None = None
    """Changes what clients send before anything looks at it; what only the gateway may say is removed after that."""
    late_response_headers: HeaderEdits | None = None
    """Changes what clients are answered, at last."""
    with_underscores_action: Literal["Allow", "RejectRequest", "DropHeader"] = "Allow"
    """What becomes of headers with `_` in their names. (Envoy Gateway refuses them by default.)"""
    x_forwarded_client_cert: XForwardedClientCert | None = None
    """What backends are told of a client's certificate."""
    host: Host | None = None
    """About the host that clients name."""
    max_request_header_limit: Quantity | None = None
    """How large the headers of a request may be: up to 8Mi; 60Ki when absent."""
    disable_rate_limit_headers: bool = False
    """Tells clients nothing of their limits, but that one is used up."""
    unsupported: ClassVar[Mapping[str, str]] = {
        "enableEnvoyHeaders": "clients and providers are told nothing by Envoy's own headers",
        "requestID": "each request gets an id of its own: the books tell requests apart by it",
        "preserveXRequestID": "each request gets an id of its own: the books tell requests apart by it",
    }

    def violations(self) -> Iterator[Violation]:
        limit = self.max_request_header_limit
        if limit is not None and not 1024 <= quantity_bytes(limit) <= HEADERS_BYTES_MAX:
            yield Violation("is no bound that Envoy takes", "maxRequestHeaderLimit", "from 1Ki to 8Mi")


class ClientPath(Struct, frozen=True, kw_only=True):
    """About the paths that clients ask for."""

    escaped_slashes_action: Literal["KeepUnchanged", "RejectRequest", "UnescapeAndForward", "UnescapeAndRedirect"] = (
        "UnescapeAndForward"
    )
    """What becomes of `%2F` and `%5C`. `KeepUnchanged` is not followed: routes, limits and authorization would see
    another path than a provider that decodes it."""
    disable_merge_slashes: bool = False
    """Not followed, for the same reason: `//` is `/`."""


class Http10(Struct, frozen=True, kw_only=True):
    """Takes HTTP/1.0."""

    unsupported: ClassVar[Mapping[str, str]] = {"useDefaultHost": "requests without a host are refused"}


class Http1(Struct, frozen=True, kw_only=True):
    """About HTTP/1."""

    enable_trailers: bool = False
    """Passes trailers on."""
    http10: Http10 | None = None
    """Takes HTTP/1.0."""
    ignored_upgrade_types: tuple[StringMatch, ...] = ()
    """Protocols that a client may offer to speak instead, and is answered in HTTP; others are refused."""
    disable_safe_max_connection_duration: bool = False
    """Ends a connection that is too old at once, not between two requests."""
    unsupported: ClassVar[Mapping[str, str]] = {"preserveHeaderCase": "names of headers are in lower case"}


class Http2Keepalive(Struct, frozen=True, kw_only=True):
    """Asks clients whether they are still there."""

    interval: Duration = ""
    """Time between questions."""
    timeout: Duration = ""
    """How long an answer may take."""
    interval_jitter: Annotated[int, msgspec.Meta(ge=0, le=100)] = 15
    """Per cent of the interval that is added at random."""
    idle_interval: Duration = ""
    """Silence before a request is asked about too."""

    def violations(self) -> Iterator[Violation]:
        if (self.interval or self.idle_interval) and not self.timeout:
            yield Violation("an interval needs a timeout", "timeout", "timeout: 5s")
        for name, text in (
            ("interval", self.interval),
            ("timeout", self.timeout),
            ("idleInterval", self.idle_interval),
        ):
            if text and duration_seconds(text) < 0.001:
                yield Violation("is less than a millisecond", name, f"{name}: 5s")
        if self.interval and self.timeout and duration_seconds(self.timeout) >= duration_seconds(self.interval):
            yield Violation("timeout must be less than interval", "timeout")


class ClientHttp2(Struct, frozen=True, kw_only=True):
    """About HTTP/2."""

    max_concurrent_streams: Annotated[int, msgspec.Meta(ge=1, le=2_147_483_647)] | None = None
    """Requests that a connection may carry at a time; 100 when absent."""
    on_invalid_message: Literal["TerminateConnection", "TerminateStream"] | None = None
    """What a request that is none costs: its connection, or itself."""
    connection_keepalive: Http2Keepalive | None = None
    """Asks clients whether they are still there."""
    unsupported: ClassVar[Mapping[str, str]] = {
        "initialStreamWindowSize": "64 MiB, which translated answers need",
        "initialConnectionWindowSize": "Envoy's default is used",
    }


class ListenerHealthCheck(Struct, frozen=True, kw_only=True):
    """Answers whether the gateway is well."""

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    """At this path: 200, and 503 while it is about to end. Nobody has to show who he is."""

    def violations(self) -> Iterator[Violation]:
        if not self.path.startswith("/"):
            yield Violation("is no path", "path", f"/{self.path}")
