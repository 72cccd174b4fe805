"""What a ClientTrafficPolicy means for a listener: part of the compiler's middle (`ir`)."""

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientAddress:
    """Which address a client has: the connection's, unless one of these says another."""

    trusted_hops: int = 0
    """Proxies in front that are believed, whoever they are."""
    trusted_ranges: tuple[str, ...] = ()
    """Where proxies are believed, and what they have added is skipped."""
    header: str = ""
    """A header that says it, lower-case."""
    required: bool = False
    """Whether a request without the header is refused."""
    appends: bool = True
    """Whether the connection's address is added to `x-forwarded-for`."""


@dataclass(frozen=True, slots=True)
class TextRule:
    """What a text must be."""

    kind: Literal["Exact", "Prefix", "Suffix", "RegularExpression"]
    value: str


@dataclass(frozen=True, slots=True)
class AltName:
    """A name that a certificate may have: its kind (`DNS`, `EMAIL`, `IP_ADDRESS`, `URI` or an object identifier)."""

    kind: str
    rule: TextRule


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificates:
    """Which certificate clients must show. A certificate that is shown is verified, unless `untrusted`."""

    required: bool = True
    untrusted: bool = False
    authorities: str = ""
    """Certificates of the authorities, as PEM."""
    revoked: str = ""
    """Their lists of what is revoked, as PEM."""
    revoked_leaf_alone: bool = False
    public_keys: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()
    names: tuple[AltName, ...] = ()
    expired: bool = False
    """Whether one whose time is over will do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """How TLS is spoken with clients. Empty is Envoy's default."""

    version_min: str = ""
    """`1.0` to `1.3`."""
    version_max: str = ""
    ciphers: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()
    signature_algorithms: tuple[str, ...] = ()
    alpn: tuple[str, ...] = ("h2", "http/1.1")
    clients: ClientCertificates | None = None
    resumes_by_id: bool = True
    resumes_by_ticket: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderEdits:
    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    add_if_absent: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()
    remove_matching: tuple[TextRule, ...] = ()
    """By what their lower-case names are like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientHeaders:
    early: HeaderEdits | None = None
    """Of requests, before anything looks at them."""
    late: HeaderEdits | None = None
    """Of answers, at last."""
    underscores: Literal["Allow", "RejectRequest", "DropHeader"] = "Allow"
    certificate: Literal["Sanitize", "ForwardOnly", "AppendForward", "SanitizeSet", "AlwaysForwardOnly"] = "Sanitize"
    """What becomes of `x-forwarded-client-cert`."""
    certificate_details: tuple[str, ...] = ()
    strips_host_dot: bool = False
    kibibytes_max: int = 0
    """0 for Envoy's default."""
    hides_limits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Http1:
    trailers: bool = False
    accepts_10: bool = False
    ignored_upgrades: tuple[TextRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Keepalive:
    """Questions of HTTP/2 whether the other is still there."""

    interval_seconds: float | None = None
    timeout_seconds: float | None = None
    jitter_percent: int = 15
    idle_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Http2:
    streams_max: int | None = None
    ends_stream: bool = False
    """Whether a request that is none costs itself alone, and not its connection."""
    keepalive: Keepalive | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """Bounds of connections; None for none."""

    count_max: int | None = None
    close_delay_seconds: float | None = None
    seconds: float | None = None
    ends_between_requests: bool = True
    """How one ends that is too old."""
    requests_max: int | None = None
    stream_seconds: float | None = None
    handshake_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpKeepalive:
    """None is the system's default."""

    probes: int | None = None
    idle_seconds: int | None = None
    interval_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Socket:
    """What the listeners of a port share."""

    keepalive: TcpKeepalive | None = None
    proxy_protocol: Literal["", "required", "optional"] = ""
    inspection_seconds: float | None = None
    accepted_at_once: int | None = None
    """0 for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTraffic:
    """How requests are received from the clients of a listener. None is Envoy's default, or ours."""

    body_bytes_max: int | None = None
    request_received_seconds: float | None = None
    headers_received_seconds: float | None = None
    idle_seconds: float | None = None
    stream_idle_seconds: float | None = None
    address: ClientAddress = ClientAddress()
    tls: ServerTls = ServerTls()
    headers: ClientHeaders = ClientHeaders()
    escaped_slashes: Literal["RejectRequest", "UnescapeAndForward", "UnescapeAndRedirect"] = "UnescapeAndForward"
    http1: Http1 = Http1()
    http2: Http2 = Http2()
    health_path: str = ""
    """Where it is answered whether all is well."""
    connections: Connections = Connections()
    socket: Socket = Socket()


NO_POLICY: Final = ClientTraffic()
"""How they are received where no policy says it."""
