"""Streams of the chat completions dialect, written.

Member order of upstream (compat), role on the first delta, no usage unless it was asked for. Thinking goes out as
`reasoning_content` deltas; a block that has a signature is repeated whole in `thinking_blocks` when it ends, so that a
client which collects them has what it must send back. Citations that say no place wait for the end of their part, which
is their place. Log probabilities go on a chunk of their own, behind the text.
"""

from typing import Any, Final, assert_never

import msgspec
from headgate.llm.canonical import (
    AnswerMembers,
    ArgumentsDelta,
    Citation,
    CitationDelta,
    Finish,
    FinishReason,
    ImagePart,
    LogprobsDelta,
    MediaOutput,
    MediaPart,
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
    ToolCallStart,
    UsageUpdate,
)
from headgate.llm.dialects.dialect import ReplyContext
from headgate.llm.dialects.openai_chat.annotations import CITATIONS_MAX, annotation, written_logprobs
from headgate.llm.dialects.openai_chat.errors import encode_error
from headgate.llm.dialects.openai_chat.media import written_audio, written_image
from headgate.llm.dialects.openai_chat.response import FINISH_WORDS, encode_usage, service_tier_word
from headgate.llm.errors import ErrorDetail, UpstreamError
from headgate.llm.stand_ins import FreeformText
from headgate.llm.usage import NO_USAGE, Usage

THINKING_CHARACTERS_MAX: Final = 4_194_304
"""Reasoning text held to repeat its block with the signature; a longer block goes out with its signature only."""

TEXT_CHARACTERS_MAX: Final = 16_777_216
"""Of the arguments that stand for custom tools' texts, some of which are held until they are whole."""

_encode = msgspec.json.Encoder().encode


class ChatStreamEncoder:
    """See `dialect.StreamEncoder`."""

    __slots__ = (
        "_annotated",
        "_arguments",
        "_begins",
        "_blocks_said",
        "_choice",
        "_citations",
        "_context",
        "_head",
        "_id",
        "_images",
        "_length",
        "_named",
        "_others",
        "_role",
        "_signatures",
        "_sounded",
        "_tail",
        "_text_size",
        "_texts",
        "_thinking",
        "_thinking_size",
        "_tools",
        "_usage",
    )

    def __init__(self, context: ReplyContext, number: int = 0) -> None:
        self._context = context
        self._choice = b'{"index":%d,"delta":{' % number
        self._others: dict[int, ChatStreamEncoder] = {}
        self._id = ""
        self._length = 0  # of the message's text so far
        self._begins = 0  # where in it the open part began
        self._citations: list[Citation] = []
        self._annotated = 0
        self._images = 0
        self._sounded = False
        self._head = b'data: {"id":"","choices":['
        self._named = b"]"  # when it was made and by whom
        self._tail = b"]}\n\n"
        self._role = b',"role":"assistant"'  # until the first delta went out
        self._tools: dict[int, int] = {}  # canonical index to the index of the call
        self._arguments: set[int] = set()  # canonical indexes of calls that have any
        self._texts: dict[int, FreeformText] = {}  # what reads custom tools' calls, by canonical index
        self._text_size = 0
        self._thinking: list[str] = []
        self._thinking_size = 0
        self._signatures: list[str] = []
        self._blocks_said = 0
        self._usage: Usage = NO_USAGE

    def feed(self, event: StreamEvent) -> bytes:
        """Chunks of one event."""
        if type(event) is TextDelta:  # first: most are
            self._length += len(event.text)
            return self._delta(b'"content":' + _encode(event.text), b"")
        match event:
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
            case UsageUpdate(usage=usage, service_tier=tier):
                self._usage = self._usage.merge(usage)
                if tier:
                    self._set_tail(tier)
                return b""
            case Finish(reason=reason):
                return self._on_finish(reason)
            case StreamFailure(error=error):
                return self.fail(error)
            case Ping():
                return b": ping\n\n"
            case TextStart():
                self._begins = self._length
                return b""
            case ThinkingStart() | RefusalStart() | OpaqueOutput() | AnswerMembers():
                return b""
            case CitationDelta(citation=citation):
                return self._on_citation(citation)
            case LogprobsDelta(tokens=tokens):
                return self._delta(b"", b"", b',"logprobs":' + _encode(written_logprobs(tokens)))
            case MediaOutput(part=part):
                return self._on_media(part)
            case OtherAnswer():
                return self._on_other(event)
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
        self._named = b'],"created":%d,"model":%b' % (created, _encode(event.model or self._context.model))
        self._set_tail(event.service_tier)
        self._id = event.id
        self._usage = self._usage.merge(event.usage)

    def _set_tail(self, tier: str) -> None:
        word = service_tier_word(tier)
        served = b',"service_tier":' + _encode(word) if word else b""
        self._tail = self._named + served + b',"object":"chat.completion.chunk"}\n\n'

    def _delta(self, before_role: bytes, after_role: bytes, finish: bytes = b"") -> bytes:
        """One chunk; members of the delta are written around `role`, which stands second. A member after it starts with
        a comma."""
        role = self._role
        if role:
            self._role = b""
            delta = before_role + role + after_role if before_role else role[1:] + after_role
        else:
            delta = before_role + after_role if before_role else after_role[1:]
        return b"".join((self._head, self._choice, delta, b"}", finish, b"}", self._tail))

    def _on_tool_call(self, event: ToolCallStart) -> bytes:
        position = len(self._tools)
        self._tools[event.index] = position
        tool = self._context.stand_ins.get(event.name)
        if tool is not None and tool.freeform:
            self._texts[event.index] = FreeformText()
            return self._delta(
                b"",
                b',"tool_calls":[{"index":%d,"id":%b,"custom":{"input":"","name":%b},"type":"custom"}]'
                % (position, _encode(event.id), _encode(tool.name)),
            )
        return self._delta(
            b"",
            b',"tool_calls":[{"index":%d,"id":%b,"function":{"arguments":"","name":%b},"type":"function"}]'
            % (position, _encode(event.id), _encode(event.name)),
        )

    def _on_arguments(self, event: ArgumentsDelta) -> bytes:
        if not event.text:
            return b""
        reader = self._texts.get(event.index)
        if reader is not None:
            self._text_size += len(event.text)
            if self._text_size > TEXT_CHARACTERS_MAX:
                raise UpstreamError(f"the calls of custom tools have more than {TEXT_CHARACTERS_MAX} characters")
            return self._input_chunk(self._tools[event.index], reader.feed(event.text))
        self._arguments.add(event.index)
        return self._arguments_chunk(self._tools[event.index], event.text)

    def _arguments_chunk(self, position: int, text: str) -> bytes:
        return self._delta(
            b"",
            b',"tool_calls":[{"index":%d,"id":null,"function":{"arguments":%b,"name":""}}]' % (position, _encode(text)),
        )

    def _input_chunk(self, position: int, text: str) -> bytes:
        if not text:
            return b""
        return self._delta(b"", b',"tool_calls":[{"index":%d,"custom":{"input":%b}}]' % (position, _encode(text)))

    def _on_citation(self, citation: Citation) -> bytes:
        if not citation.url:
            return b""
        if citation.start is None or citation.end is None:
            if len(self._citations) < CITATIONS_MAX:
                self._citations.append(citation)
            return b""
        return self._annotations([annotation(citation, self._begins, self._length)])

    def _held_citations(self) -> bytes:
        held = [annotation(citation, self._begins, self._length) for citation in self._citations]
        self._citations.clear()
        return self._annotations(held)

    def _annotations(self, said: list[dict[str, Any]]) -> bytes:
        # OpenAI's SDK puts streamed lists together by `index` and fails on an entry that has none.
        numbered = [{"index": self._annotated + place, **each} for place, each in enumerate(said)]
        self._annotated += len(said)
        return self._delta(b"", b',"annotations":' + _encode(numbered))

    def _on_media(self, part: ImagePart | MediaPart) -> bytes:
        if isinstance(part, ImagePart):
            image = written_image(part, self._images)
            if image is None:
                return b""
            self._images += 1
            return self._delta(b"", b',"images":[%b]' % _encode(image))
        audio = written_audio(part, f"audio_{self._id}", self._context.created)
        if audio is None:
            return b""
        if self._sounded:
            # OpenAI's SDK adds strings to strings and numbers to numbers.
            audio = {"data": audio["data"]}
        self._sounded = True
        return self._delta(b"", b',"audio":' + _encode(audio))

    def _on_other(self, event: OtherAnswer) -> bytes:
        other = self._others.get(event.number)
        if other is None:
            other = self._others[event.number] = ChatStreamEncoder(self._context, event.number)
        other._head, other._tail, other._id = self._head, self._tail, self._id
        return other.feed(event.event)

    def _on_thinking(self, text: str) -> bytes:
        if self._thinking_size <= THINKING_CHARACTERS_MAX:
            self._thinking.append(text)
            self._thinking_size += len(text)
        return self._delta(b"", b',"reasoning_content":' + _encode(text))

    def _on_stop(self, index: int) -> bytes:
        position = self._tools.get(index)
        reader = self._texts.pop(index, None)
        if reader is not None and position is not None:
            return self._input_chunk(position, reader.close())
        if position is not None:
            # Clients parse the arguments: nothing at all is no JSON.
            return b"" if index in self._arguments else self._arguments_chunk(position, "{}")
        chunk = self._held_citations() if self._citations else b""
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
