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

    __slots__ = ("answer", "answer_bytes", "path", "request", "started_ns", "stream", "traceparent")

    def __init__(self, started_ns: int) -> None:
        self.started_ns = started_ns
        self.traceparent = ""
        self.path = ""
        self.request: bytes | None = None
        self.answer: list[bytes] = []
        self.answer_bytes = 0
        self.stream = False
        """Whether a stream was asked for."""

    def asked(self, body: bytes, headers: Mapping[str, str]) -> None:
        """The client's request, before it is translated."""
        self.traceparent = headers.get("traceparent", "")
        self.path = headers.get(":path", "")
        if len(body) <= TAPPED_BYTES_MAX:
            self.request = bytes(body)

    def answered(self, data: bytes) -> None:
        """A piece of the answer, as the client gets it."""
        self.answer_bytes += len(data)
        if self.answer_bytes <= TAPPED_BYTES_MAX:
            self.answer.append(data)

    @property
    def whole(self) -> bool:
        """Whether all of the answer is here."""
        return self.answer_bytes <= TAPPED_BYTES_MAX

    @property
    def size(self) -> int:
        """Bytes that are held."""
        return len(self.request or b"") + min(self.answer_bytes, TAPPED_BYTES_MAX)

    @property
    def traced(self) -> bool:
        """Whether the attempt is part of a trace that is kept."""
        found = _TRACEPARENT.fullmatch(self.traceparent)
        return found is not None and bool(int(found[1], 16) & _SAMPLED)
