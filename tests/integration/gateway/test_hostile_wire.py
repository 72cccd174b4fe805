"""What clients and providers can do on the wire: whoever is served is known, limited, charged and booked."""

import gzip
import json
import socket
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from support import manifests
from support.ledger import LedgerFile
from support.manifests import api_keys, backend, limits, ref, route, rule, target, token_limit
from support.ports import LOOPBACK
from support.providers import ANTHROPIC, Provider
from support.raw_provider import RawProvider, RawReply, RawRequest
from support.stage import TIMEOUT_SECONDS, Stage
from support.waiting import wait_until

pytestmark = pytest.mark.envoy

KEY = "key-of-alice"
BUDGET = 10**9
USED = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Hi there"}, "finish_reason": "stop"}
WHOLE = json.dumps(
    {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [CHOICE], "usage": USED}
).encode()
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def _stream(asked: bool) -> bytes:
    events: list[Mapping[str, Any]] = [{**CHUNK, "choices": [{"index": 0, "delta": {"content": "Hi there"}}]}]
    events += [{**CHUNK, "choices": [], "usage": USED}] if asked else []
    return b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in events) + b"data: [DONE]\n\n"


def answer(body: bytes, *headers: str, kind: str = "application/json", status: str = "200 OK") -> bytes:
    named = [f"HTTP/1.1 {status}", *([f"content-type: {kind}"] if kind else []), *headers]
    return "\r\n".join([*named, f"content-length: {len(body)}", "", ""]).encode() + body


def _lenient(request: RawRequest) -> RawReply:
    """A provider that takes any path and body for a chat."""
    try:
        body: Any = json.loads(request.body)
    except ValueError:
        body = {}
    if "fail" in body:
        return answer(b'{"error":{"message":"no"}}', status="400 Bad Request")
    if body.get("stream") is True:
        options: Any = body.get("stream_options") or {}
        asked = options.get("include_usage") is True
        return answer(_stream(asked), kind="text/event-stream")
    return answer(WHOLE)


def _first(said: RawReply) -> Callable[[RawRequest], RawReply]:
    """Says that, but to requests that ask for what was spent."""

    def reply(request: RawRequest) -> RawReply:
        return _lenient(request) if b'"fail"' in request.body else said

    return reply


@pytest.fixture(scope="module")
def provider() -> Iterator[RawProvider]:
    with RawProvider(_lenient) as provider:
        yield provider


@pytest.fixture(scope="module")
def running(provider: RawProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, LedgerFile]]:
    ledger = LedgerFile(tmp_path_factory.mktemp("wire") / "usage.db")
    with Stage(claude=Provider(ANTHROPIC, key="sk-claude")) as stage:
        by_client = {"name": "x-client-id", "type": "Distinct"}
        documents = [
            *manifests.gateway({"port": stage.port}),
            *backend("openai", provider.port, key="sk-openai"),
            *api_keys("clients", target("Gateway", "gateway"), {"alice": KEY}, forwardClientIDHeader="x-client-id"),
            route("models", [rule("gpt", ref("openai"))], **manifests.costs(total="TotalToken")),
            limits("models", "models", token_limit("total", BUDGET, by_client, unit="Year")),
        ]
        yield stage.run(documents, "--ledger", str(ledger.path)), ledger
        stage.check()


@pytest.fixture
def stage(running: tuple[Stage, LedgerFile], provider: RawProvider) -> Iterator[Stage]:
    provider.reply = _lenient
    provider.requests.clear()
    yield running[0]
    running[0].check()


@pytest.fixture
def ledger(running: tuple[Stage, LedgerFile]) -> LedgerFile:
    return running[1]


def chat(model: str = "gpt", **more: Any) -> bytes:
    return json.dumps({"model": model, "messages": MESSAGES, **more}).encode()


def exchange(stage: Stage, *pieces: bytes) -> bytes:
    """All that is answered to bytes that are sent so, on a connection that is closed afterwards."""
    with socket.create_connection((LOOPBACK, stage.port), timeout=TIMEOUT_SECONDS) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return connection.makefile("rb").read()


def posted(path: str, body: bytes, *headers: str, key: str = KEY) -> bytes:
    known = [f"authorization: Bearer {key}"] if key else []
    own = (
        []
        if any(each.lower().startswith("transfer-encoding") for each in headers)
        else [f"content-length: {len(body)}"]
    )
    kind = (
        [] if any(each.lower().startswith("content-type") for each in headers) else ["content-type: application/json"]
    )
    head = [f"POST {path} HTTP/1.1", "host: gateway", "connection: close", *known, *own, *kind, *headers, "", ""]
    return "\r\n".join(head).encode("latin-1") + body


def status_of(said: bytes) -> int:
    return int(said.split(b" ", 2)[1]) if said else 0


def spent(stage: Stage) -> int:
    """By a request that costs nothing, once all before it are settled: what they reserved counts until then."""
    wait_until(lambda: stage.stat("headgate_ratelimit_reservations_outstanding") == 0, "all to be settled")
    said = exchange(stage, posted("/v1/chat/completions", chat(fail=1)))
    remaining = next(line for line in said.split(b"\r\n") if line.startswith(b"x-ratelimit-remaining"))
    return BUDGET - int(remaining.split(b":")[1])


def wait_spent(stage: Stage, before: int, least: int) -> int:
    """Tokens that were charged since, once there are so many."""
    return wait_until(lambda: now - before if (now := spent(stage)) - before >= least else None, f"{least} tokens")


PATHS = (
    *("//v1/chat/completions", "/v1//chat/completions", "/v1/./chat/completions", "/v1/x/../chat/completions"),
    *("/v1/chat/completions/", "/v1/chat/completions//", "/v1/chat/completions/.", "/v1/chat/completions;x=1"),
    *("/v1/chat;x/completions", "/v1/chat/completions%20", "/v1/chat/completions%3fa=1", "/v1/chat/%63ompletions"),
    *("/v1/chat%2fcompletions", "/v1/chat%2Fcompletions", "/v1/%2e/chat/completions", "/v1/%2E%2E/v1/chat/completions"),
    *("/V1/CHAT/COMPLETIONS", "/v1/Chat/completions", "/v1\\chat\\completions", "/v1/chat%5ccompletions"),
    *("/v1/messages/../chat/completions", "/v1/embeddings/..;/chat/completions", "/v1/chat/completions%0d%0ax:y"),
    *("http://gateway/v1/chat/completions", "http://elsewhere/v1/chat/completions", "/v1/models/../chat/completions"),
    *(
        "/v1/chat/completions\xa0",
        "/v1/chat/compl\xe9tions",
        "/v1/chat/completions%ff",
        "/anthropic/../v1/chat/completions",
    ),
    *(
        "/v1/chat/completions?model=dear&n=",
        "/v1/chat/completions?stream=false&n=",
        "/v1/responses/../chat/completions",
    ),
)


@pytest.mark.parametrize("path", PATHS)
def test_no_spelling_of_a_path_is_free(stage: Stage, provider: RawProvider, path: str) -> None:
    before = spent(stage)
    provider.requests.clear()
    assert status_of(exchange(stage, posted(path, chat(stream=True), key="wrong"))) in (400, 401, 404)
    assert not provider.requests
    said = exchange(stage, posted(path, chat(stream=True)))
    if status_of(said) != 200:
        assert 400 <= status_of(said) < 500
        assert not provider.requests
        return
    assert len(provider.requests) == 1
    assert 8 <= wait_spent(stage, before, 8) < 30, "what is not asked for its usage is estimated"


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param([b"\xef\xbb\xbf" + chat()], id="a BOM"),
        pytest.param([chat().decode().encode("utf-16")], id="UTF-16"),
        pytest.param([chat().decode().encode("utf-16-le")], id="UTF-16 without a BOM"),
        pytest.param([chat().decode().encode("utf-32")], id="UTF-32"),
        pytest.param([chat(), "content-type: application/json; charset=utf-16"], id="called UTF-16"),
        pytest.param(
            [
                b'{"model":"gpt","a":"+ACIALAAi-model+ACIAOgAi-dear+ACI-","messages":[]}',
                "content-type: application/json; charset=utf-7",
            ],
            id="called UTF-7",
        ),
        pytest.param([chat(), "content-type: application/json; charset=unicode_escape"], id="called an escape"),
    ],
)
def test_what_is_read_is_what_any_provider_reads(stage: Stage, provider: RawProvider, sent: Sequence[Any]) -> None:
    body, *headers = sent
    before = spent(stage)
    provider.requests.clear()
    status = status_of(exchange(stage, posted("/v1/chat/completions", body, *headers)))
    if status == 200:
        (received,) = provider.requests
        assert json.loads(received.body)["model"] == "gpt"
        assert b"charset" not in received.head, "a provider would read something else"
        assert wait_spent(stage, before, 8) == 8
    else:
        assert 400 <= status < 500
        assert not provider.requests


NAMES = {
    "of 10 kB": "x" * 10_240,
    "with control characters": "g\x00p\x1bt\n",
    "that looks alike": "g\u0440t",
    "with a zero width joiner": "gp\u200dt",
    "in another case": "GPT",
    "with spaces": " gpt ",
    "right to left": "\u202etpg",
    "that is markup": "<script>alert(1)</script>",
    "that quotes": 'g"p\\t',
    "a lone surrogate": "gpt\ud800",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_only_looks_like_one_is_unknown_and_logged(
    stage: Stage, provider: RawProvider, ledger: LedgerFile, name: str
) -> None:
    mark = name.replace(" ", "-")
    sent = posted(f"/v1/chat/completions?name={mark}", chat(NAMES[name]))
    assert status_of(exchange(stage, sent)) in (400, 404)
    assert not [each for each in provider.requests if b"fail" not in each.body]
    (entry,) = stage.access(lambda entry: entry.get("path", "").endswith(f"name={mark}"))
    assert entry["status"] in (400, 404)
    (row,) = wait_until(
        lambda: [row for row in ledger.rows() if row["path"].endswith(f"name={mark}")], "its row in the ledger"
    )
    assert not row["total_tokens"]


def test_a_request_that_waits_to_be_asked_is_served(stage: Stage, provider: RawProvider) -> None:
    before = spent(stage)
    head, _, body = posted("/v1/chat/completions", chat(), "expect: 100-continue").partition(b"\r\n\r\n")
    with socket.create_connection((LOOPBACK, stage.port), timeout=TIMEOUT_SECONDS) as connection:
        connection.sendall(head + b"\r\n\r\n")
        reader = connection.makefile("rb")
        assert reader.readline().startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert b"HTTP/1.1 200 " in reader.read()
    assert wait_spent(stage, before, 8) == 8


@pytest.mark.parametrize("end", [b"", b"x-trailer: 1\r\n", b"x-ai-eg-model: dear\r\nx-headgate-cost-1: 0\r\n"])
def test_chunks_with_extensions_and_trailers_are_a_body(stage: Stage, provider: RawProvider, end: bytes) -> None:
    before = spent(stage)
    provider.requests.clear()
    body = chat()
    chunked = (
        b"".join(b'1;a="b;c";d\r\n' + body[at : at + 1] + b"\r\n" for at in range(len(body)))
        + b"0;last\r\n"
        + end
        + b"\r\n"
    )
    said = exchange(stage, posted("/v1/chat/completions", chunked, "transfer-encoding: chunked"))
    assert status_of(said) == 200, said
    assert json.loads(provider.requests[0].body)["model"] == "gpt"
    assert wait_spent(stage, before, 8) == 8


@pytest.mark.parametrize(
    "headers",
    [
        ["transfer-encoding: chunked", "content-length: 3"],
        ["content-length: 3"],
        ["transfer-encoding: chunked, chunked"],
        ["transfer-encoding: xchunked"],
        ["transfer-encoding : chunked"],
        ["transfer-encoding: identity"],
        ["content-length: +3"],
    ],
)
def test_no_request_is_smuggled(stage: Stage, provider: RawProvider, headers: list[str]) -> None:
    provider.requests.clear()
    hidden = posted("/v1/chat/completions", chat("smuggled"))
    body = chat()
    size = b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n" + hidden
    exchange(stage, posted("/v1/chat/completions", size, *headers))
    assert all(json.loads(each.body)["model"] == "gpt" for each in provider.requests)


ANSWERS: Mapping[str, RawReply] = {
    "early hints first": b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + answer(WHOLE),
    "100 first": b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + answer(WHOLE),
    "102 first": b"HTTP/1.1 102 Processing\r\n\r\n" + answer(WHOLE),
    "201": answer(WHOLE, status="201 Created"),
    "206": answer(WHOLE, "content-range: bytes 0-1/2", status="206 Partial Content"),
    "203": answer(WHOLE, status="203 Non-Authoritative Information"),
    "no content type": answer(WHOLE, kind=""),
    "two content types": answer(WHOLE, "content-type: text/html"),
    "no length": [
        answer(WHOLE)[: -len(WHOLE)].replace(b"content-length: %d" % len(WHOLE), b"connection: close") + WHOLE
    ],
    "called gzip": answer(WHOLE, "content-encoding: gzip"),
    "trailers": b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\ntrailer: x\r\n\r\n"
    + b"%x\r\n%s\r\n0\r\nx-headgate-cost-1: 0\r\nx-ai-eg-model: m\r\nx: 1\r\n\r\n" % (len(WHOLE), WHOLE),
    "headers of ours": answer(WHOLE, "x-headgate-began: GET+1+a /v1/responses/x+0", "x-ai-eg-model: cheap"),
    "many headers": answer(WHOLE, *(f"x-{number}: {'a' * 500}" for number in range(60))),
    "a byte order mark": answer(b"\xef\xbb\xbf" + WHOLE),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_in_any_form_is_charged(stage: Stage, provider: RawProvider, name: str) -> None:
    before = spent(stage)
    provider.reply = _first(ANSWERS[name])
    said = exchange(stage, posted(f"/v1/chat/completions?answer={name.replace(' ', '-')}", chat()))
    assert 200 <= status_of(said.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")) < 300, said[:300]
    assert WHOLE in said
    assert wait_spent(stage, before, 8) == 8


@pytest.mark.parametrize("coding", ["gzip", "deflate", "x-gzip", "br", "zstd"])
@pytest.mark.parametrize("streamed", [False, True])
def test_what_nobody_asked_to_be_compressed_is_not_free(
    stage: Stage, provider: RawProvider, coding: str, streamed: bool
) -> None:
    before = spent(stage)
    text = _stream(True) if streamed else WHOLE
    if "gzip" in coding:
        packed = gzip.compress(text)
    else:
        packed = zlib.compress(text) if coding == "deflate" else b"\x0b\x80" + text[::-1]
    kind = "text/event-stream" if streamed else "application/json"
    provider.reply = _first(answer(packed, f"content-encoding: {coding}", kind=kind))
    said = exchange(stage, posted("/v1/chat/completions", chat(stream=streamed)))
    assert packed in said
    assert wait_spent(stage, before, 8) > 8


REFUSED: Mapping[str, RawReply] = {
    "204 with a body": answer(WHOLE, status="204 No Content"),
    "304 with a body": answer(WHOLE, status="304 Not Modified"),
    "302": answer(WHOLE, "location: http://elsewhere", status="302 Found"),
    "headers without end": [b"HTTP/1.1 200 OK\r\n", *(b"x-%d: %s\r\n" % (n, b"a" * 1000) for n in range(200)), b"\r\n"],
    "101": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n" + WHOLE,
    "no HTTP": b"SSH-2.0-x\r\n\r\n",
    "two lengths": answer(WHOLE, "content-length: 3"),
    "a second answer": answer(WHOLE) + answer(WHOLE),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_answer_that_is_none_harms_nobody(stage: Stage, provider: RawProvider, name: str) -> None:
    provider.reply = _first(REFUSED[name])
    first = exchange(stage, posted("/v1/chat/completions", chat()))
    assert first
    provider.reply = _lenient
    for _ in range(3):
        said = exchange(stage, posted("/v1/chat/completions", chat()))
        assert said.count(b"HTTP/1.1 ") == 1
        assert status_of(said) == 200


@pytest.mark.parametrize(
    "headers",
    [
        [
            "connection: upgrade",
            "upgrade: websocket",
            "sec-websocket-version: 13",
            "sec-websocket-key: dGhlIHNhbXBsZQ==",
        ],
        ["connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQAAP__"],
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/v1/realtime?model=gpt", "/v1/chat/completions"])
def test_no_tunnel_gets_around_limits(
    stage: Stage, provider: RawProvider, headers: list[str], method: str, path: str
) -> None:
    provider.requests.clear()
    before = spent(stage)
    sent = posted(path, chat(), *headers).replace(b"POST", method.encode(), 1).replace(b"connection: close\r\n", b"", 1)
    with socket.create_connection((LOOPBACK, stage.port), timeout=TIMEOUT_SECONDS) as connection:
        connection.sendall(sent)
        reader = connection.makefile("rb")
        status = int(reader.readline().split(b" ")[1])
        connection.shutdown(socket.SHUT_WR)
        reader.read()
    assert status != 101
    served = [each for each in provider.requests if b'"fail"' not in each.body]
    assert all(b"upgrade" not in each.head.lower() for each in served)
    if served:
        assert wait_spent(stage, before, 8) == 8
    else:
        assert 400 <= status < 500
