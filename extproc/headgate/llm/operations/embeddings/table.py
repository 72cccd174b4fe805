"""Embeddings in every dialect that has them."""

from types import MappingProxyType
from typing import Final

from headgate.llm.names import HostName
from headgate.llm.operations.embeddings import bedrock, cohere, gemini, openai
from headgate.llm.operations.embeddings.canonical import Embeddings
from headgate.llm.operations.family import Family

FAMILY: Final = Family(
    Embeddings,
    MappingProxyType({codec.dialect: codec for codec in (openai.CODEC, gemini.CODEC, cohere.CODEC, bedrock.CODEC)}),
    vendors=openai.OF_VENDORS,
    relayed=frozenset(("Jina",)),  # and its own clients' images and files with it
    unlike=MappingProxyType({HostName.VERTEX: frozenset(("embed-content", "batch-embed-contents"))}),
)
