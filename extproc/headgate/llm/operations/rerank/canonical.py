"""Rerank, once for all dialects."""

from collections.abc import Mapping

import msgspec
from headgate.llm.canonical import Value
from headgate.llm.errors import UpstreamError
from headgate.llm.losses import Loss
from headgate.llm.usage import NO_USAGE, Usage


class Rerank(Value, frozen=True):
    """A request."""

    model: str
    query: str
    documents: tuple[str, ...]
    top: int | None = None
    """How many results are wanted; None: all."""
    tokens_per_document: int | None = None
    with_documents: bool = False
    """The answer repeats the texts."""
    paths: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    """What of the above is called otherwise in the client's body."""
    beyond: tuple[str, ...] = ()
    """Members that no other dialect has."""
    own: Mapping[str, msgspec.Raw] = msgspec.field(default_factory=dict[str, msgspec.Raw])
    """These as they came: to a vendor that has them they go so."""

    def path_of(self, name: str) -> str:
        """Where the client said it."""
        return self.paths.get(name, name)


class Result(Value, frozen=True):
    index: int
    score: msgspec.Raw
    """A number, as it came."""


class Reranked(Value, frozen=True):
    """An answer: best first."""

    results: tuple[Result, ...]
    model: str = ""
    usage: Usage = NO_USAGE
    search_units: int | None = None
    """What Cohere bills: a query with up to a hundred documents."""
    id: str = ""
    listed_in: str = ""
    """Where the provider lists the results, if not in `results`: its own clients look there."""
    losses: tuple[Loss, ...] = ()


def beyond_losses(request: Rerank) -> list[Loss]:
    """Members that only the client's dialect has."""
    return [Loss(name, "dropped", "the provider's API has no such parameter") for name in request.beyond]


def ranking_body(request: Rerank, model: str) -> bytes:
    """What Cohere and Jina, and all who took it over from them, are asked."""
    body: dict[str, object] = {"model": model, "query": request.query, "documents": request.documents}
    if request.top is not None:
        body["top_n"] = request.top
    if request.tokens_per_document is not None:
        body["max_tokens_per_doc"] = request.tokens_per_document
    return msgspec.json.encode(body)


def checked(results: list[Result], request: Rerank) -> tuple[Result, ...]:
    """The results wanted. UpstreamError for one that names no document of the request."""
    if any(not 0 <= result.index < len(request.documents) for result in results):
        raise UpstreamError("the provider's answer names a document that was not sent")
    return tuple(results if request.top is None else results[: request.top])
