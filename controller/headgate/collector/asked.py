"""What the path of a request asks for, as telemetry calls it: of those that no backend was asked for as well."""

from functools import lru_cache
from typing import NamedTuple

from headgate.llm.endpoints import StreamRule, lookup
from headgate.llm.names import Operation


class Asked(NamedTuple):
    """`operation` is empty for what asks no model."""

    operation: str = ""
    streams: bool = False
    """The path itself says that the answer is a stream."""
    prompts: bool = False
    """Who is asked reads a prompt, and has it paid."""


_NOTHING = Asked()
_PROMPTED = frozenset(
    {
        Operation.CHAT,
        Operation.GENERATE_CONTENT,
        Operation.MESSAGES,
        Operation.RESPONSES,
        Operation.COMPLETION,
        Operation.EMBEDDINGS,
        Operation.RERANK,
    }
)


@lru_cache(maxsize=4096)
def asked_of(path: str) -> Asked:
    """compat: `gen_ai.operation.name` of a client's path, below the root path."""
    endpoint = lookup(path)
    if endpoint is None or endpoint.operation is Operation.MODELS:
        return _NOTHING
    operation = endpoint.operation
    return Asked(str(operation), endpoint.stream is StreamRule.ALWAYS, operation in _PROMPTED)
