"""Canonical events to a stream of the Responses API.

Every event carries its number, and says where it belongs. An item is opened by its first event and told whole when it
ends, as the API does; so what it said is held, up to a bound. Texts and refusals that follow each other are parts of
one message, which stays open until another item begins.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from io import StringIO
from typing import Final, assert_never

import msgspec
from headgate.llm.canonical import (
    AnswerMembers,
    ArgumentsDelta,
    Base64Source,
    Citation,
    CitationDelta,
    Finish,
    FinishReason,
    ImagePart,
    LogprobsDelta,
    MediaOutput,
    OpaqueOutput,
    OtherAnswer,
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
    TokenLogprob,
    ToolCallStart,
    UsageUpdate,
)
from headgate.llm.dialects.dialect import ReplyContext
from headgate.llm.dialects.openai_chat.annotations import encode_logprobs
from headgate.llm.dialects.openai_chat.errors import encode_error
from headgate.llm.dialects.openai_responses import client_tools, wire
from headgate.llm.dialects.openai_responses.errors import failure_code
from headgate.llm.dialects.openai_responses.response import (
    Call,
    ResponseHead,
    call_item,
    encode_citation,
    image_item,
    message_item,
    outcome_of,
    reasoning_item,
    sealed,
    text_part,
)
from headgate.llm.dialects.openai_responses.wire import Members
from headgate.llm.errors import ErrorDetail, UpstreamError
from headgate.llm.held_text import held_text
from headgate.llm.stand_ins import FreeformText
from headgate.llm.usage import NO_USAGE

HELD_CHARACTERS_MAX: Final = 64 * 1024 * 1024
"""Of everything one answer says: it is told again at the end of each item, and of the response."""

_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Part:
    """A content part of the open message."""

    number: int
    refusal: bool
    text: StringIO = field(default_factory=held_text)
    citations: list[Citation] = field(default_factory=list[Citation])
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    told: int = 0
    """Log probabilities that a delta carried."""


@dataclass(slots=True)
class _Message:
    place: int
    item_id: str
    content: list[Members] = field(default_factory=list[Members])
    part: _Part | None = None


@dataclass(slots=True)
class _Thinking:
    place: int
    item_id: str
    text: StringIO = field(default_factory=held_text)
    signature: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class _Call:
    place: int
    called: Call
    arguments: list[str] = field(default_factory=list[str])
    """Of a custom tool's call: its text."""
    text: FreeformText | None = None
    """What reads that."""


class ResponsesStreamEncoder:
    """See `dialect.StreamEncoder`."""

    __slots__ = (
        "_calls",
        "_context",
        "_delta_head",
        "_finish",
        "_head",
        "_held",
        "_message",
        "_number",
        "_output",
        "_places",
        "_refused",
        "_thinking",
        "_usage",
    )

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._head: ResponseHead | None = None
        self._number = 0
        self._places = 0
        """Items begun."""
        self._output: dict[int, bytes] = {}
        """Items that ended, by their place."""
        self._message: _Message | None = None
        self._thinking: _Thinking | None = None
        self._calls: dict[int, _Call] = {}
        """By canonical index."""
        self._delta_head: tuple[bytes, bytes] = (b"", b"")
        """What stands around the text of the open part's deltas."""
        self._finish: Finish | None = None
        self._held = 0
        self._refused = False
        self._usage = NO_USAGE

    def feed(self, event: StreamEvent) -> bytes:
        """The bytes of one event."""
        match event:
            case TextDelta(text=text):
                return self._on_text(text)
            case ArgumentsDelta():
                return self._on_arguments(event)
            case ThinkingDelta(text=text):
                return self._on_thinking(text)
            case RefusalDelta(text=text):
                return self._on_text(text)
            case TextStart():
                return self._begin_part(refusal=False)
            case RefusalStart():
                return self._begin_part(refusal=True)
            case ThinkingStart():
                return self._begin_thinking()
            case ToolCallStart():
                return self._begin_call(event)
            case SignatureDelta(signature=signature):
                if self._thinking is not None:
                    self._hold(signature)
                    self._thinking.signature.append(signature)
                return b""
            case PartStop(index=index):
                return self._end_call(index) if index in self._calls else self._end_open_part()
            case CitationDelta(citation=citation):
                return self._on_citation(citation)
            case LogprobsDelta(tokens=tokens):
                if self._message is not None and self._message.part is not None:
                    self._message.part.logprobs.extend(tokens)
                return b""
            case RedactedThinking(data=data):
                return self._whole_item("rs", lambda item_id: reasoning_item(item_id, "", wire.sealed_redacted(data)))
            case MediaOutput(part=ImagePart(source=Base64Source() as source)):
                self._hold(source.data)
                return self._whole_item("ig", lambda item_id: image_item(item_id, source))
            case MediaOutput() | OpaqueOutput() | OtherAnswer() | AnswerMembers():
                return b""
            case Start():
                return self._start(event)
            case UsageUpdate(usage=usage, service_tier=tier):
                self._usage = self._usage.merge(usage)
                if tier and self._head is not None:
                    self._head.set_tier(tier)
                return b""
            case Finish():
                self._finish = event
                return b""
            case Ping():
                return b": ping\n\n" if self._head is not None else b""
            case StreamFailure(error=error):
                return self.fail(error)
            case _:
                assert_never(event)

    def close(self) -> bytes:
        """Ends what is open, then the response, with all it said."""
        head, before = self._started()
        parts = [before]
        finish = self._finish or Finish(FinishReason.STOP)
        status, reason = outcome_of(finish.reason, refused=self._refused)
        if not self._places:
            parts.append(self._open_message())
        parts.append(self._end_all(status))
        response = head.response(status, reason=reason, output=self._items(), usage=self._usage)
        parts.append(self._event(f"response.{status}", b'"response":' + response))
        return b"".join(parts)

    def fail(self, error: ErrorDetail) -> bytes:
        """The error as an event of its own, in both shapes that SDKs look for, and the response that failed."""
        members: Members = {"code": error.code or failure_code(error), "message": error.message, "param": None}
        nested = msgspec.json.decode(encode_error(error), type=dict[str, msgspec.Raw])["error"]
        said = self._event("error", _encode({**members, "error": nested})[1:-1])
        if self._head is None:
            return said
        response = self._head.response("failed", error=error, output=self._items(), usage=self._usage)
        return said + self._event("response.failed", b'"response":' + response)

    # --- the response ------------------------------------------------------------------------------------------------

    def _start(self, event: Start) -> bytes:
        self._usage = self._usage.merge(event.usage)
        if self._head is not None:
            return b""
        self._head = ResponseHead(self._context, event.id, event.model, event.created, event.service_tier)
        said = b'"response":' + self._head.response("in_progress")
        return self._event("response.created", said) + self._event("response.in_progress", said)

    def _started(self) -> tuple[ResponseHead, bytes]:
        """The head, and the events that tell it where they are still to come."""
        before = b"" if self._head is not None else self._start(Start())
        assert self._head is not None
        return self._head, before

    def _event(self, name: str, members: bytes) -> bytes:
        """One event. `members`: without braces."""
        number, self._number = self._number, self._number + 1
        kind = name.encode()
        return b'event: %b\ndata: {"type":"%b","sequence_number":%d,%b}\n\n' % (kind, kind, number, members)

    def _items(self) -> list[bytes]:
        return [self._output[place] for place in sorted(self._output)]

    def _hold(self, text: str) -> None:
        self._held += len(text)
        if self._held > HELD_CHARACTERS_MAX:
            raise UpstreamError(f"the provider's answer has more than {HELD_CHARACTERS_MAX} characters")

    def _take_place(self) -> int:
        place = self._places
        self._places += 1
        return place

    def _added(self, place: int, item: bytes) -> bytes:
        return self._event("response.output_item.added", b'"output_index":%d,"item":%b' % (place, item))

    def _done(self, place: int, item: bytes) -> bytes:
        self._output[place] = item
        return self._event("response.output_item.done", b'"output_index":%d,"item":%b' % (place, item))

    def _whole_item(self, prefix: str, make: Callable[[str], bytes]) -> bytes:
        head, before = self._started()
        before += self._end_single()
        place = self._take_place()
        item = make(head.item_id(prefix, place))
        return before + self._added(place, item) + self._done(place, item)

    def _end_single(self, status: str = "completed") -> bytes:
        """Ends the open message or reasoning; calls may overlap other items."""
        return self._end_thinking() + self._end_message(status)

    def _end_all(self, status: str) -> bytes:
        parts = [self._end_single(status)]
        parts.extend(self._end_call(index) for index in list(self._calls))
        return b"".join(parts)

    # --- messages ----------------------------------------------------------------------------------------------------

    def _open_message(self) -> bytes:
        head, before = self._started()
        before += self._end_thinking()
        place = self._take_place()
        self._message = _Message(place, head.item_id("msg", place))
        return before + self._added(place, message_item(self._message.item_id, (), "in_progress"))

    def _begin_part(self, *, refusal: bool) -> bytes:
        before = self._open_message() if self._message is None else self._end_part()
        message = self._message
        assert message is not None
        part = message.part = _Part(len(message.content), refusal)
        where = self._where(message, part.number)
        self._refused = self._refused or refusal
        kind = b"refusal" if refusal else b"output_text"
        self._delta_head = (where, kind)
        empty: Members = {"type": "refusal", "refusal": ""} if refusal else text_part("", (), ())
        return before + self._event("response.content_part.added", where + b',"part":' + _encode(empty))

    def _where(self, message: _Message, number: int) -> bytes:
        return b'"item_id":%b,"output_index":%d,"content_index":%d' % (_encode(message.item_id), message.place, number)

    def _on_text(self, text: str) -> bytes:
        message = self._message
        if message is None or message.part is None or not text:
            return b""
        part = message.part
        self._hold(text)
        part.text.write(text)
        return self._delta(part, text)

    def _delta(self, part: _Part, text: str) -> bytes:
        """A piece of a text, with what is known by then of the tokens before."""
        where, kind = self._delta_head
        said = where + b',"delta":' + _encode(text)
        if not part.refusal:
            tokens = part.logprobs[part.told :]
            part.told = len(part.logprobs)
            said += b',"logprobs":' + (_encode(encode_logprobs(tokens)) if tokens else b"[]")
        return self._event(f"response.{kind.decode()}.delta", said)

    def _on_citation(self, citation: Citation) -> bytes:
        message = self._message
        if message is None or message.part is None or not citation.url:
            return b""
        part = message.part
        number = len(part.citations)
        part.citations.append(citation)
        said = b'%b,"annotation_index":%d,"annotation":%b' % (
            self._where(message, part.number),
            number,
            _encode(encode_citation(citation)),
        )
        return self._event("response.output_text.annotation.added", said)

    def _end_part(self) -> bytes:
        message = self._message
        if message is None or message.part is None:
            return b""
        part, message.part = message.part, None
        text = part.text.getvalue()
        rest = self._delta(part, "") if part.told < len(part.logprobs) else b""
        where = self._where(message, part.number)
        if part.refusal:
            content: Members = {"type": "refusal", "refusal": text}
            done = self._event("response.refusal.done", where + b',"refusal":' + _encode(text))
        else:
            content = text_part(text, part.citations, part.logprobs)
            said = b',"text":' + _encode(text) + b',"logprobs":' + _encode(content["logprobs"])
            done = self._event("response.output_text.done", where + said)
        message.content.append(content)
        return rest + done + self._event("response.content_part.done", where + b',"part":' + _encode(content))

    def _end_message(self, status: str) -> bytes:
        message = self._message
        if message is None:
            return b""
        before = self._end_part()
        self._message = None
        return before + self._done(message.place, message_item(message.item_id, message.content, status))

    def _end_open_part(self) -> bytes:
        return self._end_thinking() if self._thinking is not None else self._end_part()

    # --- reasoning ---------------------------------------------------------------------------------------------------

    def _begin_thinking(self) -> bytes:
        head, before = self._started()
        before += self._end_single()
        place = self._take_place()
        self._thinking = _Thinking(place, head.item_id("rs", place))
        return before + self._added(place, reasoning_item(self._thinking.item_id, "", ""))

    def _on_thinking(self, text: str) -> bytes:
        thinking = self._thinking
        if thinking is None or not text:
            return b""
        self._hold(text)
        where = b'"item_id":%b,"output_index":%d,"summary_index":0' % (_encode(thinking.item_id), thinking.place)
        before = b""
        if not thinking.text.tell():
            part = where + b',"part":{"type":"summary_text","text":""}'
            before = self._event("response.reasoning_summary_part.added", part)
        thinking.text.write(text)
        return before + self._event("response.reasoning_summary_text.delta", where + b',"delta":' + _encode(text))

    def _end_thinking(self) -> bytes:
        thinking = self._thinking
        if thinking is None:
            return b""
        self._thinking = None
        parts: list[bytes] = []
        text = thinking.text.getvalue()
        if text:
            where = b'"item_id":%b,"output_index":%d,"summary_index":0' % (_encode(thinking.item_id), thinking.place)
            said = _encode(text)
            parts.append(self._event("response.reasoning_summary_text.done", where + b',"text":' + said))
            part = where + b',"part":{"type":"summary_text","text":' + said + b"}"
            parts.append(self._event("response.reasoning_summary_part.done", part))
        item = reasoning_item(thinking.item_id, text, sealed("".join(thinking.signature)))
        parts.append(self._done(thinking.place, item))
        return b"".join(parts)

    # --- calls -------------------------------------------------------------------------------------------------------

    def _begin_call(self, event: ToolCallStart) -> bytes:
        head, before = self._started()
        before += self._end_single()
        place = self._take_place()
        called = head.call_of(event.id, event.name, place)
        call = self._calls[event.index] = _Call(place, called, text=FreeformText() if called.tool.freeform else None)
        if call.called.tool.kind in client_tools.KINDS:
            return before  # what such an item begins with is known when the call is whole
        return before + self._added(place, call_item(call.called, "", "in_progress"))

    def _on_arguments(self, event: ArgumentsDelta) -> bytes:
        call = self._calls.get(event.index)
        if call is None or not event.text:
            return b""
        self._hold(event.text)
        if call.text is not None:
            return self._on_input(call, call.text.feed(event.text))
        call.arguments.append(event.text)
        if call.called.tool.kind != "function":
            return b""  # pieces of a search have no event, nor have those of what a client runs
        where = self._of_call(call) + b',"delta":' + _encode(event.text)
        return self._event("response.function_call_arguments.delta", where)

    def _on_input(self, call: _Call, text: str) -> bytes:
        if not text:
            return b""
        call.arguments.append(text)
        return self._event("response.custom_tool_call_input.delta", self._of_call(call) + b',"delta":' + _encode(text))

    def _end_call(self, index: int) -> bytes:
        call = self._calls.pop(index, None)
        if call is None:
            return b""
        tool, where = call.called.tool, self._of_call(call)
        if call.text is not None:
            said = self._on_input(call, call.text.close())
            text = "".join(call.arguments)
            said += self._event("response.custom_tool_call_input.done", where + b',"input":' + _encode(text))
            return said + self._done(call.place, call_item(call.called, text, "completed"))
        arguments = "".join(call.arguments) or "{}"  # clients parse them: nothing at all is no JSON
        if tool.kind == "tool_search":
            said = b""
        elif tool.kind in client_tools.KINDS:
            said = self._added(call.place, call_item(call.called, arguments, "in_progress"))
            if tool.kind == "shell":
                said += self._commands(call, arguments)
        else:
            where += b',"name":%b,"arguments":%b' % (_encode(tool.name), _encode(arguments))
            said = self._event("response.function_call_arguments.done", where)
        return said + self._done(call.place, call_item(call.called, arguments, "completed"))

    def _commands(self, call: _Call, arguments: str) -> bytes:
        parts: list[bytes] = []
        for index, command in enumerate(client_tools.commands_of(arguments)):
            where, text = b'"output_index":%d,"command_index":%d,' % (call.place, index), _encode(command)
            parts.append(self._event("response.shell_call_command.added", where + b'"command":""'))
            parts.append(self._event("response.shell_call_command.delta", where + b'"delta":' + text))
            parts.append(self._event("response.shell_call_command.done", where + b'"command":' + text))
        return b"".join(parts)

    def _of_call(self, call: _Call) -> bytes:
        return b'"item_id":%b,"output_index":%d' % (_encode(call.called.item_id), call.place)
