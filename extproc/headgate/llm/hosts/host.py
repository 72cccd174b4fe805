"""What a host is: a row that says which dialects it serves and at which path."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from headgate.contract.facts import BackendFacts
from headgate.llm.endpoints import Endpoint
from headgate.llm.names import DialectName, HostName

MODEL_PLACEHOLDER: Final = "{model}"
"""Stands for the percent-encoded model in a path that is written before the model is known."""


@dataclass(frozen=True, slots=True)
class Host:
    """Where dialects are served."""

    name: HostName
    dialects: frozenset[DialectName]
    """Dialects whose relay or translation to this host is whole."""
    place: Callable[[Endpoint, BackendFacts, str], str]
    """Endpoint of the backend's dialect, facts, percent-encoded model: the path, with query where the host wants
    one."""
