"""The streams of chats, where they begin and where they end: what is kept back, what a cut is, and what is counted of
those whose bytes pass as they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from headgate.llm.canonical import (
    Finish,
    OtherAnswer,
    PartStop,
    Ping,
    RefusalStart,
    Start,
    StreamEvent,
    StreamFailure,
    TextStart,
    ThinkingStart,
    UsageUpdate,
)
from headgate.llm.dialects.dialect import NO_MEMO, ChatDialect
from headgate.llm.errors import ErrorDetail, ErrorKind, UpstreamError
from headgate.llm.estimates import Written, completed
from headgate.llm.framing.frame import Frame
from headgate.llm.framing.sse import COMMENT
from headgate.llm.marks import NO_MARKS, Marks
from headgate.llm.names import DialectName
from headgate.llm.usage import NO_USAGE, Usage
from headgate.llm.vocabularies import counter_of

CUT: Final = ErrorDetail(
    status=502,
    kind=ErrorKind.INTERNAL,
    message="the provider's stream ended before the message was complete",
    code="stream_cut",
)

LIFECYCLE: Final = frozenset((Ping, TextStart, ThinkingStart, RefusalStart, PartStop))
"""What says no more than that an answer has begun, with `Start` and `UsageUpdate`."""

HELD_SIGNS_MAX: Final = 1
"""Anthropic sends one ping right after the start."""
HELD_BYTES_MAX: Final = 65_536


NEWS_TOKENS: Final = 64
"""So much is written, after the first words, before an estimate is made again: it is published for who leaves early."""


@dataclass(frozen=True, slots=True)
class Ends:
    """For Envoy's scripts, which look for words: `begins` is in every stream of the dialect, one of `ends` in those
    that their provider has brought to an end. What a model writes can hide that its stream is cut, and no more."""

    begins: str
    ends: tuple[str, ...]


STREAM_ENDS: Final[Mapping[DialectName, Ends]] = MappingProxyType(
    {
        DialectName.OPENAI_CHAT: Ends("chat.completion.chunk", ("[DONE]", '"finish_reason":"', '"finish_reason": "')),
        DialectName.OPENAI_COMPLETIONS: Ends("text_completion", ("[DONE]", '"finish_reason":"', '"finish_reason": "')),
        DialectName.OPENAI_RESPONSES: Ends(
            "response.created", ("response.completed", "response.incomplete", "response.failed", "[DONE]")
        ),
        DialectName.ANTHROPIC_MESSAGES: Ends("message_start", ("message_stop", '"stop_reason":"', '"stop_reason": "')),
        DialectName.GEMINI: Ends('"candidates"', ('"finishReason"', '"blockReason"')),
        DialectName.BEDROCK_CONVERSE: Ends("messageStart", ("messageStop",)),
        DialectName.COHERE: Ends("message-start", ("message-end",)),
    }
)


class Held:
    """What is kept of a stream while it has only begun.

    A provider that says twice that it is alive may take long: its client is told then, and before much is kept.
    """

    __slots__ = ("_bytes", "_kept", "_signs", "over")

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._bytes = 0
        self._signs = 0
        self.over = False
        """Something has come that must not wait."""

    def wait(self) -> None:
        """The provider says that it is alive."""
        self._signs += 1
        self.over = self.over or self._signs > HELD_SIGNS_MAX

    def pass_on(self, out: bytes) -> bytes:
        """What may go to the client now, after `out` was said."""
        self._kept.append(out)
        self._bytes += len(out)
        self.over = self.over or self._bytes > HELD_BYTES_MAX
        return b"".join(self._kept) if self.over else b""


class Overheard:
    """A stream that is relayed, and read on the way. Never fails: what cannot be read is not read on."""

    __slots__ = ("_decoder", "_frames", "_readable", "_usage", "_written", "failure", "held", "marks", "model")

    def __init__(self, dialect: ChatDialect, model: str) -> None:
        self._frames = dialect.frames()
        self._decoder = dialect.stream_decoder(NO_MEMO)
        self._readable = True
        self._usage = NO_USAGE
        self._written = Written(counter_of(model))
        self.failure: ErrorDetail | None = None
        """What the provider said of its failing."""
        self.held: Held | None = None
        self.marks: Marks = NO_MARKS
        self.model = ""
        """As the provider calls it; empty where it has not."""

    @property
    def cut(self) -> bool:
        """Nothing follows, and the end that the dialect asks for has not come."""
        return self._readable and self.failure is None and not self._decoder.complete

    def feed(self, data: bytes) -> None:
        """A piece of the stream, however it is cut."""
        if self._readable:
            try:
                frames = self._frames.feed(data)
            except UpstreamError:
                self._give_up()
            else:
                self.read(frames)

    def read(self, frames: Sequence[Frame]) -> None:
        """Frames that something else has cut."""
        for frame in frames:
            if not self._readable:
                return
            if frame is COMMENT:
                self._wait()
                continue
            try:
                events = self._decoder.feed(frame)
            except UpstreamError:
                self._give_up()
                return
            for event in events:
                self._note(event)

    def counted(self, reported: Usage, before: Usage, prompt: int, *, over: bool) -> tuple[Usage, bool]:
        """The usage, and whether some of it is estimated. `reported` is what a reader of usage alone has found, if the
        dialect has one. `before` is what was told last: of small news nothing is told until it is `over`, but of the
        first."""
        if reported is NO_USAGE:
            reported = self._usage
        if not self._written.bytes:
            return reported, False
        told = (before.output or 0) - (reported.output or 0)
        if not over and told > 0 and self._written.tokens(over=False) - told < NEWS_TOKENS:
            return before, True
        return completed(reported, prompt, self._written.tokens(over=over)), True

    def _give_up(self) -> None:
        self._readable = False
        if self.held is not None:
            self.held.over = True

    def _wait(self) -> None:
        if self.held is not None:
            self.held.wait()

    def _reported(self, event: Start | UsageUpdate, usage: Usage) -> None:
        self.marks = self.marks.after(event)
        self._usage = self._usage.merge(usage)
        if usage.output is not None:
            self._written.clear()

    def _note(self, event: StreamEvent) -> None:
        match event:
            case StreamFailure(error=error):
                self.failure = error
            case Start(usage=usage, model=model):
                self.model = model or self.model
                self._reported(event, usage)
            case UsageUpdate(usage=usage):
                self._reported(event, usage)
            case Ping():
                self._wait()
            case _:
                kind = type(event)
                if kind is Finish or kind is OtherAnswer:
                    self.marks = self.marks.after(event)
                self._written.add(event)
                if self.held is not None and kind not in LIFECYCLE:
                    self.held.over = True
