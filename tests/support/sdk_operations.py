"""The requests and answers of the operations beyond chat that the providers' own SDKs can say.

Google's SDK builds the bodies of embeddings and counts member by member: they are put together here, of its types.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import botocore.session
from anthropic.types.beta import BetaMessageTokensCount
from anthropic.types.beta.message_count_tokens_params import MessageCountTokensParams
from cohere import EmbedByTypeResponse
from cohere.v2.client import V2Client
from cohere.v2.types import V2RerankResponse
from google.genai import types
from headgate.llm.names import DialectName
from openai.types import CreateEmbeddingResponse
from openai.types.embedding_create_params import EmbeddingCreateParams
from openai.types.responses import InputTokenCountResponse
from openai.types.responses.input_token_count_params import InputTokenCountParams
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from support import sdk_requests
from support.providers.gemini_types import GenerateContentRequest
from support.sdk_requests import READER, READER_OF_GOOGLE
from support.sdk_shapes import DATA, OTHER_DATA, Samples, Shape, Writer, of_botocore

_SESSION: Any = botocore.session

_GOOGLE: Final = replace(
    READER_OF_GOOGLE,
    unsent={
        "EmbedContentConfig": frozenset(("httpOptions", "mimeType")),
        "EmbedContentResponse": frozenset(("sdkHttpResponse",)),
        "CountTokensResponse": frozenset(("sdkHttpResponse",)),
    },
    needed={
        **READER_OF_GOOGLE.needed,
        "EmbedContentResponse": frozenset(("embeddings",)),
        "ContentEmbedding": frozenset(("values",)),
        "CountTokensResponse": frozenset(("totalTokens",)),
    },
)


class _Google(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")


class _EmbedContent(_Google):
    """AI Studio has at the top what Vertex has in a config."""

    content: types.Content
    task_type: str | None = None
    title: str | None = None
    output_dimensionality: int | None = None
    embed_content_config: types.EmbedContentConfig | None = None


class _BatchEmbedContents(_Google):
    requests: list[_EmbedContent]


class _CountTokens(_Google):
    generate_content_request: GenerateContentRequest


def _botocore(service: str, operation: str) -> Shape:
    model: Any = _SESSION.get_session().get_service_model(service)
    return of_botocore(model.operation_model(operation).input_shape)


def _of_method(method: Any) -> Shape:
    return READER.of_signature(method, ("request_options",))


REQUESTS: Final[Mapping[str, tuple[str, Shape]]] = {
    "embeddings": ("embeddings", READER.shape_of(EmbeddingCreateParams)),
    "embed-content": ("embeddings", _GOOGLE.shape_of(_EmbedContent)),
    "batch-embed-contents": ("embeddings", _GOOGLE.shape_of(_BatchEmbedContents)),
    "cohere-embed": ("embeddings", _of_method(V2Client.embed)),
    "rerank": ("rerank", _of_method(V2Client.rerank)),
    "bedrock-rerank": ("rerank", _botocore("bedrock-agent-runtime", "Rerank")),
    "count-tokens": ("counting", READER.shape_of(MessageCountTokensParams)),
    "responses-input-tokens": ("counting", READER.shape_of(InputTokenCountParams)),
    "gemini-count-tokens": ("counting", _GOOGLE.shape_of(_CountTokens)),
    "bedrock-count-tokens": ("counting", _botocore("bedrock-runtime", "CountTokens")),
}
"""By endpoint: the operation, and what its clients post."""

ANSWERS: Final[Mapping[tuple[str, str], Shape]] = {
    ("embeddings", "openai-chat@direct"): READER.shape_of(CreateEmbeddingResponse),
    ("embeddings", "gemini@direct"): _GOOGLE.shape_of(types.EmbedContentResponse),
    ("embeddings", "cohere@direct"): READER.shape_of(EmbedByTypeResponse),
    ("rerank", "cohere@direct"): READER.shape_of(V2RerankResponse),
    ("counting", "anthropic-messages@direct"): READER.shape_of(BetaMessageTokensCount),
    ("counting", "openai-chat@openai"): READER.shape_of(InputTokenCountResponse),
    ("counting", "gemini@direct"): _GOOGLE.shape_of(types.CountTokensResponse),
}
"""By operation and target of `operation_goldens`: what the provider answers."""

_URI: Final = (f"data:image/png;base64,{DATA}", f"data:image/png;base64,{OTHER_DATA}")
_OF_GOOGLE: Final[Samples] = {
    **sdk_requests.SAMPLES[DialectName.GEMINI],
    "model": ("models/m", "models/m"),
    "taskType": ("RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY"),
}


def _for_claude(text: str) -> str:
    body = {"max_tokens": 1, "messages": [{"role": "user", "content": text}]}
    return base64.b64encode(json.dumps(body).encode()).decode()


SAMPLES: Final[Mapping[str, Samples]] = {
    "embeddings": {"model": ("m", "m")},
    "embed-content": {**_OF_GOOGLE, "fileUri": ("gs://a/b", "gs://a/c")},
    "batch-embed-contents": {**_OF_GOOGLE, "fileUri": ("gs://a/b", "gs://a/c")},
    "cohere-embed": {"model": ("m", "m"), "images[]": _URI, "url": _URI},
    "rerank": {"model": ("m", "m")},
    "bedrock-rerank": {
        "modelArn": ("arn:aws:bedrock:us-west-2::foundation-model/m", "arn:aws:bedrock:us-west-2::foundation-model/m")
    },
    "count-tokens": sdk_requests.SAMPLES[DialectName.ANTHROPIC_MESSAGES],
    "responses-input-tokens": sdk_requests.SAMPLES[DialectName.OPENAI_RESPONSES],
    "gemini-count-tokens": sdk_requests.SAMPLES[DialectName.GEMINI],
    "bedrock-count-tokens": {
        **sdk_requests.SAMPLES[DialectName.BEDROCK_CONVERSE],
        "body": (_for_claude("a"), _for_claude("b")),
    },
}

_ANSWERED: Final[Mapping[str, Samples]] = {
    "openai-chat@direct": {"embedding": ([0.25, 0.5], [0.5, 0.25]), "index": (0, 0)},
    "gemini@direct": {"values": ([0.25, 0.5], [0.5, 0.25])},
    "cohere@direct": {
        # Others than floats are asked for in requests.
        "embeddings": ({"float": [[0.25, 0.5]]}, {"float": [[0.5, 0.25]]}),
        "index": (0, 0),
        **dict.fromkeys(("input_tokens", "output_tokens", "image_tokens", "search_units"), (2, 3)),
    },
}

ANSWER_SAMPLES: Final[Mapping[tuple[str, str], Samples]] = {pair: _ANSWERED.get(pair[1], {}) for pair in ANSWERS}

_LIKE: Final = {
    "openai-chat": "openai-chat@direct",
    "gemini": "gemini@direct",
    "cohere": "cohere@direct",
    "bedrock-converse@cohere": "cohere@direct",
}
_OF_TITAN: Final = {"embedding": [0.25, 0.5], "embeddings": [{"embedding": [0.25, 0.5]}]}
"""And Nova's."""


def embedded(target: str) -> Any:
    """The least that a target answers to one input."""
    like = _LIKE.get(target) or _LIKE.get(target.partition("@")[0])
    if like is None:
        return _OF_TITAN
    return Writer(ANSWER_SAMPLES["embeddings", like]).smallest(ANSWERS["embeddings", like])


PROMPTS: Final[Mapping[str, tuple[str, ...]]] = {
    "count-tokens": (),
    "responses-input-tokens": (),
    "gemini-count-tokens": ("generateContentRequest",),
    "bedrock-count-tokens": ("input", "converse"),
}
"""Where the prompt stands in requests to count its tokens."""


def in_context(endpoint: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """The request with what it needs to mean something, all places as they were."""
    whole: dict[str, Any] = {**document}
    match endpoint:
        case "cohere-embed" if not any(name in whole for name in ("texts", "images", "inputs")):
            whole["texts"] = ["a"]
        case "bedrock-rerank":
            whole["sources"] = [_with_text(source) for source in whole["sources"]]
            for query in whole["queries"]:
                query["textQuery"].setdefault("text", "a")
        case "count-tokens":
            return sdk_requests.in_context(DialectName.ANTHROPIC_MESSAGES, whole)
        case "responses-input-tokens":
            return sdk_requests.in_context(DialectName.OPENAI_RESPONSES, whole)
        case "gemini-count-tokens":
            inner = sdk_requests.in_context(DialectName.GEMINI, whole["generateContentRequest"])
            whole["generateContentRequest"] = inner
        case "bedrock-count-tokens" if "converse" in whole["input"]:
            inner = sdk_requests.in_context(DialectName.BEDROCK_CONVERSE, whole["input"]["converse"])
            whole["input"] = {"converse": inner}
        case _:
            pass
    return whole


def _with_text(source: Mapping[str, Any]) -> Mapping[str, Any]:
    inline = source["inlineDocumentSource"]
    if "jsonDocument" in inline:
        return source
    return {
        **source,
        "inlineDocumentSource": {**inline, "textDocument": {"text": "a", **inline.get("textDocument", {})}},
    }
