"""The provider's own API, or a server that speaks it: `{prefix}{suffix}`."""

from headgate.contract.facts import BackendFacts
from headgate.llm.endpoints import Endpoint


def place(endpoint: Endpoint, facts: BackendFacts, _model: str) -> str:
    """The path at the backend's prefix."""
    return endpoint.suffix if endpoint.fixed else facts.prefix + endpoint.suffix
