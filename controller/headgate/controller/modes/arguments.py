"""Options of the modes on a Kubernetes API. Envoy AI Gateway's names work too where they mean the same."""

import argparse
from pathlib import Path

from headgate.compiler.options import CONTROLLER_NAME
from headgate.controller.secret_scope import SecretScope

LEASE_NAME = "headgate-controller"
MESSAGE_BYTES_MAX = 268_435_456


def add_cluster_arguments(parser: argparse.ArgumentParser) -> None:
    """What every mode on a cluster takes; importing this must not import the Kubernetes client."""
    add = parser.add_argument_group("Kubernetes (modes standalone and envoy-gateway)").add_argument
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
    add(
        "--leader-elect",
        "--enableLeaderElection",
        type=_boolean,
        nargs="?",
        const=True,
        default=True,
        metavar="BOOLEAN",
        help="write only while holding the Lease (default %(default)s)",
    )
    add("--no-leader-elect", dest="leader_elect", action="store_false", help="for a single replica")
    add("--leader-election-id", default=LEASE_NAME, help="name of the Lease (default %(default)s)")
    add("--leader-election-namespace", default="", help="namespace of the Lease (default: the controller's own)")
    add("--health-address", default="0.0.0.0:8082", help="host:port of /healthz, /readyz, /status; empty for none")
    add(
        "--gateway-class-controller-name",
        default=CONTROLLER_NAME,
        help="mode standalone: serve Gateways of classes with this controllerName (default %(default)s)",
    )
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


def _address(text: str) -> str:
    """`:1063`, as upstream writes it, is any address."""
    return f"0.0.0.0{text}" if text.startswith(":") else text


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _seconds(text: str) -> float:
    """A number of seconds, also written as `2m` or `90s`."""
    unit = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:])
    return float(text[:-1]) * unit if unit else float(text)
