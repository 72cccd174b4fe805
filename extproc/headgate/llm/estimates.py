"""Counts where a provider reports none, or its answer breaks off: a quarter of the UTF-8 bytes, as reservations do.

A tokenizer would be nearer, but has to keep a stream's text, and to read its vocabulary in every process. Bytes are
counted as they pass.
"""

from typing import Final

import msgspec
from headgate.llm.canonical import (
    Alternative,
    ArgumentsDelta,
    Base64Source,
    ChatRequest,
    ChatResponse,
    DocumentPart,
    ImagePart,
    MediaPart,
    OtherAnswer,
    Part,
    RefusalDelta,
    RefusalPart,
    StreamEvent,
    TextDelta,
    TextPart,
    ThinkingDelta,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from headgate.llm.usage import Usage

BYTES_PER_TOKEN: Final = 4
FILE_TOKENS: Final = 765
"""For each image, document or sound that comes along as base64, whatever its size."""

# Tuples, not unions: those are made anew for each question, and asked for each part and chunk.
_TEXTUAL: Final = (TextDelta, ThinkingDelta, ArgumentsDelta, RefusalDelta)
_FILES: Final = (ImagePart, DocumentPart, MediaPart)


def bytes_of(text: str) -> int:
    """Its length in UTF-8; a client's or provider's JSON may hold halves of characters."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def tokens_of(bytes_written: int) -> int:
    """What so many bytes of text come to."""
    return -(-bytes_written // BYTES_PER_TOKEN)


def prompt_tokens(request: ChatRequest, body_bytes: int) -> int:
    """What a request's body comes to: as a reservation has it, but for files, which are no text."""
    files = 0
    for message in request.messages:
        for part in message.parts:
            if type(part) is TextPart or type(part) is ToolCallPart:
                continue
            for file in part.content if type(part) is ToolResultPart else (part,):
                if type(file) is not TextPart and isinstance(file, _FILES) and isinstance(file.source, Base64Source):
                    body_bytes -= len(file.source.data)
                    files += 1
    return max(body_bytes, 0) // BYTES_PER_TOKEN + 1 + files * FILE_TOKENS


def written_in(event: StreamEvent) -> int:
    """Bytes of text that an event of a stream adds."""
    if type(event) is OtherAnswer:
        event = event.event
    return bytes_of(event.text) if isinstance(event, _TEXTUAL) else 0


def written_by(answer: ChatResponse | Alternative) -> int:
    """Bytes of text in a whole answer, and in its alternatives."""
    written = sum(map(_written, answer.parts))
    if isinstance(answer, ChatResponse):
        written += sum(map(written_by, answer.alternatives))
    return written


def completed(reported: Usage, prompt: int, written: int) -> Usage:
    """The usage, with what was not reported counted: `written` bytes since its output was."""
    given = prompt if reported.input is None else reported.input
    answered = (reported.output or 0) + tokens_of(written)
    return msgspec.structs.replace(reported, input=given, output=answered, total=given + answered)


def _written(part: Part) -> int:
    match part:
        case TextPart(text=text) | ThinkingPart(text=text) | RefusalPart(text=text):
            return bytes_of(text)
        case ToolCallPart():
            return bytes_of(part.name) + bytes_of(part.arguments)
        case _:
            return 0
