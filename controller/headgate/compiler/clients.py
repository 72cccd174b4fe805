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
class ClientTraffic:
    """How requests are received from the clients of a listener. None is Envoy's default, or ours."""

    body_bytes_max: int | None = None
    request_received_seconds: float | None = None
    idle_seconds: float | None = None
    stream_idle_seconds: float | None = None
    address: ClientAddress = ClientAddress()
    tls: ServerTls = ServerTls()


NO_POLICY: Final = ClientTraffic()
"""How they are received where no policy says it."""
