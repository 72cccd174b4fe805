"""The provider's own API, or a server that speaks it: `{prefix}{suffix}`."""

from headgate.contract.facts import BackendFacts
from headgate.llm.endpoints import MODEL_PLACEHOLDER, Endpoint
from headgate.llm.hosts.host import Asked


def place(endpoint: Endpoint, facts: BackendFacts, asked: Asked) -> str:
    """The path at the backend's prefix."""
    suffix = endpoint.suffix.replace(MODEL_PLACEHOLDER, asked.segment) if endpoint.model_in_path else endpoint.suffix
    return suffix if endpoint.fixed else facts.prefix + suffix
