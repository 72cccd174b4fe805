"""Counts where a provider reports none, or its answer breaks off: a quarter of the UTF-8 bytes, as reservations do.

Bytes are counted as they pass. At a stream's end its text is counted instead, where the model's vocabulary is at hand:
in a process that counts prompts, of OpenAI's models. Others would be read for a stranger's counts.
"""

import re
from collections.abc import Callable
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
FILE_BYTES_MIN: Final = 8_192
"""What is shorter, where nobody decodes it, is no file: it may be any text."""
_FILE_MEMBER: Final = re.compile(
    rb'"(?:url|image_url|document_url|data|file_data|bytes)"\s*:\s*'
    rb'"((?:data:[\w.-]+\\?/[\w+.;=-]*;base64,)?[\w+/=\\-]{%d,})"' % FILE_BYTES_MIN,
    re.ASCII,
)
"""As `request.lua` finds them: base64, by itself or in a data URL."""
KEPT_BYTES_MAX: Final = 65_536
"""Of text kept to be counted at a stream's end; what is beyond is a quarter of its bytes. Protects memory, and the
event loop: so much takes 3 ms."""

# Tuples, not unions: those are made anew for each question, and asked for each part and chunk.
TEXTUAL: Final = (TextDelta, ThinkingDelta, ArgumentsDelta, RefusalDelta)
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


def relayed_prompt_tokens(body: bytes) -> int:
    """The same of a body that nobody decodes: files are known by the names of their members."""
    files = [len(file) for file in _FILE_MEMBER.findall(body)] if len(body) >= FILE_BYTES_MIN else []
    return (len(body) - sum(files)) // BYTES_PER_TOKEN + 1 + len(files) * FILE_TOKENS


class Written:
    """What a stream has written since its provider last counted it, if it ever did. `count` counts a text, if anything
    can."""

    __slots__ = ("_count", "_kept", "_kept_bytes", "bytes")

    def __init__(self, count: Callable[[str], int] | None) -> None:
        self._count = count
        self._kept: list[str] = []
        self._kept_bytes = 0
        self.bytes = 0

    def add(self, event: StreamEvent) -> None:
        """The text of an event, if it has any."""
        if type(event) is OtherAnswer:
            event = event.event
        if isinstance(event, TEXTUAL):
            self.add_text(event.text)

    def add_text(self, text: str) -> None:
        """A piece of what it writes."""
        size = bytes_of(text)
        self.bytes += size
        if self._count is not None and self._kept_bytes + size <= KEPT_BYTES_MAX:
            self._kept.append(text)
            self._kept_bytes += size

    def clear(self) -> None:
        """It has been counted."""
        self.bytes = 0
        if self._kept:
            self._kept, self._kept_bytes = [], 0

    def tokens(self, *, over: bool) -> int:
        """What it comes to: by its bytes, and by its text when nothing more comes (`over`)."""
        if not (over and self._kept):
            return tokens_of(self.bytes)
        assert self._count is not None
        return self._count("".join(self._kept)) + tokens_of(self.bytes - self._kept_bytes)


def written_by(answer: ChatResponse | Alternative) -> int:
    """Bytes of text in a whole answer, and in its alternatives."""
    written = sum(map(_written, answer.parts))
    if isinstance(answer, ChatResponse):
        written += sum(map(written_by, answer.alternatives))
    return written


def completed(reported: Usage, prompt: int, written: int) -> Usage:
    """The usage, with what was not reported counted: `written` tokens since its output was."""
    given = prompt if reported.input is None else reported.input
    answered = (reported.output or 0) + written
    return msgspec.structs.replace(reported, input=given, output=answered, total=given + answered)


def _written(part: Part) -> int:
    match part:
        case TextPart(text=text) | ThinkingPart(text=text) | RefusalPart(text=text):
            return bytes_of(text)
        case ToolCallPart():
            return bytes_of(part.name) + bytes_of(part.arguments)
        case _:
            return 0
