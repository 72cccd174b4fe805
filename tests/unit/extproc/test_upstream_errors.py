"""What goes wrong is answered in the client's dialect, with the right status, in every mode; bugs cost one request."""

import gzip
import json
import re
import zlib

import pytest
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from headgate.extproc.events import (
    BodyMode,
    Change,
    Chunk,
    Context,
    Continue,
    Phase,
    Reject,
    RequestBody,
    RequestHeaders,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
)
from headgate.extproc.exchange import Exchange as StreamExchange
from headgate.extproc.upstream import UpstreamSession
from support.ext_proc_streams import MODES, OPENAI_REQUEST, Exchange, Mode, backend, open_upstream

BODY = json.dumps(OPENAI_REQUEST).encode()
STREAM_BODY = json.dumps({**OPENAI_REQUEST, "stream": True}).encode()
ANSWER = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [{"type": "text", "text": "hello"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
).encode()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "JSON"),
        (b"[]", 400, "object"),
        (b'{"messages":[]}', 400, "model"),
        (b'{"model":"m","messages":[{"role":"nobody","content":""}]}', 400, "messages[0]"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(mode: Mode, body: bytes, status: int, words: str) -> None:
    session = open_upstream(backend())
    reply = Exchange(session, mode).request(body).rejected
    assert isinstance(reply, Reject)
    assert reply.status == status
    assert words in json.loads(reply.body)["error"]["message"]
    assert reply.headers["content-type"] == "application/json"
    assert session.report().status == status
    assert session.report().error


def test_the_dialect_of_the_endpoint_shapes_the_error() -> None:
    exchange = Exchange(open_upstream(backend("openai-chat")), "buffered", path="/anthropic/v1/messages")
    seen = exchange.request(b"{")
    assert seen.json["type"] == "error"
    assert seen.json["error"]["type"] == "invalid_request_error"


def test_an_unknown_path_is_404() -> None:
    seen = Exchange(open_upstream(backend()), "buffered", path="/v1/nowhere?x=1").request(BODY)
    assert seen.headers[":status"] == "404"
    assert "/v1/nowhere" in seen.json["error"]["message"]


def test_an_endpoint_that_the_backend_cannot_serve_is_422() -> None:
    seen = Exchange(open_upstream(backend()), "buffered", path="/v1/embeddings").request(b'{"model":"m","input":"x"}')
    assert seen.headers[":status"] == "422"


def test_rejected_losses_are_422_with_their_path() -> None:
    body = json.dumps({**OPENAI_REQUEST, "seed": 1}).encode()
    seen = Exchange(open_upstream(backend(losses="reject")), "buffered").request(body)
    assert seen.headers[":status"] == "422"
    assert "seed" in seen.json["error"]["message"]


@pytest.mark.parametrize("mode", ["buffered", "duplex"])
def test_a_body_above_the_maximum_is_413(mode: Mode) -> None:
    seen = Exchange(open_upstream(backend(body_bytes_max=50)), mode).request(BODY, pieces=10)
    assert seen.headers[":status"] == "413"


def test_a_compressed_request_above_the_maximum_is_413() -> None:
    body = gzip.compress(BODY + b" " * 100_000)
    seen = Exchange(open_upstream(backend(body_bytes_max=50_000)), "buffered").request(body)
    assert seen.headers[":status"] == "413"


@pytest.mark.parametrize("mode", MODES)
def test_a_providers_error_keeps_its_status(mode: Mode) -> None:
    exchange = Exchange(open_upstream(backend()), mode)
    exchange.request(BODY)
    error = b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}'
    seen = exchange.response((error[:9], error[9:]), {"retry-after": "3"}, status=529)
    assert seen.headers[":status"] == "529"
    assert seen.headers["retry-after"] == "3"
    assert seen.json["error"]["message"] == "busy"
    assert exchange.session.report().error == ""  # the provider's, not ours


@pytest.mark.parametrize("mode", ["buffered", "override", "duplex"])
@pytest.mark.parametrize("body", [b"<html>", b"", b"[1]", ANSWER[:-9]])
def test_provider_nonsense_is_502(mode: Mode, body: bytes) -> None:
    exchange = Exchange(open_upstream(backend()), mode)
    exchange.request(BODY)
    seen = exchange.response((body,))
    assert seen.headers[":status"] == "502"
    assert seen.headers["content-type"] == "application/json"
    assert seen.json["error"]["message"]
    assert exchange.session.report().error == "upstream_error"


def test_an_answer_above_the_maximum_is_502() -> None:
    exchange = Exchange(open_upstream(backend(body_bytes_max=1000)), "buffered")
    exchange.request(BODY)
    assert exchange.response((ANSWER + b" " * 1000,)).headers[":status"] == "502"


@pytest.mark.parametrize("mode", ["buffered", "duplex"])
@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(ANSWER)),
        ("x-gzip", gzip.compress(ANSWER[:9]) + gzip.compress(ANSWER[9:])),
        ("deflate", zlib.compress(ANSWER)),
        ("identity", ANSWER),
    ],
)
def test_a_compressed_answer_is_read_all_the_same(mode: Mode, encoding: str, body: bytes) -> None:
    exchange = Exchange(open_upstream(backend()), mode)
    exchange.request(BODY)
    seen = exchange.response([body[i : i + 1] for i in range(len(body))], {"content-encoding": encoding})
    assert seen.json["choices"][0]["message"]["content"] == "hello"
    assert "content-encoding" not in seen.headers


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("zstd", ANSWER), ("gzip", ANSWER), ("gzip", gzip.compress(ANSWER)[:-12]), ("gzip, br", ANSWER)],
)
def test_an_answer_that_cannot_be_decompressed_is_502(encoding: str, body: bytes) -> None:
    exchange = Exchange(open_upstream(backend()), "buffered")
    exchange.request(BODY)
    assert exchange.response((body,), {"content-encoding": encoding}).headers[":status"] == "502"


def test_a_stream_that_breaks_ends_with_an_error_event() -> None:
    exchange = Exchange(open_upstream(backend()), "override")
    exchange.request(STREAM_BODY)
    start = b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","model":"c","usage":{}}}\n\n'
    seen = exchange.response(
        (start, b"event: content_block_delta\ndata: {broken\n\n", b"late"), {"content-type": "text/event-stream"}
    )
    assert b'"error"' in seen.body
    assert b"[DONE]" not in seen.body
    assert b"late" not in seen.body


class Broken:
    """Events that no session expects, to bring a bug about."""

    @staticmethod
    def session(mode: BodyMode, body: bytes = BODY, *, answers: BodyMode | None = None) -> UpstreamSession:
        session = open_upstream(backend())
        modes = Context(request_body_mode=mode, response_body_mode=answers or mode)
        session.receive(RequestHeaders({":path": "/v1/chat/completions"}, context=modes))
        session.receive(RequestBody(body))
        return session


def test_a_bug_before_the_answer_is_a_plain_500() -> None:
    session = Broken.session(BodyMode.BUFFERED)
    (reply,) = session.crash(ResponseHeaders({":status": "200"}))
    assert isinstance(reply, Change)
    assert reply.set_headers[":status"] == "500"
    assert reply.body is not None
    assert json.loads(reply.body)["error"]["message"] == "the gateway failed to process this request"


def test_a_failed_answer_is_changed_and_not_replaced_so_that_envoy_may_try_another_backend() -> None:
    exchange = Exchange(open_upstream(backend()), "buffered")
    exchange.request(BODY)
    seen = exchange.response((b"<html>",), {"content-type": "text/html"})
    assert seen.headers[":status"] == "502"
    assert seen.rejected is None


def test_a_bug_in_the_middle_of_a_stream_is_an_error_event() -> None:
    session = Broken.session(BodyMode.BUFFERED, STREAM_BODY)
    session.receive(ResponseHeaders({":status": "200", "content-type": "text/event-stream"}))
    event = ResponseBody(b"x", end_of_stream=False)
    (reply,) = session.crash(event)
    assert isinstance(reply, Change)
    assert reply.body is not None
    assert reply.body.startswith(b"data: {")
    assert b"gateway failed" in reply.body
    (after,) = session.receive(event)
    assert after == Change(phase=Phase.RESPONSE_BODY, body=b"")


def test_a_bug_in_the_middle_of_a_duplex_stream_ends_it() -> None:
    session = Broken.session(BodyMode.FULL_DUPLEX_STREAMED, STREAM_BODY)
    session.receive(ResponseHeaders({":status": "200", "content-type": "text/event-stream"}))
    start = b'data: {"type":"message_start","message":{}}\n\n'
    opened = b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
    content = b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}\n\n'
    session.receive(ResponseBody(start + opened + content, end_of_stream=False))
    (reply,) = session.crash(ResponseBody(b"x", end_of_stream=False))
    assert isinstance(reply, Chunk)
    assert reply.end_of_stream
    assert session.receive(ResponseBody(b"y", end_of_stream=False)) == ()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [("text/event-stream", b'data: {"type":"message_start","message":{}}\n\n'), ("application/json", b"{broken")],
)
def test_an_answer_that_fails_at_its_trailers_is_an_error_that_envoy_may_retry(content_type: str, body: bytes) -> None:
    session = Broken.session(BodyMode.BUFFERED, STREAM_BODY, answers=BodyMode.FULL_DUPLEX_STREAMED)
    assert session.receive(ResponseHeaders({":status": "200", "content-type": content_type})) == ()
    assert session.receive(ResponseBody(body, end_of_stream=False)) == ()
    headers, chunk, trailers = session.receive(ResponseTrailers())
    assert isinstance(headers, Change)
    assert headers.phase is Phase.RESPONSE_HEADERS
    assert headers.set_headers[":status"] == "502"
    assert isinstance(chunk, Chunk)
    assert not chunk.end_of_stream, "trailers follow"
    assert "error" in json.loads(chunk.body)
    assert trailers == Continue(Phase.RESPONSE_TRAILERS)


def test_a_stream_that_fails_at_its_trailers_ends_with_an_error_event() -> None:
    session = Broken.session(BodyMode.BUFFERED, STREAM_BODY, answers=BodyMode.FULL_DUPLEX_STREAMED)
    session.receive(ResponseHeaders({":status": "200", "content-type": "text/event-stream"}))
    start = b'data: {"type":"message_start","message":{}}\n\n'
    opened = b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
    content = b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}\n\n'
    session.receive(ResponseBody(start + opened + content, end_of_stream=False))
    chunk, trailers = session.receive(ResponseTrailers())
    assert isinstance(chunk, Chunk)
    assert b'"error"' in chunk.body
    assert trailers == Continue(Phase.RESPONSE_TRAILERS)


def test_a_bug_is_logged_with_its_trace_and_answered(caplog: pytest.LogCaptureFixture) -> None:
    exchange = StreamExchange({"x-headgate-backend": '{"name":"n","dialect":"openai-chat"}'}, 0)
    # Filters configured not to send bodies: nothing a client or a provider could bring about.
    modes = pb.ProtocolConfiguration(request_body_mode=ProcessingMode.NONE)
    message = pb.ProcessingRequest(request_headers=pb.HttpHeaders(), protocol_config=modes)
    (reply,) = exchange.receive(message.SerializeToString())
    assert pb.ProcessingResponse.FromString(reply).immediate_response.status.code == 500
    assert "AssertionError: the filter must send request bodies" in caplog.text
    assert "session_crashed" in caplog.text
    assert re.search(r'extproc/upstream\.py", line \d+, in _on_request_headers', caplog.text)


def test_after_a_failed_request_envoys_answer_passes() -> None:
    session = open_upstream(backend())
    session.receive(RequestHeaders({":path": "/v1/chat/completions"}))
    (reply,) = session.receive(RequestBody(b"{"))
    assert isinstance(reply, Reject)
    assert session.receive(ResponseHeaders({":status": "400"})) == (Continue(Phase.RESPONSE_HEADERS),)
