"""What clients can do wrong, each with its status, in the client's dialect, before any provider is asked."""

import gzip
import http.client
import json
import socket
from typing import Any

import pytest
from support.stage import Stage

pytestmark = pytest.mark.envoy

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
CHAT = "/v1/chat/completions"
SPOKEN = "/v1/messages"

BAD = [
    ("not JSON", b"{", 400, "JSON"),
    ("truncated", b'{"model":"%s","messages":[', 400, "JSON"),
    ("not UTF-8", b'{"model":"%s","messages":[{"role":"user","content":"\xff"}]}', 400, ""),
    ("text after it", b'{"model":"%s","messages":[]} x', 400, "JSON"),
    ("empty", b"", 400, ""),
    ("an array", b"[]", 400, ""),
    ("no model", b'{"messages":[]}', 400, "model"),
    ("model is a number", b'{"model":7,"messages":[]}', 400, "model"),
    ("model is true", b'{"model":true,"messages":[]}', 400, "model"),
    ("model is false", b'{"model":false,"messages":[]}', 400, "model"),
    ("model is null", b'{"model":null,"messages":[]}', 400, "model"),
    ("model is an object", b'{"model":{"a":1},"messages":[]}', 400, "model"),
    ("model is an array", b'{"model":["gpt"],"messages":[]}', 400, "model"),
    ("model is empty", b'{"model":"","messages":[]}', 400, "model"),
    ("unknown model", b'{"model":"mystery","messages":[]}', 404, "mystery"),
    ("model in capitals", b'{"model":"GPT","messages":[]}', 404, "GPT"),
    ("two models", b'{"model":"%s","model":"gpt","messages":[]}', 400, "model"),
    ("two models, the other first", b'{"model":"mystery","messages":[],"model":"%s"}', 400, "model"),
    ("two models, one in capitals", b'{"model":"%s","messages":[],"MODEL":"gpt"}', 400, "'MODEL'"),
    ("two models, one escaped", b'{"model":"%s","messages":[],"mod\\u0065l":"gpt"}', 400, "escaped"),
    ("two models, streamed", b'{"model":"%s","stream":true,"messages":[],"model":"gpt"}', 400, "model"),
]


def _error(answer: Any, path: str) -> tuple[int, str]:
    """(status, message), having checked the shape."""
    assert answer.headers["content-type"].startswith("application/json")
    body = answer.json()
    if path == SPOKEN:
        assert body["type"] == "error"
        assert body["error"]["type"]
    else:
        assert body["error"].keys() >= {"message", "type", "param", "code"}
    return answer.status_code, body["error"]["message"]


@pytest.mark.parametrize("path", [CHAT, SPOKEN])
@pytest.mark.parametrize("model", ["gpt", "renamed", "claude"])
@pytest.mark.parametrize(("body", "status", "words"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_bodies(stage: Stage, model: str, path: str, body: bytes, status: int, words: str) -> None:
    sent = body.replace(b"%s", model.encode())
    answer = stage.post(path, content=sent, anthropic_version="2023-06-01")
    found, message = _error(answer, path)
    assert found == status
    assert words in message
    assert not any(provider.requests for provider in stage.providers.values())


@pytest.mark.parametrize(
    ("path", "model", "body", "where"),
    [
        (CHAT, "claude", {"messages": 7}, "messages"),
        (CHAT, "claude", {"messages": [{"role": "nobody", "content": "x"}]}, "messages[0]"),
        (CHAT, "claude", {"messages": MESSAGES, "temperature": "hot"}, "temperature"),
        (CHAT, "claude", {"messages": MESSAGES, "tools": [{"type": "function"}]}, "tools[0]"),
        (SPOKEN, "gpt", {"max_tokens": 9, "messages": 7}, "messages"),
        (
            SPOKEN,
            "gpt",
            {"max_tokens": 9, "messages": [{"role": "user", "content": [{"type": "image"}]}]},
            "messages[0]",
        ),
        (SPOKEN, "gpt", {"max_tokens": "many", "messages": MESSAGES}, "max_tokens"),
        (SPOKEN, "gpt", {"messages": MESSAGES}, "max_tokens"),
    ],
)
def test_wrong_types_are_named_with_their_place(
    stage: Stage, path: str, model: str, body: dict[str, Any], where: str
) -> None:
    status, message = _error(stage.post(path, {"model": model, **body}), path)
    assert status == 400
    assert where in message


def test_a_wrong_content_type_is_told(stage: Stage) -> None:
    body = json.dumps({"model": "gpt", "messages": MESSAGES}).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx"):
        for path in (CHAT, SPOKEN):
            status, message = _error(stage.post(path, content=body, content_type=kind), path)
            assert status == 415
            assert f"'{kind}'" in message
            assert "send application/json" in message
    assert not any(provider.requests for provider in stage.providers.values())


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain; charset=utf-8"])
def test_a_wrong_content_type_is_told_before_the_body_comes(stage: Stage, kind: str) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nhost: a\r\ncontent-type: {kind}\r\ncontent-length: 1000\r\n\r\nmodel="
    status, answer = _raw(stage.port, head.encode())
    assert (status, kind in json.loads(answer)["error"]["message"]) == (415, True)


def test_a_body_of_no_type_is_read_as_json(stage: Stage) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nmodel="
    status, answer = _raw(stage.port, head.encode())
    assert (status, "not valid JSON" in json.loads(answer)["error"]["message"]) == (400, True)


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
def test_other_spellings_of_json_are_taken(stage: Stage, kind: str) -> None:
    body = json.dumps({"model": "gpt", "messages": MESSAGES}).encode()
    assert stage.post(CHAT, content=body, content_type=kind).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/nowhere"),
        ("GET", "/"),
        ("GET", "/v1/chat"),
        ("POST", "/v2"),
        ("GET", "/v1/models/mystery"),
        ("DELETE", "/v1/chat/completions"),
    ],
)
def test_unknown_paths(stage: Stage, method: str, path: str) -> None:
    answer = stage.http.request(method, stage.url + path)
    status, message = _error(answer, path)
    assert status in (404, 405)
    assert path in message or "mystery" in message or method in message


def test_an_unknown_path_of_anthropics_is_told_in_its_dialect(stage: Stage) -> None:
    answer = stage.http.get(f"{stage.url}/anthropic/v1/nowhere")
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/embeddings", {"input": "a"}), ("/v1/audio/speech", {"input": "a", "voice": "alloy"})],
)
def test_what_nothing_translates_is_refused(stage: Stage, path: str, body: dict[str, Any]) -> None:
    status, message = _error(stage.post(path, {"model": "claude", **body}), path)
    assert 400 <= status < 500
    assert "claude" in message


def test_a_broken_gzip_is_a_400(stage: Stage) -> None:
    whole = gzip.compress(json.dumps({"model": "gpt", "messages": MESSAGES}).encode())
    for body in (whole[:20], b"not gzip at all"):
        status, _ = _error(stage.post(CHAT, content=body, content_encoding="gzip"), CHAT)
        assert status == 400
    assert not stage["openai"].requests


def test_an_unknown_encoding_is_refused(stage: Stage) -> None:
    status, _ = _error(stage.post(CHAT, content=b"\x00\x01", content_encoding="br"), CHAT)
    assert status in (400, 415)
    assert not stage["openai"].requests


def test_a_deeply_nested_body_harms_nobody(stage: Stage) -> None:
    body = b'{"model":"claude","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert stage.post(CHAT, content=body).status_code == 400
    assert stage.chat("claude").status_code == 200


def test_escapes_cannot_name_another_model(stage: Stage) -> None:
    """What is routed and what the provider reads must be the same model."""
    bodies = (
        b'{"model":"gpt","mode\\u006c":"dear","messages":[]}',
        b'{"mode\\u006c":"gpt","model":"dear","messages":[]}',
    )
    for body in bodies:
        answer = stage.post(CHAT, content=body)
        assert answer.status_code in (400, 404)
    assert not stage["openai"].requests


def test_an_escaped_model_is_the_model(stage: Stage) -> None:
    body = b'{"model":"g\\u0070t","messages":[{"role":"user","content":"x"}]}'
    assert stage.post(CHAT, content=body).status_code == 200
    assert stage["openai"].last.model == "gpt"


def test_model_names_cannot_break_headers_or_errors(stage: Stage) -> None:
    for name in ("a\r\nx-evil: 1", "%s%DYNAMIC_METADATA(headgate:model)%", 'q"uote', "ü", "x" * 5000):
        answer = stage.chat(name)
        status, _ = _error(answer, CHAT)
        assert status in (400, 404)
        assert "x-evil" not in answer.headers


def test_http_1_0_and_odd_requests_do_not_kill(stage: Stage) -> None:
    for method in ("PUT", "PATCH", "OPTIONS", "HEAD"):
        assert 400 <= stage.http.request(method, stage.url + CHAT).status_code < 500
    assert stage.chat("gpt").status_code == 200


# --- methods


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "path", [CHAT, SPOKEN, "/v1/files/file-1", "/v1/responses/resp-1", "/v1/embeddings", "/anthropic/v1/messages/x"]
)
def test_a_model_is_no_right_to_other_methods(stage: Stage, method: str, path: str) -> None:
    """A body that names an allowed model would else delete the files of all clients of the provider's account."""
    body = json.dumps({"model": "claude" if "messages" in path else "gpt", "messages": MESSAGES})
    headers = {"content-type": "application/json"}
    answer = stage.http.request(method, stage.url + path, content=body, headers=headers)
    status, message = _error(answer, SPOKEN if "messages" in path else path)
    assert (status, answer.headers["allow"]) == (405, "POST")
    assert "POST" in message
    assert not any(provider.requests for provider in stage.providers.values())


@pytest.mark.parametrize(("path", "allowed"), [(CHAT, "POST"), (SPOKEN, "POST"), ("/v1/models", "GET, HEAD")])
def test_a_known_path_says_what_it_takes(stage: Stage, path: str, allowed: str) -> None:
    answer = stage.http.delete(stage.url + path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


# --- what Envoy itself refuses


@pytest.mark.parametrize("path", [CHAT, SPOKEN])
@pytest.mark.parametrize(
    ("head", "body", "words"),
    [
        ("POST {path} HTTP/1.1\r\ncontent-length: 2\r\n\r\n", b"{}", "host"),
        ("POST {path}/%00 HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n", b"{}", "path"),
        ("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", b"zz\r\n{}\r\n", "chunks"),
        ("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: odd\r\n\r\n", b"{}", "transfer-encoding"),
        ("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", b"", "WebSocket"),
    ],
    ids=["no host", "a zero in the path", "bad chunk", "unknown transfer-encoding", "WebSocket"],
)
def test_what_envoy_refuses_is_told_in_words(stage: Stage, path: str, head: str, body: bytes, words: str) -> None:
    status, answer = _raw(stage.port, head.format(path=path).encode() + body)
    assert status in (400, 426, 501)
    told = json.loads(answer)
    assert words in told["error"]["message"]
    # Envoy stops at a transfer-encoding that it does not know before it has the path: such an answer is right for both
    assert path == CHAT or told["type"] == "error"
    assert ("code" in told["error"]) is (path == CHAT or status == 501)


@pytest.mark.parametrize("host", ["provider:443", "127.0.0.1:80"])
def test_a_tunnel_is_refused_at_once(stage: Stage, host: str) -> None:
    """CONNECT has no body that ends: nothing may wait for it."""
    status, answer = _raw(stage.port, f"CONNECT {host} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
    assert status == 405
    assert "CONNECT" in json.loads(answer)["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/realtime?model=gpt-4o"])
def test_a_web_socket_is_refused_with_the_status_that_has_clients_ask_by_http(stage: Stage, path: str) -> None:
    """Codex asks for one first. After any other status it tries five times, with growing pauses."""
    upgrade = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAA\r\n"
    status, answer = _raw(stage.port, f"GET {path} HTTP/1.1\r\nhost: x\r\n{upgrade}\r\n".encode())
    assert status == 426
    assert "HTTP" in json.loads(answer)["error"]["message"]


def _raw(port: int, sent: bytes) -> tuple[int, bytes]:
    """(status, body) of bytes sent as they are."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(sent)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.read()
