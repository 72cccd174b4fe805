"""Envoy's ext_proc messages to events; `replies` has the way back. No other modules know their protobuf.

Source: envoy/service/ext_proc/v3/external_processor.proto. Decoding raises `WireError` on bytes that are no such
message.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from google.protobuf.message import DecodeError
from headgate.extproc.events import (
    EMPTY,
    NO_CONTEXT,
    NO_NAMESPACES,
    BodyMode,
    Context,
    Event,
    Headers,
    Namespaces,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    Value,
)
from headgate.extproc.replies import length
from headgate.pb.received import parse

SERVICE: Final = "envoy.service.ext_proc.v3.ExternalProcessor"
METHOD: Final = "Process"
PATH: Final = f"/{SERVICE}/{METHOD}"

REMEMBERED_MAX: Final = 1024
REMEMBERED_BYTES_MAX: Final = 512
"""Of a message to remember: clients' paths and providers' request ids travel in it."""

# Tags of ProcessingRequest: field number and wire type.
_REQUEST_HEADERS: Final = 0x12
_RESPONSE_HEADERS: Final = 0x1A
_REQUEST_BODY: Final = 0x22
_RESPONSE_BODY: Final = 0x2A
_BODY: Final = b"\x0a"
_END_OF_STREAM: Final = b"\x10\x01"
_NO_METADATA: Final = b"\x42\x00"
"""An empty `metadata_context`, which Envoy adds to every message when no namespace is forwarded."""
_LAST_OF_RESPONSE: Final = bytes((_RESPONSE_BODY, len(_END_OF_STREAM))) + _END_OF_STREAM + _NO_METADATA
"""The end of an answer whose bytes have all come, which HTTP/1 tells by itself."""
_LAST: Final = ResponseBody(b"")


class WireError(Exception):
    """Not a message that Envoy sends."""


def decode(data: bytes) -> Event:
    """One `ProcessingRequest`. `WireError` if it is none, or of a kind that does not exist."""
    if data == _LAST_OF_RESPONSE:
        return _LAST
    tag = data[0] if data else 0
    if tag in (_RESPONSE_BODY, _REQUEST_BODY):
        # By far the most hold nothing but a body, and whether it is the last of it: known by how such ones begin.
        after = len(data) - 2 if data.endswith(_NO_METADATA) else len(data)
        ended = data.endswith(_END_OF_STREAM, 0, after)
        head = _body_head(tag, after, ended)
        if head and data.startswith(head):
            body = data[len(head) : after - 2 if ended else after]
            return ResponseBody(body, ended) if tag == _RESPONSE_BODY else RequestBody(body, ended)
    elif tag in (_REQUEST_HEADERS, _RESPONSE_HEADERS) and len(data) <= REMEMBERED_BYTES_MAX:
        return _remembered(data)
    return _decode(data)


@lru_cache(maxsize=REMEMBERED_MAX)
def _body_head(tag: int, size: int, ended: bool) -> bytes:
    """What stands before the body in a message of that size which holds nothing else; empty where none has it."""
    message = _within(size)
    if message == (2 if ended else 0):
        return bytes((tag,)) + length(message)  # a body of nothing is not written
    body = _within(message - 2 if ended else message)
    return b"" if body < 0 else b"".join((bytes((tag,)), length(message), _BODY, length(body)))


def _within(size: int) -> int:
    """The bytes of a field that takes so many with its tag and its length; less than none where none does."""
    return next((rest for rest in range(size - 2, size - 7, -1) if 1 + len(length(max(rest, 0))) + rest == size), -1)


@lru_cache(maxsize=REMEMBERED_MAX)
def _remembered(data: bytes) -> Event:
    """Of headers, the compiler has few sent: most messages are equal."""
    return _decode(data)


def _decode(data: bytes) -> Event:
    try:
        message: Any = parse(pb.ProcessingRequest, data)
    except DecodeError as error:
        raise WireError(str(error)) from error
    context = _context(message)
    match message.WhichOneof("request"):
        case "request_body":
            body = message.request_body
            return RequestBody(body.body, body.end_of_stream, context)
        case "response_body":
            body = message.response_body
            return ResponseBody(body.body, body.end_of_stream, context)
        case "request_headers":
            headers = message.request_headers
            return RequestHeaders(_headers(headers.headers), headers.end_of_stream, context)
        case "response_headers":
            headers = message.response_headers
            return ResponseHeaders(_headers(headers.headers), headers.end_of_stream, context)
        case "request_trailers":
            return RequestTrailers(context)
        case "response_trailers":
            return ResponseTrailers(context)
        case other:
            raise WireError(f"unknown request {other}")


def _context(message: Any) -> Context:
    attributes: Mapping[str, Value] = EMPTY
    if message.attributes:
        found: dict[str, Value] = {}
        for struct in message.attributes.values():
            for name, value in struct.fields.items():
                found[name] = _value(value)
        attributes = found
    metadata: Namespaces = NO_NAMESPACES
    if message.HasField("metadata_context") and message.metadata_context.filter_metadata:
        metadata = {name: _struct(struct) for name, struct in message.metadata_context.filter_metadata.items()}
    if message.HasField("protocol_config"):
        config = message.protocol_config
        return Context(attributes, metadata, BodyMode(config.request_body_mode), BodyMode(config.response_body_mode))
    if attributes is EMPTY and metadata is NO_NAMESPACES:
        return NO_CONTEXT
    return Context(attributes, metadata)


def _headers(message: Any) -> Headers:
    headers: dict[str, str] = {}
    for header in message.headers:
        value = header.raw_value.decode("utf-8", "replace") or header.value
        name = header.key
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _struct(message: Any) -> dict[str, Value]:
    return {name: _value(value) for name, value in message.fields.items()}


def _value(message: Any) -> Value:
    match message.WhichOneof("kind"):
        case "string_value":
            return message.string_value
        case "number_value":
            return message.number_value
        case "bool_value":
            return message.bool_value
        case "struct_value":
            return _struct(message.struct_value)
        case "list_value":
            return tuple(_value(value) for value in message.list_value.values)
        case _:
            return None
