"""Streams of the chat completions dialect.

Read, with what compatible servers do to it:

- Usage on a chunk of its own with empty choices, on the last chunk, on every chunk, in the choice (Moonshot) or under
  `x_groq`; `choices` missing or empty (Azure's prompt filter results) is nothing.
- Tool calls without index, with the same index for several calls, without id, with the name after the id or in pieces,
  with the whole arguments as an object. A call is told when its name is complete: with its first arguments, or at the
  end.
- Reasoning as `reasoning_content`, `reasoning`, content parts (Mistral) or `thinking_blocks`. A block that carries a
  signature repeats text that was streamed before it, or ends it.
- A finish reason of `""` is none. What follows a finish reason, but for usage, is ignored.

Written: member order of upstream (compat), role on the first delta, no usage unless it was asked for. Thinking goes out
as `reasoning_content` deltas; a block that has a signature is repeated whole in `thinking_blocks` when it ends, so that
a client which collects them has what it must send back.
"""

from collections.abc import Sequence
from typing import Final, assert_never

import msgspec
from headgate.llm.canonical import (
    ArgumentsDelta,
    CitationDelta,
    Finish,
    FinishReason,
    LogprobsDelta,
    MediaOutput,
    OpaqueOutput,
    PartStop,
    Ping,
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
    ToolCallStart,
    UsageUpdate,
)
from headgate.llm.dialects.dialect import Memo, ReplyContext
from headgate.llm.dialects.openai_chat import wire
from headgate.llm.dialects.openai_chat.errors import encode_error
from headgate.llm.dialects.openai_chat.response import (
    FINISH_WORDS,
    encode_usage,
    failure_of,
    finish_of,
    made_call_id,
    service_tier_word,
    thinking_text,
    usage_of,
)
from headgate.llm.errors import ErrorDetail, UpstreamError
from headgate.llm.framing.frame import Frame
from headgate.llm.usage import NO_USAGE, Usage

TOOL_CALLS_MAX: Final = 1_024
"""Tool calls of one answer: each is held until the end, and indexes come from the provider."""

THINKING_CHARACTERS_MAX: Final = 4_194_304
"""Reasoning text held to repeat its block with the signature; a longer block goes out with its signature only."""

_encode = msgspec.json.Encoder().encode


class _Call:
    """A tool call being read."""

    __slots__ = ("id", "index", "key", "name", "pending")

    def __init__(self, key: int) -> None:
        self.key = key
        self.id = ""
        self.name = ""
        self.index = -1  # of the canonical part; -1 until it is told
        self.pending = ""  # arguments that came before the name


class ChatStreamDecoder:
    """See `dialect.StreamDecoder`."""

    __slots__ = (
        "_by_key",
        "_calls",
        "_done",
        "_finished",
        "_id",
        "_kind",
        "_memo",
        "_next",
        "_open",
        "_refused",
        "_started",
    )

    def __init__(self, memo: Memo) -> None:
        self._memo = memo
        self._started = False
        self._finished = False
        self._done = False
        self._id = ""
        self._next = 0  # canonical index of the next part
        self._kind: type[TextStart] | type[ThinkingStart] | type[RefusalStart] | None = None  # of the open part
        self._open = -1  # its canonical index
        self._calls: list[_Call] = []
        self._by_key: dict[int, _Call] = {}
        self._refused = False

    @property
    def complete(self) -> bool:
        """`[DONE]` or a finish reason was seen."""
        return self._done or self._finished

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
        if chunk.choices and not self._finished:
            self._on_choice(chunk.choices[0], events)
        if usage is not NO_USAGE:
            events.append(UsageUpdate(usage))
        return events

    def close(self) -> Sequence[StreamEvent]:
        """Parts that a cut left open are stopped; no finish is made up."""
        if self.complete:
            return ()
        events: list[StreamEvent] = []
        self._stop_parts(events)
        return events

    def _start(self, chunk: wire.Completion) -> Start:
        self._started = True
        self._id = chunk.id or ""
        return Start(
            id=self._id,
            model=chunk.model or "",
            created=None if not chunk.created else int(chunk.created),
            service_tier=chunk.service_tier or "",
        )

    def _on_done(self) -> Sequence[StreamEvent]:
        self._done = True
        if self._finished:
            return ()
        events: list[StreamEvent] = []
        if not self._started:
            events.append(Start())
        self._finish(wire.Choice(), events)
        return events

    def _on_choice(self, choice: wire.Choice, events: list[StreamEvent]) -> None:
        if choice.index:
            return  # a second candidate, which nobody asked for
        delta = choice.delta or choice.message
        if delta is not None:
            self._on_delta(delta, events)
        if choice.finish_reason:
            self._finish(choice, events)

    def _on_delta(self, delta: wire.Answer, events: list[StreamEvent]) -> None:
        if delta.reasoning_content or delta.reasoning or delta.thinking_blocks:
            self._on_reasoning(delta, events)
        content = delta.content
        if content:
            if isinstance(content, str):
                self._on_text(content, events)
            else:
                self._on_content_parts(content, events)
        if delta.refusal:
            self._refused = True
            index = self._part(RefusalStart, events)
            events.append(RefusalDelta(index, delta.refusal))
        if delta.tool_calls:
            for call in delta.tool_calls:
                self._on_tool_call(call, events)
        if delta.function_call is not None:
            self._on_tool_call(wire.AnswerToolCall(index=0, function=delta.function_call), events)

    def _on_text(self, text: str, events: list[StreamEvent]) -> None:
        index = self._open if self._kind is TextStart else self._part(TextStart, events)
        events.append(TextDelta(index, text))

    def _on_content_parts(self, parts: Sequence[wire.AnswerPart], events: list[StreamEvent]) -> None:
        for part in parts:
            if part.type == "thinking":
                text = thinking_text(part)
                if text:
                    events.append(ThinkingDelta(self._part(ThinkingStart, events), text))
            elif part.text:
                self._on_text(part.text, events)

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
        self._stop_open(events)
        events.append(RedactedThinking(self._take_index(), data))

    def _on_tool_call(self, piece: wire.AnswerToolCall, events: list[StreamEvent]) -> None:
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
        if call.index >= 0:
            events.append(ArgumentsDelta(call.index, text))
        elif call.name:
            self._tell_call(call, events)
            events.append(ArgumentsDelta(call.index, text))
        else:
            call.pending += text

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
        call_id = call.id or made_call_id(self._id, self._calls.index(call))
        name = self._memo.tool_names.get(call.name, call.name)
        events.append(ToolCallStart(call.index, call_id, name))
        if call.pending:
            events.append(ArgumentsDelta(call.index, call.pending))
            call.pending = ""

    def _part(self, kind: type[TextStart] | type[ThinkingStart] | type[RefusalStart], events: list[StreamEvent]) -> int:
        """The index of the open part of that kind, opened if need be."""
        if self._kind is not kind:
            self._stop_open(events)
            self._kind = kind
            self._open = self._take_index()
            events.append(kind(self._open))
        return self._open

    def _take_index(self) -> int:
        index = self._next
        self._next += 1
        return index

    def _stop_open(self, events: list[StreamEvent]) -> None:
        if self._kind is not None:
            events.append(PartStop(self._open))
            self._kind = None

    def _stop_parts(self, events: list[StreamEvent]) -> bool:
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

    def _finish(self, choice: wire.Choice, events: list[StreamEvent]) -> None:
        called = self._stop_parts(events)
        self._finished = True
        reason, stop_sequence = finish_of(choice, self._memo, called=called, refused=self._refused)
        events.append(Finish(reason, stop_sequence))


class ChatStreamEncoder:
    """See `dialect.StreamEncoder`."""

    __slots__ = (
        "_arguments",
        "_blocks_said",
        "_context",
        "_head",
        "_role",
        "_signatures",
        "_tail",
        "_thinking",
        "_thinking_size",
        "_tools",
        "_usage",
    )

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._head = b'data: {"id":"","choices":['
        self._tail = b"]}\n\n"
        self._role = b',"role":"assistant"'  # until the first delta went out
        self._tools: dict[int, int] = {}  # canonical index to the index of the call
        self._arguments: set[int] = set()  # canonical indexes of calls that have any
        self._thinking: list[str] = []
        self._thinking_size = 0
        self._signatures: list[str] = []
        self._blocks_said = 0
        self._usage: Usage = NO_USAGE

    def feed(self, event: StreamEvent) -> bytes:
        """Chunks of one event."""
        match event:
            case TextDelta(text=text):
                return self._delta(b'"content":' + _encode(text), b"")
            case ArgumentsDelta():
                return self._on_arguments(event)
            case ThinkingDelta(text=text):
                return self._on_thinking(text)
            case RefusalDelta(text=text):
                return self._delta(b"", b',"refusal":' + _encode(text))
            case ToolCallStart():
                return self._on_tool_call(event)
            case SignatureDelta(signature=signature):
                self._signatures.append(signature)
                return b""
            case RedactedThinking(data=data):
                return self._blocks(_encode({"type": "redacted_thinking", "data": data}))
            case PartStop(index=index):
                return self._on_stop(index)
            case Start():
                self._on_start(event)
                return b""
            case UsageUpdate(usage=usage):
                self._usage = self._usage.merge(usage)
                return b""
            case Finish(reason=reason):
                return self._on_finish(reason)
            case StreamFailure(error=error):
                return self.fail(error)
            case Ping():
                return b": ping\n\n"
            case TextStart() | ThinkingStart() | RefusalStart():
                return b""
            case CitationDelta() | LogprobsDelta() | MediaOutput() | OpaqueOutput():
                return b""
            case _:
                assert_never(event)

    def close(self) -> bytes:
        """Usage, if it was asked for, and the terminator."""
        usage = self._usage
        known = usage.input is not None or usage.output is not None
        if not (self._context.include_usage and known):
            return b"data: [DONE]\n\n"
        tail = self._tail.removesuffix(b"}\n\n") + b',"usage":' + _encode(encode_usage(usage)) + b"}\n\n"
        return self._head + tail + b"data: [DONE]\n\n"

    def fail(self, error: ErrorDetail) -> bytes:
        """The error as SDKs of this dialect look for it in a stream; no terminator."""
        return b"data: " + encode_error(error) + b"\n\n"

    def _on_start(self, event: Start) -> None:
        self._head = b'data: {"id":' + _encode(event.id) + b',"choices":['
        created = self._context.created if event.created is None else event.created
        tail = b'],"created":%d,"model":%b' % (created, _encode(event.model or self._context.model))
        tier = service_tier_word(event.service_tier)
        if tier:
            tail += b',"service_tier":' + _encode(tier)
        self._tail = tail + b',"object":"chat.completion.chunk"}\n\n'
        self._usage = self._usage.merge(event.usage)

    def _delta(self, before_role: bytes, after_role: bytes, finish: bytes = b"") -> bytes:
        """One chunk; members of the delta are written around `role`, which stands second. A member after it starts with
        a comma."""
        role = self._role
        if role:
            self._role = b""
            delta = before_role + role + after_role if before_role else role[1:] + after_role
        else:
            delta = before_role + after_role if before_role else after_role[1:]
        return b"".join((self._head, b'{"index":0,"delta":{', delta, b"}", finish, b"}", self._tail))

    def _on_tool_call(self, event: ToolCallStart) -> bytes:
        position = len(self._tools)
        self._tools[event.index] = position
        return self._delta(
            b"",
            b',"tool_calls":[{"index":%d,"id":%b,"function":{"arguments":"","name":%b},"type":"function"}]'
            % (position, _encode(event.id), _encode(event.name)),
        )

    def _on_arguments(self, event: ArgumentsDelta) -> bytes:
        if not event.text:
            return b""
        self._arguments.add(event.index)
        return self._arguments_chunk(self._tools[event.index], event.text)

    def _arguments_chunk(self, position: int, text: str) -> bytes:
        return self._delta(
            b"",
            b',"tool_calls":[{"index":%d,"id":null,"function":{"arguments":%b,"name":""}}]' % (position, _encode(text)),
        )

    def _on_thinking(self, text: str) -> bytes:
        if self._thinking_size <= THINKING_CHARACTERS_MAX:
            self._thinking.append(text)
            self._thinking_size += len(text)
        return self._delta(b"", b',"reasoning_content":' + _encode(text))

    def _on_stop(self, index: int) -> bytes:
        position = self._tools.get(index)
        if position is not None:
            # Clients parse the arguments: nothing at all is no JSON.
            return b"" if index in self._arguments else self._arguments_chunk(position, "{}")
        chunk = b""
        if self._signatures:
            whole = self._thinking_size <= THINKING_CHARACTERS_MAX
            text = "".join(self._thinking) if whole else ""
            signature = "".join(self._signatures)
            chunk = self._blocks(_encode({"type": "thinking", "thinking": text, "signature": signature}))
        self._thinking.clear()
        self._thinking_size = 0
        self._signatures.clear()
        return chunk

    def _blocks(self, block: bytes) -> bytes:
        # OpenAI's SDK puts streamed lists together by `index` and fails on an entry that has none.
        position, self._blocks_said = self._blocks_said, self._blocks_said + 1
        return self._delta(b"", b',"thinking_blocks":[{"index":%d,' % position + block[1:] + b"]")

    def _on_finish(self, reason: FinishReason) -> bytes:
        return self._delta(b"", b"", b',"finish_reason":"%b"' % FINISH_WORDS[reason].encode())
