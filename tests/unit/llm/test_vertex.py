"""What Vertex AI is sent: paths with project and location, Anthropic's body in its envelope."""

import json
from typing import Any

import pytest
from headgate.contract.facts import BackendFacts
from headgate.llm.endpoints import lookup
from headgate.llm.errors import RequestError
from headgate.llm.exchange import Plan
from headgate.llm.planning import plan

PREFIX = "/v1/projects/p/locations/us-east5"
PLACE = {"project": "p", "region": "us-east5"}


def _plan(path: str, dialect: str, **more: Any) -> Plan:
    endpoint = lookup(path)
    assert endpoint is not None
    values: dict[str, Any] = {**PLACE, **more}
    return plan(endpoint, BackendFacts(name="b", dialect=dialect, host="vertex", prefix="", **values))


def _messages(**members: Any) -> bytes:
    body = {"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], **members}
    return json.dumps(body).encode()


@pytest.mark.parametrize(("stream", "method"), [(False, "rawPredict"), (True, "streamRawPredict")])
def test_messages_are_relayed_in_an_envelope(stream: bool, method: str) -> None:
    relay = _plan("/v1/messages", "anthropic-messages", model="claude-sonnet-4@20250514")

    request = relay.translate_request(_messages(stream=stream), {})

    assert relay.lane == "relay"
    assert request.path == f"{PREFIX}/publishers/anthropic/models/claude-sonnet-4@20250514:{method}"
    body = json.loads(request.body)
    assert body.pop("anthropic_version") == "vertex-2023-10-16"
    assert body == {"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], "stream": stream}


def test_the_version_is_the_backends_if_it_has_one() -> None:
    relay = _plan("/v1/messages", "anthropic-messages", version="vertex-2030-01-01")

    request = relay.translate_request(_messages(), {})

    assert json.loads(request.body)["anthropic_version"] == "vertex-2030-01-01"


@pytest.mark.parametrize("model", ["claude-haiku-4-5@latest", "claude-haiku-4-5@default", "claude-haiku-4-5"])
def test_tokens_are_counted_at_a_path_of_their_own(model: str) -> None:
    relay = _plan("/v1/messages/count_tokens", "anthropic-messages", model=model)

    request = relay.translate_request(b'{"model":"x","messages":[{"role":"user","content":"Hi"}]}', {})

    assert request.path == f"{PREFIX}/publishers/anthropic/models/count-tokens:rawPredict"
    body = json.loads(request.body)
    assert body["model"] == "claude-haiku-4-5"
    assert body["anthropic_version"] == "vertex-2023-10-16"


def test_chat_is_bridged_to_claude() -> None:
    bridge = _plan("/v1/chat/completions", "anthropic-messages", model="claude-opus-4-6")

    request = bridge.translate_request(b'{"model":"x","messages":[{"role":"user","content":"Hi"}],"stream":true}', {})

    assert request.path == f"{PREFIX}/publishers/anthropic/models/claude-opus-4-6:streamRawPredict"
    body = json.loads(request.body)
    assert "model" not in body
    assert body["anthropic_version"] == "vertex-2023-10-16"
    assert body["stream"] is True


def test_gemini_is_at_its_own_publisher() -> None:
    bridge = _plan("/v1/chat/completions", "gemini", model="gemini-2.5-flash")

    request = bridge.translate_request(b'{"model":"x","messages":[{"role":"user","content":"Hi"}],"stream":true}', {})

    assert request.path == f"{PREFIX}/publishers/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse"


def test_without_a_project_keys_of_express_mode_go_to_the_publisher() -> None:
    bridge = _plan("/v1/chat/completions", "gemini", model="gemini-2.5-flash", project="", region="")

    request = bridge.translate_request(b'{"model":"x","messages":[{"role":"user","content":"Hi"}]}', {})

    assert request.path == "/v1/publishers/google/models/gemini-2.5-flash:generateContent"


def test_a_model_cannot_name_another_path() -> None:
    bridge = _plan("/v1/chat/completions", "gemini")

    request = bridge.translate_request(b'{"model":"../../x","messages":[{"role":"user","content":"Hi"}]}', {})
    assert request.path == f"{PREFIX}/publishers/google/models/..%2F..%2Fx:generateContent"
    with pytest.raises(RequestError):
        bridge.translate_request(b'{"model":"..","messages":[{"role":"user","content":"Hi"}]}', {})
