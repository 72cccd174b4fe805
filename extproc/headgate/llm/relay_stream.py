"""Streams of chats that stay in their dialect: their bytes pass, and are read on the way.

What a provider reports is read by the operation's reader; what nobody reports is counted, and what only begins is kept
back, as in a stream that is translated (`bridge_stream`).
"""

from collections.abc import Mapping
from typing import Final

from headgate.llm.dialects.dialect import ChatDialect, ReplyContext
from headgate.llm.errors import ErrorDetail, StreamFailed, UpstreamError
from headgate.llm.exchange import UpstreamRequest
from headgate.llm.framing.sse import encode_sse
from headgate.llm.hosts.host import Framing
from headgate.llm.marks import Marks
from headgate.llm.operations.reader import RelayReader
from headgate.llm.stream_ends import CUT, Held, Overheard
from headgate.llm.usage import NO_USAGE, Usage


class RelayedStream:
    """A stream that passes as it came: kept back while it only begins, ended by an error where it is cut."""

    __slots__ = (
        "_client",
        "_heard",
        "_reader",
        "_request",
        "estimated",
        "headers",
        "losses",
        "remove_headers",
        "streamed",
        "usage",
    )

    def __init__(self, request: UpstreamRequest, reader: RelayReader, client: ChatDialect) -> None:
        self._request = request
        self._reader = reader
        self._client = client
        self._heard = Overheard(client, request.request_model)
        self.estimated = False
        self.usage: Usage = NO_USAGE
        self.headers: Mapping[str, str] = {}
        self.remove_headers: tuple[str, ...] = ()
        self.losses = request.losses
        self.streamed = True

    @property
    def response_model(self) -> str:
        return self._reader.response_model or self._heard.model or self._request.request_model

    @property
    def marks(self) -> Marks:
        return self._heard.marks

    def hold(self) -> bool:
        """See `ResponseTranslation`; what is kept is bounded (`Held`)."""
        self._heard.held = Held()
        return True

    def feed(self, data: bytes) -> bytes:
        """The same bytes, but for what is kept or must be hidden."""
        heard = self._heard
        heard.feed(data)
        passed = self._reader.feed(data)
        self._count(over=False)
        held = heard.held
        if held is None:
            return passed
        if heard.failure is not None and not held.over:
            raise StreamFailed(heard.failure)
        passed = held.pass_on(passed)
        if held.over:
            heard.held = None
        return passed

    def close(self) -> bytes:
        """Whatever was held, and the error that stands for an end that never came."""
        rest = self._reader.close()
        self._count(over=True)
        held = self._heard.held
        if self._heard.cut:
            if held is not None:
                raise StreamFailed(CUT)
            # What came before it may be half an event.
            return rest + b"\n\n" + _failed(self._client, self._request, CUT)
        if held is None:
            return rest
        held.over = True
        return held.pass_on(rest)

    def _count(self, *, over: bool) -> None:
        reported, prompt = self._reader.usage, self._request.prompt_tokens
        self.usage, self.estimated = self._heard.counted(reported, self.usage, prompt, over=over)


class UnwrappedTranslation:
    """A stream that its host has wrapped into frames of its own: unwrapped, and read in passing.

    A host may say inside its frames that it failed, and a stream may be cut: the client gets its dialect's error event.
    """

    __slots__ = (
        "_client",
        "_ended",
        "_frames",
        "_heard",
        "_reader",
        "_request",
        "estimated",
        "headers",
        "losses",
        "remove_headers",
        "streamed",
        "usage",
    )

    def __init__(self, request: UpstreamRequest, reader: RelayReader, framing: Framing, client: ChatDialect) -> None:
        self._request = request
        self._reader = reader
        self._frames = framing.frames()
        self._client = client
        self._heard = Overheard(client, request.request_model)
        self._ended = False
        self.estimated = False
        self.usage: Usage = NO_USAGE
        self.headers: Mapping[str, str] = {"content-type": client.stream_type(request.client_path)}
        self.remove_headers: tuple[str, ...] = ()
        self.losses = request.losses
        self.streamed = True

    @property
    def response_model(self) -> str:
        return self._reader.response_model or self._heard.model or self._request.request_model

    @property
    def marks(self) -> Marks:
        return self._heard.marks

    def hold(self) -> bool:
        """See `ResponseTranslation`; what is kept is bounded (`Held`)."""
        self._heard.held = Held()
        return True

    def feed(self, data: bytes) -> bytes:
        """The events that these bytes complete."""
        try:
            frames = self._frames.feed(data)
        except UpstreamError as error:
            return self._fail(error.detail())
        events: list[bytes] = []
        for frame in frames:
            if self._ended:
                break
            self._ended = frame.event in _LAST_EVENTS
            self._heard.read((frame,))
            events.append(encode_sse(frame.data, frame.event))
        passed = self._reader.feed(b"".join(events))
        self._count(over=False)
        held = self._heard.held
        if held is None:
            return passed
        if self._heard.failure is not None and not held.over:
            raise StreamFailed(self._heard.failure)
        passed = held.pass_on(passed)
        if held.over:
            self._heard.held = None
        return passed

    def close(self) -> bytes:
        """The error that stands for an end that never came."""
        rest = self._reader.close()
        try:
            self._frames.close()
        except UpstreamError as error:
            return rest + self._fail(error.detail())
        return rest + self._fail(CUT)

    def _fail(self, error: ErrorDetail) -> bytes:
        self._count(over=True)
        held = self._heard.held
        if self._ended:
            if held is None:
                return b""
            held.over = True
            return held.pass_on(b"")
        self._ended = True
        if held is not None:
            raise StreamFailed(error)
        return _failed(self._client, self._request, error)

    def _count(self, *, over: bool) -> None:
        reported, prompt = self._reader.usage, self._request.prompt_tokens
        self.usage, self.estimated = self._heard.counted(reported, self.usage, prompt, over=over)


def _failed(client: ChatDialect, request: UpstreamRequest, error: ErrorDetail) -> bytes:
    return client.stream_encoder(ReplyContext(request.request_model, 0, path=request.client_path)).fail(error)


_LAST_EVENTS: Final = frozenset(("message_stop", "error"))
"""Of the dialects whose streams hosts wrap."""
