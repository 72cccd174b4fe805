"""Token counts and rankings through the real Envoy, asked by each official client.

The provider answers where it has a way, else the gateway does.
"""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import cohere
import httpx
import pytest
from botocore.config import Config
from google.genai import Client as GoogleClient
from google.genai.types import HttpOptions
from support.manifests import Document, backend, gateway, ref, route, rule
from support.providers import OPENAI, Provider, Raw
from support.providers.operations_api import OperationsApi
from support.stage import Stage

pytestmark = pytest.mark.envoy

SDK: Any = boto3
"""It has no types."""
ANTHROPIC = OperationsApi(
    {"/v1/messages/count_tokens": "anthropic.types.message_count_tokens_params.MessageCountTokensParams"},
    "x-api-key",
    "{}",
)
GEMINI = OperationsApi({r"/v1beta/models/[^/]+:countTokens": ""}, "x-goog-api-key", "{}")
RANKER = OperationsApi({"/v1/rerank": ""})
COHERE = OperationsApi({"/v2/rerank": ""})
RANKED = {"results": [{"index": 1, "relevance_score": 0.75}, {"index": 0, "relevance_score": 0.25}]}


def _documents(stage: Stage) -> list[Document]:
    return [
        *gateway({"port": stage.port}),
        *backend("openai", stage["openai"].port, key="sk-openai"),
        *backend("anthropic", stage["anthropic"].port, "Anthropic", key="sk-anthropic"),
        *backend("gemini", stage["gemini"].port, "Gemini", key="sk-gemini"),
        *backend("ranker", stage["ranker"].port, key="sk-ranker"),
        *backend("cohere", stage["cohere"].port, "Cohere", key="sk-cohere"),
        route(
            "models",
            [
                rule("gpt-4o", ref("openai")),
                rule("llama", ref("openai")),
                rule("claude", ref("anthropic")),
                rule("gemini", ref("gemini")),
                rule("rank-vllm", ref("ranker")),
                rule("rank-cohere", ref("cohere")),
            ],
        ),
    ]


@pytest.fixture(scope="module")
def running() -> Iterator[Stage]:
    providers = {
        "openai": Provider(OPENAI, key="sk-openai"),
        "anthropic": Provider(ANTHROPIC, key="sk-anthropic"),
        "gemini": Provider(GEMINI, key="sk-gemini"),
        "ranker": Provider(RANKER, key="sk-ranker"),
        "cohere": Provider(COHERE, key="sk-cohere"),
    }
    with Stage(**providers) as stage:
        stage.run(_documents(stage))
        yield stage


@pytest.fixture
def stage(running: Stage) -> Iterator[Stage]:
    running.forget()
    running["anthropic"].answer(Raw(body=b'{"input_tokens":42}'))
    running["gemini"].answer(Raw(body=b'{"totalTokens":42}'))
    yield running
    running.check()


def _bedrock(stage: Stage) -> Any:
    return SDK.client(
        "bedrock-runtime",
        endpoint_url=stage.url,
        region_name="us-east-1",
        aws_access_key_id="client",
        aws_secret_access_key="client",
    )


COUNTS = pytest.mark.parametrize(
    ("model", "tokens", "source"), [("claude", 42, "provider"), ("gemini", 42, "provider"), ("gpt-4o", 8, "exact")]
)


@COUNTS
def test_anthropic_client_counts(stage: Stage, model: str, tokens: int, source: str) -> None:
    messages: Any = [{"role": "user", "content": "hi"}]

    answer = stage.anthropic().messages.with_raw_response.count_tokens(model=model, messages=messages)

    assert answer.parse().input_tokens == tokens
    # who speaks the backend's own dialect is relayed, and told by nobody
    assert answer.headers.get("x-headgate-count-source") == (None if model == "claude" else source)


@pytest.mark.parametrize("model", ["claude", "gemini"])
def test_openai_client_counts(stage: Stage, model: str) -> None:
    answer = stage.openai().responses.input_tokens.count(model=model, input="hi")

    assert answer.input_tokens == 42


@COUNTS
def test_google_client_counts(stage: Stage, model: str, tokens: int, source: str) -> None:
    with httpx.Client(timeout=10) as connections:
        options = HttpOptions(base_url=stage.url, httpx_client=connections)
        client: Any = GoogleClient(api_key="client-key", http_options=options)
        answer = client.models.count_tokens(model=model, contents="hi")

    assert answer.total_tokens == tokens
    assert source


@COUNTS
def test_aws_client_counts(stage: Stage, model: str, tokens: int, source: str) -> None:
    conversation = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}

    answer = _bedrock(stage).count_tokens(modelId=model, input={"converse": conversation})

    assert answer["inputTokens"] == tokens
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-headgate-count-source"] == source


def test_a_model_whose_tokenizer_is_not_known_is_estimated(stage: Stage) -> None:
    messages = [{"role": "user", "content": "hi"}]

    answer = stage.post("/v1/messages/count_tokens", {"model": "llama", "messages": messages})

    assert answer.json() == {"input_tokens": 8}
    assert answer.headers["x-headgate-count-source"] == "estimated"
    assert stage["openai"].requests == []


def test_a_count_that_is_none_is_refused_in_the_clients_words(stage: Stage) -> None:
    answer = stage.post("/v1/messages/count_tokens", {"model": "gpt-4o", "messages": []})

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(("model", "provider"), [("rank-vllm", "ranker"), ("rank-cohere", "cohere")])
def test_cohere_client_ranks(stage: Stage, model: str, provider: str) -> None:
    stage[provider].answer(Raw(body=json.dumps({"id": "r", **RANKED}).encode()))
    with httpx.Client(timeout=10) as connections:
        client = cohere.ClientV2(api_key="client-key", base_url=stage.url, httpx_client=connections)
        answer = client.rerank(model=model, query="q", documents=["one", "two"])

    assert [(result.index, result.relevance_score) for result in answer.results] == [(1, 0.75), (0, 0.25)]


@pytest.mark.parametrize(("model", "provider"), [("rank-vllm", "ranker"), ("rank-cohere", "cohere")])
def test_jina_clients_are_ranked(stage: Stage, model: str, provider: str) -> None:
    stage[provider].answer(Raw(body=json.dumps({"id": "r", **RANKED}).encode()))

    answer = stage.post("/v1/rerank", {"model": model, "query": "q", "documents": ["one", "two"]})

    assert [result["index"] for result in answer.json()["results"]] == [1, 0]


@pytest.mark.parametrize(("model", "provider"), [("rank-vllm", "ranker"), ("rank-cohere", "cohere")])
def test_aws_client_ranks(stage: Stage, model: str, provider: str) -> None:
    """By the agent runtime's `Rerank`, which names the model deep inside."""
    stage[provider].answer(Raw(body=json.dumps({"id": "r", **RANKED}).encode()))
    client = SDK.client(
        "bedrock-agent-runtime",
        endpoint_url=f"{stage.url}/bedrock",
        region_name="us-east-1",
        aws_access_key_id="client",
        aws_secret_access_key="client",
        config=Config(retries={"total_max_attempts": 1}),
    )

    def rank(arn: str) -> Any:
        sources = [
            {"type": "INLINE", "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": text}}}
            for text in ("one", "two")
        ]
        chosen = {"modelConfiguration": {"modelArn": arn}, "numberOfResults": 2}
        return client.rerank(
            queries=[{"type": "TEXT", "textQuery": {"text": "q"}}],
            sources=sources,
            rerankingConfiguration={"type": "BEDROCK_RERANKING_MODEL", "bedrockRerankingConfiguration": chosen},
        )["results"]

    ranked = rank(f"arn:aws:bedrock:us-east-1::foundation-model/{model}")

    assert [(result["index"], result["relevanceScore"]) for result in ranked] == [(1, 0.75), (0, 0.25)]
    assert stage[provider].last.json == {"model": model, "query": "q", "documents": ["one", "two"], "top_n": 2}
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="nobody"):
        rank("arn:aws:bedrock:us-east-1::foundation-model/nobody")
