"""What passes of one attempt, for those who capture content. Bounded; holds no clock."""

import re
from collections.abc import Mapping
from typing import Final

TAPPED_BYTES_MAX: Final = 1_048_576
"""Of a request, and of its answer: what is longer is captured without its content."""
_TRACEPARENT: Final = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-([0-9a-f]{2})")
"""As Envoy writes it."""
_SAMPLED: Final = 1


class Tap:
    """What passes of one attempt."""

    __slots__ = ("answer", "answer_bytes", "path", "request", "started_ns", "stream", "traceparent", "wanted")

    def __init__(self, started_ns: int) -> None:
        self.started_ns = started_ns
        self.wanted = False
        """Whether the attempt is part of a trace that is kept, and one of those that are captured: else nothing is
        held of it."""
        self.traceparent = ""
        self.path = ""
        self.request: bytes | None = None
        self.answer = bytearray()
        self.answer_bytes = 0
        self.stream = False
        """Whether a stream was asked for."""

    def asked(self, body: bytes, headers: Mapping[str, str], *, captured: bool) -> None:
        """The client's request, before it is translated; `captured` says that its operation is one of those."""
        self.traceparent = headers.get("traceparent", "")
        self.wanted = captured and is_sampled(self.traceparent)
        if self.wanted:
            self.path = headers.get(":path", "")
            self.request = bytes(body) if len(body) <= TAPPED_BYTES_MAX else None

    def answered(self, data: bytes) -> None:
        """A piece of the answer, as the client gets it."""
        if not self.wanted:
            return
        self.answer_bytes += len(data)
        if self.whole:
            self.answer += data
        else:
            self.answer.clear()

    @property
    def whole(self) -> bool:
        """Whether all of the answer is here."""
        return self.answer_bytes <= TAPPED_BYTES_MAX

    @property
    def size(self) -> int:
        """Bytes that are held."""
        return len(self.request or b"") + len(self.answer)


def is_sampled(traceparent: str) -> bool:
    """Whether the trace is kept."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return found is not None and bool(int(found[1], 16) & _SAMPLED)
