"""Citations of answers and documents of requests, between Cohere's shapes and the canonical ones.

Documents go by ids in this dialect. Those that we write are `doc:0`, `doc:1`…, as Cohere itself names documents that
came without one, so a citation tells the document's place without the request at hand.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
from headgate.llm.canonical import Citation, DocumentPart, TextSource
from headgate.llm.dialects.cohere import wire
from headgate.llm.strict import text_of

Members = dict[str, Any]

CITATIONS_MAX: Final = 4_096
"""Of one answer: each passage may name every source."""

_PREFIX: Final = "doc:"
_TEXTS: Final = ("text", "snippet", "content")
"""Members of a document's data that hold its words, if nothing beside them does."""

_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def document_id(place: int) -> str:
    """The id of a request's document."""
    return f"{_PREFIX}{place}"


def _text(raw: msgspec.Raw) -> str | None:
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def document_part(document: str | wire.Document, path: str) -> DocumentPart:
    """A document of the request. Data of many members stays JSON: what they mean is between client and model."""
    if isinstance(document, str):
        return DocumentPart(TextSource(document))
    rest = dict(document.data)
    title = _text(rest["title"]) if "title" in rest else None
    if title is not None:
        del rest["title"]
    if len(rest) == 1:
        name, raw = next(iter(rest.items()))
        words = _text(raw) if name in _TEXTS else None
        if words is not None:
            return DocumentPart(TextSource(words), title=title or "")
    return DocumentPart(TextSource(text_of(msgspec.json.encode(rest), f"{path}.data")), title=title or "")


def written_document(text: str, part: DocumentPart) -> Members:
    """The `data` of a document."""
    data: Members = {"title": part.title} if part.title else {}
    if part.context:
        data["context"] = part.context
    data["text"] = text
    return data


def citations_of(cited: Iterable[wire.Citation]) -> Iterator[tuple[int | None, Citation]]:
    """Each passage with each of its sources, and the place of its text among the answer's contents."""
    count = 0
    for citation in cited:
        if citation.type not in (None, "TEXT_CONTENT"):
            continue  # of the plan or of thinking: no text that bears citations
        start, end = citation.start, citation.end
        if start is None or end is None or not 0 <= start <= end:
            start = end = None
        for source in citation.sources or (wire.Source(),):
            count += 1
            if count > CITATIONS_MAX:
                return
            yield citation.content_index, _citation(source, start, end)


def _citation(source: wire.Source, start: int | None, end: int | None) -> Citation:
    data: dict[str, msgspec.Raw] = {}
    raw = source.document or source.tool_output
    if bytes(raw).startswith(b"{"):
        data = _decode_data(raw)
    said = {name: _text(data[name]) or "" for name in ("url", "title", *_TEXTS) if name in data}
    source_id = source.id or ""
    place = source_id.removeprefix(_PREFIX)
    known = source_id.startswith(_PREFIX) and place.isascii() and place.isdigit() and len(place) < 9
    return Citation(
        url=said.get("url", ""),
        title=said.get("title") or ("" if known or "url" in said else source_id),
        quote=next((said[name] for name in _TEXTS if said.get(name)), ""),
        start=start,
        end=end,
        document=int(place) if known else None,
    )


def _decode_data(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    try:
        return _MEMBERS.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def written_citations(citations: Sequence[Citation], text: str, content_index: int) -> list[Members]:
    """Citations of one text; those of one passage become one with many sources. A citation that names no passage is
    of the whole text."""
    passages: dict[tuple[int, int], list[Members]] = {}
    for citation in citations:
        start, end = citation.start, citation.end
        span = (0, len(text)) if start is None or end is None else (start, end)
        passages.setdefault(span, []).append(_source(citation))
    return [
        {
            "start": start,
            "end": end,
            "text": text[start:end],
            "sources": sources,
            "content_index": content_index,
            "type": "TEXT_CONTENT",
        }
        for (start, end), sources in passages.items()
    ]


def _source(citation: Citation) -> Members:
    source: Members = {"type": "document"}
    if citation.document is not None:
        source["id"] = document_id(citation.document)
    elif citation.url:
        source["id"] = citation.url
    said = (("url", citation.url), ("title", citation.title), ("snippet", citation.quote))
    source["document"] = {name: value for name, value in said if value}
    return source
