"""Which lane serves a pair, and at which path."""

import pytest
from headgate.contract.facts import BackendFacts
from headgate.llm import planning
from headgate.llm.endpoints import ENDPOINTS, Endpoint, endpoint_named
from headgate.llm.errors import RequestError, UnsupportedTranslation
from headgate.llm.hosts import azure, bedrock
from headgate.llm.hosts.host import Asked
from headgate.llm.hosts.table import HOSTS
from headgate.llm.names import DialectName, HostName
from headgate.llm.planning import lane_for, plan


def _endpoint(name: str) -> Endpoint:
    endpoint = endpoint_named(name)
    assert endpoint is not None
    return endpoint


def _facts(dialect: str, **more: str) -> BackendFacts:
    return BackendFacts(**{"name": "b", "dialect": dialect, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("endpoint", "dialect", "lane"),
    [
        ("chat-completions", "openai-chat", "relay"),
        ("chat-completions", "anthropic-messages", "bridge"),
        ("messages", "anthropic-messages", "relay"),
        ("messages", "openai-chat", "bridge"),
        ("count-tokens", "anthropic-messages", "relay"),
        ("count-tokens", "openai-chat", "bridge"),
        ("jina-rerank", "openai-chat", "relay"),
        ("jina-rerank", "cohere", "bridge"),
        ("embeddings", "openai-chat", "relay"),
        ("responses", "openai-chat", "relay"),
        ("responses", "anthropic-messages", "bridge"),
        ("responses", "openai-responses", "relay"),
        ("chat-completions", "openai-responses", "bridge"),
        ("responses-input-tokens", "anthropic-messages", "bridge"),
        ("embeddings", "anthropic-messages", None),
        ("rerank", "cohere", "relay"),
        ("rerank", "openai-chat", "bridge"),
        ("chat-completions", "gemini", "bridge"),
        ("generate-content", "openai-chat", "bridge"),
        ("stream-generate-content", "gemini", "relay"),
        ("embeddings", "gemini", "bridge"),
        ("models", "openai-chat", None),
    ],
)
def test_lane(endpoint: str, dialect: str, lane: str | None) -> None:
    assert lane_for(_endpoint(endpoint), dialect) == lane
    assert lane_for(_endpoint(endpoint), DialectName(dialect)) == lane


def test_every_lane_has_a_plan_and_no_lane_has_none() -> None:
    for endpoint in ENDPOINTS:
        for dialect in DialectName:
            lane = lane_for(endpoint, dialect)
            if lane is None:
                with pytest.raises(UnsupportedTranslation) as refused:
                    plan(endpoint, _facts(dialect))
                assert refused.value.status == 422
            else:
                assert plan(endpoint, _facts(dialect)).lane == lane


def test_a_plan_is_made_once_per_distinct_facts() -> None:
    endpoint = _endpoint("chat-completions")

    facts = _facts("anthropic-messages")
    assert plan(endpoint, facts) is plan(endpoint, facts)
    assert plan(endpoint, _facts("anthropic-messages")) is not plan(endpoint, _facts("openai-chat"))
    reject = BackendFacts(name="b", dialect="anthropic-messages", losses="reject")
    assert plan(endpoint, reject) is not plan(endpoint, facts)


def test_so_many_plans_are_kept_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "PLANS_MAX", 2)
    endpoint = _endpoint("chat-completions")
    several = [BackendFacts(name=f"b{number}", dialect="anthropic-messages") for number in range(3)]

    plans = [plan(endpoint, facts) for facts in several]

    assert plan(endpoint, several[2]) is plans[2]
    assert plan(endpoint, several[0]) is not plans[0], "it was forgotten"
    assert plan(endpoint, several[0]).facts is several[0]


def test_a_dialect_that_a_host_does_not_serve_is_refused() -> None:
    with pytest.raises(UnsupportedTranslation):
        plan(_endpoint("messages"), _facts("openai-chat", host="bedrock"))


@pytest.mark.parametrize(
    ("endpoint", "facts", "path"),
    [
        ("chat-completions", _facts("openai-chat"), "/v1/chat/completions"),
        ("chat-completions", _facts("openai-chat", prefix=""), "/chat/completions"),
        ("chat-completions", _facts("openai-chat", prefix="/openai/v1"), "/openai/v1/chat/completions"),
        ("messages", _facts("anthropic-messages", prefix="/anthropic/v1"), "/anthropic/v1/messages"),
        ("count-tokens", _facts("anthropic-messages", prefix="/x/v1"), "/x/v1/messages/count_tokens"),
        ("rerank", _facts("cohere", prefix="/v2"), "/v2/rerank"),
        ("tokenize", _facts("openai-chat"), "/tokenize"),
        (
            "chat-completions",
            _facts("openai-chat", host="azure", version="2024-10-21"),
            "/openai/deployments/asked/chat/completions?api-version=2024-10-21",
        ),
        (
            "embeddings",
            _facts("openai-chat", host="azure", version="2024-10-21", model="my model/1"),
            "/openai/deployments/my%20model%2F1/embeddings?api-version=2024-10-21",
        ),
        ("responses", _facts("openai-chat", host="azure", version="p&q"), "/openai/responses?api-version=p%26q"),
        ("chat-completions", _facts("openai-chat", host="azure", version="v1"), "/openai/v1/chat/completions"),
        ("converse", _facts("bedrock-converse", host="bedrock", prefix=""), "/model/asked/converse"),
        (
            "converse-stream",
            _facts("bedrock-converse", host="bedrock", prefix="", model="a.b-v1:0"),
            "/model/a.b-v1%3A0/converse-stream",
        ),
        ("messages", _facts("anthropic-messages", host="bedrock", prefix=""), "/model/asked/invoke"),
        ("chat-completions", _facts("openai-chat", host="azure"), "/openai/v1/chat/completions"),
    ],
)
def test_where_a_host_serves_an_endpoint(endpoint: str, facts: BackendFacts, path: str) -> None:
    host = HOSTS[HostName(facts.host)]
    assert host.place(_endpoint(endpoint), facts, Asked(facts.model or "asked")) == path


@pytest.mark.parametrize("model", [".", ".."])
def test_no_deployment_is_a_dot_segment(model: str) -> None:
    """It would name another path of Azure's, which is called with the operator's key."""
    facts = _facts("openai-chat", host="azure", version="2024-10-21")
    with pytest.raises(RequestError):
        azure.place(_endpoint("chat-completions"), facts, Asked(model))
    with pytest.raises(RequestError):
        bedrock.place(_endpoint("converse"), _facts("bedrock-converse", host="bedrock"), Asked(model))
