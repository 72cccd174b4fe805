"""Who counts: the provider where it has a way, else the gateway.

A server of OpenAI's dialects is asked where it is known to have one: OpenAI's own and Azure's `input_tokens`, vLLM's
`tokenize`. Of the others nothing is known, and an answer of about the right size beats a 404.
"""

from types import MappingProxyType
from typing import Final

from headgate.contract import headers
from headgate.llm.dialects.dialect import Target
from headgate.llm.names import DialectName, HostName, Operation
from headgate.llm.operations.codec import Codec
from headgate.llm.operations.counting import anthropic, bedrock, gemini, responses, vllm
from headgate.llm.operations.counting.bedrock_models import is_counted
from headgate.llm.operations.counting.canonical import Count, Counted
from headgate.llm.operations.family import Family, Local

_OPENAI_OWN: Final = "OpenAI"
_VLLM: Final = "vLLM"


def choose(target: Target, spoken: frozenset[DialectName]) -> Codec[Count, Counted] | None:
    """How the provider is asked; None: it is not."""
    if DialectName.ANTHROPIC_MESSAGES in spoken:
        return anthropic.CODEC
    if DialectName.GEMINI in spoken:
        return gemini.CODEC
    if DialectName.BEDROCK_CONVERSE in spoken:
        return bedrock.CODEC if is_counted(target.model) else None
    if DialectName.OPENAI_RESPONSES not in spoken:
        return None
    if target.vendor.name == _VLLM:
        return vllm.CODEC
    own = target.vendor.name == _OPENAI_OWN or target.host is HostName.AZURE
    return responses.CODEC if own and Operation.RESPONSES_INPUT_TOKENS not in target.vendor.lacks else None


FAMILY: Final = Family(
    Count,
    MappingProxyType(
        {codec.dialect: codec for codec in (anthropic.CODEC, gemini.CODEC, bedrock.CODEC, responses.CODEC, vllm.CODEC)}
    ),
    unlike=MappingProxyType({HostName.BEDROCK: frozenset(("count-tokens",))}),
    choose=choose,
    here=Local(lambda request: request.chat, Counted),
    answer_headers=MappingProxyType({headers.COUNT_SOURCE: "provider"}),
)
