"""Rerank at Bedrock: clients by the agent runtime's `Rerank`; providers by InvokeModel, Cohere's and Amazon's models.

<https://docs.aws.amazon.com/bedrock/latest/userguide/rerank-supported.html>,
<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_agent-runtime_Rerank.html>. Providers are not asked by
`Rerank`: it is served at another host name, and ranks with the same models.
"""

from typing import Final

import msgspec
from headgate.llm.dialects.dialect import Target
from headgate.llm.endpoints import Endpoint, PathFacts, endpoint_named
from headgate.llm.errors import RequestError, UnsupportedTranslation
from headgate.llm.losses import Loss
from headgate.llm.names import DialectName
from headgate.llm.operations.codec import Answered, Codec, EncodedOperation
from headgate.llm.operations.rerank import cohere
from headgate.llm.operations.rerank.canonical import Rerank, Reranked, beyond_losses
from headgate.llm.relay import model_of_arn
from headgate.llm.strict import decode_strict

# --- wire ------------------------------------------------------------------------------------------------------------

_ABSENT: Final = msgspec.Raw(b"")


class _Text(msgspec.Struct, frozen=True):
    text: str


class _Query(msgspec.Struct, frozen=True, rename="camel"):
    text_query: _Text


class _Inline(msgspec.Struct, frozen=True, rename="camel"):
    text_document: _Text | None = None
    json_document: msgspec.Raw = _ABSENT


class _Source(msgspec.Struct, frozen=True, rename="camel"):
    inline_document_source: _Inline


class _Model(msgspec.Struct, frozen=True, rename="camel"):
    model_arn: str
    additional_model_request_fields: msgspec.Raw = _ABSENT


class _ByBedrock(msgspec.Struct, frozen=True, rename="camel"):
    model_configuration: _Model
    number_of_results: int | None = None


class _Configuration(msgspec.Struct, frozen=True, rename="camel"):
    bedrock_reranking_configuration: _ByBedrock


class Request(msgspec.Struct, frozen=True, rename="camel"):
    queries: list[_Query]
    sources: list[_Source]
    reranking_configuration: _Configuration


_REQUEST: Final = msgspec.json.Decoder(Request)
_KNOWN: Final = frozenset(("queries", "sources", "rerankingConfiguration"))
_PLACE: Final = "rerankingConfiguration.bedrockRerankingConfiguration"
_MORE: Final = f"{_PLACE}.modelConfiguration.additionalModelRequestFields"

# --- request ---------------------------------------------------------------------------------------------------------


def decode_request(body: bytes, _endpoint: Endpoint, _path: PathFacts) -> Rerank:
    """See `Codec.decode_request`. A JSON document is ranked as its text."""
    request, members = decode_strict(_REQUEST, body)
    if len(request.queries) != 1:
        raise RequestError("must hold one query", path="queries", code="invalid_value")
    if not request.sources:
        raise RequestError("must hold at least one document", path="sources", code="invalid_value")
    configured = request.reranking_configuration.bedrock_reranking_configuration
    model, top = configured.model_configuration, configured.number_of_results
    if not model_of_arn(model.model_arn):
        raise RequestError("must name a model", path=f"{_PLACE}.modelConfiguration.modelArn")
    if top is not None and top < 1:
        raise RequestError("must be at least 1", path=f"{_PLACE}.numberOfResults", code="invalid_value")
    beyond = [name for name, raw in members.items() if name not in _KNOWN and bytes(raw) != b"null"]
    if bytes(model.additional_model_request_fields) not in (b"", b"{}", b"null"):
        beyond.append(_MORE)
    return Rerank(
        model=model_of_arn(model.model_arn),
        query=request.queries[0].text_query.text,
        documents=tuple(_document(source.inline_document_source, at) for at, source in enumerate(request.sources)),
        top=top,
        paths={"top": f"{_PLACE}.numberOfResults"},
        beyond=tuple(beyond),
    )


def _document(source: _Inline, at: int) -> str:
    if source.text_document is not None:
        return source.text_document.text
    text = bytes(source.json_document)
    if not text.startswith(b"{"):
        raise RequestError("must have textDocument or jsonDocument", path=f"sources[{at}].inlineDocumentSource")
    return text.decode()


_COHERE_VERSION: Final = 2
"""`api_version` of the body: without it, Cohere's first API is spoken."""

_ENCODE: Final = msgspec.json.Encoder().encode


def encode_request(request: Rerank, target: Target) -> EncodedOperation:
    """See `Codec.encode_request`."""
    if "rerank" not in target.model:
        raise UnsupportedTranslation(f"{target.model} is no model that ranks", path="model")
    endpoint = endpoint_named("invoke-model")
    assert endpoint is not None
    losses: list[Loss] = beyond_losses(request)
    body: dict[str, object] = {"query": request.query, "documents": request.documents}
    if request.top is not None:
        body["top_n"] = request.top
    by_cohere = "cohere." in target.model
    if by_cohere:
        body["api_version"] = _COHERE_VERSION
    if request.tokens_per_document is not None and by_cohere:
        body["max_tokens_per_doc"] = request.tokens_per_document
    elif request.tokens_per_document is not None:
        losses.append(Loss(request.path_of("tokens_per_document"), "dropped", "the model has no such parameter"))
    return EncodedOperation(endpoint, _ENCODE(body), losses)


def decode_response(body: bytes, answered: Answered[Rerank]) -> Reranked:
    """See `Codec.decode_response`: Cohere's answer, by either."""
    return cohere.decode_response(body, answered)


def encode_response(answer: Reranked, _answered: Answered[Rerank]) -> bytes:
    """See `Codec.encode_response`."""
    results = [{"index": result.index, "relevanceScore": result.score} for result in answer.results]
    return _ENCODE({"results": results})


CODEC: Final = Codec(
    dialect=DialectName.BEDROCK_CONVERSE,
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
)
