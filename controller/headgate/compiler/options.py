"""What the compiler is told about the installation it compiles for; everything else is in the world."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from headgate.compiler.ir import AccessLog, Hashed
from headgate.contract.otel import Tracing

CONTROLLER_NAME: Final = "headgate.dev/gateway-controller"
"""Ours, in `GatewayClass.spec.controllerName` and in what we write into statuses."""

SYSTEM_CA_FILE: Final = "/etc/ssl/certs/ca-certificates.crt"
"""Where most systems have their CAs."""


class Mode(StrEnum):
    """Whose the objects are, and so on which of them we report."""

    FILES = "files"
    """All of them: Gateways of every class are served."""
    STANDALONE = "standalone"
    """A cluster: Gateways of classes with our controller name, and what hangs on them."""
    ENVOY_GATEWAY = "envoy-gateway"
    """A cluster where Envoy Gateway serves the Gateways and reports on all kinds but the AI ones, which are ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(Hashed):
    """Addresses and paths as Envoy sees them. A socket is an absolute path."""

    mode: Mode = Mode.FILES
    controller_name: str = CONTROLLER_NAME
    gateway_addresses: tuple[str, ...] = ()
    """Where clients reach the Envoys (IPs or names), for the status of Gateways."""
    gateway_api: str = ""
    """Version of Gateway API's definitions on the cluster, like `v1.6.1`; empty where it is not known."""
    ai_route_parents: bool = False
    """Whether AIGatewayRoutes have `status.parents`: by our definition of the kind; upstream's would refuse it."""
    listen_address: str = "127.0.0.1"
    extproc_sockets: tuple[str, ...] = ()
    """Unix sockets of the processor's workers; empty where no processor runs (translated routes are then refused)."""
    ratelimit_socket: str = ""
    """Unix socket of the rate limit service; empty where none runs (limits are then refused)."""
    ratelimit_address: str = ""
    """Likewise beside Envoy Gateway: `host:port`, asked over TLS with the certificate of Envoy Gateway's Envoys."""
    lua_directory: str = ""
    """Where Envoy reads the scripts of `headgate.lua`; empty embeds them in the configuration."""
    secrets_directory: str = ""
    """Where Envoy reads the files of `Compiled.files` (AWS credentials); empty writes them into clusters."""
    ca_file: str = SYSTEM_CA_FILE
    """System CA bundle on Envoy's machine, for `wellKnownCACertificates: System`."""
    access_log: str = "/dev/stdout"
    """File of the access log; empty writes none."""
    logs: tuple[AccessLog, ...] = ()
    """Access logs beside that file."""
    short_lines: bool = False
    """Of a listener: whether its lines are written from what routes and scripts tell as text, where they do."""
    collector_socket: str = ""
    """Unix socket of the collector, which is told of every request; empty where none runs. With one, streamed answers
    are asked to end with their usage, whether or not a route prices them."""
    collector_address: str = ""
    """Likewise beside Envoy Gateway, as `ratelimit_address`."""
    header_attributes: tuple[tuple[str, str], ...] = ()
    """(request header, attribute of logs) pairs."""
    span_attributes: tuple[tuple[str, str], ...] = (("agent-session-id", "session.id"),)
    """(request header, attribute of spans) pairs, for what EnvoyProxies trace."""
    tracing: Tracing | None = None
    """How requests are traced where no EnvoyProxy says otherwise; None for not at all."""
    capture: bool = False
    """Whether processors capture content: then all chats go through them, and they are told of the trace."""
    offline: bool = False
    """Nobody fetches tokens: what needs one is compiled as if it were there."""
    body_bytes_max: int = 52_428_800
    """Largest request body in bytes where no ClientTrafficPolicy says otherwise; above it 413."""
    path_root: str = "/"
    """The path all endpoints live under."""
    ratelimit_failure_deny: bool = False
    """Whether a limit that cannot be checked refuses (500) instead of letting the request pass."""

    __hash__ = Hashed.kept_hash

    @property
    def limits(self) -> bool:
        """Whether a rate limit service runs."""
        return bool(self.ratelimit_socket or self.ratelimit_address)

    @property
    def collects(self) -> bool:
        """Whether a collector runs."""
        return bool(self.collector_socket or self.collector_address)

    @property
    def envoy_gateway(self) -> bool:
        """Whether Envoy Gateway owns listeners, TLS and policies; only AI routes are ours then (`envoy_gateway/`)."""
        return self.mode is Mode.ENVOY_GATEWAY
