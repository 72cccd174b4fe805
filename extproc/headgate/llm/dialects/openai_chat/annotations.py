"""Citations and log probabilities as members of chat completions, between the wire and the canonical model.

A message has one text here, so places in a text are counted from where the part that bears the citation begins. A
citation that says no place is of its whole part. Only pages can be cited: what has no URL is left to the text.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from headgate.llm.canonical import Citation, TextPart, TokenLogprob, TopLogprob
from headgate.llm.dialects.openai_chat import wire

CITATIONS_MAX: Final = 4_096
"""Of one answer; protects memory where a server repeats them with every chunk."""

Members = dict[str, Any]


def citations_of(annotations: Iterable[wire.Annotation], offset: int = 0) -> Iterator[Citation]:
    """The pages that a text cites; `offset`: where the text begins in the message."""
    for annotation in annotations:
        cited = annotation.url_citation
        if cited is None:
            continue
        start, end = cited.start_index, cited.end_index
        if start is None or end is None or not offset <= start <= end or end == 0:
            start = end = None
        else:
            start, end = start - offset, end - offset
        yield Citation(cited.url or "", cited.title or "", cited.content or "", start, end)


def pages_of(urls: Iterable[str]) -> Iterator[Citation]:
    """Pages that a server names beside its answer."""
    return (Citation(url) for url in urls if url)


def cite(texts: Sequence[TextPart], citations: Sequence[Citation]) -> list[TextPart]:
    """The texts of one message with its citations, each on the text it points into; without a place, on the last."""
    if not texts or not citations:
        return list(texts)
    found: list[list[Citation]] = [[] for _ in texts]
    for citation in citations[:CITATIONS_MAX]:
        place, begins = len(texts) - 1, 0
        start, end = citation.start, citation.end
        if start is not None and end is not None:
            for place, text in enumerate(texts):
                if start < begins + len(text.text) or place == len(texts) - 1:
                    break
                begins += len(text.text)
            start, end = start - begins, end - begins
        found[place].append(Citation(citation.url, citation.title, citation.quote, start, end))
    return [
        TextPart(text.text, text.cache, tuple(cited)) if cited else text
        for text, cited in zip(texts, found, strict=True)
    ]


def annotation(citation: Citation, begins: int, ends: int) -> Members:
    """A citation of a part that begins and ends there in the message's text."""
    start, end = citation.start, citation.end
    placed = start is not None and end is not None
    cited: Members = {
        "end_index": begins + end if placed and end is not None else ends,
        "start_index": begins + start if placed and start is not None else begins,
        "title": citation.title,
        "url": citation.url,
    }
    return {"type": "url_citation", "url_citation": cited}


def annotations(texts: Iterable[TextPart]) -> list[Members]:
    """The citations of a message's texts."""
    said: list[Members] = []
    begins = 0
    for part in texts:
        ends = begins + len(part.text)
        if part.citations:
            said += [annotation(citation, begins, ends) for citation in part.citations if citation.url]
        begins = ends
    return said


def logprobs_of(logprobs: wire.Logprobs | None) -> tuple[TokenLogprob, ...]:
    """How likely each token was."""
    if logprobs is None or not logprobs.content:
        return ()
    return tuple(
        TokenLogprob(
            each.token or "",
            each.logprob or 0.0,
            tuple(TopLogprob(top.token or "", top.logprob or 0.0) for top in each.top_logprobs or ()),
        )
        for each in logprobs.content
    )


def written_logprobs(tokens: Sequence[TokenLogprob]) -> Members:
    """The member `logprobs` of a choice."""
    return {"content": encode_logprobs(tokens), "refusal": None}


def encode_logprobs(logprobs: Sequence[TokenLogprob]) -> list[Any]:
    """Log probabilities, each with its token's bytes."""
    return [
        {
            "token": each.token,
            "bytes": list(each.token.encode()),
            "logprob": each.logprob,
            "top_logprobs": [
                {"token": top.token, "bytes": list(top.token.encode()), "logprob": top.logprob} for top in each.top
            ],
        }
        for each in logprobs
    ]
