"""Vendors that embed and rank in words of their own, through the real Envoy: official clients get what they ask for."""

import json
from collections.abc import Iterator
from typing import Any

import cohere
import httpx
import pytest
from support.manifests import Document, backend, document, gateway, ref, route, rule, target
from support.providers import Provider, Raw
from support.providers.operations_api import OperationsApi
from support.stage import Stage

pytestmark = pytest.mark.envoy

TYPES = "support.providers.operation_types"
VOYAGE = OperationsApi({"/v1/embeddings": f"{TYPES}.VoyageEmbed", "/v1/rerank": f"{TYPES}.VoyageRerank"})
NVIDIA = OperationsApi({"/v1/embeddings": f"{TYPES}.NvidiaEmbed"})
TEI = OperationsApi({"/rerank": f"{TYPES}.TeiRerank"})
VENDORS = {"voyage": "Voyage", "nvidia": "NVIDIA", "tei": "TEI"}

VECTORS = [[0.25, -0.5], [1.0, 2.0]]
RANKED = [{"index": 1, "relevance_score": 0.5}, {"index": 0, "relevance_score": 0.25}]


def _documents(stage: Stage) -> list[Document]:
    found = [*gateway({"port": stage.port})]
    for name, vendor in VENDORS.items():
        fields = {"prefix": "/"} if name == "tei" else {}
        found += backend(name, stage[name].port, key=f"sk-{name}", schema_fields=fields)
        spec = {**target("AIServiceBackend", name), "backend": {"vendor": vendor}}
        found.append(document("headgate.dev/v1alpha1", "TranslationPolicy", name, spec))
    return [*found, route("models", [rule(name, ref(name)) for name in VENDORS])]


@pytest.fixture(scope="module")
def running() -> Iterator[Stage]:
    apis = {"voyage": VOYAGE, "nvidia": NVIDIA, "tei": TEI}
    with Stage(**{name: Provider(api, key=f"sk-{name}") for name, api in apis.items()}) as stage:
        stage.run(_documents(stage))
        yield stage


@pytest.fixture
def stage(running: Stage) -> Iterator[Stage]:
    running.forget()
    yield running
    running.check()


@pytest.fixture
def coheres(stage: Stage) -> Iterator[Any]:
    """Cohere's client."""
    with httpx.Client(timeout=10) as connections:
        yield cohere.ClientV2(api_key="client-key", base_url=stage.url, httpx_client=connections)


def _embedded(vectors: list[Any]) -> Raw:
    data = [{"object": "embedding", "embedding": vector, "index": index} for index, vector in enumerate(vectors)]
    return Raw(body=json.dumps({"object": "list", "data": data, "model": "m", "usage": {"total_tokens": 4}}).encode())


def test_openais_client_embeds_at_voyage(stage: Stage) -> None:
    stage["voyage"].answer(_embedded(["AACAPgAAAL8=", "AACAPwAAAEA="]))
    more: Any = {"dimensions": 256, "user": "u", "extra_body": {"input_type": "query"}}
    answer = stage.openai().embeddings.create(model="voyage", input=["one", "two"], **more)

    assert [item.embedding for item in answer.data] == VECTORS
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (4, 4)
    assert stage["voyage"].last.json == {
        "model": "voyage",
        "input": ["one", "two"],
        "encoding_format": "base64",
        "output_dimension": 256,
        "input_type": "query",
    }


def test_a_client_that_wants_floats_has_them_of_voyage(stage: Stage) -> None:
    stage["voyage"].answer(_embedded(VECTORS))
    answer = stage.openai().embeddings.create(model="voyage", input=["one", "two"], encoding_format="float")
    assert [item.embedding for item in answer.data] == VECTORS
    assert "encoding_format" not in stage["voyage"].last.json


def test_coheres_client_embeds_at_nvidia(stage: Stage, coheres: Any) -> None:
    stage["nvidia"].answer(_embedded(VECTORS))
    answer = coheres.embed(
        model="nvidia", texts=["one", "two"], input_type="search_document", embedding_types=["float"], truncate="START"
    )
    assert answer.embeddings.float_ == VECTORS
    sent = stage["nvidia"].last.json
    assert (sent["input_type"], sent["truncate"]) == ("passage", "START")


def test_nvidia_is_told_what_openais_client_does_not_say(stage: Stage) -> None:
    stage["nvidia"].answer(_embedded(VECTORS[:1]))
    answer = stage.post("/v1/embeddings", {"model": "nvidia", "input": "one"})
    assert answer.json()["data"][0]["embedding"] == VECTORS[0]
    assert stage["nvidia"].last.json["input_type"] == "passage"
    assert "input_type;emulated" in answer.headers["x-headgate-losses"]


@pytest.mark.parametrize("name", ["voyage", "tei"])
def test_coheres_and_jinas_clients_rank(stage: Stage, coheres: Any, name: str) -> None:
    ranked: Any = [{"index": each["index"], "score": each["relevance_score"]} for each in RANKED]
    if name == "voyage":
        ranked = {"object": "list", "data": RANKED, "model": "m", "usage": {"total_tokens": 9}}
    said = Raw(body=json.dumps(ranked).encode())
    stage[name].answer(said, said)
    answer = coheres.rerank(model=name, query="q", documents=["one", "two"], top_n=1)
    assert [(each.index, each.relevance_score) for each in answer.results] == [(1, 0.5)]

    told = stage.post("/v1/rerank", {"model": name, "query": "q", "documents": ["one", "two"], "top_n": 2}).json()
    assert [(each["index"], each["relevance_score"]) for each in told["results"]] == [(1, 0.5), (0, 0.25)]


def test_voyages_client_ranks_as_before(stage: Stage) -> None:
    ranked = {"object": "list", "data": RANKED, "model": "m", "usage": {"total_tokens": 9}}
    stage["voyage"].answer(Raw(body=json.dumps(ranked).encode()))
    asked = {"model": "voyage", "query": "q", "documents": ["one", "two"], "top_k": 2, "truncation": True}
    told = stage.post("/v1/rerank", asked).json()
    assert [each["index"] for each in told["data"]] == [1, 0]
    assert told["usage"]["total_tokens"] == 9
    assert stage["voyage"].last.json == asked
