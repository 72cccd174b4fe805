"""Rerank in every dialect that has it."""

from types import MappingProxyType
from typing import Final

from headgate.llm.names import HostName
from headgate.llm.operations.family import Family
from headgate.llm.operations.rerank import bedrock, cohere, jina, vendors
from headgate.llm.operations.rerank.canonical import Rerank

FAMILY: Final = Family(
    Rerank,
    MappingProxyType({codec.dialect: codec for codec in (cohere.CODEC, jina.CODEC, bedrock.CODEC)}),
    vendors=vendors.OF_VENDORS,
    unlike=dict.fromkeys(HostName, frozenset(("bedrock-rerank",))),  # no backend is the agent runtime
)
