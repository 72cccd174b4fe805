"""Kubernetes' own kinds, core group."""

from collections.abc import Mapping

from headgate.compiler.resources.metadata import Resource
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
