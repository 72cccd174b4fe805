"""What Envoy tells an ext_proc stream (events) and what it is told back (actions), as plain values.

Envoy sends one event per phase it was configured to send (`SKIP`ped ones never come) and waits for one action per
event, except in full-duplex body mode, where actions come whenever they are ready. The first event of a stream tells
the body modes; the first event of each direction may carry attributes.

`msgspec` structs rather than dataclasses: a call has eight of these values, and they are made in a tenth of the time.
Final, so that `type(event) is` tells them apart, for a third of what a class pattern that does not match costs.
"""

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Final, assert_never, final

import msgspec
from headgate.llm.canonical import ChatRequest

Scalar = str | float | bool | None
Value = Scalar | tuple["Value", ...] | Mapping[str, "Value"]
"""A JSON-like value of dynamic metadata or attributes."""

Headers = Mapping[str, str]
"""Lower-case names, pseudo headers included; several values of one name are joined by a comma."""

Namespaces = Mapping[str, Mapping[str, Value]]
"""Dynamic metadata: namespace, key, value."""

EMPTY: Final[Mapping[str, "Value"]] = MappingProxyType({})
NO_NAMESPACES: Final[Namespaces] = MappingProxyType({})
NO_HEADERS: Final[Headers] = MappingProxyType({})


class BodyMode(IntEnum):
    """How Envoy sends bodies: the numbers of `ProcessingMode.BodySendMode`."""

    NONE = 0
    STREAMED = 1
    BUFFERED = 2
    BUFFERED_PARTIAL = 3
    FULL_DUPLEX_STREAMED = 4
    GRPC = 5


class Phase(IntEnum):
    """Where in the request an event or action belongs: the field numbers of `ProcessingResponse`."""

    REQUEST_HEADERS = 1
    RESPONSE_HEADERS = 2
    REQUEST_BODY = 3
    RESPONSE_BODY = 4
    REQUEST_TRAILERS = 5
    RESPONSE_TRAILERS = 6


class Context(msgspec.Struct, frozen=True, gc=False):
    """What came beside an event."""

    attributes: Mapping[str, Value] = EMPTY
    """By expression as configured (`response.code`, `request.headers['content-type']`); absent values are absent."""
    metadata: Namespaces = NO_NAMESPACES
    """Dynamic metadata of the namespaces that the filter forwards."""
    request_body_mode: BodyMode | None = None
    """Only in the first event of a stream."""
    response_body_mode: BodyMode | None = None


NO_CONTEXT: Final = Context()


@final
class RequestHeaders(msgspec.Struct, frozen=True, gc=False):
    headers: Headers
    end_of_stream: bool = False
    """There is no body."""
    context: Context = NO_CONTEXT


@final
class RequestBody(msgspec.Struct, frozen=True, gc=False):
    body: bytes
    end_of_stream: bool = True
    context: Context = NO_CONTEXT


@final
class RequestTrailers(msgspec.Struct, frozen=True, gc=False):
    context: Context = NO_CONTEXT


@final
class ResponseHeaders(msgspec.Struct, frozen=True, gc=False):
    headers: Headers
    end_of_stream: bool = False
    context: Context = NO_CONTEXT


@final
class ResponseBody(msgspec.Struct, frozen=True, gc=False):
    body: bytes
    end_of_stream: bool = True
    context: Context = NO_CONTEXT


@final
class ResponseTrailers(msgspec.Struct, frozen=True, gc=False):
    context: Context = NO_CONTEXT


@final
class PromptCounted(msgspec.Struct, frozen=True, gc=False):
    """The shell's answer to `CountPrompt`; None where counting failed."""

    tokens: int | None
    exact: bool = False
    """The model's own tokenizer counted text alone: the provider will count the same."""


Event = (
    RequestHeaders | RequestBody | RequestTrailers | ResponseHeaders | ResponseBody | ResponseTrailers | PromptCounted
)


def phase_of(event: Event) -> Phase:
    """Where in the request it belongs."""
    match event:
        case RequestHeaders():
            return Phase.REQUEST_HEADERS
        case RequestBody() | PromptCounted():
            return Phase.REQUEST_BODY
        case RequestTrailers():
            return Phase.REQUEST_TRAILERS
        case ResponseHeaders():
            return Phase.RESPONSE_HEADERS
        case ResponseBody():
            return Phase.RESPONSE_BODY
        case ResponseTrailers():
            return Phase.RESPONSE_TRAILERS
        case _:
            assert_never(event)


@final
class Continue(msgspec.Struct, frozen=True, gc=False):
    """Go on, nothing changes."""

    phase: Phase


@final
class Change(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Go on with changes. `body` None keeps the body; in a headers phase a body replaces the one still to come."""

    phase: Phase
    set_headers: Headers = NO_HEADERS
    """Overwritten or added."""
    remove_headers: tuple[str, ...] = ()
    body: bytes | None = None
    clear_route_cache: bool = False
    response_body_mode: BodyMode | None = None
    """Only with response headers, and only where the filter allows `mode_override`; ignored elsewhere."""
    metadata: Namespaces = NO_NAMESPACES


@final
class Chunk(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A piece of a full-duplex body."""

    phase: Phase
    body: bytes
    end_of_stream: bool
    metadata: Namespaces = NO_NAMESPACES


@final
class Reject(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Envoy answers the client itself; the stream is over. `details` ends up in %RESPONSE_CODE_DETAILS%."""

    status: int
    body: bytes
    headers: Headers = NO_HEADERS
    details: str = ""
    metadata: Namespaces = NO_NAMESPACES


@final
class CountPrompt(msgspec.Struct, frozen=True, gc=False):
    """To the shell, not to Envoy: count the tokens of this body and come back with `PromptCounted`."""

    endpoint: str
    model: str
    body: bytes
    chat: ChatRequest | None = None
    """Where it is decoded already, in place of the body."""


Action = Continue | Change | Chunk | Reject | CountPrompt
Actions = tuple[Action, ...]
"""Usually one. None while a full-duplex body is gathered."""

NOTHING: Final[Actions] = ()
