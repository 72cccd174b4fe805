"""Where Redis is and how it is spoken to, as one URL.

    redis://[user:password@]host:port[/database]                rediss:// the same over TLS
    unix://[user:password@]/path[?db=0]
    redis+sentinel://[user:password@]host:port,host:port/master[/database]
    redis+cluster://[user:password@]host:port,host:port         rediss+… the same over TLS

Options of TLS, in the query: `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` (paths), `ssl_check_hostname=false`. The
sentinels' own password: `sentinel_auth=password` or `user:password`.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from headgate.contract.addresses import host_port


class Topology(Enum):
    """What stands behind a URL."""

    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Address:
    """Where one Redis listens: a host and a port, or the path of a socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return self.path or host_port(self.host, self.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a connection begins. `tls` is None in the clear."""

    user: str = ""
    password: str = field(default="", repr=False)
    database: int = 0
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisUrl:
    """A URL, read."""

    topology: Topology
    addresses: tuple[Address, ...]
    """One where it is single, else those that are asked for the others."""
    access: Access
    master: str = ""
    """What the sentinels call it."""
    sentinel_access: Access = field(default_factory=Access)


_SCHEMES: Final[Mapping[str, tuple[Topology, bool]]] = {
    "redis": (Topology.SINGLE, False),
    "rediss": (Topology.SINGLE, True),
    "unix": (Topology.SINGLE, False),
    "redis+sentinel": (Topology.SENTINEL, False),
    "rediss+sentinel": (Topology.SENTINEL, True),
    "redis+cluster": (Topology.CLUSTER, False),
    "rediss+cluster": (Topology.CLUSTER, True),
}
_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_OPTIONS: Final = frozenset(
    {"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname", "sentinel_auth"}
)


def parse_url(url: str) -> RedisUrl:
    """The URL's parts; raises ValueError, or OSError where a certificate cannot be read."""
    split = urlsplit(url)
    found = _SCHEMES.get(split.scheme)
    if found is None:
        raise ValueError(f"expected {', '.join(f'{scheme}://' for scheme in _SCHEMES)}, found {split.scheme!r}")
    topology, over_tls = found
    options = dict(parse_qsl(split.query))
    if unknown := options.keys() - _OPTIONS:
        raise ValueError(f"unknown option {min(unknown)!r}")
    tls = _tls(options) if over_tls else None
    userinfo, _, hosts = split.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    segments = [unquote(each) for each in split.path.split("/") if each]
    master = ""
    if split.scheme == "unix":
        if not split.path:
            raise ValueError("expected the path of a socket")
        addresses, database = (Address(path=unquote(split.path)),), options.get("db", "0")
    else:
        port = _SENTINEL_PORT if topology is Topology.SENTINEL else _PORT
        addresses = tuple(parse_address(each, port) for each in hosts.split(","))
        if topology is Topology.SENTINEL:
            if not segments:
                raise ValueError("expected the master's name after the sentinels: redis+sentinel://host:port/master")
            master = segments.pop(0)
        database = segments.pop(0) if segments else options.get("db", "0")
        if topology is Topology.SINGLE and len(addresses) > 1:
            raise ValueError("several addresses need redis+sentinel:// or redis+cluster://")
    if not database.isdecimal():
        raise ValueError(f"expected the number of a database, found {database!r}")
    sentinel_user, _, sentinel_password = options.get("sentinel_auth", "").rpartition(":")
    return RedisUrl(
        topology=topology,
        addresses=addresses,
        access=Access(user=unquote(user), password=unquote(password), database=int(database), tls=tls),
        master=master,
        sentinel_access=Access(user=sentinel_user, password=sentinel_password, tls=tls),
    )


def parse_address(text: str, default_port: int = _PORT) -> Address:
    """`host`, `host:port` or `[v6]:port`; raises ValueError."""
    host, separator, port = text.rpartition(":")
    if not separator or "]" in port:
        host, port = text, str(default_port)
    if not host.strip("[]") or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"expected host:port, found {text!r}")
    return Address(host.strip("[]"), int(port))


def _tls(options: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs") or None)
    if options.get("ssl_check_hostname", "true").lower() == "false":
        context.check_hostname = False
    if options.get("ssl_certfile"):
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile") or None)
    return context
