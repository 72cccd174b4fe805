"""What whole chat answers say of themselves in dialects without a reader of usage alone: their id, why they ended, and
what they used.

Only the members that tell it are decoded. An answer that is a failure tells nothing.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import Final

import msgspec
from headgate.llm.canonical import FinishReason
from headgate.llm.dialects.bedrock_converse import response as bedrock_converse
from headgate.llm.dialects.bedrock_converse.wire import Usage as ConverseUsage
from headgate.llm.dialects.cohere import response as cohere
from headgate.llm.dialects.cohere.wire import AnswerUsage as CohereUsage
from headgate.llm.dialects.dialect import NO_MEMO
from headgate.llm.dialects.gemini import response as gemini
from headgate.llm.dialects.gemini.wire import UsageMetadata
from headgate.llm.dialects.openai_chat.wire import ABSENT, present
from headgate.llm.marks import NO_MARKS, Marks
from headgate.llm.names import DialectName
from headgate.llm.usage import NO_USAGE, Usage


class _GeminiPart(msgspec.Struct, rename="camel"):
    function_call: msgspec.Raw = ABSENT


class _GeminiContent(msgspec.Struct):
    parts: list[_GeminiPart] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    content: _GeminiContent | None = None
    finish_reason: str | None = None

    @property
    def parts(self) -> list[_GeminiPart]:
        """What it says, if anything."""
        return (self.content.parts if self.content is not None else None) or []


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _GeminiAnswer(msgspec.Struct, rename="camel"):
    response_id: str | None = None
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    model_version: str | None = None
    usage_metadata: UsageMetadata | None = None


class _ConverseBlock(msgspec.Struct, rename="camel"):
    tool_use: msgspec.Raw = ABSENT


class _ConverseMessage(msgspec.Struct):
    content: list[_ConverseBlock] | None = None


class _ConverseOutput(msgspec.Struct):
    message: _ConverseMessage | None = None


class _ConverseAnswer(msgspec.Struct, rename="camel"):
    output: _ConverseOutput | None = None
    stop_reason: str | None = None
    usage: ConverseUsage | None = None


class _CohereMessage(msgspec.Struct):
    tool_calls: list[msgspec.Raw] | None = None


class _CohereAnswer(msgspec.Struct):
    id: str | None = None
    message: _CohereMessage | None = None
    finish_reason: str | None = None
    usage: CohereUsage | None = None


_decode_gemini = msgspec.json.Decoder(_GeminiAnswer).decode
_decode_converse = msgspec.json.Decoder(_ConverseAnswer).decode
_decode_cohere = msgspec.json.Decoder(_CohereAnswer).decode


_Said = tuple[Marks, str, Usage]
"""Of an answer: marks, model, usage."""


def _of_gemini(data: bytes) -> _Said:
    answer = _decode_gemini(data)
    return _gemini_marks(answer), answer.model_version or "", gemini.usage_of(answer.usage_metadata)


def _gemini_marks(answer: _GeminiAnswer) -> Marks:
    name, candidates = answer.response_id or "", answer.candidates or []
    if not candidates:
        blocked = answer.prompt_feedback is not None and answer.prompt_feedback.block_reason
        return Marks(name, (FinishReason.REFUSAL,)) if blocked else NO_MARKS
    first = candidates[0]
    if not first.parts and first.finish_reason in gemini.FAILURES:
        return NO_MARKS
    return Marks(
        name,
        tuple(
            gemini.finish_of(each.finish_reason or "", called=any(present(part.function_call) for part in each.parts))
            for each in candidates
        ),
    )


def _of_converse(data: bytes) -> _Said:
    answer = _decode_converse(data)
    message = answer.output.message if answer.output is not None else None
    if message is None or message.content is None:
        return NO_MARKS, "", NO_USAGE
    called = any(present(block.tool_use) for block in message.content)
    reason = bedrock_converse.finish_reason_of(answer.stop_reason, called_tools=called, memo=NO_MEMO)
    return Marks(reasons=(reason,)), "", bedrock_converse.usage_of(answer.usage)


def _of_cohere(data: bytes) -> _Said:
    answer = _decode_cohere(data)
    if answer.message is None or cohere.failure_of(answer.finish_reason) is not None:
        return NO_MARKS, "", NO_USAGE
    reason, _ = cohere.finish_of(answer.finish_reason, NO_MEMO, called=bool(answer.message.tool_calls))
    return Marks(answer.id or "", (reason,)), "", cohere.usage_of(answer.usage)


_READERS: Final = MappingProxyType(
    {
        DialectName.GEMINI: _of_gemini,
        DialectName.BEDROCK_CONVERSE: _of_converse,
        DialectName.COHERE: _of_cohere,
    }
)


class ChatMarks:
    """Reads a whole answer; of a stream nothing."""

    __slots__ = ("_read", "marks", "response_model", "usage")

    def __init__(self, dialect: DialectName) -> None:
        self._read: Callable[[bytes], _Said] = _READERS[dialect]
        self.marks: Marks = NO_MARKS
        self.response_model = ""
        self.usage: Usage = NO_USAGE

    def read(self, data: bytes) -> None:
        """A whole answer."""
        self.marks, self.response_model, self.usage = self._read(data)

    def is_wanted(self, data: bytes) -> bool:
        """Streams are read by `Overheard`."""
        del data
        return False
