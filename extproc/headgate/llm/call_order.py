"""Puts overlapping tool calls in order, for dialects that say one part after the other.

A call that begins while another is open ends it if its arguments are a whole JSON value, for then nothing can follow;
otherwise it is held until the open one stops. So streams that say one call after the other pass without delay, and
interleaved ones come out in order.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from headgate.llm.canonical import (
    ArgumentsDelta,
    Finish,
    MediaOutput,
    OpaqueOutput,
    PartStop,
    RedactedThinking,
    RefusalStart,
    StreamEvent,
    TextStart,
    ThinkingStart,
    ToolCallStart,
)
from headgate.llm.errors import UpstreamError

HELD_BYTES_MAX: Final = 16 * 1024 * 1024
"""What interleaved tool calls may make us hold; protects memory."""

_ANY: Final = msgspec.json.Decoder(msgspec.Raw)


@dataclass(slots=True)
class _HeldCall:
    """A tool call that began while another was open."""

    start: ToolCallStart
    deltas: list[str] = field(default_factory=list[str])
    stopped: bool = False


class CallOrder:
    """Canonical events in, the same without overlapping calls out. Events of other parts pass."""

    __slots__ = ("_arguments", "_held", "_held_bytes", "_open")

    def __init__(self) -> None:
        self._open: int | None = None
        """Index of the open call."""
        self._arguments: list[str] = []
        """Of the open call."""
        self._held: deque[_HeldCall] = deque()
        self._held_bytes = 0

    def feed(self, event: StreamEvent) -> Sequence[StreamEvent]:
        """What can be said now. UpstreamError if more would have to be held than `HELD_BYTES_MAX`."""
        match event:
            case ArgumentsDelta():
                return self._feed_arguments(event)
            case ToolCallStart():
                return self._feed_start(event)
            case PartStop() if self._open is not None:
                return self._feed_stop(event)
            case TextStart() | ThinkingStart() | RefusalStart() | RedactedThinking() | MediaOutput() | OpaqueOutput():
                return (*self.close(), event)
            case Finish():
                return (*self.close(), event)
            case _:
                return (event,)

    def close(self) -> Sequence[StreamEvent]:
        """Ends whatever is open or held, in order."""
        events: list[StreamEvent] = []
        while (index := self._open) is not None:
            events.extend(self._end_open(index))
        return events

    def _feed_start(self, event: ToolCallStart) -> Sequence[StreamEvent]:
        if self._open is None:
            self._begin(event)
            return (event,)
        if self._held or not _is_whole("".join(self._arguments)):
            self._held.append(_HeldCall(event))
            return ()
        stop = PartStop(self._open)
        self._begin(event)
        return (stop, event)

    def _begin(self, start: ToolCallStart) -> None:
        self._open = start.index
        self._arguments = []

    def _feed_arguments(self, event: ArgumentsDelta) -> Sequence[StreamEvent]:
        if event.index == self._open:
            self._arguments.append(event.text)
            return (event,)
        for held in self._held:
            if held.start.index == event.index:
                self._held_bytes += len(event.text)
                if self._held_bytes > HELD_BYTES_MAX:
                    raise UpstreamError("the provider interleaves more tool call arguments than can be held")
                held.deltas.append(event.text)
        return ()

    def _feed_stop(self, event: PartStop) -> Sequence[StreamEvent]:
        if event.index == self._open:
            return self._end_open(event.index)
        for held in self._held:
            if held.start.index == event.index:
                held.stopped = True
        return ()

    def _end_open(self, index: int) -> Sequence[StreamEvent]:
        """Stops the open call and says held ones up to the first that is still open."""
        events: list[StreamEvent] = [PartStop(index)]
        self._open = None
        while self._held and self._open is None:
            held = self._held.popleft()
            events.append(held.start)
            text = "".join(held.deltas)
            self._held_bytes -= len(text)
            if text:
                events.append(ArgumentsDelta(held.start.index, text))
            if held.stopped:
                events.append(PartStop(held.start.index))
            else:
                self._begin(held.start)
                self._arguments.append(text)
        return events


def _is_whole(arguments: str) -> bool:
    try:
        _ANY.decode(arguments)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False
    return True
