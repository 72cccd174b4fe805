"""Cohere's rerank, v2. <https://docs.cohere.com/v2/reference/rerank>"""

from typing import Final

import msgspec
from headgate.llm.dialects.dialect import Target
from headgate.llm.endpoints import Endpoint, PathFacts, endpoint_named
from headgate.llm.errors import RequestError, UpstreamError
from headgate.llm.names import DialectName
from headgate.llm.operations.codec import Answered, Codec, EncodedOperation, required_model
from headgate.llm.operations.cohere import WARNED
from headgate.llm.operations.rerank.canonical import Rerank, Reranked, Result, beyond_losses, checked, ranking_body
from headgate.llm.strict import decode_strict
from headgate.llm.usage import NO_USAGE, Usage

NAME: Final = DialectName.COHERE

# --- wire ------------------------------------------------------------------------------------------------------------


class Request(msgspec.Struct, frozen=True):
    query: str
    documents: list[str]
    model: str | None = None
    top_n: int | None = None
    max_tokens_per_doc: int | None = None
    priority: int | None = None


class _Units(msgspec.Struct, frozen=True):
    search_units: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None


class _Meta(msgspec.Struct, frozen=True):
    billed_units: _Units | None = None
    tokens: _Units | None = None
    warnings: list[str] | None = None


class _Result(msgspec.Struct, frozen=True):
    index: int
    relevance_score: msgspec.Raw


class _Answer(msgspec.Struct, frozen=True):
    results: list[_Result]
    id: str | None = None
    meta: _Meta | None = None


_REQUEST: Final = msgspec.json.Decoder(Request)
_ANSWER: Final = msgspec.json.Decoder(_Answer)
_ENCODE: Final = msgspec.json.Encoder().encode
_KNOWN: Final = frozenset(Request.__struct_fields__) - {"priority"}

# --- request ---------------------------------------------------------------------------------------------------------


def decode_request(body: bytes, _endpoint: Endpoint, _path: PathFacts) -> Rerank:
    """See `Codec.decode_request`."""
    request, members = decode_strict(_REQUEST, body)
    if not request.documents:
        raise RequestError("must hold at least one document", path="documents", code="invalid_value")
    if request.top_n is not None and request.top_n < 1:
        raise RequestError("must be at least 1", path="top_n", code="invalid_value")
    return Rerank(
        model=required_model(request.model),
        query=request.query,
        documents=tuple(request.documents),
        top=request.top_n,
        tokens_per_document=request.max_tokens_per_doc,
        paths={"top": "top_n", "tokens_per_document": "max_tokens_per_doc"},
        beyond=tuple(name for name, raw in members.items() if name not in _KNOWN and bytes(raw) != b"null"),
    )


def encode_request(request: Rerank, target: Target) -> EncodedOperation:
    """See `Codec.encode_request`."""
    endpoint = endpoint_named("rerank")
    assert endpoint is not None
    return EncodedOperation(endpoint, ranking_body(request, target.model), beyond_losses(request))


# --- response --------------------------------------------------------------------------------------------------------


def decode_response(body: bytes, answered: Answered[Rerank]) -> Reranked:
    """See `Codec.decode_response`."""
    try:
        answer = _ANSWER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpstreamError("the provider's answer holds no ranking") from None
    results = [Result(result.index, result.relevance_score) for result in answer.results]
    meta = answer.meta or _Meta()
    billed = meta.billed_units or _Units()
    units = None if billed.search_units is None else int(billed.search_units)
    return Reranked(
        checked(results, answered.request),
        usage=_usage(meta.tokens or billed),
        search_units=units,
        id=answer.id or "",
        losses=(WARNED,) if meta.warnings else (),
    )


def _usage(told: _Units) -> Usage:
    if told.input_tokens is None and told.output_tokens is None:
        return NO_USAGE
    given, written = int(told.input_tokens or 0), int(told.output_tokens or 0)
    return Usage(input=given, output=written, total=given + written)


def encode_response(answer: Reranked, answered: Answered[Rerank]) -> bytes:
    """See `Codec.encode_response`."""
    meta: dict[str, object] = {"api_version": {"version": "2"}}
    if answer.search_units is not None:
        meta["billed_units"] = {"search_units": answer.search_units}
    if answer.usage.input is not None:
        meta["tokens"] = {"input_tokens": answer.usage.input, "output_tokens": answer.usage.output or 0}
    results = [{"index": result.index, "relevance_score": result.score} for result in answer.results]
    return _ENCODE({"id": answer.id or answered.request_id, "results": results, "meta": meta})


CODEC: Final = Codec(
    dialect=NAME,
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
)
