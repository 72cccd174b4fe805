"""The native lane: client and provider speak the same dialect, and Envoy's own filters serve the request."""

import gzip
import json
from typing import Any

import httpx
import pytest
from headgate.contract.headers import CLIENT_ORIGIN, CREDENTIALS, FORWARDED_PREFIX, OVERRIDES
from support.providers import Answer, Delivery, Raw, Usage
from support.stage import CLIENT_KEY, Stage

pytestmark = pytest.mark.envoy

CHAT = "/v1/chat/completions"
MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
ODD = (
    b'{ "model" : "gpt" ,\n "messages":[{"role":"user","content":"\\u00e9 \xe2\x82\xac \\ud83d\\ude00 1e2"}],'
    b' "temperature":1E0,"top_p" : 0.10 }'
)
"""JSON that a decoder and encoder would change: spaces, escapes, numbers."""

RELAYED = [
    ("/v1/chat/completions", "gpt", "openai", {"messages": MESSAGES}),
    ("/v1/completions", "gpt", "openai", {"prompt": "Hello"}),
    ("/v1/embeddings", "gpt", "openai", {"input": "Hello"}),
    ("/v1/responses", "gpt", "openai", {"input": "Hello"}),
    ("/v1/messages", "claude", "anthropic", {"messages": MESSAGES, "max_tokens": 9}),
    ("/v1/messages/count_tokens", "claude", "anthropic", {"messages": MESSAGES}),
    ("/anthropic/v1/messages", "claude", "anthropic", {"messages": MESSAGES, "max_tokens": 9}),
]


@pytest.mark.parametrize(("path", "model", "name", "body"), RELAYED)
def test_every_operation_is_relayed(stage: Stage, path: str, model: str, name: str, body: dict[str, Any]) -> None:
    answer = stage.post(path, {"model": model, **body}, anthropic_version="2023-06-01")
    assert answer.status_code == 200
    received = stage[name].last
    assert received.path == path.removeprefix("/anthropic")
    assert received.json == {"model": model, **body}


@pytest.mark.parametrize(
    ("sent", "received"), [({}, "2023-06-01"), ({"anthropic_version": "2023-01-01"}, "2023-01-01")]
)
def test_claude_is_told_a_version_where_the_client_tells_none(
    stage: Stage, sent: dict[str, Any], received: str
) -> None:
    body = {"model": "claude", "messages": MESSAGES, "max_tokens": 9}
    assert stage.post("/v1/messages", body, **sent).status_code == 200
    assert stage["anthropic"].last.header("anthropic-version") == received


def test_bytes_are_relayed_unchanged_both_ways(stage: Stage) -> None:
    odd_answer = b'{ "choices" : [], "n" : 1.0e0,\n "x":"\\u00e9" }'
    stage["openai"].answer(Raw(body=odd_answer))
    answer = stage.post("/v1/chat/completions", content=ODD)
    assert stage["openai"].last.body == ODD
    assert answer.content == odd_answer


@pytest.mark.parametrize("cut", ["events", "bytes", "whole"])
@pytest.mark.parametrize(
    ("model", "name", "path"), [("gpt", "openai", "/v1/chat/completions"), ("claude", "anthropic", "/v1/messages")]
)
def test_streams_are_relayed_unchanged(stage: Stage, cut: Any, model: str, name: str, path: str) -> None:
    events = (b": comment\r\n\r\n", b'event: x\r\ndata: {"a" : 1}\r\n\r\n', b"data:[DONE]\n\n", b"data: unfinished")
    stage[name].answer(Raw(body=events, content_type="text/event-stream", delivery=Delivery(cut=cut)))
    body = {"model": model, "messages": MESSAGES, "stream": True, "max_tokens": 9}
    answer = stage.post(path, body, anthropic_version="2023-06-01")
    assert answer.content == b"".join(events)
    assert answer.headers["content-type"] == "text/event-stream"


def test_an_override_changes_the_model_and_no_other_byte(stage: Stage) -> None:
    body = ODD.replace(b'"gpt"', b'"renamed"')
    assert stage.post("/v1/chat/completions", content=body).status_code == 200
    assert stage["openai"].last.body == body.replace(b'"renamed"', b'"real \\u0022model\\u0022"')
    assert stage["openai"].last.model == 'real "model"'


def test_an_override_finds_the_model_behind_other_members(stage: Stage) -> None:
    messages = b'"messages":[{"role":"user","content":"\\"model\\":\\"x\\" {}[]"}]'
    body = b"{" + messages + b',"metadata":{"model":"inner"},"model":"renamed"}'
    assert stage.post("/v1/chat/completions", content=body).status_code == 200
    assert stage["openai"].last.body == body.replace(b'"renamed"', b'"real \\u0022model\\u0022"')


@pytest.mark.parametrize(
    "more",
    [
        '"n":1',
        '"n" : 1 , "stop":["}"]} \n',
        '"stream":true',
        '"stream" : true, "n":2 } \t\r\n',
        '"stream":true,"stream_options":{}',
        '"stream":true,"stream_options":null,"n":1',
        '"stream":true,"user":"model"',
        '"stream":true,"user":"\\"model\\":\\"x\\""',
        '"stream":true,"user":"caf\\u00e9 \\u006dodel"',
        '"stream":true,"metadata":{"stream":"a","model":"b","k":"\\\\"}',
        '"stream":true,"user":"\\\\"',
    ],
)
@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize("name", ["renamed", "priced", "priced-renamed"])
def test_a_body_is_changed_where_it_must_and_nowhere_else(stage: Stage, name: str, place: str, more: str) -> None:
    """However its members stand in the text: what is found at a glance is what a walk finds."""
    messages = '"messages":[{"role":"user","content":"Hello!"}]'
    ends = more.rstrip().endswith("}") and not more.endswith("}")
    more, end = (more.rstrip()[:-1], more[len(more.rstrip()) - 1 :]) if ends else (more, "}")
    model = f'"model": "{name}"'
    members = (model, messages, more) if place == "first" else (messages, more, model)
    text = "{" + ",".join(members) + end
    assert stage.post("/v1/chat/completions", content=text.encode()).status_code == 200
    sent = {"renamed": 'real "model"', "priced": "priced", "priced-renamed": "dear"}[name]
    expected = {**json.loads(text), "model": sent}
    if expected.get("stream") and name != "renamed":
        expected["stream_options"] = {"include_usage": True}
    received = stage["openai"].last
    assert json.loads(received.body) == expected
    assert messages.encode() in received.body
    assert more.partition(',"stream_options"')[0].encode() in received.body


def test_claude_is_renamed_too(stage: Stage) -> None:
    assert stage.messages("renamed-claude").status_code == 200
    assert stage["anthropic"].last.model == "claude-opus-5"


def test_azure_gets_its_path_and_key(stage: Stage) -> None:
    assert stage.chat("azure").status_code == 200
    received = stage["azure"].last
    assert (received.path, received.query) == ("/openai/deployments/azure/chat/completions", "api-version=2024-10-21")
    assert received.header("api-key") == "sk-azure"


def test_azures_deployment_is_the_override(stage: Stage) -> None:
    answer = stage.post("/v1/embeddings?x=1", {"model": "renamed-azure", "input": "a"})
    assert answer.status_code == 200
    received = stage["azure"].last
    assert received.path == "/openai/deployments/my%20deployment%2F1/embeddings"
    assert received.query == "x=1&api-version=2024-10-21"


def test_a_prefix_replaces_v1(stage: Stage) -> None:
    assert stage.chat("deployed").status_code == 200
    assert stage["deployed"].last.path == "/llm/api/chat/completions"


def test_query_strings_are_kept(stage: Stage) -> None:
    assert stage.chat("deployed", path="/v1/chat/completions?a=1&b=%2F").status_code == 200
    assert stage["deployed"].last.query == "a=1&b=%2F"


def test_headers_are_mutated(stage: Stage) -> None:
    body = {"model": "mutated", "messages": MESSAGES}
    stage.post("/v1/chat/completions", body, x_client_secret="s", x_team="theirs", x_other="kept")
    received = stage["openai"].last
    assert received.header("x-team") == "blue"
    assert received.header("openai-organization") == "org-1"
    assert received.header("x-client-secret") is None
    assert received.header("x-other") == "kept"


def test_a_rules_mutation_wins_over_its_backends(stage: Stage) -> None:
    assert stage.chat("mutated-by-rule").status_code == 200
    received = stage["openai"].last
    assert received.header("x-team") == "red"
    assert received.header("openai-organization") == "org-1"


def test_bodies_are_mutated_where_told_only(stage: Stage) -> None:
    messages = b'"messages":[{"role":"user","content":"x"}]'
    body = b'{"model":"mutated", "user" : "u",' + messages + b',"temperature": 1.0 ,"logit_bias":{}}'
    assert stage.post("/v1/chat/completions", content=body).status_code == 200
    assert stage["openai"].last.json == {
        "model": "mutated",
        "messages": [{"role": "user", "content": "x"}],
        "temperature": 0.5,
        "service_tier": "flex",
    }


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({}, {}),
        (
            {"metadata": {"user": "u", "x": "}"}, "web_search_options": {"search_context_size": "low"}},
            {"metadata": {"x": "}"}, "web_search_options": {"search_context_size": "low"}},
        ),
        ({"metadata": "a text", "stop": ["x"]}, {"stop": ["x"]}),
    ],
    ids=["absent", "objects", "others"],
)
def test_bodies_are_mutated_within_members(stage: Stage, sent: dict[str, Any], kept: dict[str, Any]) -> None:
    body = {"model": "mutated-within", "messages": MESSAGES}
    assert stage.post("/v1/chat/completions", {**body, **sent}).status_code == 200
    located = {"user_location": {"type": "approximate", "approximate": {"city": "Oslo"}}}
    assert stage["openai"].last.json == {
        **body,
        **kept,
        "metadata": kept.get("metadata", {}) | {"team.name": "blue"},
        "web_search_options": kept.get("web_search_options", {}) | located,
    }


def test_a_member_that_is_changed_within_names_each_of_its_own_once(stage: Stage) -> None:
    content = b'{"model":"mutated-within","messages":[],"metadata":{"user":"a","user":"b"}}'
    answer = stage.post("/v1/chat/completions", content=content)
    assert answer.status_code == 400
    assert "more than one member 'user'" in answer.json()["error"]["message"]


def test_a_compressed_request_is_read(stage: Stage) -> None:
    body = json.dumps({"model": "renamed", "messages": MESSAGES}).encode()
    answer = stage.post("/v1/chat/completions", content=gzip.compress(body), content_encoding="gzip")
    assert answer.status_code == 200
    received = stage["openai"].last
    assert received.json == {"model": 'real "model"', "messages": MESSAGES}
    assert received.header("content-encoding") is None


def test_five_megabytes_pass_both_ways(stage: Stage) -> None:
    text = "x" * 5_000_000
    stage["openai"].answer(Answer(text=text))
    for model in ("gpt", "renamed"):
        answer = stage.openai().chat.completions.create(model=model, messages=[{"role": "user", "content": text}])
        assert answer.choices[0].message.content == text
        assert len(stage["openai"].last.body) > 5_000_000


def test_a_chunked_request_is_relayed(stage: Stage) -> None:
    parts = (part for part in (ODD[:9], ODD[9:]))
    headers = {"content-type": "application/json"}
    answer = stage.http.post(f"{stage.url}/v1/chat/completions", content=parts, headers=headers)
    assert answer.status_code == 200
    assert stage["openai"].last.body == ODD


@pytest.mark.parametrize(("model", "path"), [("gpt", CHAT), ("claude", "/v1/messages"), ("claude", CHAT)])
def test_no_credential_of_the_client_is_forwarded(stage: Stage, model: str, path: str) -> None:
    """Nor where it comes from, nor a method or path other than those that were looked at."""
    named = (*CREDENTIALS, *CLIENT_ORIGIN, *OVERRIDES, f"{FORWARDED_PREFIX}host", f"{FORWARDED_PREFIX}server")
    headers: dict[str, Any] = dict.fromkeys(named, CLIENT_KEY)
    body = {"model": model, "messages": MESSAGES, "max_tokens": 9}
    kept: dict[str, Any] = {"idempotency-key": "one"}
    answer = stage.post(path, body, **headers, **kept, anthropic_version="2023-06-01")
    assert answer.status_code == 200
    received = stage["openai" if model == "gpt" else "anthropic"].last
    assert not [name for name, value in received.headers if CLIENT_KEY in value]
    assert received.header("idempotency-key") == "one"


def test_spoofed_internal_headers_do_nothing(stage: Stage) -> None:
    spoofed: dict[str, Any] = {
        "x_ai_eg_model": "claude",
        "x_ai_eg_original_path": "/v1/messages",
        "x_headgate_client": "root",
        "x_headgate_backend": "{}",
        "x_envoy_original_path": "/v1/messages",
        "x_gateway_destination_endpoint": "127.0.0.1:1",
    }
    answer = stage.post("/v1/chat/completions", {"model": "gpt", "messages": MESSAGES}, **spoofed)
    assert answer.status_code == 200
    assert not stage["anthropic"].requests
    names = {name for name, _ in stage["openai"].last.headers}
    assert not {name for name in names if name.startswith(("x-ai-eg", "x-headgate", "x-envoy", "x-forwarded"))}


def test_a_spoofed_model_does_not_stand_in_for_a_missing_one(stage: Stage) -> None:
    answer = stage.post("/v1/chat/completions", {"messages": MESSAGES}, x_ai_eg_model="gpt")
    assert answer.status_code == 400
    assert not stage["openai"].requests


def test_request_ids_and_provider_headers_come_through(stage: Stage) -> None:
    answer = stage.chat("gpt")
    assert answer.headers["x-request-id"].startswith("req_openai_")
    assert answer.headers["x-ratelimit-limit-requests"] == "10000"
    assert stage.messages("claude").headers["request-id"].startswith("req_anthropic_")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500, 529])
def test_provider_errors_are_relayed_as_they_are(stage: Stage, status: int) -> None:
    body = b'{"error": {"message": "own words", "code": "insufficient_quota"} }'
    stage["openai"].answer(Raw(body=body, status=status, headers={"retry-after": "7", "x-should-retry": "false"}))
    answer = stage.chat("gpt")
    assert (answer.status_code, answer.content) == (status, body)
    assert answer.headers["retry-after"] == "7"


def test_an_errors_html_passes_as_it_is(stage: Stage) -> None:
    stage["openai"].answer(Raw(body=b"<html>", status=502, content_type="text/html"))
    answer = stage.chat("gpt")
    assert (answer.status_code, answer.text, answer.headers["content-type"]) == (502, "<html>", "text/html")


@pytest.mark.parametrize("stream", [False, True])
def test_a_web_page_instead_of_an_answer_is_a_502_in_the_clients_words(stage: Stage, stream: bool) -> None:
    page = Raw(body=b"\n<!doctype html><html>Welcome</html>", content_type="text/html; charset=utf-8")
    stage["openai"].answer(page)
    stage["anthropic"].answer(page)
    answer = stage.chat("gpt", stream=stream)
    assert (answer.status_code, answer.headers["content-type"]) == (502, "application/json")
    assert "web page" in answer.json()["error"]["message"]
    answer = stage.messages("claude", stream=stream)
    assert (answer.status_code, answer.json()["type"]) == (502, "error")
    assert "web page" in answer.json()["error"]["message"]


@pytest.mark.parametrize("body", [b' {"object":"chat.completion"}', b"data: [DONE]\n\n", b""])
def test_what_is_only_called_a_page_passes(stage: Stage, body: bytes) -> None:
    stage["openai"].answer(Raw(body=body, content_type="text/html"))
    answer = stage.chat("gpt")
    assert (answer.status_code, answer.content) == (200, body)


def test_answers_of_other_types_pass(stage: Stage) -> None:
    for kind in ("audio/mpeg", "text/plain", "application/octet-stream"):
        stage["openai"].answer(Raw(body=b"<x>", content_type=kind))
        answer = stage.chat("gpt")
        assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"<x>", kind)


def test_usage_is_asked_for_where_it_is_needed_and_hidden_again(stage: Stage) -> None:
    stream = stage.openai().chat.completions.create(model="priced", messages=MESSAGES, stream=True)
    chunks = list(stream)
    assert stage["openai"].last.json["stream_options"] == {"include_usage": True}
    assert all(chunk.choices for chunk in chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello from the provider."


def test_usage_is_left_to_a_client_that_asks_for_it(stage: Stage) -> None:
    stage["openai"].answer(Answer(usage=Usage(input=3, output=4)))
    options: Any = {"include_usage": True}
    stream = stage.openai().chat.completions.create(
        model="priced", messages=MESSAGES, stream=True, stream_options=options
    )
    chunks = list(stream)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 7


def test_usage_is_not_asked_for_where_nobody_needs_it(stage: Stage) -> None:
    list(stage.openai().chat.completions.create(model="gpt", messages=MESSAGES, stream=True))
    assert "stream_options" not in stage["openai"].last.json


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        ('{"include_usage":false}', '{"include_usage":true}'),
        ('{ "include_obfuscation" : false }', '{ "include_obfuscation" : false ,"include_usage":true}'),
        ("{}", '{"include_usage":true}'),
        ("null", '{"include_usage":true}'),
    ],
)
def test_usage_is_asked_for_beside_other_options(stage: Stage, sent: str, received: str) -> None:
    body = f'{{"model":"priced","stream":true,"stream_options":{sent},"messages":{json.dumps(MESSAGES)}}}'
    answer = stage.post("/v1/chat/completions", content=body.encode())
    assert answer.status_code == 200
    assert '"choices":[]' not in answer.text
    assert stage["openai"].last.body.decode() == body.replace(sent, received, 1)


def test_a_prompt_that_names_stream_options_changes_nothing(stage: Stage) -> None:
    body = {"model": "priced", "messages": [{"role": "user", "content": '"stream":true,"stream_options":{}'}]}
    assert stage.post("/v1/chat/completions", body).status_code == 200
    assert stage["openai"].last.json == body


@pytest.mark.parametrize("cut", ["bytes", "whole"])
def test_hiding_usage_does_not_depend_on_how_the_stream_is_cut(stage: Stage, cut: Any) -> None:
    stage["openai"].answer(Answer(text='one "usage":{ two', delivery=Delivery(cut=cut)))
    stream = stage.openai().chat.completions.create(model="priced", messages=MESSAGES, stream=True)
    chunks = list(stream)
    assert all(chunk.choices for chunk in chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == 'one "usage":{ two'


def test_first_words_do_not_wait_and_hanging_up_is_passed_on(stage: Stage) -> None:
    provider = stage["openai"]
    before = provider.disconnects
    provider.answer(Answer(delivery=Delivery(hang_after_bytes=400)))
    for model in ("gpt", "priced"):
        body = {"model": model, "messages": MESSAGES, "stream": True}
        with stage.http.stream("POST", f"{stage.url}/v1/chat/completions", json=body) as answer:
            assert b"assistant" in next(answer.iter_raw())
        before += 1
        provider.wait_for_disconnects(before)


def test_no_python_takes_part(stage: Stage) -> None:
    cluster = "headgate-extproc"
    before = stage.calls(cluster)
    for _ in range(5):
        assert stage.chat("gpt").status_code == 200
        assert stage.chat("renamed", stream=True).status_code == 200
        assert stage.messages("claude", stream=True).status_code == 200
        assert stage.chat("azure").status_code == 200
        assert stage.chat("mutated").status_code == 200
        assert stage.chat("priced", stream=True).status_code == 200
        assert stage.chat("native-translated").status_code == 200
        assert stage.chat("nobody").status_code == 404
        assert stage.http.get(f"{stage.url}/v1/models").status_code == 200
    assert stage.calls(cluster) == before
    assert stage.calls("headgate-ratelimit") == 0
    assert stage.chat("claude").status_code == 200
    assert stage.calls(cluster) == before + 1


def test_a_provider_that_hangs_is_cut_off_in_the_clients_dialect(stage: Stage) -> None:
    stage["openai"].answer(Answer(delivery=Delivery(delay_seconds=20)))
    stage["anthropic"].answer(Answer(delivery=Delivery(delay_seconds=20)))
    late = stage.chat("slow")
    assert (late.status_code, late.json()["error"]["code"]) == (504, "timeout")
    late = stage.messages("slow-claude")
    assert (late.status_code, late.json()["error"]["type"]) == (504, "timeout_error")


def test_a_provider_that_hangs_up_instead_of_answering_is_a_clean_error(stage: Stage) -> None:
    stage["openai"].answer(Raw(delivery=Delivery(reset=True)))
    stage["anthropic"].answer(Raw(delivery=Delivery(reset=True)))
    failed = stage.chat("gpt")
    assert (failed.status_code, failed.json()["error"]["code"]) == (503, "service_unavailable")
    failed = stage.messages("claude")
    assert (failed.status_code, failed.json()["error"]["type"]) == (503, "overloaded_error")


def test_a_cut_answer_is_not_passed_off_as_complete(stage: Stage) -> None:
    stage["openai"].answer(Answer(delivery=Delivery(abort_after_bytes=100)))
    for streamed in (False, True):
        with pytest.raises(httpx.RemoteProtocolError):
            stage.chat("gpt", stream=streamed)
