"""What every framing cuts a body into, and what cutting is."""

from typing import Protocol

import msgspec


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream: its payload, and its type (empty if the stream names none).

    Of server-sent events the payload is the `data` lines joined by LF; of AWS event streams it is the message's
    payload, and the type its `:event-type` or `:exception-type`.
    """

    data: bytes
    event: str = ""
    failure: bool = False
    """The framing itself says that this is an error and the stream's end (AWS exceptions)."""


class FrameDecoder(Protocol):
    """Cuts a body into frames, however it arrives. `UpstreamError` for what cannot be cut, or is too large to hold."""

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that `chunk` completes, in order."""
        ...

    def close(self) -> list[Frame]:
        """The frame that the end of the body completes, if any. UpstreamError for damage found behind it."""
        ...
