"""Rerank at Bedrock: InvokeModel with Cohere's and Amazon's models.

<https://docs.aws.amazon.com/bedrock/latest/userguide/rerank-supported.html>. The agent runtime's `Rerank` is served at
another host name, and names its model inside of a nested member, where no route could match it: not used.
"""

from typing import Final

import msgspec
from headgate.llm.dialects.dialect import Target
from headgate.llm.endpoints import endpoint_named
from headgate.llm.errors import UnsupportedTranslation
from headgate.llm.losses import Loss
from headgate.llm.names import DialectName
from headgate.llm.operations.codec import Answered, Codec, EncodedOperation
from headgate.llm.operations.rerank import cohere
from headgate.llm.operations.rerank.canonical import Rerank, Reranked, beyond_losses

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


CODEC: Final = Codec(
    dialect=DialectName.BEDROCK_CONVERSE, encode_request=encode_request, decode_response=decode_response
)
