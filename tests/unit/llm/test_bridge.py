"""A bridge handles what comes: gzip, HTML, JSON instead of a stream, large answers, errors, operators' mutations."""

import gzip
import json
from collections.abc import Mapping
from typing import Any

import pytest
from headgate.contract.facts import BackendFacts, BodyMutation, HeaderMutation
from headgate.llm.endpoints import lookup
from headgate.llm.errors import RequestError, UnsupportedTranslation, UpstreamError
from headgate.llm.exchange import Plan, UpstreamRequest
from headgate.llm.names import DialectName
from headgate.llm.planning import plan
from headgate.llm.usage import Usage
from support.chat_goldens import CREATED, others, stream_bridge

CHAT = b'{"model":"asked","messages":[{"role":"user","content":"Hi"}]}'
STREAMED = b'{"model":"asked","messages":[{"role":"user","content":"Hi"}],"stream":true}'
ANSWER = (
    b'{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[{"type":"thinking",'
    b'"thinking":"Hm.","signature":"s"},{"type":"text","text":"Hello"},{"type":"tool_use","id":"t","name":"f",'
    b'"input":{"a":1}}],"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2}}'
)


def _plan(**facts: Any) -> Plan:
    endpoint = lookup("/v1/chat/completions")
    assert endpoint is not None
    given: dict[str, Any] = {"name": "b", "dialect": "anthropic-messages", **facts}
    return plan(endpoint, BackendFacts(**given))


def _answer(
    request: UpstreamRequest, body: bytes, headers: Mapping[str, str], *, chosen: Plan | None = None
) -> tuple[bytes, Mapping[str, str], Usage]:
    translation = (chosen or _plan()).open_response(request, 200, headers, CREATED)
    out = translation.feed(body) + translation.close()
    return out, translation.headers, translation.usage


def test_models() -> None:
    request = _plan(model="claude-haiku-4-5").translate_request(CHAT, {})

    assert (request.original_model, request.request_model) == ("asked", "claude-haiku-4-5")
    assert json.loads(request.body)["model"] == "claude-haiku-4-5"
    assert _plan().open_response(request, 200, {}, CREATED).response_model == "claude-haiku-4-5"


def test_gzip_request() -> None:
    request = _plan().translate_request(gzip.compress(CHAT), {"content-encoding": "gzip"})

    assert json.loads(request.body)["messages"] == [{"role": "user", "content": "Hi"}]
    assert "content-encoding" in request.remove_headers


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (gzip.compress(b" " * 5000), 413),
        (gzip.compress(CHAT)[:-9], 400),
        (b"\x1f\x8bnot gzip", 400),
    ],
    ids=["too large unpacked", "cut", "not gzip"],
)
def test_bad_gzip_request(body: bytes, status: int) -> None:
    with pytest.raises(RequestError) as refused:
        _plan(body_bytes_max=4000).translate_request(body, {})

    assert refused.value.status == status


def test_gzip_answer_and_stream() -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    request = _plan().translate_request(CHAT, {})
    translation = _plan().open_response(request, 200, headers, CREATED)
    translation.feed(gzip.compress(ANSWER))
    assert json.loads(translation.close())["choices"][0]["message"]["content"] == "Hello"
    assert translation.remove_headers == ("content-encoding",)

    streamed = _plan().translate_request(STREAMED, {})
    event = b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","model":"x"}}\n\n'
    stop = b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n'
    out, _, _ = _answer(streamed, gzip.compress(event + stop), {"content-type": "text/event-stream"})
    assert out.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("body", [CHAT, STREAMED])
def test_html_with_status_200_is_the_providers_fault(body: bytes) -> None:
    request = _plan().translate_request(body, {})

    with pytest.raises(UpstreamError, match="text/html") as failed:
        _plan().open_response(request, 200, {"content-type": "text/html; charset=utf-8"}, CREATED)
    assert failed.value.status == 502


@pytest.mark.parametrize("kind", ["", "text/plain", "Text/Plain; charset=utf-8", "application/vnd.a+json"])
def test_json_is_read_whatever_a_server_calls_it(kind: str) -> None:
    out, headers, usage = _answer(_plan().translate_request(CHAT, {}), ANSWER, {"content-type": kind})
    assert headers["content-type"] == "application/json"
    assert b'"object":"chat.completion"' in out
    assert usage.total


def test_a_server_that_does_not_stream_is_streamed_for() -> None:
    request = _plan().translate_request(STREAMED, {})

    out, headers, usage = _answer(request, ANSWER, {"content-type": "application/json"})

    assert headers["content-type"] == "text/event-stream"
    assert usage == Usage(input=3, output=2, total=5)
    text = out.decode()
    assert text.endswith("data: [DONE]\n\n")
    assert '"reasoning_content":"Hm."' in text
    assert '"content":"Hello"' in text
    assert '"finish_reason":"tool_calls"' in text


EVENTS = (
    b"event: message_start\n"
    b'data: {"type":"message_start","message":{"id":"m","model":"x","usage":{"input_tokens":3}}}\n\n'
    b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}\n\n'
    b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}\n\n'
    b'data: {"type":"message_stop"}\n\n'
)


@pytest.mark.parametrize("kind", ["text/plain; charset=utf-8", "application/json", "application/vnd.a+json"])
@pytest.mark.parametrize("before", [b"", b"\n", b": hello\n\n", b"id: 1\n", b"retry: 5\n"])
def test_a_stream_is_read_whatever_a_server_calls_it(kind: str, before: bytes) -> None:
    """As it comes: the words are told before the end."""
    request = _plan().translate_request(STREAMED, {})
    body = before + EVENTS
    expected, _, _ = _answer(request, body, {"content-type": "text/event-stream"})
    for size in (1, 2, len(body)):
        translation = _plan().open_response(request, 200, {"content-type": kind}, CREATED)
        out = b"".join(translation.feed(body[at : at + size]) for at in range(0, len(body), size))
        assert b"Hello" in out
        assert translation.streamed
        assert translation.headers["content-type"] == "text/event-stream"
        assert out + translation.close() == expected
        assert translation.usage == Usage(input=3, output=2, total=5)


@pytest.mark.parametrize("body", [b"", b" \n", b"da", b"data", b"away", b"dat: 1\n\n", b"{", b"[]", b"<html>"])
def test_what_is_neither_json_nor_events_is_the_providers_fault(body: bytes) -> None:
    request = _plan().translate_request(STREAMED, {})
    translation = _plan().open_response(request, 200, {"content-type": "text/plain"}, CREATED)
    for at in range(len(body)):
        assert translation.feed(body[at : at + 1]) == b""
    assert not translation.streamed
    with pytest.raises(UpstreamError):
        translation.close()


def test_an_unnamed_stream_that_fails_first_is_a_failure() -> None:
    """Another backend may still serve."""
    request = _plan().translate_request(STREAMED, {})
    translation = _plan().open_response(request, 200, {"content-type": "text/plain"}, CREATED)
    with pytest.raises(UpstreamError, match="Overloaded"):
        translation.feed(b'data: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n')


def test_an_answer_above_the_bound_is_refused() -> None:
    chosen = _plan(body_bytes_max=100)
    request = chosen.translate_request(CHAT, {})
    translation = chosen.open_response(request, 200, {}, CREATED)

    with pytest.raises(UpstreamError, match="larger than 100"):
        translation.feed(b"x" * 101)


@pytest.mark.parametrize("status", [101, 302, 304, 307, 600, 999])
def test_what_is_neither_answer_nor_error_is_the_providers_fault(status: int) -> None:
    """Clients follow redirections: none may send them, with their prompts, where a provider says."""
    request = _plan().translate_request(STREAMED, {})
    with pytest.raises(UpstreamError, match=str(status)):
        _plan().open_response(request, status, {"location": "http://elsewhere.example"}, CREATED)


@pytest.mark.parametrize("status", [400, 401, 429, 500, 529])
def test_an_errors_status_and_retry_after_are_left_alone(status: int) -> None:
    request = _plan().translate_request(STREAMED, {})
    headers = {"content-type": "application/json", "retry-after": "3", "request-id": "req_9"}

    translation = _plan().open_response(request, status, headers, CREATED)
    translation.feed(b'{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}')
    body = json.loads(translation.close())

    assert body["error"]["message"] == "slow"
    assert translation.headers == {"content-type": "application/json", "x-request-id": "req_9"}
    assert "retry-after" not in translation.remove_headers
    assert not translation.streamed


def test_a_huge_error_is_read_up_to_its_bound() -> None:
    request = _plan().translate_request(CHAT, {})
    translation = _plan().open_response(request, 500, {}, CREATED)
    for _ in range(40):
        translation.feed(b"y" * 100_000)

    assert len(translation.close()) < 2_000


def test_the_operators_mutations_win() -> None:
    chosen = _plan(
        headers=HeaderMutation(
            set={"X-Team": "a", "anthropic-version": "2099-01-01", ":path": "/x", "x-ai-eg-model": "y"},
            remove=("Content-Type", "x-gone", "x-headgate-secret"),
        ),
        body=BodyMutation(set={"max_tokens": "7", "metadata": '{"user_id":"op"}'}, remove=("model", "absent")),
    )
    request = chosen.translate_request(CHAT, {})

    assert request.headers == {"anthropic-version": "2099-01-01", "x-team": "a"}
    assert {"content-type", "x-gone"} <= set(request.remove_headers)
    assert "x-headgate-secret" not in request.remove_headers
    assert json.loads(request.body) == {
        "max_tokens": 7,
        "messages": [{"role": "user", "content": "Hi"}],
        "metadata": {"user_id": "op"},
    }


def test_losses_are_told_or_refused() -> None:
    body = b'{"model":"asked","messages":[{"role":"user","content":"Hi"}],"seed":1}'
    request = _plan().translate_request(body, {})
    translation = _plan().open_response(request, 200, {}, CREATED)
    assert translation.headers["x-headgate-losses"] == "seed;dropped: unknown to this dialect"
    assert [loss.path for loss in translation.losses] == ["seed"]

    with pytest.raises(UnsupportedTranslation) as refused:
        _plan(losses="reject").translate_request(body, {})
    assert (refused.value.status, refused.value.path) == (422, "seed")


def test_what_is_said_by_other_means_is_not_refused() -> None:
    endpoint = lookup("/v1/messages")
    assert endpoint is not None
    strict = plan(endpoint, BackendFacts(name="b", dialect="openai-chat", losses="reject"))
    cached = {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [cached]}]}

    assert [loss.action for loss in strict.translate_request(json.dumps(body).encode(), {}).losses] == ["emulated"]


def test_a_providers_comments_keep_the_clients_connection_alive() -> None:
    endpoint = lookup("/v1/messages")
    assert endpoint is not None
    chosen = plan(endpoint, BackendFacts(name="b", dialect="openai-chat"))
    body = {"model": "m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    request = chosen.translate_request(json.dumps(body).encode(), {})
    translation = chosen.open_response(request, 200, {"content-type": "text/event-stream"}, CREATED)

    assert translation.feed(b": OPENROUTER PROCESSING\n\n") == b": ping\n\n"


def test_an_emulated_schema_comes_back_as_text() -> None:
    chosen = _plan(model="claude-3-haiku-20240307", losses="emulate")
    body = (
        b'{"model":"asked","messages":[{"role":"user","content":"Hi"}],"response_format":{"type":"json_schema",'
        b'"json_schema":{"name":"n","schema":{"type":"object"}}}}'
    )
    request = chosen.translate_request(body, {})
    assert json.loads(request.body)["tool_choice"]["name"] == request.memo.json_tool
    answer = {
        "content": [{"type": "tool_use", "id": "t", "name": request.memo.json_tool, "input": {"a": 1}}],
        "stop_reason": "tool_use",
    }

    translation = chosen.open_response(request, 200, {}, CREATED)
    translation.feed(json.dumps(answer).encode())
    choice = json.loads(translation.close())["choices"][0]

    assert json.loads(choice["message"]["content"]) == {"a": 1}
    assert choice["finish_reason"] == "stop"


def test_nonsense_after_the_end_of_a_message_costs_nothing() -> None:
    request = _plan().translate_request(STREAMED, {})
    whole = (
        b'data: {"type":"message_start","message":{"id":"m","model":"x"}}\n\n'
        b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\ndata: {"type":"message_stop"}\n\n'
    )

    out, _, _ = _answer(request, whole + b"data: <html>\n\n", {"content-type": "text/event-stream"})

    assert out.endswith(b"data: [DONE]\n\n")
    assert b"error" not in out


def test_request_headers_of_another_dialect_do_not_cross() -> None:
    request = _plan().translate_request(CHAT, {"openai-organization": "o"})

    assert "openai-organization" in request.remove_headers
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert _plan(version="2030-01-01").translate_request(CHAT, {}).headers["anthropic-version"] == "2030-01-01"


RATED = b'data: {"candidates":[{"content":{"parts":[{"text":"Hi"}]},"safetyRatings":[{"probability":"LOW"}]%b}]}\n\n'
CITED = b',"citationMetadata":{"citationSources":[{"uri":"https://a"}]},"finishReason":"STOP"'


@pytest.mark.parametrize("client", list(others(DialectName.GEMINI)))
def test_what_only_gemini_says_of_a_streamed_answer_is_told_as_lost(client: DialectName) -> None:
    chosen, asked = stream_bridge(client, DialectName.GEMINI)
    answer = chosen.open_response(asked, 200, {"content-type": "text/event-stream"}, 0)
    answer.feed(RATED % b"" + RATED % CITED)
    answer.close()

    assert [loss.path for loss in answer.losses] == ["answer.safetyRatings", "answer.citationMetadata"]
