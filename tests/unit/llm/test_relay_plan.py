"""Staying in one dialect in the extproc lane."""

import json
from typing import Any

import pytest
from headgate.contract.facts import BackendFacts
from headgate.llm.endpoints import lookup
from headgate.llm.errors import RequestError, UpstreamError
from headgate.llm.exchange import Plan
from headgate.llm.planning import plan
from headgate.llm.usage import Usage

SPACED = b'{ "model" : "asked", "messages":[ {"role":"user","content":"Hi"} ], "new_thing":1.50 }'


def _plan(path: str, dialect: str = "openai-chat", **facts: Any) -> Plan:
    endpoint = lookup(path)
    assert endpoint is not None
    given: dict[str, Any] = {"name": "b", "dialect": dialect, **facts}
    return plan(endpoint, BackendFacts(**given))


def test_bytes_pass_unchanged() -> None:
    request = _plan("/v1/chat/completions").translate_request(SPACED, {":path": "/v1/chat/completions?x=1"})

    assert request.body is SPACED
    assert request.path == "/v1/chat/completions?x=1"
    assert (request.original_model, request.request_model) == ("asked", "asked")


def test_only_the_model_changes() -> None:
    request = _plan("/v1/chat/completions", model="other").translate_request(SPACED, {})

    assert request.body == SPACED.replace(b'"asked"', b'"other"')
    assert request.request_model == "other"


def test_azure_keeps_both_queries() -> None:
    chosen = _plan("/v1/chat/completions", host="azure", version="2024-10-21", model="a b")

    request = chosen.translate_request(SPACED, {":path": "/v1/chat/completions?y=2"})

    assert request.path == "/openai/deployments/a%20b/chat/completions?api-version=2024-10-21&y=2"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"content-type": "application/json"}, {"anthropic-version": "2023-06-01"}),
        ({"anthropic-version": "2023-01-01"}, {}),
    ],
)
def test_anthropic_version_is_added_where_the_client_has_none(
    headers: dict[str, str], expected: dict[str, str]
) -> None:
    request = _plan("/v1/messages", "anthropic-messages").translate_request(SPACED, headers)

    assert request.headers == expected


def test_usage_is_asked_for_and_hidden_again() -> None:
    chosen = _plan("/v1/chat/completions")
    request = chosen.translate_request(b'{"model":"m","messages":[],"stream":true}', {})
    assert json.loads(request.body)["stream_options"] == {"include_usage": True}
    chunk = b'data: {"id":"c","model":"n","choices":[{"index":0,"delta":{"content":"x"}}],"usage":null}\n\n'
    usage = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n\n'
    done = b"data: [DONE]\n\n"

    translation = chosen.open_response(request, 200, {"content-type": "text/event-stream"}, 1)
    out = b"".join(translation.feed(piece) for piece in (chunk, usage, done)) + translation.close()

    assert b"prompt_tokens" not in out
    assert out.endswith(done)
    assert (translation.usage, translation.response_model) == (Usage(input=1, output=2, total=3), "n")


def test_usage_of_a_server_that_does_not_stream_is_read() -> None:
    chosen = _plan("/v1/chat/completions")
    request = chosen.translate_request(b'{"model":"m","stream":true}', {})
    body = b'{"model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}'
    translation = chosen.open_response(request, 200, {"content-type": "application/json"}, 0)

    assert translation.feed(body) + translation.close() == body
    assert translation.usage == Usage(input=1, output=2, total=3)


def test_json_errors_pass_and_pages_become_errors() -> None:
    chosen = _plan("/v1/messages", "anthropic-messages")
    request = chosen.translate_request(b'{"model":"m"}', {})

    relayed = chosen.open_response(request, 429, {"content-type": "application/json"}, 1)
    assert relayed.feed(b'{"any":1}') + relayed.close() == b'{"any":1}'

    page = chosen.open_response(request, 503, {"content-type": "text/html"}, 1)
    body = json.loads(page.feed(b"<html>busy</html>") + page.close())
    assert body["type"] == "error"
    assert body["error"]["type"] == "overloaded_error"
    assert "busy" in body["error"]["message"]
    assert page.headers == {"content-type": "application/json"}


def test_html_with_status_200_is_the_providers_fault() -> None:
    chosen = _plan("/v1/chat/completions")
    request = chosen.translate_request(SPACED, {})

    with pytest.raises(UpstreamError):
        chosen.open_response(request, 200, {"content-type": "text/html"}, 1)


def test_multipart_model_is_read_and_overridden() -> None:
    body = (
        b'--B\r\ncontent-disposition: form-data; name="model"\r\n\r\nwhisper\r\n--B\r\n'
        b'content-disposition: form-data; name="file"; filename="a"\r\n\r\n\x00\xff\r\n--B--\r\n'
    )
    chosen = _plan("/v1/audio/transcriptions", model="other")

    request = chosen.translate_request(body, {"content-type": "multipart/form-data; boundary=B"})

    assert request.original_model == "whisper"
    assert request.body == body.replace(b"whisper", b"other")
    with pytest.raises(RequestError):
        chosen.translate_request(body, {"content-type": "application/json"})


def test_a_relayed_count_says_who_has_counted() -> None:
    chosen = _plan("/v1/messages/count_tokens", "anthropic-messages")
    request = chosen.translate_request(SPACED, {})
    translation = chosen.open_response(request, 200, {"content-type": "application/json"}, 0)

    assert translation.headers == {"x-headgate-count-source": "provider"}
    assert chosen.open_response(request, 400, {"content-type": "application/json"}, 0).headers == {}
