"""What an attempt came to, as metrics, logs and capture are told of it."""

import msgspec
from headgate.contract.facts import BackendFacts
from headgate.llm.endpoints import Endpoint
from headgate.llm.usage import Usage


class Report(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Final when the stream has ended."""

    facts: BackendFacts
    endpoint: Endpoint | None
    original_model: str
    request_model: str
    response_model: str
    usage: Usage
    status: int
    """What the client gets; 0 if the stream ended before that was known."""
    error: str
    """Why we answered in the provider's place; empty if we did not."""
    complete: bool
    """The answer was seen to its end."""
    first_seconds: float | None = None
    """From the stream's beginning to the first piece of a streamed answer."""
