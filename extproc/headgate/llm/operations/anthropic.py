"""What Anthropic's messages and token counts tell of usage and model, whole or as events of a stream."""

import msgspec
from headgate.llm.dialects.anthropic import wire
from headgate.llm.dialects.anthropic.response import apart_of, finish_reason_of
from headgate.llm.marks import NO_MARKS, Marks
from headgate.llm.usage import NO_USAGE, Apart, Usage, merged


class _OutputDetails(msgspec.Struct, frozen=True):
    thinking_tokens: int | None = None


class _Counted(msgspec.Struct, frozen=True):
    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None
    cache_creation: wire.CacheCreation | None = None
    server_tool_use: wire.ServerToolUse | None = None


class _Message(msgspec.Struct, frozen=True):
    model: str | None = None
    usage: _Counted | None = None


class _MessageOrEvent(msgspec.Struct, frozen=True):
    id: str | None = None
    stop_reason: str | None = None
    model: str | None = None
    usage: _Counted | None = None
    message: _Message | str | None = None
    """Of `message_start`."""
    input_tokens: int | None = None
    """`count_tokens` answers with the count alone."""


_decode = msgspec.json.Decoder(_MessageOrEvent).decode


class MessagesUsage:
    """Usage of messages. Counts are cumulative; input counts come with the start, and again at the end from some
    servers, where a 0 after something else is not believed."""

    __slots__ = ("_apart", "_cached", "_created", "_input", "_output", "_thinking", "marks", "response_model")

    def __init__(self) -> None:
        self.response_model = ""
        self.marks: Marks = NO_MARKS
        self._input: int | None = None
        self._cached: int | None = None
        self._created: int | None = None
        self._output: int | None = None
        self._thinking: int | None = None
        self._apart: Apart = ()

    @property
    def usage(self) -> Usage:
        """In canonical terms: cached tokens are part of the input."""
        if self._input is None and self._output is None:
            return NO_USAGE
        given = None if self._input is None else self._input + (self._cached or 0) + (self._created or 0)
        total = None if given is None or self._output is None else given + self._output
        return Usage(given, self._cached, self._created, self._output, total, self._thinking, self._apart)

    def read(self, data: bytes) -> None:
        """A whole answer or one event."""
        answer = _decode(data)
        stopped = (finish_reason_of(answer.stop_reason, called_tools=False),) if answer.stop_reason else ()
        self.marks = Marks(answer.id or "", stopped)
        message = answer.message if isinstance(answer.message, _Message) else None
        self.response_model = (message.model if message is not None else answer.model) or self.response_model
        counted = message.usage if message is not None else answer.usage
        if counted is None:
            self._input = self._input if answer.input_tokens is None else answer.input_tokens
            return
        self._input = counted.input_tokens or self._input or counted.input_tokens
        self._cached = counted.cache_read_input_tokens or self._cached or counted.cache_read_input_tokens
        self._created = counted.cache_creation_input_tokens or self._created or counted.cache_creation_input_tokens
        self._output = self._output if counted.output_tokens is None else counted.output_tokens
        if counted.output_tokens_details is not None:
            self._thinking = counted.output_tokens_details.thinking_tokens
        self._apart = merged(self._apart, apart_of(counted.cache_creation, counted.server_tool_use))

    def is_wanted(self, data: bytes) -> bool:
        """Only `message_start` and `message_delta` carry usage."""
        return b'"usage"' in data
