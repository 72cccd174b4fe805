"""The recorded cases of the operations beyond chat, and the pairs they run through.

`tests/golden/operations/<operation>/requests/<endpoint>/<case>.json` is what a client posts to that endpoint; it is
written for the first target of every other dialect that has the operation, and for those that `COVERS` names.
`…/answers/<dialect>@<target>/<case>.json` is what that provider answers to the endpoint's smallest request, read by the
clients of every endpoint.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headgate.contract.facts import BackendFacts
from headgate.llm.endpoints import Endpoint, endpoint_named
from headgate.llm.exchange import Plan
from headgate.llm.planning import lane_for, plan

ROOT: Final = Path(__file__).parent.parent / "golden" / "operations"

CREATED: Final = 1_700_000_000

_BEDROCK: Final = {"dialect": "bedrock-converse", "host": "bedrock", "prefix": ""}
_VERTEX: Final = {"dialect": "gemini", "host": "vertex", "prefix": "", "project": "p", "region": "us-central1"}

TARGETS: Final[Mapping[str, Mapping[str, Mapping[str, str]]]] = {
    "embeddings": {
        "openai-chat@direct": {"dialect": "openai-chat", "model": "text-embedding-3-small"},
        "openai-chat@azure": {"dialect": "openai-chat", "model": "embed", "host": "azure", "version": "2024-10-21"},
        "openai-chat@voyage": {"dialect": "openai-chat", "model": "voyage-4", "vendor": "Voyage"},
        "openai-chat@jina": {"dialect": "openai-chat", "model": "jina-embeddings-v3", "vendor": "Jina"},
        "openai-chat@nvidia": {"dialect": "openai-chat", "model": "nvidia/nv-embedqa-e5-v5", "vendor": "NVIDIA"},
        "gemini@direct": {"dialect": "gemini", "model": "gemini-embedding-001", "prefix": "/v1beta"},
        "gemini@vertex": {**_VERTEX, "model": "gemini-embedding-001"},
        "gemini@vertex-newest": {**_VERTEX, "model": "gemini-embedding-2"},
        "cohere@direct": {"dialect": "cohere", "model": "embed-v4.0", "prefix": "/v2"},
        "bedrock-converse@titan": {**_BEDROCK, "model": "amazon.titan-embed-text-v2:0"},
        "bedrock-converse@titan-v1": {**_BEDROCK, "model": "amazon.titan-embed-text-v1"},
        "bedrock-converse@titan-image": {**_BEDROCK, "model": "amazon.titan-embed-image-v1"},
        "bedrock-converse@cohere": {**_BEDROCK, "model": "cohere.embed-v4:0"},
        "bedrock-converse@nova": {**_BEDROCK, "model": "amazon.nova-2-multimodal-embeddings-v1:0"},
    },
    "rerank": {
        "cohere@direct": {"dialect": "cohere", "model": "rerank-v3.5", "prefix": "/v2"},
        "openai-chat@vllm": {"dialect": "openai-chat", "model": "bge-reranker-v2-m3", "vendor": "vLLM"},
        "openai-chat@voyage": {"dialect": "openai-chat", "model": "rerank-2.5", "vendor": "Voyage"},
        "openai-chat@tei": {"dialect": "openai-chat", "model": "any", "vendor": "TEI", "prefix": ""},
        "bedrock-converse@cohere": {**_BEDROCK, "model": "cohere.rerank-v3-5:0"},
        "bedrock-converse@amazon": {**_BEDROCK, "model": "amazon.rerank-v1:0"},
    },
    "counting": {
        "anthropic-messages@direct": {"dialect": "anthropic-messages", "model": "claude-sonnet-4-5"},
        "anthropic-messages@vertex": {
            **_VERTEX,
            "dialect": "anthropic-messages",
            "model": "claude-sonnet-4-5@20250929",
        },
        "anthropic-messages@bedrock": {
            **_BEDROCK,
            "dialect": "anthropic-messages",
            "model": "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        },
        "gemini@direct": {"dialect": "gemini", "model": "gemini-2.5-flash", "prefix": "/v1beta"},
        "gemini@vertex": {**_VERTEX, "model": "gemini-2.5-flash"},
        "bedrock-converse@claude": {**_BEDROCK, "model": "us.anthropic.claude-sonnet-4-5-20250929-v1:0"},
        "bedrock-converse@nova": {**_BEDROCK, "model": "amazon.nova-pro-v1:0"},
        "openai-chat@openai": {"dialect": "openai-chat", "model": "gpt-4o", "vendor": "OpenAI"},
        "openai-chat@vllm": {"dialect": "openai-chat", "model": "llama-3.3-70b", "vendor": "vLLM"},
        "openai-chat@unknown": {"dialect": "openai-chat", "model": "gpt-4o"},
        "cohere@direct": {"dialect": "cohere", "model": "command-a-plus", "prefix": "/v2"},
    },
}
"""Whom an operation's requests are written for, and the facts of that backend."""


@dataclass(frozen=True, slots=True)
class Asked:
    """How clients of an endpoint ask for the least there is to ask for."""

    path: str
    minimal: bytes


ASKED: Final[Mapping[str, Asked]] = {
    "embeddings": Asked("/v1/embeddings", b'{"model":"asked","input":["one","two"]}'),
    "embed-content": Asked("/v1beta/models/asked:embedContent", b'{"content":{"parts":[{"text":"one"}]}}'),
    "batch-embed-contents": Asked(
        "/v1beta/models/asked:batchEmbedContents",
        b'{"requests":[{"model":"models/asked","content":{"parts":[{"text":"one"}]}},'
        b'{"model":"models/asked","content":{"parts":[{"text":"two"}]}}]}',
    ),
    "cohere-embed": Asked(
        "/v2/embed",
        b'{"model":"asked","input_type":"search_query","texts":["one","two"],"embedding_types":["float"]}',
    ),
    "rerank": Asked("/v2/rerank", b'{"model":"asked","query":"q","documents":["one","two"]}'),
    "jina-rerank": Asked("/v1/rerank", b'{"model":"asked","query":"q","documents":["one",{"text":"two"}]}'),
    "bedrock-rerank": Asked(
        "/bedrock/rerank",
        b'{"queries":[{"type":"TEXT","textQuery":{"text":"q"}}],"sources":['
        b'{"type":"INLINE","inlineDocumentSource":{"type":"TEXT","textDocument":{"text":"one"}}},'
        b'{"type":"INLINE","inlineDocumentSource":{"type":"TEXT","textDocument":{"text":"two"}}}],'
        b'"rerankingConfiguration":{"type":"BEDROCK_RERANKING_MODEL","bedrockRerankingConfiguration":{'
        b'"modelConfiguration":{"modelArn":"arn:aws:bedrock:us-west-2::foundation-model/asked"}}}}',
    ),
    "count-tokens": Asked(
        "/v1/messages/count_tokens", b'{"model":"asked","messages":[{"role":"user","content":"Hi"}]}'
    ),
    "responses-input-tokens": Asked("/v1/responses/input_tokens", b'{"model":"asked","input":"Hi"}'),
    "tokenize": Asked("/tokenize", b'{"model":"asked","prompt":"Hi"}'),
    "gemini-count-tokens": Asked(
        "/v1beta/models/asked:countTokens", b'{"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}'
    ),
    "bedrock-count-tokens": Asked(
        "/model/asked/count-tokens",
        b'{"input":{"converse":{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}}}',
    ),
    "invoke-model": Asked("/model/asked/invoke", b'{"inputText":"one"}'),
}


def row(name: str) -> Endpoint:
    endpoint = endpoint_named(name)
    assert endpoint is not None, name
    return endpoint


def open_plan(endpoint: str, operation: str, target: str) -> Plan | None:
    """The plan of a pair that is translated; None where the bytes are relayed."""
    values = dict(TARGETS[operation][target])
    facts = BackendFacts(name="ns/b/route/r/rule/0/ref/0", **values)  # pyright: ignore[reportArgumentType]
    lane = lane_for(row(endpoint), facts.dialect, facts.vendor, facts.host)
    return plan(row(endpoint), facts) if lane not in (None, "relay") else None


def requests() -> Iterator[tuple[str, str, Path, str]]:
    """(operation, endpoint, case, target) of every cell that is translated."""
    for operation in TARGETS:
        for path in sorted((ROOT / operation / "requests").glob("*/*.json")):
            if ".to." in path.name:
                continue
            for target in TARGETS[operation]:
                if open_plan(path.parent.name, operation, target) is not None:
                    yield operation, path.parent.name, path, target


def answers() -> Iterator[tuple[str, str, Path, str]]:
    """(operation, target, case, endpoint) of every cell that is translated."""
    for operation in TARGETS:
        for path in sorted((ROOT / operation / "answers").glob("*/*.json")):
            if ".to." in path.name:
                continue
            for endpoint in ASKED:
                known = endpoint in iter_endpoints(operation)
                if known and open_plan(endpoint, operation, path.parent.name) is not None:
                    yield operation, path.parent.name, path, endpoint


def iter_endpoints(operation: str) -> Iterator[str]:
    """The endpoints that have cases of an operation."""
    for path in sorted((ROOT / operation / "requests").iterdir()):
        yield path.name
