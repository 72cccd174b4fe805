"""In which words OpenAI's embeddings are asked for, at OpenAI's and at vendors that have words of their own: a row
each.

Answers are alike. A vendor without a row is asked as OpenAI is; its clients' bytes pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from headgate.llm.operations.embeddings.canonical import Encoding, Purpose

Members = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """How embeddings are asked for."""

    whose: str
    encodings: Mapping[Encoding, Members]
    """What asks for an encoding."""
    dimensions: str = "dimensions"
    user: bool = False
    """There is a member `user`."""
    purpose: str = ""
    """The member that says what vectors are for; empty where all are embedded alike."""
    purposes: Mapping[Purpose, str] = field(default_factory=dict[Purpose, str])
    """Its values. What is not among them is told as the nearest."""
    required: str = ""
    """Its value for who does not say it, where some models refuse to embed without."""
    truncate: Mapping[str, Members] = field(default_factory=dict[str, Members])
    """What asks to cut what is too long (`none`, `start`, `end`)."""
    own: frozenset[str] = frozenset()
    """Members, or words in them, that only this vendor has: they go there as they came."""


_OPENAI_ENCODINGS: Final[Mapping[Encoding, Members]] = MappingProxyType(
    {Encoding.FLOAT: {"encoding_format": "float"}, Encoding.BASE64: {"encoding_format": "base64"}}
)


def _said_by(member: str, *encodings: Encoding) -> dict[Encoding, Members]:
    return {encoding: {member: str(encoding)} for encoding in encodings}


_WHOLE_NUMBERS: Final = (Encoding.INT8, Encoding.UINT8, Encoding.BINARY, Encoding.UBINARY)

OPENAI: Final = Words(whose="OpenAI", encodings=_OPENAI_ENCODINGS, user=True)

VENDORS: Final[Mapping[str, Words]] = MappingProxyType(
    {
        # <https://docs.voyageai.com/reference/embeddings-api>. `encoding_format` is `base64` or nothing.
        "Voyage": Words(
            whose="Voyage",
            encodings={
                Encoding.FLOAT: {},
                Encoding.BASE64: {"encoding_format": "base64"},
                **_said_by("output_dtype", *_WHOLE_NUMBERS),
            },
            dimensions="output_dimension",
            purpose="input_type",
            purposes={Purpose.QUERY: "query", Purpose.DOCUMENT: "document"},
            truncate={"none": {"truncation": False}, "end": {"truncation": True}},
            own=frozenset(("input_type",)),
        ),
        # <https://api.jina.ai/redoc>, <https://jina.ai/embeddings>
        "Jina": Words(
            whose="Jina",
            encodings=_said_by("embedding_type", Encoding.FLOAT, Encoding.BASE64, Encoding.BINARY, Encoding.UBINARY),
            purpose="task",
            purposes={
                Purpose.QUERY: "retrieval.query",
                Purpose.DOCUMENT: "retrieval.passage",
                Purpose.SIMILARITY: "text-matching",
                Purpose.CLASSIFICATION: "classification",
                Purpose.CLUSTERING: "separation",
            },
            truncate={"none": {"truncate": False}, "end": {"truncate": True}},
            own=frozenset(("task", "late_chunking", "normalized", "return_multivector")),
        ),
        # <https://docs.nvidia.com/nim/nemo-retriever/text-embedding/latest/reference.html>
        "NVIDIA": Words(
            whose="NVIDIA",
            encodings={**_OPENAI_ENCODINGS, **_said_by("embedding_type", *_WHOLE_NUMBERS)},
            user=True,
            purpose="input_type",
            purposes={Purpose.QUERY: "query", Purpose.DOCUMENT: "passage"},
            required="passage",
            truncate={
                "none": {"truncate": "NONE"},
                "start": {"truncate": "START"},
                "end": {"truncate": "END"},
            },
            own=frozenset(("input_type", "modality")),
        ),
    }
)

NEAREST: Final[Mapping[Purpose, Purpose]] = MappingProxyType(
    {
        Purpose.QUESTION: Purpose.QUERY,
        Purpose.FACT: Purpose.QUERY,
        Purpose.CODE_QUERY: Purpose.QUERY,
        Purpose.SIMILARITY: Purpose.DOCUMENT,
        Purpose.CLASSIFICATION: Purpose.DOCUMENT,
        Purpose.CLUSTERING: Purpose.DOCUMENT,
    }
)
"""What stands for a purpose that a vendor has no word for."""

PURPOSES: Final[Mapping[str, Mapping[str, Purpose]]] = MappingProxyType(
    {
        "input_type": {
            "query": Purpose.QUERY,
            "search_query": Purpose.QUERY,
            "document": Purpose.DOCUMENT,
            "passage": Purpose.DOCUMENT,
            "search_document": Purpose.DOCUMENT,
            "classification": Purpose.CLASSIFICATION,
            "clustering": Purpose.CLUSTERING,
        },
        "task": {
            "retrieval.query": Purpose.QUERY,
            "retrieval.passage": Purpose.DOCUMENT,
            "text-matching": Purpose.SIMILARITY,
            "classification": Purpose.CLASSIFICATION,
            "separation": Purpose.CLUSTERING,
        },
    }
)
"""The words of all vendors (and Cohere's), by their member: a client may use any of them, whoever embeds."""
