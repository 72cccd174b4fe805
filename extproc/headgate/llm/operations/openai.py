"""What OpenAI's answers tell of usage and model, whole or as events of a stream.

Two vocabularies: chat, completions and embeddings count prompt and completion tokens; responses, images and audio count
input and output tokens, and their streams say so inside the last event.
"""

from math import ceil

import msgspec
from headgate.contract import metadata as keys
from headgate.llm.canonical import FinishReason
from headgate.llm.dialects.openai_chat import wire
from headgate.llm.dialects.openai_chat.response import FINISH_REASONS, apart_of, decode_usage
from headgate.llm.dialects.openai_responses.response import CALLS, INCOMPLETE, searches_of
from headgate.llm.marks import NO_MARKS, Marks
from headgate.llm.usage import NO_USAGE, Usage, apart


class _Choice(msgspec.Struct, frozen=True):
    usage: wire.WireUsage | None = None
    finish_reason: str | None = None


class _Completion(msgspec.Struct, frozen=True):
    id: str | None = None
    model: str | None = None
    usage: wire.WireUsage | None = None
    choices: list[_Choice] | None = None
    x_groq: wire.GroqExtension | None = None


_decode_completion = msgspec.json.Decoder(_Completion).decode


class PromptUsage:
    """Usage of chat completions, completions and embeddings. The last usage told wins: some servers count up."""

    __slots__ = ("marks", "response_model", "usage")

    def __init__(self) -> None:
        self.usage: Usage = NO_USAGE
        self.response_model = ""
        self.marks: Marks = NO_MARKS

    def read(self, data: bytes) -> None:
        """A whole answer or one chunk."""
        answer = _decode_completion(data)
        given = [each.finish_reason for each in answer.choices or () if each.finish_reason]
        self.marks = Marks(answer.id or "", tuple(FINISH_REASONS.get(each, FinishReason.STOP) for each in given))
        if answer.model:
            self.response_model = answer.model
        usage = answer.usage
        if usage is None and answer.choices:
            usage = answer.choices[0].usage
        if usage is None and answer.x_groq is not None:
            usage = answer.x_groq.usage
        if usage is not None:
            self.usage = self.usage.merge(decode_usage(usage))

    def is_wanted(self, data: bytes) -> bool:
        """Whether an event of a stream can tell anything new."""
        return not self.response_model or (b'"usage"' in data and b'"usage":null' not in data)

    def is_usage_alone(self, data: bytes) -> bool:
        """Whether a chunk is the one that `include_usage` adds: usage, and empty choices."""
        if b'"usage"' not in data:
            return False
        try:
            chunk = _decode_completion(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        return chunk.usage is not None and chunk.choices is not None and not chunk.choices


class _InputUsage(msgspec.Struct, frozen=True):
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: wire.PromptTokensDetails | None = None
    output_tokens_details: wire.CompletionTokensDetails | None = None
    input_token_details: wire.PromptTokensDetails | None = None
    """Of transcriptions."""
    seconds: float | None = None
    """Of transcriptions whose `type` of usage is `duration`."""


class _Part(msgspec.Struct, frozen=True):
    type: str | None = None


class _Item(msgspec.Struct, frozen=True):
    type: str | None = None
    content: list[_Part] | None = None


class _Incomplete(msgspec.Struct, frozen=True):
    reason: str | None = None


class _Response(msgspec.Struct, frozen=True):
    model: str | None = None
    usage: _InputUsage | None = None
    tool_usage: msgspec.Raw = wire.ABSENT


class _ResponseOrEvent(msgspec.Struct, frozen=True):
    type: str | None = None
    id: str | None = None
    model: str | None = None
    usage: _InputUsage | None = None
    tool_usage: msgspec.Raw = wire.ABSENT
    """Of a response, or of an event's."""
    response: _Response | None = None
    """The responses API's events carry the response so far."""
    input_tokens: int | None = None
    """`responses/input_tokens` answers with the count alone."""
    status: str | None = None
    incomplete_details: _Incomplete | None = None
    output: msgspec.Raw = msgspec.Raw(b"[]")
    """Of a response; what it holds is looked at apart, so that nothing in it hides the usage."""


_decode_response = msgspec.json.Decoder(_ResponseOrEvent).decode
_decode_items = msgspec.json.Decoder(list[_Item]).decode


def _ended(answer: _ResponseOrEvent) -> tuple[FinishReason, ...]:
    """Why a response ended; nothing of what is none."""
    if answer.status == "incomplete":
        reason = answer.incomplete_details.reason if answer.incomplete_details is not None else None
        return (INCOMPLETE.get(reason or "", FinishReason.LENGTH),)
    if answer.status != "completed":
        return ()
    try:
        items = _decode_items(answer.output)
    except msgspec.DecodeError:
        return ()
    if any(item.type in CALLS for item in items):
        return (FinishReason.TOOL_CALLS,)
    refused = any(part.type == "refusal" for item in items for part in item.content or ())
    return (FinishReason.REFUSAL if refused else FinishReason.STOP,)


class InputUsage:
    """Usage of responses, their token counts, images and audio."""

    __slots__ = ("marks", "response_model", "usage")

    def __init__(self) -> None:
        self.usage: Usage = NO_USAGE
        self.response_model = ""
        self.marks: Marks = NO_MARKS

    def read(self, data: bytes) -> None:
        """A whole answer or one event."""
        answer = _decode_response(data)
        self.marks = Marks(answer.id or "", _ended(answer))
        response = answer.response
        self.response_model = (response.model if response is not None else answer.model) or self.response_model
        told = answer if response is None else response
        if told.usage is not None:
            self.usage = self.usage.merge(_decode_input_usage(told.usage, told.tool_usage))
        elif answer.input_tokens is not None:
            self.usage = self.usage.merge(Usage(input=answer.input_tokens))

    def is_wanted(self, data: bytes) -> bool:
        """Whether an event can tell anything new: those that carry a response, or usage."""
        return b'"usage"' in data or (not self.response_model and b'"response"' in data)


def _decode_input_usage(usage: _InputUsage, tool_usage: msgspec.Raw) -> Usage:
    given, written = usage.input_tokens_details, usage.output_tokens_details
    created = None
    if given is not None:
        created = given.cache_write_tokens
        if given.cache_creation_input_tokens is not None:
            created = given.cache_creation_input_tokens
    heard = apart(((keys.AUDIO_SECONDS, ceil(usage.seconds)),)) if usage.seconds else ()
    return Usage(
        input=usage.input_tokens,
        cached_input=None if given is None else given.cached_tokens,
        cache_creation_input=created,
        output=usage.output_tokens,
        total=usage.total_tokens,
        reasoning=None if written is None else written.reasoning_tokens,
        apart=heard + apart_of(given or usage.input_token_details, written) + searches_of(tool_usage),
    )


class _Images(msgspec.Struct, frozen=True):
    data: list[_Part] | None = None


_decode_images = msgspec.json.Decoder(_Images).decode


class ImageUsage(InputUsage):
    """Usage of whole answers that are images: how many there are as well."""

    __slots__ = ()

    def read(self, data: bytes) -> None:
        """The answer."""
        made = len(_decode_images(data).data or ())
        super().read(data)
        self.usage = self.usage.merge(Usage(apart=apart(((keys.IMAGES, made),))))
