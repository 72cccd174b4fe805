"""Streams of the chat completions dialect, read.

What compatible servers do to them:

- Usage on a chunk of its own with empty choices, on the last chunk, on every chunk, in the choice (Moonshot) or under
  `x_groq`; `choices` missing or empty (Azure's prompt filter results) is nothing.
- Tool calls without index, with the same index for several calls, without id, with the name after the id or in pieces,
  with the whole arguments as an object. A call is told when its name is complete: with its first arguments, or at the
  end.
- Reasoning as `reasoning_content`, `reasoning`, content parts (Mistral) or `thinking_blocks`. A block that carries a
  signature repeats text that was streamed before it, or ends it.
- A finish reason of `""` is none. What follows a finish reason, but for usage and other choices, is ignored.
- Pages that a server names beside its answer, with every chunk (Perplexity), are told once, at the end.

Sound comes in pieces and goes on in pieces; what is heard (`transcript`) is told as a text behind them.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from headgate.llm.canonical import (
    AnswerMembers,
    ArgumentsDelta,
    CitationDelta,
    Finish,
    LogprobsDelta,
    MediaOutput,
    OtherAnswer,
    PartEvent,
    PartStop,
    RedactedThinking,
    RefusalDelta,
    RefusalStart,
    SignatureDelta,
    Start,
    StreamEvent,
    StreamFailure,
    TextDelta,
    TextStart,
    ThinkingDelta,
    ThinkingStart,
    TokenLogprob,
    ToolCallStart,
    UsageUpdate,
)
from headgate.llm.dialects.dialect import Memo
from headgate.llm.dialects.openai_chat import wire
from headgate.llm.dialects.openai_chat.annotations import CITATIONS_MAX, citations_of, logprobs_of, pages_of
from headgate.llm.dialects.openai_chat.media import audio_of, images_of
from headgate.llm.dialects.openai_chat.response import (
    custom_of,
    extras_of,
    failure_of,
    finish_of,
    made_call_id,
    thinking_text,
    usage_of,
)
from headgate.llm.dialects.openai_chat.think_tags import ThinkTags
from headgate.llm.errors import UpstreamError
from headgate.llm.framing.frame import Frame
from headgate.llm.names import DialectName
from headgate.llm.stand_ins import FreeformArguments
from headgate.llm.usage import NO_USAGE

TOOL_CALLS_MAX: Final = 1_024
"""Tool calls of one answer: each is held until the end, and indexes come from the provider."""

CHOICES_MAX: Final = 128
"""Answers to one request: OpenAI's own bound of `n`."""

TRANSCRIPT_CHARACTERS_MAX: Final = 1_048_576
"""Of what is heard, held until the sound ends."""

EARLY_TOKENS_MAX: Final = 16
"""Whose log probabilities wait for the text that they begin: a character is of few tokens."""

_encode = msgspec.json.Encoder().encode


class _Call:
    """A tool call being read."""

    __slots__ = ("id", "index", "key", "name", "pending", "said", "text")

    def __init__(self, key: int) -> None:
        self.key = key
        self.id = ""
        self.name = ""
        self.index = -1  # of the canonical part; -1 until it is told
        self.pending = ""  # arguments that came before the name
        self.said = False  # something that is no white space has come of the arguments
        self.text: FreeformArguments | None = None  # what writes the arguments of a custom tool's call


class ChatStreamDecoder:
    """See `dialect.StreamDecoder`."""

    __slots__ = ("_done", "_first", "_id", "_memo", "_others", "_own", "_pages", "_started")

    def __init__(self, memo: Memo) -> None:
        self._memo = memo
        self._started = False
        self._done = False
        self._id = ""
        self._first = _ChoiceDecoder(memo)
        self._others: dict[int, _ChoiceDecoder] = {}
        self._pages: Sequence[str] = ()
        self._own: dict[str, msgspec.Raw] = {}
        """Members that only this dialect knows, until they are told at the end."""

    @property
    def complete(self) -> bool:
        """`[DONE]` or every choice's finish reason was seen."""
        return self._done or (self._first.finished and all(choice.finished for choice in self._others.values()))

    @property
    def ended(self) -> bool:
        """`[DONE]` came."""
        return self._done

    def feed(self, frame: Frame) -> Sequence[StreamEvent]:
        """Events of one frame."""
        data = frame.data
        if not data or self._done:
            return ()
        if data.startswith(wire.DONE):
            return self._on_done()
        try:
            chunk = wire.decode_completion(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamError(f"the provider sent a chunk that is not a chat completion's: {error}") from None
        if chunk.error:
            self._done = True
            return (StreamFailure(failure_of(chunk.error)),)
        events: list[StreamEvent] = []
        usage = usage_of(chunk)
        if not self._started:
            if not chunk.choices and usage is NO_USAGE:
                return ()
            events.append(self._start(chunk))
        beyond = chunk.moderation is not wire.ABSENT
        if chunk.choices:
            if chunk.citations:
                self._pages = chunk.citations
            for choice in chunk.choices:
                self._on_choice(choice, events)
                beyond = beyond or choice.logprobs is not None or bool(choice.finish_reason)
        if beyond:
            self._own.update(extras_of(chunk).get(DialectName.OPENAI_CHAT, {}))
        if self._own and self._first.finished:
            events.append(AnswerMembers({DialectName.OPENAI_CHAT: self._own}))
            self._own = {}
        if usage is not NO_USAGE:
            events.append(UsageUpdate(usage, chunk.service_tier or ""))
        return events

    def close(self) -> Sequence[StreamEvent]:
        """Parts that a cut left open are stopped; no finish is made up."""
        if self.complete:
            return ()
        events: list[StreamEvent] = []
        self._first.stop_parts(events)
        return events

    def _start(self, chunk: wire.Completion) -> Start:
        self._started = True
        self._id = self._first.answer_id = chunk.id or ""
        return Start(
            id=self._id,
            model=chunk.model or "",
            created=None if not chunk.created else int(chunk.created),
            service_tier=chunk.service_tier or "",
        )

    def _on_done(self) -> Sequence[StreamEvent]:
        self._done = True
        events: list[StreamEvent] = []
        if not self._started:
            events.append(Start())
        self._first.finish(wire.Choice(), events, self._pages)
        for number, other in self._others.items():
            said: list[StreamEvent] = []
            other.finish(wire.Choice(), said)
            events.extend(_of_other(number, said))
        return events

    def _on_choice(self, choice: wire.Choice, events: list[StreamEvent]) -> None:
        if not choice.index:
            self._first.take(choice, events, self._pages)
            return
        other = self._others.get(choice.index)
        if other is None:
            if len(self._others) >= CHOICES_MAX or not 0 < choice.index <= CHOICES_MAX:
                return
            other = self._others[choice.index] = _ChoiceDecoder(self._memo)
            other.answer_id = f"{self._id}_{choice.index}"
        said: list[StreamEvent] = []
        other.take(choice, said)
        events.extend(_of_other(choice.index, said))


def _of_other(number: int, events: Sequence[StreamEvent]) -> list[StreamEvent]:
    return [OtherAnswer(number, event) for event in events if isinstance(event, PartEvent)]


class _ChoiceDecoder:
    """The parts of one choice."""

    __slots__ = (
        "_begins",
        "_by_key",
        "_calls",
        "_early",
        "_heard",
        "_kind",
        "_length",
        "_memo",
        "_next",
        "_open",
        "_refused",
        "_tags",
        "answer_id",
        "finished",
    )

    def __init__(self, memo: Memo) -> None:
        self._memo = memo
        self.finished = False
        self.answer_id = ""
        self._next = 0  # canonical index of the next part
        self._kind: type[TextStart] | type[ThinkingStart] | type[RefusalStart] | None = None  # of the open part
        self._open = -1  # its canonical index
        self._calls: list[_Call] = []
        self._by_key: dict[int, _Call] = {}
        self._refused = False
        self._length = 0  # of the message's text so far
        self._begins = 0  # where in it the last text part began
        self._heard: list[str] = []
        self._early: Sequence[TokenLogprob] = ()
        self._tags = ThinkTags() if memo.think_tags else None

    def take(self, choice: wire.Choice, events: list[StreamEvent], pages: Sequence[str] = ()) -> None:
        """What one chunk says of this choice."""
        if self.finished:
            return
        delta = choice.delta or choice.message
        before = len(events)
        if delta is not None:
            self._on_delta(delta, events)
        if choice.logprobs is not None or self._early:
            self._on_logprobs(logprobs_of(choice.logprobs), events, silent=len(events) == before)
        if choice.finish_reason:
            self.finish(choice, events, pages)

    def _on_delta(self, delta: wire.Answer, events: list[StreamEvent]) -> None:
        if delta.reasoning_content or delta.reasoning or delta.thinking_blocks:
            self._on_reasoning(delta, events)
        content = delta.content
        if content:
            if self._tags is not None and isinstance(content, str):
                self._on_tagged(self._tags.feed(content), events)
            elif isinstance(content, str):
                self._on_text(content, events)
            else:
                self._on_content_parts(content, events)
        if delta.refusal:
            self._on_refusal(delta.refusal, events)
        if delta.annotations and self._kind is TextStart:
            cited = citations_of(delta.annotations[:CITATIONS_MAX], self._begins)
            events.extend(CitationDelta(self._open, citation) for citation in cited)
        if delta.audio is not None or delta.images:
            self._on_media(delta, events)
        if delta.tool_calls:
            for call in delta.tool_calls:
                self._on_tool_call(call, events)
        if delta.function_call is not None:
            self._on_tool_call(wire.AnswerToolCall(index=0, function=delta.function_call), events)

    def _on_logprobs(self, tokens: Sequence[TokenLogprob], events: list[StreamEvent], *, silent: bool) -> None:
        """Of tokens that are no text yet (half a character), those of the text that they begin."""
        tokens, self._early = (*self._early, *tokens), ()
        if self._kind is TextStart and tokens:
            events.append(LogprobsDelta(self._open, tokens))
        elif silent:
            self._early = tokens[:EARLY_TOKENS_MAX]

    def _on_text(self, text: str, events: list[StreamEvent]) -> None:
        if self._kind is TextStart:
            index = self._open
        else:
            index = self._part(TextStart, events)
            self._begins = self._length
        self._length += len(text)
        events.append(TextDelta(index, text))

    def _on_tagged(self, said: tuple[str, str], events: list[StreamEvent]) -> None:
        thought, text = said
        if thought:
            events.append(ThinkingDelta(self._part(ThinkingStart, events), thought))
        if text:
            self._on_text(text, events)

    def _on_media(self, delta: wire.Answer, events: list[StreamEvent]) -> None:
        audio = delta.audio
        if audio is not None:
            if audio.transcript and self._length <= TRANSCRIPT_CHARACTERS_MAX:
                self._heard.append(audio.transcript)
                self._length += len(audio.transcript)
            if audio.data:
                self._go_on(events)
                events.append(MediaOutput(self._take_index(), audio_of(audio.data, self._memo.audio_format)))
        for image in images_of(delta.images or []):
            self._go_on(events)
            events.append(MediaOutput(self._take_index(), image))

    def _on_content_parts(self, parts: Sequence[wire.AnswerPart], events: list[StreamEvent]) -> None:
        for part in parts:
            if part.type == "thinking":
                text = thinking_text(part)
                if text:
                    events.append(ThinkingDelta(self._part(ThinkingStart, events), text))
                if part.signature:
                    self._on_signature(part.signature, events)
            elif part.text:
                self._on_text(part.text, events)
            elif part.refusal:
                self._on_refusal(part.refusal, events)

    def _on_refusal(self, text: str, events: list[StreamEvent]) -> None:
        self._refused = True
        events.append(RefusalDelta(self._part(RefusalStart, events), text))

    def _on_reasoning(self, delta: wire.Answer, events: list[StreamEvent]) -> None:
        text, signature, redacted = wire.reasoning_of(delta.reasoning_content, delta.reasoning)
        if text:
            events.append(ThinkingDelta(self._part(ThinkingStart, events), text))
        for block in delta.thinking_blocks or ():
            if block.type == "redacted_thinking" or (block.data and not block.thinking):
                redacted = block.data or ""
                self._on_redacted(redacted, events)
                redacted = ""
                continue
            streamed = bool(text) or (self._kind is ThinkingStart and bool(block.signature))
            if block.thinking and not streamed:
                events.append(ThinkingDelta(self._part(ThinkingStart, events), block.thinking))
            if block.signature:
                self._on_signature(block.signature, events)
        if signature:
            self._on_signature(signature, events)
        if redacted:
            self._on_redacted(redacted, events)

    def _on_signature(self, signature: str, events: list[StreamEvent]) -> None:
        events.append(SignatureDelta(self._part(ThinkingStart, events), signature))
        self._stop_open(events)

    def _on_redacted(self, data: str, events: list[StreamEvent]) -> None:
        self._go_on(events)
        events.append(RedactedThinking(self._take_index(), data))

    def _on_tool_call(self, piece: wire.AnswerToolCall, events: list[StreamEvent]) -> None:
        custom = custom_of(piece)
        if custom is not None:
            self._on_custom_call(piece, custom, events)
            return
        call = self._call_of(piece, events)
        function = piece.function
        if piece.id and call.index < 0:
            call.id = piece.id
        if function is None:
            return
        if function.name and call.index < 0 and function.name != call.name:
            call.name += function.name
        arguments = function.arguments
        if not arguments:
            return
        text = arguments if isinstance(arguments, str) else _encode(arguments).decode()
        call.said = call.said or not text.isspace()
        if call.index >= 0:
            events.append(ArgumentsDelta(call.index, text))
        elif call.name:
            self._tell_call(call, events)
            events.append(ArgumentsDelta(call.index, text))
        else:
            call.pending += text

    def _on_custom_call(
        self, piece: wire.AnswerToolCall, custom: wire.AnswerCustomCall, events: list[StreamEvent]
    ) -> None:
        """A piece of a call of a tool that takes a text: told as of a function that does (`stand_ins`)."""
        piece = wire.AnswerToolCall(piece.index, piece.id, function=wire.AnswerFunction(custom.name))
        call = self._call_of(piece, events)
        call.id = call.id or piece.id or ""
        if call.text is None:
            if call.said:  # it ended
                return
            call.text = FreeformArguments()
        arguments = call.text.feed(custom.input) if custom.input else None
        function = wire.AnswerFunction(custom.name, arguments)
        self._on_tool_call(msgspec.structs.replace(piece, function=function), events)

    def _call_of(self, piece: wire.AnswerToolCall, events: list[StreamEvent]) -> _Call:
        """The call a piece belongs to: a new one if its index is new, or if another id and a name come for an old
        index."""
        key = piece.index
        named = piece.function is not None and bool(piece.function.name)
        if key is None:
            known = next((call for call in self._calls if piece.id and call.id == piece.id), None)
            if known is None and self._calls and not (piece.id and named):
                known = self._calls[-1]
            if known is not None:
                return known
            key = len(self._calls)
        known = self._by_key.get(key)
        if known is not None and not (piece.id and known.id and piece.id != known.id and named):
            return known
        if len(self._calls) >= TOOL_CALLS_MAX:
            raise UpstreamError(f"the provider streamed more than {TOOL_CALLS_MAX} tool calls")
        self._stop_open(events)
        for call in self._calls:
            if call.index < 0 and call.name:
                self._tell_call(call, events)
        call = _Call(key)
        self._calls.append(call)
        self._by_key[key] = call
        return call

    def _tell_call(self, call: _Call, events: list[StreamEvent]) -> None:
        self._stop_open(events)
        call.index = self._take_index()
        call_id = call.id or made_call_id(self.answer_id, self._calls.index(call))
        name = self._memo.tool_names.get(call.name, call.name)
        events.append(ToolCallStart(call.index, call_id, name))
        if call.pending:
            events.append(ArgumentsDelta(call.index, call.pending))
            call.pending = ""

    def _part(self, kind: type[TextStart] | type[ThinkingStart] | type[RefusalStart], events: list[StreamEvent]) -> int:
        """The index of the open part of that kind, opened if need be."""
        if self._kind is not kind:
            self._go_on(events)
            self._kind = kind
            self._open = self._take_index()
            events.append(kind(self._open))
        return self._open

    def _take_index(self) -> int:
        index = self._next
        self._next += 1
        return index

    def _go_on(self, events: list[StreamEvent]) -> None:
        """Ends what is open where the model goes on with something that is no call; so its texts for custom tools,
        which are no JSON until then."""
        self._stop_open(events)
        for call in self._calls:
            if call.text is not None and call.index >= 0:
                events.append(ArgumentsDelta(call.index, call.text.close()))
                call.text, call.said = None, True

    def _stop_open(self, events: list[StreamEvent]) -> None:
        if self._kind is not None:
            events.append(PartStop(self._open))
            self._kind = None

    def _fill_calls(self, choice: wire.Choice, events: list[StreamEvent]) -> None:
        """A call without arguments has none; one that the limit cut may be missing some. A text is as long as it
        got."""
        for call in self._calls:
            if not call.name or (call.text is None and (call.said or choice.finish_reason == "length")):
                continue
            if call.index < 0:
                self._tell_call(call, events)
            events.append(ArgumentsDelta(call.index, "{}" if call.text is None else call.text.close()))

    def stop_parts(self, events: list[StreamEvent]) -> bool:
        """Stops what is open; whether any tool was called."""
        self._stop_open(events)
        for call in self._calls:
            if call.index < 0 and call.name:
                self._tell_call(call, events)
        called = False
        for call in self._calls:
            if call.index >= 0:
                called = True
                events.append(PartStop(call.index))
        return called

    def finish(self, choice: wire.Choice, events: list[StreamEvent], pages: Sequence[str] = ()) -> None:
        """The end of this choice, once."""
        if self.finished:
            return
        self.finished = True
        if self._tags is not None:
            self._on_tagged(self._tags.close(), events)
        if self._heard:
            index = self._part(TextStart, events)
            events.append(TextDelta(index, "".join(self._heard)))
        if pages and self._kind is TextStart:
            events.extend(CitationDelta(self._open, citation) for citation in pages_of(pages[:CITATIONS_MAX]))
        self._fill_calls(choice, events)
        called = self.stop_parts(events)
        reason, stop_sequence = finish_of(choice, self._memo, called=called, refused=self._refused)
        events.append(Finish(reason, stop_sequence))
