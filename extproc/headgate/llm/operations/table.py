"""Which reader an operation's answers get, a row each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final

from headgate.llm.endpoints import Endpoint
from headgate.llm.names import DialectName, Operation
from headgate.llm.operations.anthropic import MessagesUsage
from headgate.llm.operations.chat_marks import ChatMarks
from headgate.llm.operations.cohere import RerankUsage
from headgate.llm.operations.openai import ImageUsage, InputUsage, PromptUsage
from headgate.llm.operations.reader import RelayReader
from headgate.llm.operations.reading import HidingStreamReader, SilentReader, StreamReader, UsageSource, WholeReader


@dataclass(frozen=True, slots=True)
class _Row:
    """How an operation's answers tell usage; `None`: not at all, or not as JSON."""

    whole: Callable[[], UsageSource] | None
    stream: Callable[[], UsageSource] | None = None


def _decoded(dialect: DialectName) -> _Row:
    """Of chats in dialects without a reader of usage alone: streams are counted by their decoders (`Overheard`)."""
    return _Row(partial(ChatMarks, dialect))


_ROWS: Final[Mapping[Operation, _Row]] = MappingProxyType(
    {
        Operation.CHAT: _Row(PromptUsage, PromptUsage),
        Operation.COMPLETION: _Row(PromptUsage, PromptUsage),
        Operation.EMBEDDINGS: _Row(PromptUsage),
        Operation.GENERATE_CONTENT: _decoded(DialectName.GEMINI),
        Operation.MESSAGES: _Row(MessagesUsage, MessagesUsage),
        Operation.COUNT_TOKENS: _Row(MessagesUsage),
        Operation.RESPONSES: _Row(InputUsage, InputUsage),
        Operation.RESPONSES_INPUT_TOKENS: _Row(InputUsage),
        Operation.IMAGE_GENERATION: _Row(ImageUsage, InputUsage),
        Operation.IMAGE_EDIT: _Row(ImageUsage, InputUsage),
        Operation.IMAGE_VARIATION: _Row(ImageUsage),
        Operation.MODERATION: _Row(None),  # free of charge
        Operation.SPEECH: _Row(None, InputUsage),  # audio, or events the last of which has usage
        Operation.TRANSCRIPTION: _Row(InputUsage, InputUsage),
        Operation.TRANSLATION: _Row(InputUsage),
        Operation.RERANK: _Row(RerankUsage),
        Operation.TOKENIZE: _Row(None),  # counts, consumes nothing
        Operation.MODELS: _Row(None),
    }
)

_SILENT: Final = _Row(None)
_DIALECT_ROWS: Final[Mapping[tuple[DialectName, Operation], _Row]] = MappingProxyType(
    {
        (DialectName.BEDROCK_CONVERSE, Operation.CHAT): _decoded(DialectName.BEDROCK_CONVERSE),
        (DialectName.COHERE, Operation.CHAT): _decoded(DialectName.COHERE),
        (DialectName.GEMINI, Operation.EMBEDDINGS): _SILENT,
        (DialectName.BEDROCK_CONVERSE, Operation.EMBEDDINGS): _SILENT,
        (DialectName.COHERE, Operation.EMBEDDINGS): _Row(RerankUsage),
        (DialectName.JINA_RERANK, Operation.RERANK): _Row(PromptUsage),
        (DialectName.GEMINI, Operation.COUNT_TOKENS): _SILENT,
        (DialectName.BEDROCK_CONVERSE, Operation.COUNT_TOKENS): _SILENT,
    }
)
"""Operations whose answers are told otherwise in a dialect."""


def relay_reader(endpoint: Endpoint, *, stream: bool, hide_usage: bool) -> RelayReader:
    """A reader for one answer. `hide_usage`: the gateway, not the client, asked for the usage chunk of an OpenAI
    stream."""
    row = _DIALECT_ROWS.get((endpoint.dialect, endpoint.operation)) or _ROWS[endpoint.operation]
    source = row.stream if stream else row.whole
    if source is None:
        return SilentReader()
    if not stream:
        return WholeReader(source())
    if hide_usage and source is PromptUsage:
        prompt_usage = PromptUsage()
        return HidingStreamReader(prompt_usage, prompt_usage.is_usage_alone)
    return StreamReader(source())
