"""Options of the modes on a Kubernetes API. Envoy AI Gateway's names work too where they mean the same."""

import argparse
from collections.abc import Callable
from importlib import metadata as packages
from pathlib import Path

from headgate.compiler.options import CONTROLLER_NAME, Mode
from headgate.controller.secret_scope import SecretScope
from headgate.runtime.logging import LogFormat, LogLevel

LEASE_NAME = "headgate-controller"
SERVICE_NAME = "headgate-controller"
EXTPROC_IMAGE = f"ghcr.io/headgate/headgate:{packages.version('headgate')}"
MESSAGE_BYTES_MAX = 268_435_456


def health_address(options: argparse.Namespace) -> str:
    """Where a mode shows its pages; empty for nowhere."""
    said: str | None = options.health_address
    if said is not None:
        return said
    return "127.0.0.1:8082" if options.mode is Mode.FILES else "0.0.0.0:8082"


def add_cluster_arguments(parser: argparse.ArgumentParser) -> None:
    """What every mode on a cluster takes; importing this must not import the Kubernetes client."""
    add = parser.add_argument_group("Kubernetes (modes standalone and envoy-gateway)").add_argument
    _add_reading_arguments(add)
    _add_leading_arguments(add)
    add(
        "--health-address",
        help="host:port of /healthz, /readyz, /status, /metrics; empty for none (default 0.0.0.0:8082, of mode files "
        "127.0.0.1:8082)",
    )
    add(
        "--gateway-class-controller-name",
        default=CONTROLLER_NAME,
        help="mode standalone: serve Gateways of classes with this controllerName (default %(default)s)",
    )
    _add_extension_arguments(parser)
    _add_webhook_arguments(parser)
    _add_certificate_arguments(parser)


def _add_reading_arguments(add: Callable[..., object]) -> None:
    add("--kubeconfig", type=Path, help="file; without it KUBECONFIG, then the pod's own service account")
    add("--kube-context", default="", help="context of the kubeconfig (default: its current one)")
    add(
        "--watch-namespaces",
        "--watchNamespaces",
        type=_names,
        default=(),
        metavar="NAMESPACE,…",
        help="read only these (default: all)",
    )
    add(
        "--secrets",
        type=SecretScope,
        choices=list(SecretScope),
        default=SecretScope.ALL,
        help="which Secrets and ConfigMaps are read: all of the watched namespaces, or those that objects refer to",
    )
    add(
        "--cache-sync-timeout-seconds",
        "--cacheSyncTimeout",
        type=_seconds,
        default=120.0,
        help="how long the first look at the API may take (default %(default)s)",
    )


def _add_leading_arguments(add: Callable[..., object]) -> None:
    add(
        "--leader-elect",
        "--enableLeaderElection",
        type=boolean,
        nargs="?",
        const=True,
        default=True,
        metavar="BOOLEAN",
        help="write only while holding the Lease (default %(default)s)",
    )
    add("--no-leader-elect", dest="leader_elect", action="store_false", help="for a single replica")
    add("--leader-election-id", default=LEASE_NAME, help="name of the Lease (default %(default)s)")
    add("--leader-election-namespace", default="", help="namespace of the Lease (default: the controller's own)")


def _add_extension_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("Envoy Gateway (mode envoy-gateway)").add_argument
    add(
        "--extension-address",
        "--port",
        type=_address,
        default="0.0.0.0:1063",
        metavar="ADDRESS",
        help="host:port or unix:/path where Envoy Gateway asks (default %(default)s)",
    )
    add(
        "--extension-message-bytes-max",
        "--maxRecvMsgSize",
        type=int,
        default=MESSAGE_BYTES_MAX,
        metavar="BYTES",
        help="largest message from Envoy Gateway, whose own bound is extensionManager.maxMessageSize",
    )
    add(
        "--ratelimit-address",
        type=_service,
        default="",
        metavar="HOST:PORT",
        help="where Envoys find the rate limit service of LimitPolicies and QuotaPolicies, refused without it",
    )
    add(
        "--collector-address",
        type=_service,
        default="",
        metavar="HOST:PORT",
        help="where Envoys find the collector, which is told of every request on AI routes",
    )


def _add_webhook_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("Processor in Envoy Gateway's pods (mode envoy-gateway)").add_argument
    add(
        "--webhook-address",
        "--webhookPort",
        type=_port_or_address,
        default="",
        help="host:port where the API server asks about new pods; without it none gets a processor",
    )
    add(
        "--webhook-configuration",
        default="",
        help="the MutatingWebhookConfiguration whose caBundle is kept (default: headgate-pods.NAMESPACE)",
    )
    add(
        "--proxy-namespaces",
        "--envoyGatewayNamespace",
        type=_names,
        default=("envoy-gateway-system",),
        metavar="NAMESPACE,…",
        help="where Envoy Gateway's pods run: their versions are checked, and they are rolled when they need another "
        "processor (default envoy-gateway-system)",
    )
    add("--extproc-image", "--extProcImage", default=EXTPROC_IMAGE, help="the processor's image (default %(default)s)")
    policies = ("IfNotPresent", "Always", "Never")
    add("--extproc-image-pull-policy", "--extProcImagePullPolicy", choices=policies, default="IfNotPresent")
    add(
        "--extproc-image-pull-secrets",
        "--extProcImagePullSecrets",
        type=_semicolons,
        default=(),
        metavar="NAME;…",
    )
    add("--extproc-log-level", "--extProcLogLevel", type=LogLevel, choices=list(LogLevel), default=LogLevel.INFO)
    add("--extproc-log-format", "--extProcLogFormat", type=LogFormat, choices=list(LogFormat), default=LogFormat.JSON)
    add("--extproc-env", "--extProcExtraEnvVars", type=_environment, default=(), metavar="NAME=VALUE;…")


def _add_certificate_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("Certificates (the webhook's, and of xDS over TLS)").add_argument
    add("--xds-tls", action="store_true", help="mode standalone: serve only Envoys that show a certificate of ours")
    add("--service-name", default=SERVICE_NAME, help="the Service of the controller (default %(default)s)")
    add(
        "--certificate-names",
        type=_names,
        default=(),
        metavar="NAME,…",
        help="more names or addresses by which the controller is reached",
    )
    add(
        "--certificate-secrets",
        default="headgate",
        metavar="PREFIX",
        help="Secrets PREFIX-authority, PREFIX-controller-tls and PREFIX-envoy-tls (default %(default)s)",
    )
    add(
        "--certificate-lifetime",
        type=_seconds,
        default=30 * 86400.0,
        help="renewed when a third of it is left; authorities live twelve times as long (default 720h)",
    )


def _semicolons(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(";") if part.strip())


def _environment(text: str) -> tuple[tuple[str, str], ...]:
    found = tuple(part.partition("=") for part in _semicolons(text))
    if any(not equals for _, equals, _ in found):
        raise ValueError(text)
    return tuple((name, value) for name, _, value in found)


def _address(text: str) -> str:
    """`:1063`, as upstream writes it, is any address."""
    return f"0.0.0.0{text}" if text.startswith(":") else text


def _port_or_address(text: str) -> str:
    return f":{text}" if text.isdecimal() else text


def _service(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if text and not (host and colon and port.isdecimal()):
        raise ValueError(text)
    return text


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def boolean(text: str) -> bool:
    """`true` or `false`, as Go's flags have it."""
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _seconds(text: str) -> float:
    """A number of seconds, also written as `2m` or `90s`."""
    unit = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:])
    return float(text[:-1]) * unit if unit else float(text)
