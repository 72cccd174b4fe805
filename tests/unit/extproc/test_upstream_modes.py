"""The same translation whatever way Envoy sends headers and bodies."""

import json
from typing import Any

import pytest
from headgate.extproc.events import (
    BodyMode,
    Change,
    Chunk,
    Context,
    Continue,
    Phase,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
)
from support.ext_proc_streams import MODES, OPENAI_REQUEST, Exchange, Mode, backend, open_upstream

ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x-1",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "cache_read_input_tokens": 3, "output_tokens": 2},
}
STREAM = b"".join(
    f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()
    for data in (
        {
            "type": "message_start",
            "message": {**ANSWER, "content": [], "stop_reason": None, "usage": {"input_tokens": 5, "output_tokens": 1}},
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    )
)
SSE = {"content-type": "text/event-stream", "content-length": "999"}


def encoded(**members: object) -> bytes:
    return json.dumps({**OPENAI_REQUEST, **members}).encode()


@pytest.mark.parametrize("mode", MODES)
def test_a_request_reaches_the_provider_in_its_dialect(mode: Mode) -> None:
    seen = Exchange(open_upstream(backend()), mode).request(encoded(seed=1), {"openai-organization": "o"}, pieces=3)
    assert seen.json["messages"] == [{"role": "user", "content": "hi"}]
    assert seen.json["max_tokens"] > 0
    assert seen.headers[":path"] == "/v1/messages"
    assert seen.headers["anthropic-version"]
    assert "openai-organization" not in seen.headers
    assert seen.headers.get("content-length", str(len(seen.body))) == str(len(seen.body))
    ours = seen.metadata["io.envoy.ai_gateway"]
    assert ours["backend_name"] == "default/b/route/r/rule/0/ref/0"
    assert ours["ai_service_backend_name"] == "default/b"
    assert ours["route_name"] == "default/r"
    assert ours["model_name_override"] == "claude-x"


@pytest.mark.parametrize("mode", MODES)
def test_an_answer_reaches_the_client_in_its_dialect_with_its_usage(mode: Mode) -> None:
    exchange = Exchange(open_upstream(backend()), mode)
    exchange.request(encoded(seed=1))
    body = json.dumps(ANSWER).encode()
    seen = exchange.response((body[:20], body[20:]), {"content-length": str(len(body)), "request-id": "req_1"})
    assert seen.json["choices"][0]["message"]["content"] == "hello"
    assert seen.headers[":status"] == "200"
    assert seen.headers.get("content-length", str(len(seen.body))) == str(len(seen.body))
    assert "seed" in seen.headers["x-headgate-losses"]
    ours = seen.metadata["io.envoy.ai_gateway"]
    assert (ours["input_tokens"], ours["output_tokens"], ours["total_tokens"]) == (8, 2, 10)
    assert ours["cached_input_tokens"] == 3
    assert ours["response_model"] == "claude-x-1"
    assert "seed" in str(ours["losses"])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("flags", ["01", "00", ""])
def test_what_is_traced_tells_how_its_answer_is_drawn(mode: Mode, flags: str) -> None:
    exchange = Exchange(open_upstream(backend()), mode)
    headers = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-{flags}"} if flags else {}
    seen = exchange.request(encoded(temperature=0.5, max_tokens=64, stop=["word"]), headers)
    told = seen.metadata.get("headgate", {})
    assert told == ({"parameters": '{"max_tokens":64,"temperature":0.5}'} if flags == "01" else {})


@pytest.mark.parametrize("mode", MODES)
def test_a_stream_is_timed(mode: Mode) -> None:
    moments = iter((100.0, 100.25, 100.75, 100.75, 100.75))
    exchange = Exchange(open_upstream(backend(), clock=lambda: next(moments)), mode)
    exchange.request(encoded(stream=True))
    first, rest = STREAM.split(b"event: message_delta", 1)
    ours = exchange.response((first, b"event: message_delta" + rest), SSE).metadata["io.envoy.ai_gateway"]
    assert ours["token_latency_ttft"] == 250
    assert ours["token_latency_itl"] == (0 if mode == "buffered" else 500.0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dialect", ["anthropic-messages", "openai-chat"])
def test_what_is_no_stream_is_not_timed(dialect: str, mode: Mode) -> None:
    """Whole answers that are relayed pass piece by piece as well."""
    session = open_upstream(backend(dialect), clock=lambda: 1.0)
    exchange = Exchange(session, mode)
    exchange.request(encoded())
    body = json.dumps(ANSWER).encode()
    ours = exchange.response((body[:9], body[9:])).metadata["io.envoy.ai_gateway"]
    assert not ours.keys() & {"token_latency_ttft", "token_latency_itl"}
    report = session.report()
    assert report is not None
    assert report.first_seconds is None


SEARCHED: Any = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "streamed"])  # there headers go out first
def test_what_an_answer_loses_is_named_like_what_a_request_loses(mode: Mode) -> None:
    exchange = Exchange(open_upstream(backend()), mode)
    exchange.request(encoded(seed=1))
    body = json.dumps({**ANSWER, "content": [SEARCHED, *ANSWER["content"]]}).encode()
    seen = exchange.response((body,))
    for told in (seen.headers["x-headgate-losses"], str(seen.metadata["io.envoy.ai_gateway"]["losses"])):
        assert told.startswith("seed;dropped: ")
        assert "answer.provider_tools;dropped: " in told


@pytest.mark.parametrize("mode", MODES)
def test_what_a_stream_loses_is_in_the_log(mode: Mode) -> None:
    exchange = Exchange(open_upstream(backend()), mode)
    exchange.request(encoded(stream=True))
    block: Any = {"type": "content_block_start", "index": 0, "content_block": SEARCHED}
    stop: Any = {"type": "content_block_stop", "index": 0}
    searched = b"".join(f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode() for data in (block, stop))
    start, rest = STREAM.split(b"\n\n", 1)
    seen = exchange.response((start + b"\n\n" + searched + rest.replace(b'"index": 0', b'"index": 1'),), SSE)
    assert b"hello" in seen.body
    assert "answer.provider_tools;dropped: " in str(seen.metadata["io.envoy.ai_gateway"]["losses"])


def test_what_routes_say_is_not_said_again() -> None:
    def said(**facts: Any) -> dict[str, Any]:
        seen = Exchange(open_upstream(backend(**facts)), "buffered").request(encoded(model="asked"))
        return dict(seen.metadata["io.envoy.ai_gateway"])

    names = {"backend_name", "ai_service_backend_name", "model_name_override", "lane", "usage_source"}
    assert names <= said().keys()
    assert said(announced=True).keys() == {"content_length"}
    assert said(announced=True, model="sent").keys() == {"content_length"}


def test_a_whole_answer_is_told_as_text_as_well() -> None:
    """From which the access log writes its line: with what was told of the request, and escaped."""

    def said(answer: object, *, status: int = 200) -> tuple[Any, Any]:
        exchange = Exchange(open_upstream(backend(announced=True, as_text=True)), "answer")
        exchange.request(encoded())
        seen = exchange.response((json.dumps(answer).encode(),), status=status)
        text = seen.metadata.get("headgate", {}).get("facts")
        return seen.metadata["io.envoy.ai_gateway"], text and json.loads(f'{{"first":1{text}}}')

    published, told = said({**ANSWER, "model": 'quo"ted'})
    assert told == json.loads(json.dumps({"first": 1, **published}))
    assert {"content_length", "output_tokens", "usage_source", "response_id", "finish_reasons"} <= told.keys()
    assert said({"type": "error", "error": {"type": "x", "message": "y"}}, status=400)[1] is None


@pytest.mark.parametrize(
    ("query", "as_text"),
    [("", True), ("?q=a b~", True), ('?q="', False), ("?q=\\", False), ("?q=\xe9", False), ("?\x7f", False)],
)
def test_the_clients_path_is_told_where_it_may_be_that_no_script_does(query: str, as_text: bool) -> None:
    """With no text for the log's line where that would have to escape it."""
    path = f"/v1/chat/completions{query}"
    exchange = Exchange(open_upstream(backend(announced=True, as_text=True)), "answer", path)
    assert exchange.request(encoded()).headers[":path"] == "/v1/messages"
    seen = exchange.response((json.dumps(ANSWER).encode(),))
    assert seen.metadata["headgate"]["path"] == path
    assert ("facts" in seen.metadata["headgate"]) == as_text


def test_the_clients_path_is_not_told_where_a_script_does() -> None:
    assert "headgate" not in Exchange(open_upstream(backend()), "answer").request(encoded()).metadata


@pytest.mark.parametrize(("told", "published"), [(-5, 0), (10**30, 2**31 - 1)])
def test_a_usage_that_is_no_count_is_published_as_one(told: int, published: int) -> None:
    """Envoy drops a charge that it cannot write as an unsigned number."""
    exchange = Exchange(open_upstream(backend()), "buffered")
    exchange.request(encoded())
    usage = {"input_tokens": told, "output_tokens": told}
    seen = exchange.response((json.dumps({**ANSWER, "usage": usage}).encode(),))
    ours = seen.metadata["io.envoy.ai_gateway"]
    assert (ours["input_tokens"], ours["output_tokens"], ours["total_tokens"]) == (published,) * 3


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_stream_reaches_the_client_in_its_dialect(mode: Mode, size: int) -> None:
    exchange = Exchange(open_upstream(backend()), mode)
    exchange.request(encoded(stream=True, stream_options={"include_usage": True}))
    chunks = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
    seen = exchange.response(chunks, SSE)
    assert b"hello" in seen.body
    assert seen.body.endswith(b"data: [DONE]\n\n")
    assert seen.headers["content-type"].startswith("text/event-stream")
    assert seen.metadata["io.envoy.ai_gateway"]["total_tokens"] == 7
    if mode != "buffered":
        assert "content-length" not in seen.headers


def test_a_stream_is_passed_on_chunk_by_chunk() -> None:
    exchange = Exchange(open_upstream(backend()), "override")
    exchange.request(encoded(stream=True))
    chunks = STREAM.split(b"\n\n")
    seen = exchange.response([chunk + b"\n\n" for chunk in chunks if chunk], SSE)
    assert seen.chunks is not None
    first = next(index for index, chunk in enumerate(seen.chunks) if b"hello" in chunk)
    assert first < len(seen.chunks) - 2


def test_streaming_is_asked_for_only_where_the_body_would_be_held() -> None:
    modes: dict[Mode, BodyMode | None] = {"override": BodyMode.STREAMED, "streamed": None}
    for mode, expected in modes.items():
        session = open_upstream(backend())
        Exchange(session, mode).request(encoded(stream=True))
        (reply,) = session.receive(ResponseHeaders({":status": "200", **SSE}))
        assert isinstance(reply, Change)
        assert reply.response_body_mode == expected
        assert "content-length" in reply.remove_headers


def test_two_messages_suffice_with_the_status_as_an_attribute() -> None:
    session = open_upstream(backend(), "chat-completions")
    modes = Context(request_body_mode=BodyMode.BUFFERED, response_body_mode=BodyMode.BUFFERED)
    (sent,) = session.receive(RequestBody(encoded(), context=modes))
    assert isinstance(sent, Change)
    assert not sent.set_headers  # Envoy ignores them here
    error = b'{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}'
    (reply,) = session.receive(ResponseBody(error, context=Context({"response.code": 429.0})))
    assert isinstance(reply, Change)
    assert reply.body is not None
    assert json.loads(reply.body)["error"]["message"] == "slow down"
    assert not reply.set_headers
    assert session.report().status == 429


def test_without_header_messages_nonsense_is_replaced_in_the_body_alone() -> None:
    session = open_upstream(backend())
    (sent,) = session.receive(RequestBody(encoded(), context=Context({"request.path": "/v1/chat/completions"})))
    assert isinstance(sent, Change)
    (reply,) = session.receive(ResponseBody(b"<html>"))
    assert isinstance(reply, Change)  # an answer of Envoy's own would cut off the one that has begun
    assert reply.body is not None
    assert json.loads(reply.body)["error"]["message"]


def test_the_routers_copy_of_the_path_wins_over_a_rewritten_one() -> None:
    session = open_upstream(backend())
    modes = Context(request_body_mode=BodyMode.BUFFERED, response_body_mode=BodyMode.BUFFERED)
    headers = {":path": "/elsewhere", "x-ai-eg-original-path": "/v1/chat/completions?x=1"}
    session.receive(RequestHeaders(headers, context=modes))
    (sent,) = session.receive(RequestBody(encoded()))
    assert isinstance(sent, Change)
    assert sent.set_headers[":path"].startswith("/v1/messages")


def test_duplex_bodies_may_end_with_trailers() -> None:
    session = open_upstream(backend())
    duplex = BodyMode.FULL_DUPLEX_STREAMED
    modes = Context(request_body_mode=duplex, response_body_mode=duplex)
    assert session.receive(RequestHeaders({":path": "/v1/chat/completions"}, context=modes)) == ()
    assert session.receive(RequestBody(encoded(), end_of_stream=False)) == ()
    headers, body, trailers = session.receive(RequestTrailers())
    assert isinstance(headers, Change)
    assert isinstance(body, Chunk)
    assert not body.end_of_stream
    assert trailers == Continue(Phase.REQUEST_TRAILERS)
    assert session.receive(ResponseHeaders({":status": "200", "content-type": "application/json"})) == ()
    assert session.receive(ResponseBody(json.dumps(ANSWER).encode(), end_of_stream=False)) == ()
    headers, body, trailers = session.receive(ResponseTrailers())
    assert isinstance(body, Chunk)
    assert b"hello" in body.body
    assert trailers == Continue(Phase.RESPONSE_TRAILERS)


def test_an_answer_without_a_body_is_answered_at_its_headers() -> None:
    exchange = Exchange(open_upstream(backend("openai-chat")), "buffered")
    exchange.request(encoded())
    (reply,) = exchange.session.receive(ResponseHeaders({":status": "503"}, end_of_stream=True))
    assert isinstance(reply, Change)
    assert reply.phase is Phase.RESPONSE_HEADERS
    assert exchange.session.report().status == 503


def test_an_answer_of_envoys_own_passes_untouched() -> None:
    session = open_upstream(backend())
    session.receive(RequestHeaders({":path": "/v1/chat/completions"}))
    assert session.receive(ResponseHeaders({":status": "504"})) == (Continue(Phase.RESPONSE_HEADERS),)
    assert session.receive(ResponseBody(b"upstream timeout")) == (Continue(Phase.RESPONSE_BODY),)


@pytest.mark.parametrize("mode", MODES)
def test_one_dialect_is_relayed_byte_for_byte(mode: Mode) -> None:
    exchange = Exchange(open_upstream(backend("openai-chat")), mode)
    body = b'{ "model":"gpt-x",  "messages":[], "big": 12345678901234567890, "e":"\\u00e9" }'
    assert exchange.request(body).body == body
    usage = b'{"prompt_tokens":1,  "completion_tokens":2,"total_tokens":3}'
    answer = b'{ "id":"1","model":"gpt-x-1","choices":[], "usage":' + usage + b"}"
    seen = exchange.response((answer,))
    assert seen.body == answer
    assert seen.metadata["io.envoy.ai_gateway"]["total_tokens"] == 3


def test_the_model_override_is_what_the_provider_and_the_limits_see() -> None:
    seen = Exchange(open_upstream(backend(model="claude-y")), "buffered").request(encoded())
    assert seen.json["model"] == "claude-y"
    assert seen.metadata["io.envoy.ai_gateway"]["model_name_override"] == "claude-y"
