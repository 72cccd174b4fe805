"""Jina's rerank, which vLLM, SGLang, Infinity and others speak, at `/v1/rerank`. <https://api.jina.ai/redoc>,
<https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html#re-rank-api>"""

from typing import Final

import msgspec
from headgate.llm.dialects.dialect import Target
from headgate.llm.endpoints import Endpoint, PathFacts, endpoint_named
from headgate.llm.errors import RequestError, UpstreamError
from headgate.llm.names import DialectName
from headgate.llm.operations.codec import Answered, Codec, EncodedOperation, required_model
from headgate.llm.operations.rerank.canonical import Rerank, Reranked, Result, beyond_losses, checked, ranking_body
from headgate.llm.strict import decode_strict
from headgate.llm.usage import NO_USAGE, Usage

NAME: Final = DialectName.JINA_RERANK

# --- wire ------------------------------------------------------------------------------------------------------------


class Document(msgspec.Struct, frozen=True):
    text: str


class Request(msgspec.Struct, frozen=True):
    query: str
    documents: list[str | Document]
    model: str | None = None
    top_n: int | None = None
    top_k: int | None = None
    """Voyage's word for it."""
    max_tokens_per_doc: int | None = None
    return_documents: bool | None = None


class _Usage(msgspec.Struct, frozen=True):
    total_tokens: int | None = None
    prompt_tokens: int | None = None


class _Result(msgspec.Struct, frozen=True):
    index: int
    relevance_score: msgspec.Raw


class _Answer(msgspec.Struct, frozen=True):
    results: list[_Result]
    id: str | None = None
    model: str | None = None
    usage: _Usage | None = None


_REQUEST: Final = msgspec.json.Decoder(Request)
_ANSWER: Final = msgspec.json.Decoder(_Answer)
_ENCODE: Final = msgspec.json.Encoder().encode
_KNOWN: Final = frozenset(Request.__struct_fields__)

# --- request ---------------------------------------------------------------------------------------------------------


def decode_request(body: bytes, _endpoint: Endpoint, _path: PathFacts) -> Rerank:
    """See `Codec.decode_request`."""
    request, members = decode_strict(_REQUEST, body)
    if not request.documents:
        raise RequestError("must hold at least one document", path="documents", code="invalid_value")
    top, top_path = (request.top_n, "top_n") if request.top_k is None else (request.top_k, "top_k")
    if top is not None and top < 0:
        raise RequestError("must not be negative", path=top_path, code="invalid_value")
    beyond = {name: raw for name, raw in members.items() if name not in _KNOWN and bytes(raw) != b"null"}
    return Rerank(
        model=required_model(request.model),
        query=request.query,
        documents=tuple(item if isinstance(item, str) else item.text for item in request.documents),
        top=top or None,  # vLLM: 0 is all
        tokens_per_document=request.max_tokens_per_doc,
        with_documents=request.return_documents is not False,
        paths={"top": top_path, "tokens_per_document": "max_tokens_per_doc"},
        beyond=tuple(beyond),
        own=beyond,
    )


def encode_request(request: Rerank, target: Target) -> EncodedOperation:
    """See `Codec.encode_request`."""
    endpoint = endpoint_named("jina-rerank")
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
    told = answer.usage or _Usage()
    tokens = told.total_tokens if told.prompt_tokens is None else told.prompt_tokens
    usage = NO_USAGE if tokens is None else Usage(input=tokens, total=told.total_tokens or tokens)
    return Reranked(checked(results, answered.request), answer.model or "", usage, id=answer.id or "")


def encode_response(answer: Reranked, answered: Answered[Rerank]) -> bytes:
    """See `Codec.encode_response`."""
    request = answered.request
    results: list[dict[str, object]] = []
    for result in answer.results:
        said: dict[str, object] = {"index": result.index}
        if request.with_documents:
            said["document"] = {"text": request.documents[result.index]}
        results.append({**said, "relevance_score": result.score})
    usage = {"total_tokens": answer.usage.total or 0, "prompt_tokens": answer.usage.input or 0}
    body = {"id": answer.id or answered.request_id, "model": answer.model or answered.model, "usage": usage}
    listed = {answer.listed_in: results} if answer.listed_in else {}
    return _ENCODE({**body, **listed, "results": results})


CODEC: Final = Codec(
    dialect=NAME,
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
)
