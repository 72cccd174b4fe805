"""One object of our kinds, and what is to be said of it."""

from dataclasses import dataclass
from typing import Any, TypeAlias

Spec: TypeAlias = dict[str, Any]
GROUP = "aigateway.envoyproxy.io"


@dataclass(frozen=True, slots=True)
class Case:
    """An object's spec. `refused` is part of what the API server says; empty where it takes it."""

    name: str
    kind: str
    spec: Spec
    refused: str = ""
    reader: str = ""
    """What the reader says where it says the same in other words: for bounds and values, which need no CEL."""
    version: str = "v1beta1"
    group: str = GROUP

    def object(self, namespace: str) -> dict[str, Any]:
        metadata = {"name": self.name.replace(" ", "-").lower(), "namespace": namespace}
        return {
            "apiVersion": f"{self.group}/{self.version}",
            "kind": self.kind,
            "metadata": metadata,
            "spec": self.spec,
        }
