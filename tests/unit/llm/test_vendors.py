"""Whose server it is, and what follows."""

import json
from typing import Any

import pytest
from headgate.contract.facts import BackendFacts
from headgate.llm.endpoints import endpoint_named
from headgate.llm.names import Operation
from headgate.llm.planning import lane_for, plan
from headgate.llm.vendors import VENDORS, vendor_at, vendor_named


@pytest.mark.parametrize(
    ("host", "vendor"),
    [
        ("api.mistral.ai", "Mistral"),
        ("API.Groq.com:443", "Groq"),
        ("eu.api.deepseek.com.", "DeepSeek"),
        ("notapi.mistral.ai", ""),
        ("api.openai.com", "OpenAI"),
        ("vllm.default.svc", ""),
    ],
)
def test_a_host_name_tells_the_vendor(host: str, vendor: str) -> None:
    assert vendor_at((host,)) == vendor


def test_a_name_nobody_knows_deviates_nowhere() -> None:
    assert vendor_named("Nobody").lacks == frozenset()


def test_every_vendor_serves_chat() -> None:
    for vendor in VENDORS:
        assert Operation.CHAT not in vendor.lacks
        assert not vendor.refuses & {"model", "messages", "tools", "stream", "max_tokens"}


@pytest.mark.parametrize(
    ("endpoint", "vendor", "lane"),
    [
        ("responses", "", "relay"),
        ("responses", "Groq", "relay"),
        ("responses", "Mistral", "bridge"),
        ("responses", "ChatCompletions", "bridge"),
        ("chat-completions", "Mistral", "relay"),
        ("embeddings", "Mistral", "relay"),
    ],
)
def test_what_a_vendor_lacks_is_bridged(endpoint: str, vendor: str, lane: str) -> None:
    row = endpoint_named(endpoint)
    assert row is not None

    assert lane_for(row, "openai-chat", vendor) == lane


def _sent(vendor: str, **members: Any) -> tuple[dict[str, Any], list[str]]:
    row = endpoint_named("responses")
    assert row is not None
    facts = BackendFacts(name="b", dialect="openai-chat", vendor=vendor)
    body = json.dumps({"model": "m", "input": "Hi", **members}).encode()
    request = plan(row, facts).translate_request(body, {})
    return json.loads(request.body), [loss.path for loss in request.losses]


def test_members_a_vendor_refuses_are_left_out_and_reported() -> None:
    body, losses = _sent("Mistral", user="u", max_output_tokens=9, top_logprobs=2, stream=True)

    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 9,
        "stream": True,
    }
    assert losses == ["top_logprobs", "user"]


def test_other_servers_are_asked_for_usage() -> None:
    body, losses = _sent("ChatCompletions", stream=True)

    assert body["stream_options"] == {"include_usage": True}
    assert losses == []
