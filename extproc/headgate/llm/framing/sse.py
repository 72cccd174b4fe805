"""Server-sent events: decoder and encoder.

Source: WHATWG HTML, "Server-sent events", 9.2.5 and 9.2.6. Rules kept:

- Lines end with CR, LF or CRLF, mixed freely and cut anywhere (a CRLF may be split between two chunks).
- One leading BOM is dropped. A line that starts with a colon is a comment. One space after the colon is dropped.
- Several `data` lines join with LF. An event without any `data` line is not dispatched. `id` and `retry` are read and
  dropped: no LLM provider uses them and a translated stream cannot be resumed.

One deliberate difference: an event that the end of the body cuts off before its blank line is dispatched by `close`,
because providers end bodies after `data: [DONE]\\n`, and the last frame may carry the usage.

Data stays bytes: the JSON decoder above checks the UTF-8.
"""

from collections.abc import Sequence
from typing import Final

from headgate.llm.errors import UpstreamError
from headgate.llm.framing.frame import Frame

EVENT_BYTES_MAX: Final = 32 * 1024 * 1024
"""Largest event held while its end has not come, in bytes: protects memory; image events are a few MB."""

_BOM: Final = b"\xef\xbb\xbf"


COMMENT: Final = Frame(b"", ":")
"""Stands where a comment line stood; told apart by identity. Providers send comments to keep the connection alive."""


class SseDecoder:
    """Cuts a body into frames; comments are dropped unless `keep_comments`.

    Cost: each byte is searched once; a line that arrives in n chunks is copied twice. What is held costs no more memory
    than its bytes, in however many lines and chunks it comes. Raises `UpstreamError` when one event is larger than
    `event_bytes_max`.
    """

    __slots__ = (
        "_after_cr",
        "_data",
        "_event",
        "_event_bytes_max",
        "_keep_comments",
        "_start",
        "_tail",
    )

    def __init__(self, *, event_bytes_max: int = EVENT_BYTES_MAX, keep_comments: bool = False) -> None:
        self._keep_comments = keep_comments
        self._event_bytes_max = event_bytes_max
        self._start: bytes | None = b""  # bytes held until it is known whether they are a BOM; None afterwards
        self._after_cr = False
        self._tail = bytearray()  # the line that has not ended
        self._data: bytes | bytearray | None = None  # of the event that has not ended; several lines are a bytearray
        self._event = ""

    def feed(self, chunk: bytes) -> list[Frame]:
        """Frames that `chunk` completes, in order."""
        if self._start is not None:
            chunk = self._strip_bom(chunk)
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if not chunk:
            return []
        lines = chunk.split(b"\n")
        tail = lines.pop()
        frames: list[Frame] = []
        if lines:
            if self._tail:
                self._tail += lines[0]
                lines[0] = bytes(self._tail)
                self._tail.clear()
            self._take_lines(lines, frames)
        if tail:
            self._tail += tail
            self._check_size()
        return frames

    def close(self) -> list[Frame]:
        """The frame that the end of the body completes, if any."""
        frames: list[Frame] = []
        if self._start:
            self._tail += self._start
            self._start = None
        self._take_lines((bytes(self._tail), b""), frames)
        self._tail.clear()
        return frames

    def _strip_bom(self, chunk: bytes) -> bytes:
        held = (self._start or b"") + chunk
        if len(held) < len(_BOM) and _BOM.startswith(held):
            self._start = held
            return b""
        self._start = None
        return held.removeprefix(_BOM)

    def _take_lines(self, lines: Sequence[bytes], frames: list[Frame]) -> None:
        data, event = self._data, self._event
        for line in lines:
            if not line:
                if data is not None:
                    frames.append(Frame(bytes(data), event))
                    data = None
                event = ""
            elif line.startswith(b"data:") or line == b"data":
                said = line[6:] if line.startswith(b"data: ") else line[5:]
                data = said if data is None else _joined(data, said)
                if len(data) > self._event_bytes_max:
                    raise self._too_large()
            elif line.startswith(b"event:"):
                event = line[6:].removeprefix(b" ").decode("utf-8", "replace")
            elif line.startswith(b":"):
                if self._keep_comments:
                    frames.append(COMMENT)
            elif line == b"event":
                event = ""
        self._data, self._event = data, event

    def _check_size(self) -> None:
        if len(self._data or b"") + len(self._tail) > self._event_bytes_max:
            raise self._too_large()

    def _too_large(self) -> UpstreamError:
        return UpstreamError(f"the provider sent a stream event larger than {self._event_bytes_max} bytes")


def _joined(data: bytes | bytearray, more: bytes) -> bytearray:
    """Two lines of one event; the first grows."""
    if isinstance(data, bytes):
        data = bytearray(data)
    data += b"\n"
    data += more
    return data


def encode_sse(data: bytes, event: str = "") -> bytes:
    """One event on the wire; `data` may hold line breaks, `event` may not."""
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\ndata: ")
    if event:
        return b"event: %b\ndata: %b\n\n" % (event.encode(), data)
    return b"data: %b\n\n" % data
