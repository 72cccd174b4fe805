"""What a hostile client or provider tries, beyond mistakes: limits and routing must hold, and the gateway must live."""

import http.client
import json
from typing import Any

import anthropic
import httpx
import openai
import pytest
from support.processes import cpu_seconds
from support.providers import ANTHROPIC, Answer, Provider, Raw
from support.stage import Stage

pytestmark = pytest.mark.envoy

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
CHAT = "/v1/chat/completions"
LINEAR_SECONDS = 1.0
"""Of Envoy's CPU: what takes 0.01 to 0.1 s where each byte is looked at once, and 8 to 17 where it is not."""


def _body(model: str, **more: Any) -> bytes:
    return json.dumps({"model": model, "messages": MESSAGES, **more}).encode()


# --- what we read of a request must be what the provider reads


@pytest.mark.parametrize("kind", ["application/JSON", "APPLICATION/JSON; charset=UTF-8"])
def test_the_case_of_the_content_type_changes_nothing(stage: Stage, kind: str) -> None:
    assert stage.post(CHAT, content=_body("renamed"), content_type=kind).status_code == 200
    assert stage["openai"].last.model == 'real "model"'
    assert stage.post(CHAT, content=_body("priced", stream=True), content_type=kind).status_code == 200
    assert stage["openai"].last.json["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("value", ["1", '"true"', "1.0"])
def test_a_stream_flag_that_some_providers_take_is_not_free(stage: Stage, value: str) -> None:
    """Lenient providers stream for 1 or "true"; the stream would end without usage."""
    sent = _body("priced")[:-1] + b',"stream":' + value.encode() + b"}"
    answer = stage.post(CHAT, content=sent)
    assert answer.status_code == 400
    assert "stream" in answer.json()["error"]["message"]
    assert not stage["openai"].requests


@pytest.mark.parametrize("name", ["Model", "MODEL", "mOdEl"])
@pytest.mark.parametrize("model", ["gpt", "priced", "renamed"])
def test_names_in_another_case_are_refused(stage: Stage, model: str, name: str) -> None:
    """Go and .NET match member names in any case, and take the last."""
    sent = _body(model)[:-1] + b',"' + name.encode() + b'":"dear"}'
    answer = stage.post(CHAT, content=sent)
    assert answer.status_code == 400
    assert name in answer.json()["error"]["message"]
    assert not stage["openai"].requests


@pytest.mark.parametrize("more", ['"Stream":true', '"stream":false,"Stream":true', '"stream":false,"stream":true'])
@pytest.mark.parametrize("model", ["priced", "priced-renamed"])
def test_a_second_stream_flag_is_refused(stage: Stage, model: str, more: str) -> None:
    answer = stage.post(CHAT, content=_body(model)[:-1] + b"," + more.encode() + b"}")
    assert answer.status_code == 400 or stage["openai"].last.json["stream_options"] == {"include_usage": True}


def test_words_of_ours_inside_a_prompt_are_only_words(stage: Stage) -> None:
    for word in ("Model", "model", "stream", "\\u006d"):
        for model in ("gpt", "priced", "renamed"):
            tools = [{"type": "function", "function": {"name": "f", "parameters": {word: {"type": "object"}}}}]
            body: Any = {"model": model, "messages": [{"role": "user", "content": word}], "tools": tools}
            assert stage.post(CHAT, body).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/v1/chat/completions/", "/v1/Chat/Completions", "/v1/chat%2Fcompletions", "/v1/chat/completions;a=1"],
)
def test_another_spelling_of_the_path_is_not_free(stage: Stage, path: str) -> None:
    """Providers that take it must still be asked for usage."""
    stage["openai"].answer(Raw(body=b"{}"))
    stage.post(path, content=_body("priced", stream=True))
    for received in stage["openai"].requests:
        assert received.json["stream_options"] == {"include_usage": True}
    stage.forget()


@pytest.mark.parametrize("path", ["/v1/..%2f..%2fadmin", "/v1/%2e%2e%2fadmin", "/v1/..%5c..%5cadmin", "/v1/../admin"])
def test_no_path_leaves_the_providers_prefix(stage: Stage, path: str) -> None:
    """httpx would resolve the dots itself."""
    status = _status(stage, path, _body("deployed"))
    assert 400 <= status < 500
    assert not stage["deployed"].requests


def test_a_client_cannot_choose_azures_api_version(stage: Stage) -> None:
    stage.chat("azure", path=f"{CHAT}?a=1&API%2Dversion=2019-01-01&api-version=2020-01-01&b=%26")
    assert stage["azure"].last.query == "a=1&b=%26&api-version=2024-10-21"


# --- what providers say


@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_what_a_provider_says_of_its_origin_is_not_said_of_ours(stage: Stage, model: str) -> None:
    """Cookies of one provider account, HSTS for a whole company's domain, a bypass of the operator's CORS policy."""
    said = {
        "set-cookie": "__cf_bm=1; path=/",
        "strict-transport-security": "max-age=31536000; includeSubDomains; preload",
        "alt-svc": 'h3=":443"; ma=86400',
        "access-control-allow-origin": "*",
        "access-control-allow-credentials": "true",
        "clear-site-data": '"*"',
    }
    for provider in ("openai", "anthropic"):
        stage[provider].answer(Answer(headers={**said, "x-kept": "1"}))
    answer = stage.chat(model)
    assert answer.status_code == 200
    assert answer.headers["x-kept"] == "1"
    assert not said.keys() & answer.headers.keys()


@pytest.mark.parametrize("status", [302, 307, 304, 999])
def test_a_translated_answer_is_never_a_redirection(stage: Stage, status: int) -> None:
    """Official clients follow redirections, and some send the body again."""
    stage["anthropic"].answer(Raw(status=status, headers={"location": "http://127.0.0.1:1/elsewhere"}))
    answer = stage.chat("claude")
    assert answer.status_code == 502
    assert str(status) in answer.json()["error"]["message"]


def test_no_provider_sends_a_client_with_its_key_elsewhere(stage: Stage) -> None:
    """Clients follow redirections with the body, and libraries leave `x-api-key` in."""
    with Provider(ANTHROPIC, key="sk-elsewhere") as elsewhere:
        moved = Raw(status=307, body=b"{}", headers={"location": f"{elsewhere.url}/v1/messages"})
        stage["anthropic"].answer(moved)
        with pytest.raises(anthropic.APIStatusError, match="307"):
            stage.anthropic().messages.create(model="claude", max_tokens=9, messages=MESSAGES)
        stage["openai"].answer(moved)
        with pytest.raises(openai.APIStatusError, match="307"):
            stage.openai().chat.completions.create(model="gpt", messages=MESSAGES)
        with httpx.Client(follow_redirects=True) as client:
            sent = {"x-api-key": "client-key", "content-type": "application/json"}
            assert client.post(f"{stage.url}{CHAT}", content=_body("gpt"), headers=sent).status_code == 307
        assert not elsewhere.requests


def test_a_redirection_fails_over(stage: Stage) -> None:
    stage["anthropic"].answer(Raw(status=302, headers={"location": "http://127.0.0.1:1/elsewhere"}))
    assert stage.chat("translated-native").status_code == 200


CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[%s]%s}'
TEXT = CHUNK % (b'{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}', b"")
COUNTED = CHUNK % (b"", b',"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}')


@pytest.mark.parametrize("kind", ["text/event-stream", "Text/Event-Stream; charset=utf-8"])
@pytest.mark.parametrize("parts", [("whole",), (), ("cut",)])
def test_a_stream_may_end_without_an_empty_line(stage: Stage, kind: str, parts: tuple[str, ...]) -> None:
    """The last event reaches the client, and what we asked for does not, however the bytes are cut."""
    sent = (TEXT + b"\n\n", COUNTED + b"\n\n", b"data: [DO", b"NE]\n")
    body = b"".join(sent) if "whole" in parts else sent if "cut" in parts else (*sent[:2], b"data: [DONE]\n")
    stage["openai"].answer(Raw(body=body, content_type=kind))
    answer = stage.chat("priced", stream=True)
    assert answer.text.rstrip("\n") == (TEXT + b"\n\ndata: [DONE]").decode()


def test_usage_without_an_empty_line_is_charged(stage: Stage) -> None:
    stage["openai"].answer(Raw(body=(TEXT + b"\n\n", COUNTED + b"\n"), content_type="text/event-stream"))
    path = f"{CHAT}?without=line"
    assert stage.chat("priced", path=path, stream=True).status_code == 200
    (entry,) = stage.access(lambda entry: entry["path"] == path)
    assert entry["metadata"]["total"] == 8


# --- bodies that cost much


@pytest.mark.parametrize("model", ["renamed", "priced", "gpt"])
def test_a_million_members_cost_no_memory(stage: Stage, model: str) -> None:
    """A table of Lua's for each would be half a gigabyte that Envoy keeps."""
    many = b",".join(b'"k%d":1' % number for number in range(200_000))
    sent = _body(model, stream=True)[:-1] + b',"a":"\\u006d",' + many + b"}"
    answer = stage.post(CHAT, content=sent)
    assert answer.status_code == 400
    assert "members" in answer.json()["error"]["message"]
    assert not stage["openai"].requests


def test_a_long_content_type_takes_no_time(stage: Stage) -> None:
    """Envoy takes headers of 60 KB, and whoever holds one of its workers stops all that it serves."""
    before = _envoy_seconds(stage)
    answer = stage.post(CHAT, content=_body("gpt"), content_type=f"application/json{' ' * 50_000}x")
    assert answer.status_code == 415
    assert _envoy_seconds(stage) - before < LINEAR_SECONDS


DEEP = b'{"usage":' * 900 + b"%s" + b"}" * 900
ECHOED = {
    "braces in texts": b'{"usage":{"a":"{{\\\\"}}',
    "long ones": b'{"usage":{"a":"%s"}}' % (b"p" * 8100),
    "in each other": DEEP % b"{}",
    "in each other, and long": DEEP % (b'{"a":"%s"}' % (b"p" * 9000)),
}
"""What looks like usage in what clients send: OpenAI's Responses say a request's tools again."""


@pytest.mark.parametrize("name", ECHOED)
def test_what_looks_like_usage_takes_no_time_and_hides_none(stage: Stage, name: str) -> None:
    item = ECHOED[name]
    many = b",".join([item] * (1_000_000 // len(item)))
    counted = b'"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}'
    stage["openai"].answer(Raw(body=b'{"id":"c","choices":[],"tools":[%s],%s}' % (many, counted)))
    path = f"{CHAT}?looks={name.replace(' ', '-')}"
    before = _envoy_seconds(stage)
    assert stage.chat("priced", path=path).status_code == 200
    assert _envoy_seconds(stage) - before < LINEAR_SECONDS
    (entry,) = stage.access(lambda entry: entry["path"] == path)
    assert entry["metadata"]["total"] == 8


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "item",
    [
        b'{"tool_usage":{"web_search":{"num_requests":7}}}',
        b'{"tool_usage":{"web_search":{"num_requests":7},"a":"%s"}}' % (b"p" * 2000),
        b'{"tool_usage":' * 200 + b"{}" + b"}" * 200,
    ],
    ids=["short", "long", "in each other"],
)
def test_what_looks_like_searches_takes_no_time(stage: Stage, item: bytes, streamed: bool) -> None:
    """A response says again what its client wrote in a schema."""
    said = b'{"id":"r","object":"response","tools":[%s]}' % b",".join([item] * (1_000_000 // len(item)))
    event = b'data: {"type":"response.completed","response":%s}\n\n' % said
    kind = "text/event-stream" if streamed else "application/json"
    stage["openai"].answer(Raw(body=event if streamed else said, content_type=kind))
    before = _envoy_seconds(stage)
    assert stage.post("/v1/responses", {"model": "gpt", "input": "a", "stream": streamed}).status_code == 200
    assert _envoy_seconds(stage) - before < LINEAR_SECONDS


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b": " + b" " * 60_000 + b"\nx\n\n", "text/event-stream"),
        ((b'"usage' + b" " * 7000 + b'x",') * 14, "application/json"),
    ],
    ids=["a comment", "a word"],
)
def test_spaces_of_a_provider_take_no_time(stage: Stage, body: bytes, kind: str) -> None:
    stage["openai"].answer(Raw(body=body, content_type=kind))
    before = _envoy_seconds(stage)
    assert stage.chat("priced", stream="event" in kind).status_code == 200
    assert _envoy_seconds(stage) - before < LINEAR_SECONDS


def _envoy_seconds(stage: Stage) -> float:
    return sum(map(cpu_seconds, stage.gateway.processes()["envoy"]))


def _status(stage: Stage, path: str, body: bytes) -> int:
    """The status of a POST whose path is sent exactly so."""
    connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=10)
    try:
        connection.request("POST", path, body, {"content-type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()
