"""The chat dialects that can be translated, a row each."""

from types import MappingProxyType
from typing import Final

from headgate.llm.dialects import (
    anthropic,
    bedrock_converse,
    cohere,
    gemini,
    openai_chat,
    openai_completions,
    openai_responses,
)
from headgate.llm.dialects.dialect import ChatDialect
from headgate.llm.names import DialectName

_ALL: Final = (
    openai_chat.DIALECT,
    openai_responses.DIALECT,
    openai_completions.DIALECT,
    anthropic.DIALECT,
    cohere.DIALECT,
    gemini.DIALECT,
    bedrock_converse.DIALECT,
)

DIALECTS: Final[MappingProxyType[DialectName, ChatDialect]] = MappingProxyType(
    {dialect.name: dialect for dialect in _ALL}
)
