"""Vendors beside OpenAI's dialect whose rerank is not Jina's: a codec each, for asking them.

Voyage: <https://docs.voyageai.com/reference/reranker-api>. Hugging Face's text-embeddings-inference:
<https://huggingface.github.io/text-embeddings-inference>; it has one model, and tells its tokens in a header alone.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec
from headgate.llm.dialects.dialect import Target
from headgate.llm.endpoints import endpoint_named
from headgate.llm.errors import UpstreamError
from headgate.llm.losses import Loss
from headgate.llm.operations.codec import Answered, Codec, EncodedOperation
from headgate.llm.operations.rerank import jina
from headgate.llm.operations.rerank.canonical import Rerank, Reranked, Result, beyond_losses, checked
from headgate.llm.usage import NO_USAGE, Usage

_ENCODE: Final = msgspec.json.Encoder().encode


def _encoded(request: Rerank, body: Mapping[str, object], *own: str) -> EncodedOperation:
    """`own`: members of the client's that the vendor has, which go as they came."""
    losses = [loss for loss in beyond_losses(request) if loss.path not in own]
    if request.tokens_per_document is not None:
        losses.append(
            Loss(request.path_of("tokens_per_document"), "dropped", "texts are cut at the model's own length")
        )
    endpoint = endpoint_named("jina-rerank")
    assert endpoint is not None
    said = {name: request.own[name] for name in own if name in request.own}
    return EncodedOperation(endpoint, _ENCODE({**body, **said}), losses)


# --- Voyage ----------------------------------------------------------------------------------------------------------


class _VoyageUsage(msgspec.Struct, frozen=True):
    total_tokens: int | None = None


class _VoyageResult(msgspec.Struct, frozen=True):
    index: int
    relevance_score: msgspec.Raw


class _VoyageAnswer(msgspec.Struct, frozen=True):
    data: list[_VoyageResult]
    model: str | None = None
    usage: _VoyageUsage | None = None


_VOYAGE_ANSWER: Final = msgspec.json.Decoder(_VoyageAnswer)


def _ask_voyage(request: Rerank, target: Target) -> EncodedOperation:
    body: dict[str, object] = {"model": target.model, "query": request.query, "documents": request.documents}
    if request.top is not None:
        body["top_k"] = request.top
    return _encoded(request, body, "truncation")


def _voyages_answer(body: bytes, answered: Answered[Rerank]) -> Reranked:
    try:
        answer = _VOYAGE_ANSWER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpstreamError("the provider's answer holds no ranking") from None
    tokens = answer.usage.total_tokens if answer.usage is not None else None
    return Reranked(
        checked([Result(each.index, each.relevance_score) for each in answer.data], answered.request),
        answer.model or "",
        NO_USAGE if tokens is None else Usage(input=tokens, total=tokens),
        listed_in="data",
    )


# --- text-embeddings-inference ---------------------------------------------------------------------------------------


class _TeiResult(msgspec.Struct, frozen=True):
    index: int
    score: msgspec.Raw


_TEI_ANSWER: Final = msgspec.json.Decoder(list[_TeiResult])


def _ask_tei(request: Rerank, _target: Target) -> EncodedOperation:
    body = {"query": request.query, "texts": request.documents}
    return _encoded(request, body, "truncate", "truncation_direction", "raw_scores")


def _teis_answer(body: bytes, answered: Answered[Rerank]) -> Reranked:
    try:
        results = _TEI_ANSWER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpstreamError("the provider's answer holds no ranking") from None
    return Reranked(checked([Result(each.index, each.score) for each in results], answered.request))


OF_VENDORS: Final[Mapping[str, Codec[Rerank, Reranked]]] = MappingProxyType(
    {
        "Voyage": Codec(dialect=jina.NAME, encode_request=_ask_voyage, decode_response=_voyages_answer),
        "TEI": Codec(dialect=jina.NAME, encode_request=_ask_tei, decode_response=_teis_answer),
    }
)
