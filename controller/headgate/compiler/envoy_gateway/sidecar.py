"""What a pod of Envoy's needs for the processor beside it: what the pod webhook and the hook's options share."""

from dataclasses import dataclass
from typing import Final

CONTAINER: Final = "ai-gateway-extproc"
VOLUME: Final = "ai-gateway-extproc-uds"
DIRECTORY: Final = "/etc/ai-gateway-extproc-uds"
SOCKET: Final = f"{DIRECTORY}/run.sock"
"""compat names: users' EnvoyProxy patches and dashboards know them."""
ADMIN_PORT: Final = 1064
ENVOY_CONTAINER: Final = "envoy"
RUNTIME_GUARD: Final = "envoy.reloadable_features.grpc_side_stream_flow_control"
"""Must be off where the processor runs: with it Envoy up to 1.40 crashes when a filter upstream is told to wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """The processor's container and what it shares with Envoy's."""

    container: str = CONTAINER
    volume: str = VOLUME
    directory: str = DIRECTORY
    arguments: tuple[str, ...] = ()


def sidecar(*, log_level: str = "info", log_format: str = "json") -> Sidecar:
    """The container's arguments for `headgate-extproc`; the volume is mounted at the same place in both containers."""
    return Sidecar(
        arguments=("--address", f"unix:{SOCKET}", "--log-level", log_level, "--log-format", log_format),
    )
