"""Crossing dialects with a stream, event by event: what is kept back, what is counted, how it fails."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from headgate.llm.answer_losses import StreamLosses
from headgate.llm.canonical import (
    Finish,
    OtherAnswer,
    Ping,
    Start,
    StreamEvent,
    StreamFailure,
    UsageUpdate,
)
from headgate.llm.content_coding import GZIP_MAGIC, Inflater
from headgate.llm.dialects.dialect import EVENT_STREAM, ChatDialect, ReplyContext
from headgate.llm.errors import ErrorDetail, StreamFailed, UpstreamError
from headgate.llm.estimates import BYTES_PER_TOKEN, TEXTUAL, Written, completed
from headgate.llm.exchange import UpstreamRequest
from headgate.llm.framing.frame import Frame
from headgate.llm.framing.sse import COMMENT
from headgate.llm.framing.surrogates import Halves, may_have_halves
from headgate.llm.hosts.host import Framing
from headgate.llm.losses import Loss
from headgate.llm.marks import NO_MARKS, Marks
from headgate.llm.stream_ends import CUT, LIFECYCLE, NEWS_TOKENS, Held
from headgate.llm.usage import NO_USAGE, Usage
from headgate.llm.vocabularies import counter_of

HeaderEdits = tuple[Mapping[str, str], Sequence[str]]
"""Headers to set, headers to remove."""


KEEP_ALIVE: Final = b": ping\n\n"
"""A comment of the provider's, whatever it says, keeps the client's connection alive as well; every dialect's SDK skips
it."""


_NEWS_BYTES: Final = NEWS_TOKENS * BYTES_PER_TOKEN


class StreamTranslation:
    """A stream, event by event.

    Usage is the provider's; what has been written since it last told is counted, so that a stream that breaks off, or
    whose client leaves, has its price.
    """

    __slots__ = (
        "_bytes_max",
        "_decoder",
        "_encoder",
        "_ended",
        "_frames",
        "_halves",
        "_held",
        "_inflater",
        "_keep_alive",
        "_losses",
        "_lost",
        "_news_bytes",
        "_opened",
        "_prompt",
        "_shown_model",
        "_written",
        "estimated",
        "headers",
        "marks",
        "remove_headers",
        "reported",
        "response_model",
        "streamed",
        "usage",
    )

    def __init__(
        self,
        streams: tuple[ChatDialect, ChatDialect, Framing],
        request: UpstreamRequest,
        context: ReplyContext,
        bytes_max: int,
        edits: HeaderEdits,
    ) -> None:
        client, provider, framing = streams
        self._frames = framing.frames()
        self._keep_alive = KEEP_ALIVE if client.stream_type(request.client_path) == EVENT_STREAM else b""
        self._decoder = provider.stream_decoder(request.memo)
        self._encoder = client.stream_encoder(context)
        self._ended = False
        self._halves = Halves()
        self._opened = False
        self._inflater: Inflater | None = None
        self._bytes_max = bytes_max
        self._held: Held | None = None
        self._prompt = request.prompt_tokens
        self._shown_model = request.shown_model
        self._news_bytes = 1
        self.reported: Usage = NO_USAGE
        """What the provider said, and the client is told."""
        self._written = Written(counter_of(request.request_model))
        self.headers, self.remove_headers = edits
        self._losses = request.losses
        self._lost = StreamLosses({**client.unsaid, **client.unsaid_streamed})
        self.usage: Usage = NO_USAGE
        self.estimated = False
        self.marks: Marks = NO_MARKS
        self.response_model = request.request_model
        self.streamed = True

    @property
    def losses(self) -> Sequence[Loss]:
        """Of the request, and of what has passed so far."""
        return (*self._losses, *self._lost.found) if self._lost.found else self._losses

    def hold(self) -> bool:
        """See `ResponseTranslation`. What is kept is bounded (`Held`)."""
        self._held = Held()
        return True

    def feed(self, data: bytes) -> bytes:
        """What these bytes complete, for the client."""
        if self._ended or not data:
            return b""
        try:
            if not self._opened:
                self._opened = True
                if data[0] == GZIP_MAGIC[0]:
                    self._inflater = Inflater(bytes_max=self._bytes_max)
            if self._inflater is not None:
                data = self._inflate(data)
            frames = self._frames.feed(data)
        except UpstreamError as error:
            return self._break_off(error.detail())
        if len(frames) == 1:
            return self._shown(self._translate(frames[0]))
        return self._shown(b"".join(map(self._translate, frames)))

    def close(self) -> bytes:
        """The end of the message, or the error that stands for the end that never came."""
        if self._ended:
            return b""
        rest = b""
        try:
            frames = self._frames.close()
        except UpstreamError as error:
            return self._shown(self._break_off(error.detail()) or self._end())
        for frame in frames:
            # What the end of the input cut off is no nonsense of the provider's: it is a cut.
            rest += self._translate(frame, broken=CUT)
        if not self._ended:
            rest += self._end()
        return self._shown(rest)

    def _shown(self, out: bytes) -> bytes:
        """What goes to the client of what an encoder has said."""
        held = self._held
        if held is None:
            return out
        passed = held.pass_on(out)
        if held.over:
            self._held = None
        return passed

    def _end(self) -> bytes:
        # Then it covers what close still gives.
        reported_last = self.reported.output is not None and not self._written.bytes
        rest = self._encode(self._decoder.close())
        if self._ended:
            return rest
        if not self._decoder.complete:
            return rest + self._fail(CUT)
        self._ended = True
        if self._held is not None:
            self._held.over = True
        if self.reported.input is None or self.reported.output is None or (self._written.bytes and not reported_last):
            self._estimate(over=True)
        else:
            self.usage, self.estimated = self.reported, False
        return rest + self._encoder.close()

    def _translate(self, frame: Frame, *, broken: ErrorDetail | None = None) -> bytes:
        if self._ended:
            return b""
        if frame is COMMENT:
            if self._held is not None:
                self._held.wait()
            return self._keep_alive
        if may_have_halves(frame.data):
            frame = Frame(self._halves.feed(frame.data), frame.event, frame.failure)
        try:
            said = self._encode(self._decoder.feed(frame))
        except StreamFailed:
            raise
        except UpstreamError as error:
            return self._break_off(broken or error.detail())
        return said + self._end() if self._decoder.ended and not self._ended else said

    def _encode(self, events: Sequence[StreamEvent]) -> bytes:
        """One frame's events."""
        feed = self._encoder.feed
        parts: list[bytes] = []
        reports = False
        for event in events:
            kind = type(event)
            if isinstance(event, TEXTUAL):  # first: most are
                self._written.add_text(event.text)
                if self._held is not None:
                    self._held.over = True
            elif kind is UsageUpdate or kind is Start:
                reports |= self._note(event)
                if self._shown_model and isinstance(event, Start):
                    event = msgspec.structs.replace(event, model=self._shown_model)
            elif kind is StreamFailure:
                assert isinstance(event, StreamFailure)
                parts.append(self._fail(event.error))
                break
            else:
                if kind in self._lost.kinds:
                    self._lost.note(event)
                if kind is Finish or kind is OtherAnswer:
                    self.marks = self.marks.after(event)
                self._written.add(event)
                if self._held is not None and kind not in LIFECYCLE:
                    self._held.over = True
                elif self._held is not None and kind is Ping:
                    self._held.wait()
            parts.append(feed(event))
        if reports:
            self._written.clear()
            self._news_bytes = 1  # the first words are told at once
            self.usage, self.estimated = self.reported, False
        elif self._written.bytes >= self._news_bytes:
            self._estimate(over=False)
            self._news_bytes = self._written.bytes + _NEWS_BYTES
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _estimate(self, *, over: bool) -> None:
        self.usage = completed(self.reported, self._prompt, self._written.tokens(over=over))
        self.estimated = True

    def _note(self, event: StreamEvent) -> bool:
        """Whether it tells how much has been written so far."""
        assert isinstance(event, Start | UsageUpdate)
        self.reported = self.reported.merge(event.usage)
        if not self.estimated:
            self.usage = self.reported
        if isinstance(event, Start):
            self.marks = self.marks.after(event)
            self.response_model = event.model or self.response_model
        return event.usage.output is not None

    def _inflate(self, data: bytes) -> bytes:
        assert self._inflater is not None
        try:
            return self._inflater.feed(data)
        except ValueError as error:
            raise UpstreamError(f"the provider's stream is not valid gzip: {error}") from None

    def _break_off(self, error: ErrorDetail) -> bytes:
        """Nonsense after a message that is already whole costs the client nothing."""
        return b"" if self._decoder.complete else self._fail(error)

    def _fail(self, error: ErrorDetail) -> bytes:
        self._ended = True
        if self._written.bytes:
            self._estimate(over=True)
        if self._held is not None and not self._held.over:
            raise StreamFailed(error)
        return self._encoder.fail(error)
