"""Embeddings through the real Envoy: each official client in front of each provider."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import cohere
import httpx
import openai
import pytest
from botocore.config import Config
from google.genai import Client as GoogleClient
from google.genai.types import EmbedContentConfig, HttpOptions
from support.manifests import AI, Document, backend, document, gateway, ref, route, rule, secret, target
from support.providers import OPENAI, Failure, Provider, Raw
from support.providers.operations_api import OperationsApi
from support.stage import Stage

pytestmark = pytest.mark.envoy

SDK: Any = boto3
"""It has no types."""
CREDENTIALS = "[default]\naws_access_key_id = AKID\naws_secret_access_key = secret\n"
GEMINI = OperationsApi(
    {r"/v1beta/models/[^/]+:(batchE|e)mbedContents?": "support.providers.operation_types.GeminiEmbed"},
    "x-goog-api-key",
    "{}",
)
COHERE = OperationsApi({"/v2/embed": "support.providers.operation_types.CohereEmbed"})


class _Signed(OperationsApi):
    """Bedrock, as far as this module cares: InvokeModel, signed."""

    def problems(self, received: Any, key: str, allow_unknown: bool) -> list[str]:
        del key, allow_unknown
        signed = "Credential=AKID/" in (received.header("authorization") or "")
        return [] if signed and received.path.endswith("/invoke") else [f"not a signed InvokeModel: {received.path}"]


TITAN = _Signed({}, answer_headers={"x-amzn-requestid": "r-1", "x-amzn-bedrock-input-token-count": "4"})

VECTORS = [[0.25, -0.5], [1.0, 2.0]]
ANSWERS: dict[str, Any] = {
    "openai": {
        "object": "list",
        "data": [{"object": "embedding", "index": n, "embedding": vector} for n, vector in enumerate(VECTORS)],
        "model": "m",
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    },
    "gemini": {"embeddings": [{"values": vector} for vector in VECTORS], "usageMetadata": {"promptTokenCount": 4}},
    "cohere": {
        "id": "e",
        "embeddings": {"float": VECTORS},
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 4}},
        "response_type": "embeddings_by_type",
    },
    "bedrock": {"embedding": VECTORS[0], "inputTextTokenCount": 4},
}
SINGLE: dict[str, Any] = {
    **ANSWERS,
    "openai": {**ANSWERS["openai"], "data": ANSWERS["openai"]["data"][:1]},
    "gemini": {"embeddings": [{"values": VECTORS[0]}], "usageMetadata": {"promptTokenCount": 4}},
    "cohere": {**ANSWERS["cohere"], "embeddings": {"float": VECTORS[:1]}},
}
MODELS = {"embed-openai": "openai", "embed-gemini": "gemini", "embed-cohere": "cohere"}
EVERY = pytest.mark.parametrize("model", [*MODELS])
WITH_BEDROCK = pytest.mark.parametrize("model", [*MODELS, "embed-titan"])


def _documents(stage: Stage) -> list[Document]:
    signing = {
        **target("AIServiceBackend", "bedrock"),
        "type": "AWSCredentials",
        "awsCredentials": {"region": "us-east-1", "credentialsFile": {"secretRef": {"name": "aws"}}},
    }
    return [
        *gateway({"port": stage.port}),
        secret("aws", credentials=CREDENTIALS),
        *backend("openai", stage["openai"].port, key="sk-openai"),
        *backend("gemini", stage["gemini"].port, "Gemini", key="sk-gemini"),
        *backend("cohere", stage["cohere"].port, "Cohere", key="sk-cohere"),
        *backend("bedrock", stage["bedrock"].port, "AWSBedrock"),
        document(f"{AI}/v1beta1", "BackendSecurityPolicy", "bedrock", signing),
        route(
            "models",
            [
                rule("embed-openai", ref("openai")),
                rule("embed-gemini", ref("gemini")),
                rule("embed-cohere", ref("cohere")),
                rule("embed-titan", ref("bedrock", modelNameOverride="amazon.titan-embed-text-v2:0")),
                rule("fallback", ref("cohere"), ref("gemini", priority=1)),
            ],
        ),
    ]


@pytest.fixture(scope="module")
def running() -> Iterator[Stage]:
    providers = {
        "openai": Provider(OPENAI, key="sk-openai"),
        "gemini": Provider(GEMINI, key="sk-gemini"),
        "cohere": Provider(COHERE, key="sk-cohere"),
        "bedrock": Provider(TITAN, key="AKID:secret"),
    }
    with Stage(**providers) as stage:
        stage.run(_documents(stage))
        yield stage


@pytest.fixture
def stage(running: Stage) -> Iterator[Stage]:
    running.forget()
    yield running
    running.check()


def _script(stage: Stage, model: str, answers: dict[str, Any] = ANSWERS) -> str:
    name = MODELS.get(model, "bedrock")
    stage[name].answer(Raw(body=json.dumps(answers[name]).encode()))
    return name


@EVERY
def test_openai_client(stage: Stage, model: str) -> None:
    name = _script(stage, model)

    answer = stage.openai().embeddings.create(model=model, input=["one", "two"], dimensions=2)

    assert [item.embedding for item in answer.data] == VECTORS
    assert answer.usage.prompt_tokens == 4
    assert stage[name].last.body


@WITH_BEDROCK
def test_google_client(stage: Stage, model: str) -> None:
    _script(stage, model, SINGLE)
    with httpx.Client(timeout=10) as connections:
        options = HttpOptions(base_url=stage.url, httpx_client=connections)
        client: Any = GoogleClient(api_key="client-key", http_options=options)
        config = EmbedContentConfig(task_type="RETRIEVAL_QUERY", output_dimensionality=2)
        answer = client.models.embed_content(model=model, contents="one", config=config)

    assert [list(each.values) for each in answer.embeddings] == VECTORS[:1]


@WITH_BEDROCK
def test_cohere_client(stage: Stage, model: str) -> None:
    _script(stage, model, SINGLE)
    with httpx.Client(timeout=10) as connections:
        client = cohere.ClientV2(api_key="client-key", base_url=stage.url, httpx_client=connections)
        answer: Any = client.embed(model=model, input_type="search_query", texts=["one"], embedding_types=["float"])

    assert answer.embeddings.float_ == VECTORS[:1]
    assert answer.meta.billed_units.input_tokens == 4


@EVERY
def test_aws_client_invokes_titan(stage: Stage, model: str) -> None:
    _script(stage, model, SINGLE)
    client = SDK.client(
        "bedrock-runtime",
        endpoint_url=stage.url,
        region_name="us-east-1",
        aws_access_key_id="client",
        aws_secret_access_key="client",
        config=Config(retries={"max_attempts": 1}),
    )

    answer = client.invoke_model(modelId=model, body=json.dumps({"inputText": "one"}))

    assert json.loads(answer["body"].read())["embedding"] == VECTORS[0]


def test_an_openai_client_asks_titan_one_text_at_a_time(stage: Stage) -> None:
    _script(stage, "embed-titan")

    answer = stage.openai().embeddings.create(model="embed-titan", input="one")
    with pytest.raises(openai.UnprocessableEntityError) as raised:
        stage.openai().embeddings.create(model="embed-titan", input=["one", "two"])

    assert answer.data[0].embedding == VECTORS[0]
    assert "input[1]" in str(raised.value)


def test_a_provider_that_fails_is_followed_by_one_of_another_dialect(stage: Stage) -> None:
    stage["cohere"].answer(Failure(503, "busy"))
    stage["gemini"].answer(Raw(body=json.dumps(ANSWERS["gemini"]).encode()))

    answer = stage.openai().embeddings.create(model="fallback", input=["one", "two"], encoding_format="float")

    assert [item.embedding for item in answer.data] == VECTORS


def test_a_loss_is_told(stage: Stage) -> None:
    _script(stage, "embed-cohere", SINGLE)

    answer = stage.post("/v1/embeddings", {"model": "embed-cohere", "input": "one"})

    assert answer.headers["x-headgate-losses"].startswith("task_type;emulated")


def test_usage_is_logged(stage: Stage) -> None:
    _script(stage, "embed-gemini")
    answer = stage.post(
        "/v1/embeddings", {"model": "embed-gemini", "input": ["logged", "two"]}, x_request_id="logged-1"
    )

    (entry, *_) = stage.access(lambda line: "/v1/embeddings" in json.dumps(line) and "embed-gemini" in json.dumps(line))

    assert answer.status_code == 200
    assert '"input_tokens": 4' in json.dumps(entry).replace("4.0", "4")
