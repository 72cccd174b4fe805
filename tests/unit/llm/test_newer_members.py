"""Members that providers added of late, and what other dialects have for them."""

import json
from typing import Any

import pytest
from headgate.contract.facts import BackendFacts
from headgate.llm.endpoints import lookup
from headgate.llm.errors import RequestError
from headgate.llm.exchange import UpstreamRequest
from headgate.llm.planning import plan
from support.chat_goldens import CREATED, ask

GEMINI = "/v1beta/models/m:generateContent"
ASKED: dict[str, dict[str, Any]] = {
    "/v1/messages": {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]},
    "/v1/chat/completions": {"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
    "/v1/responses": {"model": "m", "input": "Hi"},
    GEMINI: {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
}
MODELS = {
    "anthropic-messages": "claude-opus-4-6",
    "openai-chat": "gpt-5.6",
    "openai-responses": "gpt-5.6",
    "gemini": "gemini-2.5-flash",
    "bedrock-converse": "anthropic.claude-opus-4-6-v1",
    "cohere": "command-a-03-2025",
}


def _sent(path: str, dialect: str, **members: Any) -> tuple[dict[str, Any], UpstreamRequest]:
    endpoint = lookup(path)
    assert endpoint is not None
    facts: dict[str, Any] = {"host": "bedrock"} if dialect == "bedrock-converse" else {}
    chosen = plan(endpoint, BackendFacts(name="b", dialect=dialect, model=MODELS[dialect], **facts))  # type: ignore[arg-type]
    request = chosen.translate_request(json.dumps({**ASKED[path], **members}).encode(), {":path": path})
    return json.loads(request.body), request


FAST = {
    "anthropic-messages": ("service_tier", "auto"),
    "openai-chat": ("service_tier", "fast"),
    "openai-responses": ("service_tier", "fast"),
    "gemini": ("serviceTier", "priority"),
    "bedrock-converse": ("serviceTier", {"type": "priority"}),
}


@pytest.mark.parametrize("dialect", FAST)
def test_fast_is_asked_for_wherever_it_can_be_had(dialect: str) -> None:
    """OpenAI's `fast` is its `priority` under a newer name; Claude's fast mode is a member of its own."""
    name, value = FAST[dialect]
    asked: list[tuple[str, dict[str, str]]] = [("/v1/messages", {"speed": "fast"})]
    asked += [(path, {"service_tier": "fast"}) for path in ("/v1/chat/completions", "/v1/responses")]
    for path, members in asked:
        if path == "/v1/messages" and dialect == "anthropic-messages":
            continue
        body, request = _sent(path, dialect, **members)
        assert body[name] == value, path
        assert "service_tier" not in [loss.path for loss in request.losses]


@pytest.mark.parametrize("tier", ["flex", "priority"])
def test_googles_tiers_go_both_ways(tier: str) -> None:
    assert _sent(GEMINI, "openai-chat", serviceTier=tier)[0]["service_tier"] == tier
    assert _sent("/v1/chat/completions", "gemini", service_tier=tier)[0]["serviceTier"] == tier


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_the_usual_tier_is_nothing_to_ask_google_for(path: str) -> None:
    word = "standard_only" if path == "/v1/messages" else "default"
    body, request = _sent(path, "gemini", service_tier=word)
    assert "serviceTier" not in body
    assert not request.losses


def test_the_tier_that_ai_studio_served_is_told() -> None:
    plan_, request = ask("openai-chat", "gemini")
    answer = {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "Hi"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "serviceTier": "priority"},
    }
    translation = plan_.open_response(request, 200, {"content-type": "application/json"}, CREATED)
    told = json.loads(translation.feed(json.dumps(answer).encode()) + translation.close())
    assert told["service_tier"] == "priority"


KEPT_ELSEWHERE = [
    ("/v1/messages", "compaction", {"type": "compaction"}),
    ("/v1/messages", "thread", {"type": "continue", "previous_message_id": "msg_1"}),
    (GEMINI, "cachedContent", "cachedContents/1"),
    (GEMINI, "continuationToken", "dG9rZW4="),
]


@pytest.mark.parametrize("dialect", ["openai-chat", "bedrock-converse", "cohere"])
@pytest.mark.parametrize(("path", "name", "value"), KEPT_ELSEWHERE)
def test_what_would_be_another_question_without_its_provider_is_refused(
    path: str, name: str, value: Any, dialect: str
) -> None:
    with pytest.raises(RequestError, match="which this backend is not") as refused:
        _sent(path, dialect, **{name: value})

    assert (refused.value.path, refused.value.status) == (name, 400)


@pytest.mark.parametrize(("path", "name"), [(path, name) for path, name, _ in KEPT_ELSEWHERE])
def test_null_asks_for_nothing(path: str, name: str) -> None:
    body, _ = _sent(path, "openai-chat", **{name: None})
    assert name not in body


MARK = {"type": "ephemeral", "ttl": "1h"}


def test_a_mark_for_the_whole_request_stands_at_its_last_block() -> None:
    body, request = _sent("/v1/messages", "bedrock-converse", cache_control=MARK)
    assert body["messages"][0]["content"][-1] == {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert not request.losses


def test_a_mark_for_the_whole_request_leaves_the_last_blocks_own() -> None:
    block = {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}
    messages = [{"role": "user", "content": [block]}]
    body, _ = _sent("/v1/messages", "bedrock-converse", cache_control=MARK, messages=messages)
    points = [part["cachePoint"] for part in body["messages"][0]["content"] if "cachePoint" in part]
    assert points == [{"type": "default"}]


@pytest.mark.parametrize("dialect", ["gemini", "cohere"])
def test_a_mark_for_the_whole_request_is_no_loss_where_caches_go_by_prefix(dialect: str) -> None:
    _, request = _sent("/v1/messages", dialect, cache_control=MARK)
    assert {loss.action for loss in request.losses} == {"emulated"}


def test_chats_options_of_the_prompt_cache_are_those_of_responses() -> None:
    options = {"mode": "explicit", "ttl": "30m"}
    body, request = _sent("/v1/chat/completions", "openai-responses", prompt_cache_options=options)
    assert body["prompt_cache_options"] == options
    assert not request.losses
