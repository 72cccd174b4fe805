"""Messages to events and actions to messages, against the generated protobuf."""

import pytest
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from headgate.extproc.events import (
    BodyMode,
    Change,
    Chunk,
    Context,
    Continue,
    CountPrompt,
    Event,
    Phase,
    Reject,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
)
from headgate.extproc.replies import encode
from headgate.extproc.wire import WireError, decode


def struct(values: dict[str, object]) -> Struct:
    return ParseDict(values, Struct())


def headers_message() -> pb.HttpHeaders:
    message = pb.HttpHeaders(end_of_stream=True)
    for name, raw, value in (
        (":path", b"/a", ""),
        ("x", b"", "old"),
        ("dup", b"1", ""),
        ("dup", b"2", ""),
        ("y", b"\xff", ""),
    ):
        message.headers.headers.add(key=name, raw_value=raw, value=value)
    return message


@pytest.mark.parametrize(
    ("message", "event"),
    [
        (
            pb.ProcessingRequest(request_headers=headers_message()),
            RequestHeaders({":path": "/a", "x": "old", "dup": "1,2", "y": "\N{REPLACEMENT CHARACTER}"}, True),
        ),
        (pb.ProcessingRequest(response_headers=pb.HttpHeaders()), ResponseHeaders({})),
        (pb.ProcessingRequest(request_body=pb.HttpBody(body=b"x")), RequestBody(b"x", False)),
        (pb.ProcessingRequest(response_body=pb.HttpBody(body=b"x", end_of_stream=True)), ResponseBody(b"x", True)),
        (pb.ProcessingRequest(request_trailers=pb.HttpTrailers()), RequestTrailers()),
        (pb.ProcessingRequest(response_trailers=pb.HttpTrailers()), ResponseTrailers()),
    ],
)
def test_every_message_becomes_its_event(message: pb.ProcessingRequest, event: Event) -> None:
    assert decode(message.SerializeToString()) == event


@pytest.mark.parametrize("size", [0, 1, 115, 116, 127, 128, 16_370, 16_384, 2_100_000])
@pytest.mark.parametrize("ended", [False, True])
def test_a_body_with_empty_metadata_beside_it_is_but_a_body(ended: bool, size: int) -> None:
    body = pb.HttpBody(body=b"B\0" * size, end_of_stream=ended)
    for message, event in (
        (pb.ProcessingRequest(request_body=body), RequestBody(body.body, ended)),
        (pb.ProcessingRequest(response_body=body), ResponseBody(body.body, ended)),
    ):
        assert decode(message.SerializeToString()) == event
        message.metadata_context.SetInParent()
        assert decode(message.SerializeToString()) == event


def test_what_comes_beside_an_event_is_its_context() -> None:
    message = pb.ProcessingRequest(request_body=pb.HttpBody(end_of_stream=True))
    message.attributes["envoy.filters.http.ext_proc"].CopyFrom(struct({"response.code": 429, "request.path": "/v1"}))
    noted = struct({"response": {":status": "200"}, "list": [1, True, None]})
    message.metadata_context.filter_metadata["headgate"].CopyFrom(noted)
    message.protocol_config.request_body_mode = ProcessingMode.BUFFERED
    message.protocol_config.response_body_mode = ProcessingMode.FULL_DUPLEX_STREAMED
    event = decode(message.SerializeToString())
    assert isinstance(event, RequestBody)
    assert event.context == Context(
        {"response.code": 429.0, "request.path": "/v1"},
        {"headgate": {"response": {":status": "200"}, "list": (1.0, True, None)}},
        BodyMode.BUFFERED,
        BodyMode.FULL_DUPLEX_STREAMED,
    )


@pytest.mark.parametrize("data", [b"", b"\xff\xff", b"\x08\x01"])
def test_anything_else_is_a_wire_error(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(data)


@pytest.mark.parametrize("phase", list(Phase))
def test_going_on_is_the_phases_empty_reply(phase: Phase) -> None:
    message = pb.ProcessingResponse.FromString(encode(Continue(phase)))
    assert message.WhichOneof("response") == phase.name.lower()


@pytest.mark.parametrize(
    "phase", [Phase.REQUEST_BODY, Phase.RESPONSE_BODY, Phase.REQUEST_HEADERS, Phase.RESPONSE_HEADERS]
)
def test_a_change_says_everything(phase: Phase) -> None:
    change = Change(
        phase=phase,
        set_headers={"a": "é"},
        remove_headers=("b",),
        body=b"",
        clear_route_cache=True,
        metadata={
            "ns": {"n": 1, "s": "x", "b": True, "none": None, "list": (1, "a"), "one": ("stop",), "map": {"k": ""}}
        },
    )
    message = pb.ProcessingResponse.FromString(encode(change))
    reply = getattr(message, phase.name.lower()).response
    (option,) = reply.header_mutation.set_headers
    assert (option.header.key, option.header.raw_value, option.append_action) == ("a", "é".encode(), 2)
    assert list(reply.header_mutation.remove_headers) == ["b"]
    assert reply.body_mutation.WhichOneof("mutation") == "body"
    assert reply.clear_route_cache
    assert reply.status == (1 if "HEADERS" in phase.name else 0)
    expected = {"n": 1, "s": "x", "b": True, "none": None, "list": [1, "a"], "one": ["stop"], "map": {"k": ""}}
    assert message.dynamic_metadata == struct({"ns": expected})


def test_a_change_of_trailers() -> None:
    change = Change(phase=Phase.RESPONSE_TRAILERS, set_headers={"a": "b"}, metadata={"n": {"a": 1}})
    message = pb.ProcessingResponse.FromString(encode(change))
    assert message.response_trailers.header_mutation.set_headers[0].header.raw_value == b"b"
    assert message.dynamic_metadata.fields["n"].struct_value.fields["a"].number_value == 1


def test_switching_the_body_mode() -> None:
    change = Change(phase=Phase.RESPONSE_HEADERS, response_body_mode=BodyMode.STREAMED)
    message = pb.ProcessingResponse.FromString(encode(change))
    assert message.mode_override.response_body_mode == ProcessingMode.STREAMED


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("size", [0, 1, 100, *range(116, 131), 16_370, 16_380, 16_384, 3_000_000])
@pytest.mark.parametrize("phase", [Phase.REQUEST_BODY, Phase.RESPONSE_BODY])
def test_duplex_chunks_of_every_length(phase: Phase, size: int, ended: bool) -> None:
    chunk = Chunk(phase=phase, body=b"x" * size, end_of_stream=ended, metadata={"ns": {"n": 7}} if ended else {})
    message = pb.ProcessingResponse.FromString(encode(chunk))
    mutation = getattr(message, phase.name.lower()).response.body_mutation
    assert mutation.WhichOneof("mutation") == "streamed_response"
    assert (mutation.streamed_response.body, mutation.streamed_response.end_of_stream) == (b"x" * size, ended)
    assert message.dynamic_metadata == struct({"ns": {"n": 7}} if ended else {})


@pytest.mark.parametrize("size", [0, 2, 127, 128, 20_000])
def test_an_answer_of_our_own(size: int) -> None:
    reject = Reject(
        status=422,
        body=b"x" * size,
        headers={"content-type": "application/json"},
        details="why",
        metadata={"ns": {"lane": "extproc"}},
    )
    message = pb.ProcessingResponse.FromString(encode(reject))
    immediate = message.immediate_response
    assert (immediate.status.code, immediate.body, immediate.details) == (422, b"x" * size, "why")
    (option,) = immediate.headers.set_headers
    assert (option.header.key, option.header.raw_value, option.append_action) == (
        "content-type",
        b"application/json",
        2,
    )
    assert message.dynamic_metadata == struct({"ns": {"lane": "extproc"}})


def test_an_answer_of_our_own_that_says_little() -> None:
    immediate = pb.ProcessingResponse.FromString(encode(Reject(status=200, body=b""))).immediate_response
    assert (immediate.status.code, immediate.body, immediate.HasField("headers")) == (200, b"", False)


def test_work_for_the_shell_never_reaches_envoy() -> None:
    with pytest.raises(AssertionError):
        encode(CountPrompt("chat-completions", "m", b""))


@pytest.mark.parametrize("size", [0, 1, 3, 120, 127, 128, 16_370, 16_384, 3_000_000])
@pytest.mark.parametrize("phase", [Phase.REQUEST_BODY, Phase.RESPONSE_HEADERS])
def test_replies_are_right_at_every_length(phase: Phase, size: int) -> None:
    text = "é" * (size // 2)
    change = Change(
        phase=phase, set_headers={"a": text, "b": ""}, body=b"x" * size, metadata={"ns": {"long": text, "short": "s"}}
    )
    message = pb.ProcessingResponse.FromString(encode(change))
    reply = getattr(message, phase.name.lower()).response
    values = {option.header.key: option.header.raw_value for option in reply.header_mutation.set_headers}
    assert values == {"a": text.encode(), "b": b""}
    assert reply.body_mutation.body == b"x" * size
    assert message.dynamic_metadata == struct({"ns": {"long": text, "short": "s"}})


def test_the_body_mode_can_be_overridden() -> None:
    change = Change(phase=Phase.RESPONSE_HEADERS, remove_headers=("a", "b"), response_body_mode=BodyMode.STREAMED)
    message = pb.ProcessingResponse.FromString(encode(change))
    assert message.mode_override.response_body_mode == ProcessingMode.STREAMED
    assert list(message.response_headers.response.header_mutation.remove_headers) == ["a", "b"]
    assert not message.response_headers.response.HasField("body_mutation")


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 120, 127, 128, 16_370, 16_384, 3_000_000])
def test_bodies_of_every_length_arrive(size: int, ended: bool) -> None:
    message = pb.ProcessingRequest(response_body=pb.HttpBody(body=b"\x0a" * size, end_of_stream=ended))
    assert decode(message.SerializeToString()) == ResponseBody(b"\x0a" * size, ended)


def test_fields_that_are_new_to_us_change_nothing() -> None:
    message = pb.ProcessingRequest(request_body=pb.HttpBody(body=b"body", end_of_stream=True))
    message.observability_mode = True
    message.request_body.grpc_message_compressed = True
    assert decode(message.SerializeToString()) == RequestBody(b"body", True)


@pytest.mark.parametrize("end", range(1, 16))
def test_a_body_message_cut_anywhere_is_never_taken_for_another(end: int) -> None:
    whole = pb.ProcessingRequest(request_body=pb.HttpBody(body=b"0123456789", end_of_stream=True)).SerializeToString()
    with pytest.raises(WireError):
        decode(whole[:end])
