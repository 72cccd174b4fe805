"""What a chat dialect is: a record of functions, the same for every one of them.

A package under `dialects/` exports `DIALECT: ChatDialect`; `dialects/table.py` has a row per package. Everything here
works on bytes and canonical values. Who is served where (path, envelope, framing) is not a dialect's business: see
`hosts/`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import msgspec
from headgate.contract.facts import ModelRow
from headgate.llm.answer_losses import Matter, Unsaid
from headgate.llm.canonical import ChatRequest, ChatResponse, StandIns, StreamEvent
from headgate.llm.endpoints import NO_PATH, PathFacts
from headgate.llm.errors import ErrorDetail
from headgate.llm.framing.frame import Frame, FrameDecoder
from headgate.llm.framing.sse import SseDecoder
from headgate.llm.losses import Loss
from headgate.llm.names import DialectName, HostName
from headgate.llm.vendors import UNKNOWN, Vendor


class Target(msgspec.Struct, frozen=True, gc=False):
    """Whom a request is written for."""

    model: str
    """The request model: the override, or what the client asked for. Capabilities are looked up by it."""
    host: HostName = HostName.DIRECT
    version: str = ""
    vendor: Vendor = UNKNOWN
    models: tuple[ModelRow, ...] = ()
    """What its models take, where the backend's policy says so; every look into `capabilities` is given them."""
    losses: Literal["report", "reject", "emulate"] = "report"
    """`emulate`: what the target lacks may be done by other means (a schema by a forced tool). Rejecting is the
    bridge's job: encoders always report."""


EVENT_STREAM: Final = "text/event-stream"


def sse_frames() -> FrameDecoder:
    """Server-sent events, with the comments that keep connections alive."""
    return SseDecoder(keep_comments=True)


def event_stream(_path: PathFacts) -> str:
    """The content type of dialects that stream by server-sent events."""
    return EVENT_STREAM


class Memo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the response side must know of the request; values only, made by `encode_request`."""

    include_usage: bool = True
    """The client wants usage in its stream (an OpenAI client says so in `stream_options`)."""
    json_tool: str = ""
    """The answer was asked for as the arguments of this forced tool; the decoder turns its call into text."""
    stop: tuple[str, ...] = ()
    """The stop sequences of the request."""
    audio_format: str = ""
    """In which format the answer was asked to sound, where the provider does not repeat it."""
    tool_names: dict[str, str] = {}
    """Tools that go by another name at the provider (its names are shorter): the provider's name to the client's."""
    think_tags: bool = False
    """What the provider thinks stands between tags at the beginning of its text."""


NO_MEMO = Memo()


class EncodedRequest(msgspec.Struct, frozen=True, gc=False):
    body: bytes
    memo: Memo = NO_MEMO
    losses: Sequence[Loss] = ()


class ReplyContext(msgspec.Struct, frozen=True, gc=False):
    """What the client's side of an answer needs beyond the answer."""

    model: str
    """Reported where the provider named none: the request model."""
    created: int
    """Unix seconds, taken once per answer by the shell: an answer's chunks agree."""
    include_usage: bool = True
    request_id: str = ""
    """The provider's; stands in for an answer's id where the dialect has none."""
    path: PathFacts = NO_PATH
    """What the client's path said."""
    echo: bytes = b""
    """`ChatRequest.echo` of the client's dialect."""
    stand_ins: StandIns = {}
    """`ChatRequest.stand_ins`: calls of these are told as calls of what they stand for."""


class StreamDecoder(Protocol):
    """The provider's stream to canonical events (rules: `canonical.py`).

    Tolerant: an unknown event or member passes. UpstreamError for a frame that is not what the dialect says at all.
    """

    def feed(self, frame: Frame) -> Sequence[StreamEvent]: ...

    def close(self) -> Sequence[StreamEvent]:
        """The input ended: what can be said of parts left open. Says nothing if the stream was whole.

        `complete` tells whether it was.
        """
        ...

    @property
    def complete(self) -> bool:
        """The dialect's end was seen (`message_stop`; `[DONE]` or a finish reason)."""
        ...

    @property
    def ended(self) -> bool:
        """The dialect says that nothing follows (`message_stop`, `[DONE]`): the client need not wait for the connection
        to end, which some providers leave open."""
        ...


class StreamEncoder(Protocol):
    """Canonical events to the client's stream, as bytes ready to send."""

    def feed(self, event: StreamEvent) -> bytes: ...

    def close(self) -> bytes:
        """The message is complete: usage and the dialect's terminator, whatever has not been sent yet."""
        ...

    def fail(self, error: ErrorDetail) -> bytes:
        """The message will never be complete: the dialect's error event, and nothing that looks like an end."""
        ...


class RequestDecoder(Protocol):
    """The client's body, and what its path says. Strict: RequestError with the JSON path of the first thing wrong."""

    def __call__(self, body: bytes, path: PathFacts = NO_PATH, /) -> ChatRequest: ...


@dataclass(frozen=True, slots=True)
class ChatDialect:
    """A chat wire format. Functions are pure; errors are `RequestError` for clients, `UpstreamError` for providers."""

    name: DialectName
    decode_request: RequestDecoder
    encode_request: Callable[[ChatRequest, Target], EncodedRequest]
    """The provider's body. Equal requests give equal bytes."""
    decode_response: Callable[[bytes, Memo], ChatResponse]
    """The provider's whole answer. UpstreamError if it is not one."""
    encode_response: Callable[[ChatResponse, ReplyContext], bytes]
    stream_decoder: Callable[[Memo], StreamDecoder]
    stream_encoder: Callable[[ReplyContext], StreamEncoder]
    decode_error: Callable[[int, Mapping[str, str], bytes], ErrorDetail]
    """The provider's error answer: status, headers (lower case), body. Never fails: a body that is no error of this
    dialect (HTML, empty, cut) becomes a message about the status, with at most 1,000 characters of text quoted. Of the
    headers only those are there that the compiler has forwarded (`lower/upstream.py`)."""
    encode_error: Callable[[ErrorDetail], bytes]
    """The client's error body."""
    request_headers: Mapping[str, str]
    """Sent to a provider of this dialect unless the client already sent them (`anthropic-version`)."""
    request_id_header: str
    """Where clients of this dialect look for the provider's request id."""
    client_headers: Sequence[str]
    """Headers that clients of this dialect send and other dialects do not understand; removed when crossing."""
    frames: Callable[[], FrameDecoder] = sse_frames
    """Cuts the provider's stream, unless its host has another framing."""
    stream_type: Callable[[PathFacts], str] = event_stream
    """The content type of a stream, as a client gets it whose path said that, and as a provider sends it."""
    own_names: Mapping[str, str] = field(default_factory=dict[str, str])
    """What its clients call the canonical members that losses name, where that is not the same."""
    other_names: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    """What else clients may have said it with, as paths beside the member: see `losses.in_place`."""
    unsaid: Unsaid = field(default_factory=dict[Matter, str])
    """What answers of other dialects may hold and a client of this one cannot be told, with the reason."""
    unsaid_streamed: Unsaid = field(default_factory=dict[Matter, str])
    """The same of streams, beyond that."""
    answer_extras: frozenset[str] = frozenset()
    """Members that only one other dialect's answers have, and whole answers of this one repeat."""
    backend: bool = True
    """Backends of this dialect can serve clients of others. Where not, the functions for providers are never called."""
