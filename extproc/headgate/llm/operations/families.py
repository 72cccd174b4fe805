"""The operations that are translated, a row each."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from headgate.llm.names import Operation
from headgate.llm.operations.counting.table import FAMILY as COUNTING
from headgate.llm.operations.embeddings.table import FAMILY as EMBEDDINGS
from headgate.llm.operations.family import Bridged
from headgate.llm.operations.rerank.table import FAMILY as RERANK

FAMILIES: Final[Mapping[Operation, Bridged]] = MappingProxyType(
    {
        Operation.EMBEDDINGS: EMBEDDINGS,
        Operation.RERANK: RERANK,
        Operation.COUNT_TOKENS: COUNTING,
        Operation.RESPONSES_INPUT_TOKENS: COUNTING,
        Operation.TOKENIZE: COUNTING,
    }
)
