"""Streams of completions, written for clients: chunks of text, a finish reason, usage if it was asked for, `[DONE]`."""

from collections.abc import Sequence
from typing import Final

import msgspec
from headgate.llm.canonical import (
    Finish,
    LogprobsDelta,
    Ping,
    RefusalDelta,
    Start,
    StreamEvent,
    StreamFailure,
    TextDelta,
    TokenLogprob,
    UsageUpdate,
)
from headgate.llm.dialects.dialect import Memo, ReplyContext
from headgate.llm.dialects.openai_chat.errors import encode_error
from headgate.llm.dialects.openai_chat.response import encode_usage
from headgate.llm.dialects.openai_completions.response import FINISH_WORDS, completion_id, encode_logprobs
from headgate.llm.errors import ErrorDetail, UpstreamError
from headgate.llm.framing.frame import Frame
from headgate.llm.usage import NO_USAGE, Usage

DONE: Final = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode


class CompletionStreamDecoder:
    """Never asked for: no backend is planned with this dialect."""

    complete = False
    ended = False

    def __init__(self, _memo: Memo) -> None:
        pass

    def feed(self, frame: Frame) -> Sequence[StreamEvent]:
        raise UpstreamError(f"completions are not translated from: {len(frame.data)} bytes came")

    def close(self) -> Sequence[StreamEvent]:
        return ()


class CompletionStreamEncoder:
    """See `dialect.StreamEncoder`. Only text is shown: a completion has nothing else."""

    __slots__ = ("_context", "_echo", "_head", "_logprobs", "_offset", "_usage")

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._echo = context.echo.decode()
        self._head = b""
        self._logprobs: list[TokenLogprob] = []
        self._offset = len(self._echo)
        self._usage: Usage = NO_USAGE

    def feed(self, event: StreamEvent) -> bytes:
        """The bytes of one event."""
        match event:
            case TextDelta(text=text) | RefusalDelta(text=text):
                return self._text(text)
            case Start():
                return self._start(event)
            case LogprobsDelta(tokens=tokens):
                self._logprobs.extend(tokens)
            case UsageUpdate(usage=usage):
                self._usage = self._usage.merge(usage)
            case Finish(reason=reason):
                word = FINISH_WORDS.get(reason, "stop")
                return self._ensured() + self._chunk(b'{"text":"","index":0,"logprobs":%b,"finish_reason":"%b"}', word)
            case StreamFailure(error=error):
                return self.fail(error)
            case Ping():
                return b": ping\n\n"
            case _:
                pass  # thoughts and calls: not a completion's
        return b""

    def close(self) -> bytes:
        """Usage, if it was asked for, and the terminator."""
        usage = self._usage
        before = self._ensured()
        if not self._context.include_usage or (usage.input is None and usage.output is None):
            return before + DONE
        return before + self._head + b'],"usage":' + _encode(encode_usage(usage)) + b"}\n\n" + DONE

    def fail(self, error: ErrorDetail) -> bytes:
        """The error as SDKs of this API look for it in a stream; no terminator."""
        return b"data: " + encode_error(error) + b"\n\n"

    def _start(self, event: Start) -> bytes:
        if self._head:
            return b""
        self._usage = self._usage.merge(event.usage)
        created = self._context.created if event.created is None else event.created
        self._head = b'data: {"id":%b,"object":"text_completion","created":%d,"model":%b,"choices":[' % (
            _encode(completion_id(event.id, self._context)),
            created,
            _encode(event.model or self._context.model),
        )
        return self._text(self._echo) if self._echo else b""

    def _ensured(self) -> bytes:
        return b"" if self._head else self._start(Start())

    def _text(self, text: str) -> bytes:
        before = self._ensured()
        choice = b'{"text":%b,"index":0,"logprobs":%%b,"finish_reason":null}' % _encode(text).replace(b"%", b"%%")
        return before + self._chunk(choice)

    def _chunk(self, choice: bytes, word: str = "") -> bytes:
        tokens, self._logprobs = self._logprobs, []
        logprobs = _encode(encode_logprobs(tokens, self._offset)) if tokens else b"null"
        self._offset += sum(len(each.token) for each in tokens)
        said = choice % ((logprobs, word.encode()) if word else (logprobs,))
        return self._head + said + b"]}\n\n"
