"""Rerank in every dialect that has it."""

from types import MappingProxyType
from typing import Final

from headgate.llm.operations.family import Family
from headgate.llm.operations.rerank import bedrock, cohere, jina
from headgate.llm.operations.rerank.canonical import Rerank

FAMILY: Final = Family(
    Rerank, MappingProxyType({codec.dialect: codec for codec in (cohere.CODEC, jina.CODEC, bedrock.CODEC)})
)
