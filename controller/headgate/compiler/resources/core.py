"""Kubernetes' own kinds, core group."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from headgate.compiler.resources.metadata import Port, Resource, Struct
from headgate.contract.secret import Secret as SecretValue


class Secret(Resource, frozen=True, kw_only=True):
    """Keys, tokens, certificates.

    In files, a `stringData` value may name a variable of the environment as `${NAME}`: it is replaced by the variable's
    value. Nothing else in any object is replaced.
    """

    data: Mapping[str, SecretValue] = {}
    """Values in base64."""
    string_data: Mapping[str, SecretValue] = {}
    """Values as they are; win over `data`."""
    type: str = "Opaque"
    """What it is for; `kubernetes.io/tls` for certificates."""
    immutable: bool = False
    """Not used."""

    def value(self, key: str) -> SecretValue | None:
        """The decoded value of a key, or None."""
        return self.string_data.get(key, self.data.get(key))

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key, sorted."""
        return tuple(sorted({*self.data, *self.string_data}))


class ConfigMap(Resource, frozen=True, kw_only=True):
    """Texts."""

    data: Mapping[str, str] = {}
    """Texts by key."""
    binary_data: Mapping[str, str] = {}
    """Not used."""
    immutable: bool = False
    """Not used."""


class Namespace(Resource, frozen=True, kw_only=True):
    """A namespace; only its labels are read."""

    spec: object = None
    """Not used."""


class ServicePort(Struct, frozen=True, kw_only=True):
    """A port of a service."""

    port: Port
    """Its number."""
    name: str = ""
    """Its name."""
    protocol: str = "TCP"
    """Its protocol."""
    app_protocol: str = ""
    """What is spoken: `kubernetes.io/h2c` for HTTP/2 without TLS."""
    target_port: int | str = 0
    """Not used: a service is asked by its own address."""
    node_port: int = 0
    """Not used."""


class ServiceSpec(Struct, frozen=True, kw_only=True):
    """Ports of a service."""

    ports: Annotated[tuple[ServicePort, ...], msgspec.Meta(max_length=1024)] = ()
    """Its ports."""
    type: str = "ClusterIP"
    """Not used."""
    selector: Mapping[str, str] = {}
    """Not used."""
    cluster_ip: str = msgspec.field(name="clusterIP", default="")
    """Its address."""
    external_name: str = ""
    """For type ExternalName: a DNS name."""


class Service(Resource, frozen=True, kw_only=True):
    """A service of the cluster."""

    spec: ServiceSpec = ServiceSpec()
