"""What a build listens on and which of our servers it needs, read from the resources it made."""

from collections.abc import Mapping
from dataclasses import dataclass

from envoy.config.listener.v3.listener_pb2 import Listener
from google.protobuf.message import Message
from headgate.contract.addresses import host_port
from headgate.controller.xds.references import Reference
from headgate.controller.xds.resource_types import CLUSTER, LISTENER
from headgate.controller.xds.snapshot import Snapshot

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Where a listener listens."""

    host: str
    port: int
    tls: bool

    @property
    def reachable_host(self) -> str:
        """The host to connect to from this machine."""
        return _ANY_ADDRESS.get(self.host, self.host)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{host_port(self.reachable_host, self.port)}"


def addresses(resources: Mapping[str, Mapping[str, Message]]) -> Mapping[str, Address]:
    """The TCP address of every listener, by its name."""
    found: dict[str, Address] = {}
    for name, message in resources.get(LISTENER, {}).items():
        assert isinstance(message, Listener)
        socket = message.address.socket_address
        if message.address.HasField("socket_address"):
            tls = any(chain.HasField("transport_socket") for chain in message.filter_chains)
            found[name] = Address(socket.address, socket.port_value, tls)
    return found


def refers_to_cluster(snapshot: Snapshot, name: str) -> bool:
    """Whether anything would send requests to that cluster."""
    wanted = Reference(CLUSTER, name)
    return any(wanted in resource.references for _, resource in snapshot)
