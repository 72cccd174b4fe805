"""Envoy's ext_proc messages to events, and actions to messages. The only module that knows their protobuf.

Source: envoy/service/ext_proc/v3/external_processor.proto. Decoding raises `WireError` on bytes that are no such
message. Constant replies are serialised once, when this module is imported.
"""

from collections.abc import Mapping
from typing import Any, Final, assert_never

from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from google.protobuf.message import DecodeError
from headgate.extproc.events import (
    EMPTY,
    NO_CONTEXT,
    NO_NAMESPACES,
    Action,
    BodyMode,
    Change,
    Chunk,
    Context,
    Continue,
    Event,
    Headers,
    Namespaces,
    Phase,
    Reject,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    Value,
)

SERVICE: Final = "envoy.service.ext_proc.v3.ExternalProcessor"
METHOD: Final = "Process"
PATH: Final = f"/{SERVICE}/{METHOD}"

_OVERWRITE: Final = 2
"""`HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD`."""
_CONTINUE_AND_REPLACE: Final = 1
"""`CommonResponse.CONTINUE_AND_REPLACE`."""


class WireError(Exception):
    """Not a message that Envoy sends."""


def decode(data: bytes) -> Event:
    """One `ProcessingRequest`. `WireError` if it is none, or of a kind that does not exist."""
    message: Any = pb.ProcessingRequest()
    try:
        message.ParseFromString(data)
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


def encode(action: Action) -> bytes:
    """One `ProcessingResponse`; `CountPrompt` is no message and must not come here."""
    match action:
        case Continue():
            return _CONTINUE[action.phase]
        case Change():
            return _encode_change(action)
        case Chunk():
            return _encode_chunk(action)
        case Reject():
            return _encode_reject(action)
        case _:
            raise AssertionError(f"not for Envoy: {type(action).__name__}")


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


def _encode_change(change: Change) -> bytes:
    message: Any = pb.ProcessingResponse()
    reply: Any
    match change.phase:
        case Phase.REQUEST_HEADERS:
            reply = message.request_headers.response
        case Phase.RESPONSE_HEADERS:
            reply = message.response_headers.response
        case Phase.REQUEST_BODY:
            reply = message.request_body.response
        case Phase.RESPONSE_BODY:
            reply = message.response_body.response
        case Phase.REQUEST_TRAILERS:
            message.request_trailers.SetInParent()
            _mutate(message.request_trailers.header_mutation, change.set_headers, change.remove_headers)
            return _finish(message, change.metadata)
        case Phase.RESPONSE_TRAILERS:
            message.response_trailers.SetInParent()
            _mutate(message.response_trailers.header_mutation, change.set_headers, change.remove_headers)
            return _finish(message, change.metadata)
        case _:
            assert_never(change.phase)
    reply.SetInParent()
    if change.set_headers or change.remove_headers:
        _mutate(reply.header_mutation, change.set_headers, change.remove_headers)
    if change.body is not None:
        reply.body_mutation.body = change.body
        if change.phase in (Phase.REQUEST_HEADERS, Phase.RESPONSE_HEADERS):
            reply.status = _CONTINUE_AND_REPLACE
    if change.response_body_mode is not None:
        message.mode_override.response_body_mode = int(change.response_body_mode)
    if change.clear_route_cache:
        reply.clear_route_cache = True
    return _finish(message, change.metadata)


def _encode_chunk(chunk: Chunk) -> bytes:
    message: Any = pb.ProcessingResponse()
    body = message.request_body if chunk.phase is Phase.REQUEST_BODY else message.response_body
    streamed = body.response.body_mutation.streamed_response
    streamed.body = chunk.body
    streamed.end_of_stream = chunk.end_of_stream
    return _finish(message, chunk.metadata)


def _encode_reject(reject: Reject) -> bytes:
    message: Any = pb.ProcessingResponse()
    immediate = message.immediate_response
    immediate.status.code = reject.status
    immediate.body = reject.body
    if reject.headers:
        _mutate(immediate.headers, reject.headers, ())
    if reject.details:
        immediate.details = reject.details
    return _finish(message, reject.metadata)


def _mutate(mutation: Any, set_headers: Headers, remove_headers: tuple[str, ...]) -> None:
    for name, value in set_headers.items():
        option = mutation.set_headers.add()
        option.header.key = name
        option.header.raw_value = value.encode("utf-8")
        option.append_action = _OVERWRITE
    if remove_headers:
        mutation.remove_headers.extend(remove_headers)


def _finish(message: Any, metadata: Namespaces) -> bytes:
    if metadata:
        fields = message.dynamic_metadata.fields
        for namespace, values in metadata.items():
            _set_value(fields[namespace], values)
    return message.SerializeToString()


def _set_value(message: Any, value: Value) -> None:
    match value:
        case bool():
            message.bool_value = value
        case str():
            message.string_value = value
        case float() | int():
            message.number_value = value
        case None:
            message.null_value = 0
        case tuple():
            message.list_value.SetInParent()
            for each in value:
                _set_value(message.list_value.values.add(), each)
        case _:
            message.struct_value.SetInParent()
            fields = message.struct_value.fields
            for name, each in value.items():
                _set_value(fields[name], each)


_CONTINUE: Final = {phase: _encode_change(Change(phase=phase)) for phase in Phase}
