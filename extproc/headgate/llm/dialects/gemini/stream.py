"""A streamGenerateContent stream to canonical events, and back.

Read: every event is a small answer; texts follow each other, calls come whole, usage is repeated and grows. Nothing
says the end but the finish reason, and the connection.

Written: the same, as server-sent events where the client asked for them (`alt=sse`), else as one JSON array that is
written while it grows. Calls are held until their arguments are whole.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from headgate.llm.answer_losses import SAID
from headgate.llm.canonical import (
    AnswerMembers,
    ArgumentsDelta,
    Citation,
    CitationDelta,
    Extras,
    Finish,
    FinishReason,
    LogprobsDelta,
    MediaOutput,
    OpaqueOutput,
    OpaquePart,
    OtherAnswer,
    PartStop,
    Ping,
    RedactedThinking,
    RedactedThinkingPart,
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
from headgate.llm.dialects.dialect import EVENT_STREAM, Memo, ReplyContext
from headgate.llm.dialects.gemini import wire
from headgate.llm.dialects.gemini.errors import error_members, failure_of
from headgate.llm.dialects.gemini.grounding import citations_of, grounding_of
from headgate.llm.dialects.gemini.response import (
    FAILURES,
    FINISH_WORDS,
    blocked_answer,
    blocked_prompt,
    call_part,
    created_of,
    decode_answer,
    encode_part,
    extras_of,
    failed_answer,
    finish_of,
    head_members,
    logprobs_of,
    made_call_id,
    other_part,
    service_tier_of,
    usage_of,
    written_call,
    written_logprobs,
    written_usage,
)
from headgate.llm.dialects.gemini.signatures import wrap_signature
from headgate.llm.endpoints import PathFacts
from headgate.llm.errors import ErrorDetail, ErrorKind, UpstreamError
from headgate.llm.framing.frame import Frame
from headgate.llm.held_text import held_text
from headgate.llm.names import DialectName
from headgate.llm.signatures import googles
from headgate.llm.usage import NO_USAGE, Usage

CITED_CHARACTERS_MAX: Final = 262_144
"""Of the text kept to count the passages of citations, which come at its end, in characters instead of bytes."""

HELD_CHARACTERS_MAX: Final = 16 * 1024 * 1024
"""Of arguments held until their calls are whole; protects memory."""

JSON: Final = "application/json"

_encode = msgspec.json.Encoder().encode


def stream_type(path: PathFacts) -> str:
    """What a client gets whose query is that: a JSON array unless it says `alt=sse`."""
    return EVENT_STREAM if "alt=sse" in path.query.split("&") else JSON


class StreamDecoder:
    """See `dialect.StreamDecoder`. Only the first candidate is read: no more are asked for."""

    __slots__ = (
        "_calls",
        "_extras",
        "_finished",
        "_grounding",
        "_held_signature",
        "_id",
        "_kind",
        "_memo",
        "_next",
        "_open",
        "_said",
        "_started",
        "_text",
        "_text_size",
        "_usage",
    )

    def __init__(self, memo: Memo) -> None:
        self._memo = memo
        self._started = False
        self._finished = False
        self._id = ""
        self._next = 0
        self._open = -1  # canonical index of the open part
        self._kind: type[TextStart] | type[ThinkingStart] | None = None
        self._said = False
        self._calls = 0
        self._usage: wire.UsageMetadata | None = None
        self._grounding = wire.ABSENT
        self._extras: dict[str, msgspec.Raw] = {}
        self._text = held_text()  # of the open text part
        self._text_size = 0
        self._held_signature = ""

    @property
    def complete(self) -> bool:
        """A finish reason was seen, or that the prompt is blocked."""
        return self._finished

    @property
    def ended(self) -> bool:
        """This dialect has no word for it."""
        return False

    def feed(self, frame: Frame) -> Sequence[StreamEvent]:
        """Events of one frame."""
        data = frame.data
        if not data.strip():
            return ()
        answer = decode_answer(data)
        if answer.error is not None:
            self._kind = None  # nothing follows
            return (StreamFailure(failure_of(answer.error)),)
        events: list[StreamEvent] = []
        if not self._started:
            if not (answer.candidates or answer.prompt_feedback or answer.usage_metadata):
                return ()
            self._started = True
            self._id = answer.response_id or ""
            model = answer.model_version or ""
            tier = service_tier_of(answer.usage_metadata)
            events.append(Start(self._id, model, created_of(answer.create_time), service_tier=tier))
        failure = None
        if not self._finished:
            failure = self._on_answer(answer, events)
        if answer.usage_metadata is not None and answer.usage_metadata != self._usage:
            self._usage = answer.usage_metadata
            events.append(UsageUpdate(usage_of(self._usage), service_tier_of(self._usage)))
        if failure is not None:
            events.append(StreamFailure(failure))
        return events

    def close(self) -> Sequence[StreamEvent]:
        """A part that a cut left open is stopped; no finish is made up."""
        events: list[StreamEvent] = []
        if not self._finished:
            self._stop_open(events)
        return events

    def _on_answer(self, answer: wire.Answer, events: list[StreamEvent]) -> ErrorDetail | None:
        feedback = answer.prompt_feedback
        if not answer.candidates:
            if feedback is not None and feedback.block_reason:
                self._keep(extras_of(answer, None))
                self._refuse(blocked_prompt(feedback), events)
            return None
        candidate = answer.candidates[0]
        if candidate.index:
            return None
        if candidate.content is not None:
            for part in candidate.content.parts or ():
                self._on_part(part, events)
        self._keep(extras_of(answer, candidate))
        if wire.present(candidate.grounding_metadata):
            self._grounding = candidate.grounding_metadata
        tokens = logprobs_of(candidate.logprobs_result)
        if tokens and self._kind is TextStart:
            events.append(LogprobsDelta(self._open, tokens))
        if candidate.finish_reason and candidate.finish_reason != "FINISH_REASON_UNSPECIFIED":
            return self._finish(candidate, events)
        return None

    def _keep(self, extras: Extras) -> None:
        for members in extras.values():
            self._extras.update(members)

    def _on_part(self, part: wire.AnswerPart, events: list[StreamEvent]) -> None:
        if part.thought:
            if part.text:
                events.append(ThinkingDelta(self._part(ThinkingStart, events), part.text))
            if part.thought_signature:
                self._sign(part.thought_signature, events)
            return
        if part.thought_signature:
            if self._kind is TextStart and part.function_call is None:
                self._held_signature = part.thought_signature  # what supports the text may still come
            else:
                self._sign(part.thought_signature, events)
        if part.function_call is not None:
            self._on_call(part.function_call, events)
        elif part.text:
            index = self._open if self._kind is TextStart else self._part(TextStart, events)
            events.append(TextDelta(index, part.text))
            if self._text_size <= CITED_CHARACTERS_MAX:
                self._text.write(part.text)
                self._text_size += len(part.text)
        else:
            self._on_other(part, events)

    def _on_call(self, call: wire.AnswerCall, events: list[StreamEvent]) -> None:
        self._stop_open(events)
        part = call_part(call, made_call_id(self._id, self._calls), self._memo)
        self._calls += 1
        index = self._take_index()
        events.append(ToolCallStart(index, part.id, part.name))
        events.append(ArgumentsDelta(index, part.arguments))
        events.append(PartStop(index))

    def _on_other(self, part: wire.AnswerPart, events: list[StreamEvent]) -> None:
        other = other_part(part, self._memo)
        if other is None:
            return
        self._stop_open(events)
        index = self._take_index()
        if isinstance(other, OpaquePart):
            events.append(OpaqueOutput(index, other))
        else:
            events.append(MediaOutput(index, other))

    def _sign(self, signature: str, events: list[StreamEvent]) -> None:
        """The signature of the thought before: the open one, or an empty one."""
        events.append(SignatureDelta(self._part(ThinkingStart, events), googles(signature)))
        self._stop_open(events)

    def _part(self, kind: type[TextStart] | type[ThinkingStart], events: list[StreamEvent]) -> int:
        if self._kind is not kind:
            self._stop_open(events)
            self._kind = kind
            self._open = self._take_index()
            events.append(kind(self._open))
        return self._open

    def _take_index(self) -> int:
        index = self._next
        self._next += 1
        self._said = True
        return index

    def _stop_open(self, events: list[StreamEvent]) -> None:
        if self._kind is None:
            return
        events.append(PartStop(self._open))
        self._kind = None
        if self._text_size:
            self._text = held_text()
            self._text_size = 0
        if self._held_signature:
            signature, self._held_signature = self._held_signature, ""
            self._sign(signature, events)

    def _refuse(self, text: str, events: list[StreamEvent]) -> None:
        self._stop_open(events)
        index = self._take_index()
        events.append(RefusalStart(index))
        events.append(RefusalDelta(index, text))
        events.append(PartStop(index))
        self._end(FinishReason.REFUSAL, events)

    def _finish(self, candidate: wire.Candidate, events: list[StreamEvent]) -> ErrorDetail | None:
        reason = candidate.finish_reason or ""
        if not self._said:
            if reason in FAILURES:
                return ErrorDetail(502, ErrorKind.INTERNAL, failed_answer(candidate), type=reason)
            if finish_of(reason, called=False) is FinishReason.REFUSAL:
                self._refuse(blocked_answer(candidate), events)
                return None
        if self._kind is TextStart and wire.present(self._grounding) and self._text_size <= CITED_CHARACTERS_MAX:
            cited = citations_of(self._grounding, {0: self._text.getvalue()}, one_text=True)
            events.extend(CitationDelta(self._open, citation) for citation in cited.get(0, ()))
        self._stop_open(events)
        if self._said and candidate.finish_message:
            self._extras["finishMessage"] = SAID
        self._end(finish_of(reason, called=self._calls > 0), events)
        return None

    def _end(self, reason: FinishReason, events: list[StreamEvent]) -> None:
        self._finished = True
        events.append(Finish(reason))
        if self._extras:
            events.append(AnswerMembers({DialectName.GEMINI: self._extras}))


# --- encode ----------------------------------------------------------------------------------------------------------

Members = dict[str, Any]


class _HeldCall:
    """A call whose arguments are coming."""

    __slots__ = ("start", "text")

    def __init__(self, start: ToolCallStart) -> None:
        self.start = start
        self.text: list[str] = []


class StreamEncoder:
    """See `dialect.StreamEncoder`."""

    __slots__ = (
        "_array",
        "_calls",
        "_citations",
        "_cited_size",
        "_cited_text",
        "_context",
        "_finish",
        "_head",
        "_held_size",
        "_logprobs",
        "_number",
        "_others",
        "_outer",
        "_signature",
        "_tail",
        "_tier",
        "_usage",
        "_written",
    )

    def __init__(self, context: ReplyContext, number: int = 0, outer: "StreamEncoder | None" = None) -> None:
        self._context = context
        self._number = number
        self._outer = outer  # that of the first candidate, which frames for all
        self._others: dict[int, StreamEncoder] = {}
        self._array = stream_type(context.path) != EVENT_STREAM
        self._written = False
        self._calls: dict[int, _HeldCall] = {}
        self._held_size = 0
        self._signature: list[str] = []
        self._citations: list[Citation] = []
        self._cited_text = held_text()
        self._cited_size = 0
        self._logprobs: list[TokenLogprob] = []
        self._finish: Finish | None = None
        self._usage: Usage = NO_USAGE
        self._tier = ""
        self._head = b'{"candidates":['
        self._tail = b""
        self._set_head("", "")

    def feed(self, event: StreamEvent) -> bytes:
        """Chunks of one event."""
        match event:
            case TextDelta(text=text):
                if self._cited_size <= CITED_CHARACTERS_MAX:
                    self._cited_text.write(text)
                    self._cited_size += len(text)
                return self._parts(b'{"text":%b}' % _encode(text))
            case RefusalDelta(text=text):
                return self._parts(b'{"text":%b}' % _encode(text))
            case ThinkingDelta(text=text):
                return self._parts(b'{"text":%b,"thought":true}' % _encode(text))
            case ArgumentsDelta():
                self._hold(event)
            case ToolCallStart(index=index):
                self._calls[index] = _HeldCall(event)
            case SignatureDelta(signature=signature):
                self._signature.append(signature)
            case PartStop(index=index):
                return self._on_stop(index)
            case RedactedThinking(data=data):
                return self._members(list(encode_part(RedactedThinkingPart(data))))
            case MediaOutput(part=part) | OpaqueOutput(part=part):
                return self._members(list(encode_part(part)))
            case OtherAnswer(number=number, event=said):
                return self._other(number).feed(said)
            case _:
                self._note(event)
        return b""

    def _note(self, event: StreamEvent) -> None:
        """Events that say nothing now."""
        match event:
            case Start():
                self._set_head(event.id, event.model)
                self._usage = self._usage.merge(event.usage)
                self._tier = event.service_tier
            case UsageUpdate(usage=usage, service_tier=tier):
                self._usage = self._usage.merge(usage)
                self._tier = tier or self._tier
            case Finish():
                self._finish = event
            case CitationDelta(citation=citation):
                self._citations.append(citation)
            case LogprobsDelta(tokens=tokens):
                self._logprobs.extend(tokens)
            case TextStart() | ThinkingStart() | RefusalStart() | AnswerMembers() | Ping() | StreamFailure():
                pass
            case _:
                raise AssertionError(f"{type(event).__name__} is said at once")

    def close(self) -> bytes:
        """Calls that nobody ended, then the finish reason with the usage."""
        rest = b"".join(other.end() for other in self._others.values())
        return rest + self.end(written_usage(self._usage, self._tier)) + (b"]" if self._array else b"")

    def end(self, usage: Members | None = None) -> bytes:
        """The end of this candidate."""
        rest = b"".join(self._on_stop(index) for index in list(self._calls))
        reason = self._finish.reason if self._finish is not None else FinishReason.STOP
        candidate: Members = {
            "content": {"parts": [{"text": ""}], "role": "model"},
            "finishReason": FINISH_WORDS[reason],
            "index": self._number,
        }
        text = self._cited_text.getvalue() if self._cited_size <= CITED_CHARACTERS_MAX else ""
        grounding = grounding_of((0, text, citation) for citation in self._citations)
        if grounding:
            candidate["groundingMetadata"] = grounding
        if self._logprobs:
            candidate["logprobsResult"] = written_logprobs(self._logprobs)
        last = _encode(candidate) + b"]" + (b',"usageMetadata":%b' % _encode(usage) if usage else b"") + self._tail
        return rest + self._frame(self._head + last)

    def _other(self, number: int) -> "StreamEncoder":
        other = self._others.get(number)
        if other is None:
            other = self._others[number] = StreamEncoder(self._context, number, self)
        other._tail = self._tail
        return other

    def fail(self, error: ErrorDetail) -> bytes:
        """The error as a chunk: Google's clients raise on it wherever it comes."""
        return self._frame(_encode({"error": error_members(error)})) + (b"]" if self._array else b"")

    def _set_head(self, answer_id: str, model: str) -> None:
        said = _encode(head_members(answer_id, model, self._context))
        self._tail = b"," + said[1:]

    def _parts(self, parts: bytes) -> bytes:
        candidate = b'{"content":{"parts":[%b],"role":"model"},"index":%d}]' % (parts, self._number)
        return self._frame(self._head + candidate + self._tail)

    def _members(self, parts: list[Members]) -> bytes:
        return self._parts(_encode(parts)[1:-1]) if parts else b""

    def _frame(self, chunk: bytes) -> bytes:
        if self._outer is not None:
            return self._outer._frame(chunk)
        if not self._array:
            return b"data: %b\n\n" % chunk
        before = b",\r\n" if self._written else b"["
        self._written = True
        return before + chunk

    def _hold(self, event: ArgumentsDelta) -> None:
        held = self._calls.get(event.index)
        if held is None:
            return
        self._held_size += len(event.text)
        if self._held_size > HELD_CHARACTERS_MAX:
            raise UpstreamError("the provider sends more tool call arguments than can be held")
        held.text.append(event.text)

    def _on_stop(self, index: int) -> bytes:
        held = self._calls.pop(index, None)
        if held is not None:
            arguments = "".join(held.text)
            self._held_size -= len(arguments)
            return self._members([{"functionCall": written_call(held.start.id, held.start.name, arguments)}])
        if self._signature:
            signature = wrap_signature("".join(self._signature))
            self._signature.clear()
            return self._members([{"text": "", "thought": True, "thoughtSignature": signature}])
        return b""
