"""An answer to who asked for a stream, by a name that says nothing of it: its first bytes tell whether it is one.

Some servers call their events text, or JSON. No JSON begins as a line of server-sent events does.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from headgate.llm.exchange import ResponseTranslation
from headgate.llm.losses import Loss
from headgate.llm.marks import Marks
from headgate.llm.usage import Usage

_BEGINS: Final = (b"data:", b"event:", b"id:", b"retry:", b":")
_BLANK: Final = b" \t\r\n"


class UnnamedStream:
    """See `ResponseTranslation`: `whole` until the first bytes begin a stream. It holds fewer bytes than a field's
    name has."""

    __slots__ = ("_begun", "_chosen", "_stream")

    def __init__(self, whole: ResponseTranslation, stream: ResponseTranslation) -> None:
        self._chosen = whole
        self._stream: ResponseTranslation | None = stream
        """None: it is decided."""
        self._begun: bytes = b""

    @property
    def headers(self) -> Mapping[str, str]:
        return self._chosen.headers

    @property
    def remove_headers(self) -> Sequence[str]:
        return self._chosen.remove_headers

    @property
    def usage(self) -> Usage:
        return self._chosen.usage

    @property
    def estimated(self) -> bool:
        return self._chosen.estimated

    @property
    def response_model(self) -> str:
        return self._chosen.response_model

    @property
    def marks(self) -> Marks:
        return self._chosen.marks

    @property
    def losses(self) -> Sequence[Loss]:
        return self._chosen.losses

    @property
    def streamed(self) -> bool:
        return self._chosen.streamed

    def hold(self) -> bool:
        """A stream is asked to as soon as it is one."""
        return self._chosen.hold()

    def feed(self, data: bytes) -> bytes:
        """As what it is."""
        stream = self._stream
        if stream is None:
            return self._chosen.feed(data)
        data = self._begun + data
        begun = data.lstrip(_BLANK)
        passed = self._chosen.feed(data[: len(data) - len(begun)])  # means nothing to either
        if any(field.startswith(begun) and field != begun for field in _BEGINS):
            self._begun = begun
            return passed
        self._stream, self._begun = None, b""
        if begun.startswith(_BEGINS):
            self._chosen = stream
            stream.hold()
        return passed + self._chosen.feed(begun)

    def close(self) -> bytes:
        """As what it is; what is too short to tell is no stream."""
        return self._chosen.feed(self._begun) + self._chosen.close()
