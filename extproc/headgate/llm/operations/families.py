"""The operations that are translated, a row each."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from headgate.llm.names import Operation
from headgate.llm.operations.embeddings.table import FAMILY as EMBEDDINGS
from headgate.llm.operations.family import Bridged

FAMILIES: Final[Mapping[Operation, Bridged]] = MappingProxyType({Operation.EMBEDDINGS: EMBEDDINGS})
