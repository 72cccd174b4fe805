"""Google's task types."""

from types import MappingProxyType
from typing import Final

from headgate.llm.errors import RequestError
from headgate.llm.operations.embeddings.canonical import Purpose

TASK_TYPES: Final = MappingProxyType(
    {
        Purpose.QUERY: "RETRIEVAL_QUERY",
        Purpose.DOCUMENT: "RETRIEVAL_DOCUMENT",
        Purpose.SIMILARITY: "SEMANTIC_SIMILARITY",
        Purpose.CLASSIFICATION: "CLASSIFICATION",
        Purpose.CLUSTERING: "CLUSTERING",
        Purpose.QUESTION: "QUESTION_ANSWERING",
        Purpose.FACT: "FACT_VERIFICATION",
        Purpose.CODE_QUERY: "CODE_RETRIEVAL_QUERY",
    }
)

_PURPOSES: Final = MappingProxyType({word: purpose for purpose, word in TASK_TYPES.items()})


def purpose_of(task_type: str | None, path: str) -> Purpose | None:
    """What a task type means; RequestError for a word that Google does not know."""
    if task_type in (None, "", "TASK_TYPE_UNSPECIFIED"):
        return None
    purpose = _PURPOSES.get(task_type)
    if purpose is None:
        known = ", ".join(_PURPOSES)
        raise RequestError(f"must be one of {known}, not {task_type!r}", path=path, code="invalid_value")
    return purpose
