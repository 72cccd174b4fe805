"""What a request used and cost, in the access log: counted from JSON and from streams, in both lanes.

Envoy writes the log out once a second, so all requests are made first and their lines looked at then.
"""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from support import manifests
from support.manifests import backend, ref, route, rule
from support.ports import LOOPBACK
from support.providers import Answer, Delivery, Failure, Raw, Usage
from support.stage import Stage

pytestmark = pytest.mark.envoy

USED = Usage(input=100, output=20, cached=60, reasoning=5)
WRITTEN = Usage(input=100, output=20, cached=60, cache_creation=10)
COUNTED = {
    "input": 100,
    "cached": 60,
    "created": 0,
    "output": 20,
    "total": 120,
    "reasoning": 5,
    "weighed": 160,
    "named": 1,
}
ANTHROPIC = {**COUNTED, "created": 10, "reasoning": 0}
TYPED = {key: COUNTED[key] for key in ("input", "cached", "output", "total", "reasoning")}
"""Costs that are counts, known as soon as the usage passes; what CEL computes is known at the end of the answer."""
NOTHING = {**dict.fromkeys(COUNTED, 0), "named": 1}
MESSAGES: Any = [{"role": "user", "content": "Hello!"}]


@dataclass(frozen=True)
class Call:
    """A request, the provider that is to answer it so, and what it costs."""

    send: Callable[[Stage], Any]
    provider: str
    answer: Answer | Failure
    costs: Mapping[str, int]


def _hang_up_at_done(stage: Stage, model: str = "priced") -> None:
    """As OpenAI's clients do: they close the stream at [DONE], before the provider ends the answer."""
    body = {"model": model, "messages": MESSAGES, "stream": True}
    with stage.http.stream("POST", f"{stage.url}/v1/chat/completions", json=body) as answer:
        for line in answer.iter_lines():
            if line == "data: [DONE]":
                return


HANGS = Delivery(hang_after_bytes=100_000)
CALLS = {
    "chat": Call(lambda s: s.chat("priced"), "openai", Answer(usage=USED), COUNTED),
    "chat stream": Call(lambda s: s.chat("priced", stream=True), "openai", Answer(usage=USED), COUNTED),
    "chat stream by bytes": Call(
        lambda s: s.chat("priced", stream=True), "openai", Answer(usage=USED, delivery=Delivery(cut="bytes")), COUNTED
    ),
    "chat stream left at its end": Call(_hang_up_at_done, "openai", Answer(usage=USED, delivery=HANGS), TYPED),
    "chat stream to Claude left at its end": Call(
        lambda s: _hang_up_at_done(s, "priced-claude"),
        "anthropic",
        Answer(usage=WRITTEN, delivery=HANGS),
        {key: ANTHROPIC[key] for key in ("input", "cached", "created", "output", "total")},
    ),
    "completion": Call(
        lambda s: s.post("/v1/completions", {"model": "priced", "prompt": "a"}),
        "openai",
        Answer(usage=USED),
        {**COUNTED, "cached": 0, "reasoning": 0},
    ),
    "completion stream": Call(
        lambda s: s.post("/v1/completions", {"model": "priced", "prompt": "a", "stream": True}),
        "openai",
        Answer(usage=USED),
        {**COUNTED, "cached": 0, "reasoning": 0},
    ),
    "embeddings": Call(
        lambda s: s.post("/v1/embeddings", {"model": "priced", "input": "a"}),
        "openai",
        Answer(usage=USED),
        {**NOTHING, "input": 100, "total": 100, "weighed": 100},
    ),
    "responses": Call(
        lambda s: s.post("/v1/responses", {"model": "priced", "input": "a"}), "openai", Answer(usage=USED), COUNTED
    ),
    "responses stream": Call(
        lambda s: s.post("/v1/responses", {"model": "priced", "input": "a", "stream": True}),
        "openai",
        Answer(usage=USED),
        COUNTED,
    ),
    "messages": Call(lambda s: s.messages("priced-claude"), "anthropic", Answer(usage=WRITTEN), ANTHROPIC),
    "messages stream": Call(
        lambda s: s.messages("priced-claude", stream=True), "anthropic", Answer(usage=WRITTEN), ANTHROPIC
    ),
    "chat to Claude": Call(lambda s: s.chat("priced-claude"), "anthropic", Answer(usage=WRITTEN), ANTHROPIC),
    "chat stream to Claude": Call(
        lambda s: s.chat("priced-claude", stream=True), "anthropic", Answer(usage=WRITTEN), ANTHROPIC
    ),
    "messages to GPT": Call(lambda s: s.messages("priced"), "openai", Answer(usage=USED), COUNTED),
    "messages stream to GPT": Call(lambda s: s.messages("priced", stream=True), "openai", Answer(usage=USED), COUNTED),
    "renamed": Call(lambda s: s.chat("priced-renamed"), "openai", Answer(usage=USED), {**COUNTED, "named": 7}),
    "no usage": Call(lambda s: s.chat("priced"), "openai", Answer(usage=Usage(input=0, output=0)), NOTHING),
    "error": Call(lambda s: s.chat("priced"), "openai", Failure(500), {}),
    "error to Claude": Call(lambda s: s.chat("priced-claude"), "anthropic", Failure(429), {}),
    "large": Call(lambda s: s.chat("priced"), "openai", Answer(text="x" * 5_000_000, usage=USED), COUNTED),
}


@pytest.fixture(scope="module")
def entries(standard_stage: Stage) -> Mapping[str, Mapping[str, Any]]:
    """The access log's line of each call, by the call's name."""
    standard_stage.forget()
    ids: dict[str, str | None] = {}
    for name, call in CALLS.items():
        provider = standard_stage[call.provider]
        provider.answer(call.answer)
        call.send(standard_stage)
        ids[name] = provider.last.header("x-request-id")
    found = standard_stage.access(lambda entry: entry["request_id"] in ids.values(), len(ids))
    by_id = {entry["request_id"]: entry for entry in found}
    standard_stage.check()
    return {name: by_id[known] for name, known in ids.items()}


@pytest.mark.parametrize("name", CALLS)
def test_costs(entries: Mapping[str, Mapping[str, Any]], name: str) -> None:
    published: dict[str, Any] = entries[name]["metadata"] or {}
    expected = CALLS[name].costs
    assert {key: published.get(key) for key in expected} == expected
    assert expected or not published.keys() & COUNTED.keys()


@pytest.mark.parametrize("name", CALLS)
def test_usage(entries: Mapping[str, Mapping[str, Any]], name: str) -> None:
    costs = CALLS[name].costs
    found: dict[str, Any] = entries[name]["metadata"] or {}
    logged = {key: found.get(f"{key}_tokens", 0) for key in ("input", "output")}
    assert logged == {key: costs.get(key, 0) for key in logged}


def test_the_log_tells_who_did_what(entries: Mapping[str, Mapping[str, Any]]) -> None:
    entry = entries["messages stream to GPT"]
    assert entry["original_model"] == "priced"
    assert entry["path"] == "/v1/messages"
    assert entry["status"] == 200
    assert entry["backend"] == "default/openai/route/priced/rule/0/ref/0"
    assert entry["attempt_count"] == 1
    assert entries["error"]["status"] == 500
    assert entries["large"]["response_bytes"] > 5_000_000


def test_the_log_tells_what_nobody_serves_as_it_was_asked(stage: Stage) -> None:
    model, path = 'of "nobody"\\\n', '/v1/chat/completions?unknown="'
    assert stage.post(path, {"model": model, "messages": []}).status_code == 404
    (entry,) = stage.access(lambda entry: entry["original_model"] == model)
    assert entry["path"].removeprefix("/v1/chat/completions") in ('?unknown="', "?unknown=%22")
    assert (entry["metadata"], entry["backend"]) == ({"model_name_override": model}, None)


# --- what was known when the client left


def _leave_at(stage: Stage, path: str, model: str, line: str) -> None:
    body = {"model": model, "messages": MESSAGES, "max_tokens": 9, "stream": True}
    with stage.http.stream("POST", stage.url + path, json=body) as answer:
        assert any(line in found for found in answer.iter_lines())


def test_a_translated_stream_ends_when_the_provider_says_so(stage: Stage) -> None:
    """Not when it closes the connection: the client would wait for nothing, and what it used would be unknown."""
    stage["openai"].answer(Answer(usage=USED, delivery=HANGS))
    stage["anthropic"].answer(Answer(usage=WRITTEN, delivery=HANGS))
    _leave_at(stage, "/v1/messages?left=end", "priced", "message_stop")
    _leave_at(stage, "/v1/chat/completions?left=end", "priced-claude", "[DONE]")
    found = stage.access(lambda entry: str(entry["path"]).endswith("?left=end"), 2)
    published = [entry["metadata"] for entry in found]
    assert [(each["input_tokens"], each["output_tokens"]) for each in published] == [(100, 20)] * 2


def test_a_client_that_leaves_early_owes_its_prompt(stage: Stage) -> None:
    """Anthropic tells the prompt's tokens first of all."""
    stage["anthropic"].answer(Answer(usage=WRITTEN, text="x " * 100, delivery=Delivery(hang_after_bytes=900)))
    _leave_at(stage, "/v1/chat/completions?left=early", "priced-claude", '"content"')
    (entry,) = stage.access(lambda entry: str(entry["path"]).endswith("?left=early"))
    assert entry["metadata"]["input_tokens"] == 100


# --- what nobody reported


def _chunk(text: str) -> bytes:
    return b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}\n\n' % text.encode()


def _event(name: str, **members: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **members})}\n\n".encode()


WORDS = "w" * 40
CHAT = b"".join(_chunk(WORDS) for _ in range(10))
WRITING = (
    _event("message_start", message={"id": "m", "role": "assistant", "usage": {"input_tokens": 9, "output_tokens": 1}})
    + _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    + b"".join(_event("content_block_delta", index=0, delta={"type": "text_delta", "text": WORDS}) for _ in range(10))
)
PROMPTED = b"".join(
    b"data: %b\n\n"
    % json.dumps({"id": "c", "object": "text_completion", "choices": [{"index": 0, "text": WORDS}]}).encode()
    for _ in range(10)
)
UNREPORTED = {
    "native completions without usage": (
        "/v1/completions",
        "priced",
        "openai",
        PROMPTED + b"data: [DONE]\n\n",
        None,
        100,
    ),
    "native chat without usage": ("/v1/chat/completions", "priced", "openai", CHAT + b"data: [DONE]\n\n", None, 100),
    "native chat that ends too early": ("/v1/chat/completions", "priced", "openai", CHAT, None, 100),
    "native messages that end too early": ("/v1/messages", "priced-claude", "anthropic", WRITING, 9, 101),
    "translated chat without usage": ("/v1/messages", "priced", "openai", CHAT + b"data: [DONE]\n\n", None, 100),
    "translated messages that end too early": (
        "/v1/chat/completions",
        "priced-claude",
        "anthropic",
        WRITING,
        9,
        101,
    ),
}


@pytest.mark.parametrize("name", UNREPORTED)
def test_what_passed_is_counted_where_nobody_reports_it(stage: Stage, name: str) -> None:
    path, model, provider, stream, prompt, written = UNREPORTED[name]
    stage[provider].answer(Raw(body=stream, content_type="text/event-stream"))
    asked = {"prompt": "Hello!"} if path == "/v1/completions" else {"messages": MESSAGES}
    path = f"{path}?unreported={name.replace(' ', '-')}"
    body = {"model": model, **asked, "max_tokens": 9, "stream": True}
    assert stage.post(path, body, anthropic_version="2023-06-01").status_code == 200
    (entry,) = stage.access(lambda entry: entry["path"] == path)
    published = entry["metadata"]
    assert published["usage_source"] == "estimated"
    assert published["output_tokens"] == published["output"] == written
    if prompt is None:  # natively: a quarter of the request's bytes, and one
        prompt = len(json.dumps(body)) // 4 + 1
    assert published["input_tokens"] == published["input"] == prompt
    assert published["total_tokens"] == published["total"] == prompt + written
    assert published["weighed"] == prompt + 3 * written


WHOLE = {
    "/v1/chat/completions": {"choices": [{"index": 0, "message": {"role": "assistant", "content": WORDS * 10}}]},
    "/v1/completions": {"object": "text_completion", "choices": [{"index": 0, "text": WORDS * 10}]},
}


@pytest.mark.parametrize("path", WHOLE)
def test_what_a_whole_answer_holds_is_counted_where_nobody_reports_it(stage: Stage, path: str) -> None:
    stage["openai"].answer(Raw(body=json.dumps({"id": "a", "model": "m", **WHOLE[path]}).encode()))
    asked = {"messages": MESSAGES} if path == "/v1/chat/completions" else {"prompt": "Hi"}
    asked_at = f"{path}?whole=unreported"
    assert stage.post(asked_at, {"model": "priced", **asked}).status_code == 200
    (entry,) = stage.access(lambda entry: entry["path"] == asked_at)
    assert (entry["metadata"]["usage_source"], entry["metadata"]["output"]) == ("estimated", 100)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_an_answer_that_came_compressed_is_passed_on_and_counted(stage: Stage, streamed: bool) -> None:
    """Nobody asked for it: what a provider compresses all the same is neither lost nor free."""
    stage["openai"].answer(Answer(text="".join(map(str, range(500))), usage=USED, delivery=Delivery(gzip=True)))
    path = f"/v1/chat/completions?compressed={streamed}"
    answer = stage.chat("priced", path=path, stream=streamed)
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.text.endswith("data: [DONE]\n\n" if streamed else "}")
    assert "498499" in answer.text or streamed
    (entry,) = stage.access(lambda entry: entry["path"] == path)
    published = entry["metadata"]
    assert published["usage_source"] == "estimated"
    assert published["input"] > 0
    assert published["output"] == -(-answer.num_bytes_downloaded // 4)
    assert published["total"] == published["input"] + published["output"]


def test_a_client_that_leaves_in_the_middle_owes_what_was_written(stage: Stage) -> None:
    hangs = Delivery(hang_after_bytes=len(CHAT))
    stage["openai"].answer(Raw(body=CHAT + CHAT, content_type="text/event-stream", delivery=hangs))
    body = {"model": "priced", "messages": MESSAGES, "max_tokens": 9, "stream": True}
    received = 0
    with stage.http.stream("POST", f"{stage.url}/v1/chat/completions?left=middle", json=body) as answer:
        for data in answer.iter_bytes():
            received += len(data)
            if received >= len(CHAT):
                break
    (entry,) = stage.access(lambda entry: str(entry["path"]).endswith("?left=middle"))
    assert 100 - 64 < entry["metadata"]["output_tokens"] <= 100
    assert entry["metadata"]["usage_source"] == "estimated"


def test_what_is_reported_after_all_counts(stage: Stage) -> None:
    usage = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}}\n\n'
    stage["openai"].answer(Raw(body=CHAT + usage + b"data: [DONE]\n\n", content_type="text/event-stream"))
    path = "/v1/chat/completions?reported=late"
    stage.chat("priced", path=path, stream=True)
    (entry,) = stage.access(lambda entry: entry["path"] == path)
    published = entry["metadata"]
    assert (published["usage_source"], published["output_tokens"], published["total_tokens"]) == ("reported", 3, 8)
    assert (published["output"], published["total"], published["weighed"]) == (3, 8, 14)


# --- what providers should not say


def test_nonsense_of_a_streaming_provider_is_bounded(stage: Stage) -> None:
    """Below nothing is nothing; more than any answer is the most that a limit can be charged."""
    for name, count, counted in (("huge", 10**30, 2**31 - 1), ("negative", -5, 0)):
        usage = b'{"prompt_tokens":%d,"completion_tokens":7,"total_tokens":9}' % count
        chunk = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":%s}\n\n'
        body = (chunk % usage, b"data: [DONE]\n\n")
        stage["openai"].answer(Raw(body=body, content_type="text/event-stream"))
        path = f"/v1/chat/completions?count={name}"
        assert stage.chat("priced", path=path, stream=True).status_code == 200
        (entry,) = stage.access(lambda entry, path=path: entry["path"] == path)
        assert (entry["metadata"].get("input", 0), entry["metadata"]["output"]) == (counted, 7)


@pytest.mark.parametrize(("name", "count"), [("negative", -5), ("huge", 10**30), ("broken", 1.5), ("text", '"many"')])
def test_nonsense_of_a_provider_is_not_counted_and_harms_nobody(stage: Stage, name: str, count: Any) -> None:
    """The rest of the usage is charged."""
    usage = f'{{"prompt_tokens":{count},"completion_tokens":7,"total_tokens":9}}'
    answer = f'{{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[],"usage":{usage}}}'
    stage["openai"].answer(Raw(body=answer.encode()))
    path = f"/v1/chat/completions?whole={name}"
    assert stage.chat("priced", path=path).text == answer
    (entry,) = stage.access(lambda entry: entry["path"] == path)
    counted = 2**31 - 1 if name == "huge" else 0
    assert (entry["metadata"].get("input", 0), entry["metadata"]["output"]) == (counted, 7)


STREAM = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
    b'{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
)
COUNTED_STREAM = (
    STREAM + b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":'
    b'{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}}\n\ndata: [DONE]\n\n'
)


MESSAGES_STREAM = b"".join(
    b"event: %b\ndata: %b\n\n" % (name, data)
    for name, data in (
        (
            b"message_start",
            b'{"type":"message_start","message":{"usage":{"input_tokens":2,"cache_read_input_tokens":3}}}',
        ),
        (b"message_delta", b'{"type":"message_delta","delta":{},"usage":{"output_tokens":3}}'),
        (b"message_stop", b'{"type":"message_stop"}'),
    )
)
RESPONSES_STREAM = (
    b'event: response.completed\ndata: {"type":"response.completed","response":{"tools":[{"parameters":{"properties":'
    b'{"usage":{"type":"object"}}}}],"usage":{"input_tokens":5,"input_tokens_details":{"cached_tokens":3},'
    b'"output_tokens":3,"total_tokens":8}}}\n\n'
)
UNLABELLED = {
    "/v1/chat/completions": (COUNTED_STREAM, STREAM + b"data: [DONE]\n\n"),
    "/v1/messages": (MESSAGES_STREAM, MESSAGES_STREAM),
    "/v1/responses": (RESPONSES_STREAM, RESPONSES_STREAM),
}
"""What a provider streams, and what of it the client gets."""


class _Unlabelled(BaseHTTPRequestHandler):
    """A provider that does not say what its answers are."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        stream, _ = UNLABELLED[self.path]
        self.send_response(200)
        self.send_header("content-length", str(len(stream)))
        self.end_headers()
        self.wfile.write(stream)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_streams_without_a_content_type_are_charged() -> None:
    server = ThreadingHTTPServer((LOOPBACK, 0), _Unlabelled)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with Stage() as stage:
            rules = [rule("gpt", ref("odd")), rule("claude", ref("odd-claude"))]
            priced = route("r", rules, **manifests.costs(total="TotalToken"))
            odd = [
                *backend("odd", server.server_port),
                *backend("odd-claude", server.server_port, schema="Anthropic"),
            ]
            stage.run([*manifests.gateway({"port": stage.port}), *odd, priced])
            for path, (_, passes) in UNLABELLED.items():
                model = "claude" if path == "/v1/messages" else "gpt"
                body = {"model": model, "messages": MESSAGES, "max_tokens": 9, "stream": True}
                assert stage.post(path, body).content == passes
            found = stage.access(lambda entry: entry["path"] in UNLABELLED, len(UNLABELLED))
            assert [entry["metadata"]["total"] for entry in found] == [8, 8, 8]
            assert [entry["metadata"].get("cached_input_tokens", 0) for entry in found] == [0, 3, 3]
            stage.check()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
