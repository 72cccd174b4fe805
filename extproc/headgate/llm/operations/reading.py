"""Relay readers: let an answer pass, read its usage on the way."""

import re
from codecs import BOM_UTF8
from collections.abc import Callable
from typing import Final, Protocol

import msgspec
from headgate.llm.errors import UpstreamError
from headgate.llm.framing.sse import EVENT_BYTES_MAX, SseDecoder
from headgate.llm.marks import NO_MARKS, Marks
from headgate.llm.usage import NO_USAGE, Usage

WHOLE_BYTES_MAX: Final = 52_428_800
"""A whole answer is held for reading up to here; a larger one passes unread."""

_EVENT_END: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_CUT_END: Final = b"\r\n\r"
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, UpstreamError)


class UsageSource(Protocol):
    """One family's answers, read one JSON text at a time."""

    @property
    def usage(self) -> Usage: ...

    @property
    def response_model(self) -> str: ...

    @property
    def marks(self) -> Marks: ...

    def read(self, data: bytes) -> None:
        """A whole answer, or an event for which `is_wanted` said yes. Raises what msgspec raises, or UpstreamError."""
        ...

    def is_wanted(self, data: bytes) -> bool: ...


class SilentReader:
    """For answers that tell nothing: audio, or operations nobody counts."""

    __slots__ = ()

    usage: Usage = NO_USAGE
    response_model = ""
    marks: Marks = NO_MARKS

    def feed(self, data: bytes) -> bytes:
        """The same bytes."""
        return data

    def close(self) -> bytes:
        """Nothing was held."""
        return b""


class WholeReader:
    """Passes bytes at once, keeps them, reads them at the end."""

    __slots__ = ("_held", "_size", "_source")

    def __init__(self, source: UsageSource) -> None:
        self._source = source
        self._held: list[bytes] = []
        self._size = 0

    @property
    def usage(self) -> Usage:
        return self._source.usage

    @property
    def response_model(self) -> str:
        return self._source.response_model

    @property
    def marks(self) -> Marks:
        return self._source.marks

    def feed(self, data: bytes) -> bytes:
        """The same bytes."""
        self._size += len(data)
        if self._size <= WHOLE_BYTES_MAX:
            self._held.append(data)
        else:
            self._held.clear()
        return data

    def close(self) -> bytes:
        """Reads what was passed; nothing is left to pass."""
        body = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._held.clear()
        if body:
            _read(self._source, body)
        return b""


class StreamReader:
    """Passes bytes at once, reads the events in them."""

    marks: Marks = NO_MARKS

    __slots__ = ("_decoder", "_source")

    def __init__(self, source: UsageSource) -> None:
        self._source = source
        self._decoder: SseDecoder | None = SseDecoder()

    @property
    def usage(self) -> Usage:
        return self._source.usage

    @property
    def response_model(self) -> str:
        return self._source.response_model

    def feed(self, data: bytes) -> bytes:
        """The same bytes."""
        if self._decoder is not None:
            try:
                frames = self._decoder.feed(data)
            except UpstreamError:  # an event larger than we hold: the rest passes unread
                self._decoder = None
                return data
            for frame in frames:
                self._read(frame.data)
        return data

    def close(self) -> bytes:
        """Reads an event whose blank line never came."""
        if self._decoder is not None:
            for frame in self._decoder.close():
                self._read(frame.data)
        return b""

    def _read(self, data: bytes) -> None:
        if self._source.is_wanted(data):
            _read(self._source, data)


class EventTexts:
    """Passes whole events of a stream, each as `passed` has it.

    Bytes of an event are held until it is complete. An event larger than `EVENT_BYTES_MAX` is let go as it came.
    """

    __slots__ = ("_begun", "_held", "_passed", "_searched")

    def __init__(self, passed: Callable[[bytes], bytes]) -> None:
        self._passed = passed
        self._begun = False
        self._held = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> bytes:
        """The events that are complete now."""
        held = self._held
        held += data
        passed = bytearray()
        taken = 0
        position = self._searched
        while (end := _EVENT_END.search(held, position)) is not None:
            if end.end() == len(held) and end.group() == _CUT_END:
                break  # its line feed belongs to this event, and is on its way
            passed += self._pass(bytes(held[taken : end.end()]))
            taken = position = end.end()
        del held[:taken]
        if len(held) > EVENT_BYTES_MAX:
            passed += held
            held.clear()
        self._searched = max(0, len(held) - 3)  # the end of an event is at most four bytes
        return bytes(passed)

    def close(self) -> bytes:
        """What is left: an event whose blank line never came."""
        rest = bytes(self._held)
        self._held.clear()
        return self._pass(rest)

    def _pass(self, event: bytes) -> bytes:
        if self._begun:
            return self._passed(event)
        self._begun = True
        mark = BOM_UTF8 if event.startswith(BOM_UTF8) else b""
        return mark + self._passed(event.removeprefix(BOM_UTF8))


class HidingStreamReader:
    """Passes whole events as they came, but for those the client did not ask for."""

    marks: Marks = NO_MARKS

    __slots__ = ("_events", "_is_hidden", "_source")

    def __init__(self, source: UsageSource, is_hidden: Callable[[bytes], bool]) -> None:
        self._source = source
        self._is_hidden = is_hidden
        self._events = EventTexts(self._shown)

    @property
    def usage(self) -> Usage:
        return self._source.usage

    @property
    def response_model(self) -> str:
        return self._source.response_model

    def feed(self, data: bytes) -> bytes:
        """The events that are complete now."""
        return self._events.feed(data)

    def close(self) -> bytes:
        """What is left: an event whose blank line never came."""
        return self._events.close()

    def _shown(self, event: bytes) -> bytes:
        data = data_of(event)
        if not data:
            return event
        if self._source.is_wanted(data):
            _read(self._source, data)
        return b"" if self._is_hidden(data) else event


def data_of(event: bytes) -> bytes:
    """The data of an event's text; the common one has a single line."""
    lines = [line[5:].removeprefix(b" ") for line in _LINE_END.split(event) if line.startswith(b"data:")]
    return lines[0] if len(lines) == 1 else b"\n".join(lines)


def _read(source: UsageSource, data: bytes) -> None:
    try:
        source.read(data)
    except _UNREADABLE:
        return  # `[DONE]`, an error page, a vendor's own idea: it passes unread
