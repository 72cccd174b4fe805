"""Paths to endpoints: prefixes, bare paths, queries."""

import pytest
from headgate.llm.endpoints import ENDPOINTS, Body, PathFacts, Prefixes, endpoint_named, lookup, path_facts, paths
from headgate.llm.names import DialectName, Operation


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/chat/completions", "chat-completions"),
        ("/v1/chat/completions?api-version=1", "chat-completions"),
        ("/anthropic/v1/messages", "messages"),
        ("/v1/messages", "messages"),
        ("/v1/messages?beta=true", "messages"),
        ("/anthropic/v1/messages/count_tokens", "count-tokens"),
        ("/v1/messages/count_tokens", "count-tokens"),
        ("/cohere/v2/rerank", "rerank"),
        ("/v2/rerank", "rerank"),
        ("/v1/models", "models"),
        ("/anthropic/v1/models", "anthropic-models"),
        ("/tokenize", "tokenize"),
        ("/v1/audio/transcriptions", "audio-transcriptions"),
    ],
)
def test_path_is_served(path: str, name: str) -> None:
    endpoint = lookup(path)

    assert endpoint is not None
    assert endpoint.name == name
    assert endpoint_named(name) is endpoint


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/chat", "/v1/messages/", "/anthropic", "/v1/Messages", "/v2/x"])
def test_path_is_not_served(path: str) -> None:
    assert lookup(path) is None


def test_prefixes_move_endpoints() -> None:
    served = paths(Prefixes(root="/ai", openai="/oa", anthropic="/claude", cohere=""))

    assert served["/ai/oa/v1/chat/completions"].name == "chat-completions"
    assert served["/ai/claude/v1/messages"].name == "messages"
    assert served["/ai/v1/messages"].name == "messages"
    assert served["/ai/v2/rerank"].name == "rerank"
    assert "/v1/chat/completions" not in served


def test_a_prefixed_path_wins_over_a_bare_one() -> None:
    served = paths(Prefixes(anthropic=""))

    assert served["/v1/models"].dialect is DialectName.OPENAI_CHAT
    assert served["/v1/messages"].name == "messages"


def test_names_and_operations_are_distinct_where_it_matters() -> None:
    assert len({endpoint.name for endpoint in ENDPOINTS}) == len(ENDPOINTS)
    local = [endpoint for endpoint in ENDPOINTS if endpoint.local]
    assert {endpoint.operation for endpoint in local} == {Operation.MODELS}
    assert all((endpoint.body is Body.NONE) == endpoint.local for endpoint in ENDPOINTS)
    assert all(endpoint.suffix.startswith("/") for endpoint in ENDPOINTS if not endpoint.local)


@pytest.mark.parametrize(
    ("path", "name", "facts"),
    [
        (
            "/v1beta/models/gemini-2.5-pro:generateContent?key=x",
            "generate-content",
            PathFacts("gemini-2.5-pro", False, "key=x"),
        ),
        (
            "/gemini/v1beta/models/a%2Fb:streamGenerateContent?alt=sse",
            "stream-generate-content",
            PathFacts("a/b", True, "alt=sse"),
        ),
        ("/v1/models/gemini-2.5-pro:generateContent", "generate-content", PathFacts("gemini-2.5-pro")),
        ("/model/anthropic.claude-v1:0/converse", "converse", PathFacts("anthropic.claude-v1:0")),
        ("/bedrock/model/arn%3Aaws/converse-stream", "converse-stream", PathFacts("arn:aws", True)),
        ("/v1/chat/completions?x=1", "chat-completions", PathFacts(query="x=1")),
    ],
)
def test_a_path_may_name_the_model(path: str, name: str, facts: PathFacts) -> None:
    endpoint = lookup(path)

    assert endpoint is not None
    assert endpoint.name == name
    assert path_facts(endpoint, path) == facts


@pytest.mark.parametrize(
    "path",
    ["/v1/models/llama3:latest", "/v1beta/models/:generateContent", "/v1beta/models/a/b:generateContent", "/model/x"],
)
def test_a_path_without_one_model_is_not_served(path: str) -> None:
    assert lookup(path) is None
