"""Grounding metadata to citations, and back.

Google tells what supports an answer beside it: sources once, then passages with the numbers of their sources. Passages
are counted in bytes of UTF-8; citations in characters.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from headgate.llm.answer_losses import opened
from headgate.llm.canonical import Citation
from headgate.llm.dialects.gemini import wire

CITATIONS_MAX: Final = 4_096
"""Of one answer: each passage may name every source."""

_NO_SOURCE: Final = wire.Web()


def _page_of(image: wire.Image | None) -> wire.Web:
    """Where a picture that was found stands."""
    return _NO_SOURCE if image is None else wire.Web(image.source_uri, image.title)


def citations_of(
    raw: msgspec.Raw, texts: Mapping[int, str], *, one_text: bool = False
) -> dict[int, tuple[Citation, ...]]:
    """Citations by the position of their text. Metadata that cannot be read gives none: the answer is not about it.

    Sources that no passage names belong to the last text as a whole. `one_text`: whatever position a passage has.
    """
    if not texts:
        return {}
    metadata = opened(raw, wire.GROUNDING_DECODER.decode)
    if metadata is None:
        return {}
    sources = [
        chunk.web or chunk.retrieved_context or chunk.maps or _page_of(chunk.image)
        for chunk in metadata.grounding_chunks or ()
    ]
    found: dict[int, list[Citation]] = {}
    named: set[int] = set()
    total = 0
    encoded = {position: text.encode() for position, text in texts.items()}
    for support in metadata.grounding_supports or ():
        segment = support.segment or wire.Segment()
        position = min(encoded) if one_text or segment.part_index is None else segment.part_index
        text = encoded.get(position)
        if text is None:
            continue
        start, end = _characters(text, segment)
        for number in support.grounding_chunk_indices or ():
            if not 0 <= number < len(sources) or total >= CITATIONS_MAX:
                continue
            named.add(number)
            total += 1
            source = sources[number]
            citation = Citation(url=source.uri or "", title=source.title or "", start=start, end=end)
            found.setdefault(position, []).append(citation)
    last = max(encoded)
    for number, source in enumerate(sources[:CITATIONS_MAX]):
        if number not in named and (source.uri or source.title):
            found.setdefault(last, []).append(Citation(url=source.uri or "", title=source.title or ""))
    return {position: tuple(citations) for position, citations in found.items()}


def _characters(text: bytes, segment: wire.Segment) -> tuple[int | None, int | None]:
    end = segment.end_index
    if end is None:
        return None, None
    start = segment.start_index or 0
    if not 0 <= start <= end:
        return None, None
    if text.isascii():
        return start, min(end, len(text))
    before = text[:start].decode("utf-8", "replace")
    return len(before), len(before) + len(text[start:end].decode("utf-8", "replace"))


def grounding_of(citations: Iterable[tuple[int, str, Citation]]) -> dict[str, Any]:
    """`groundingMetadata` of citations, each with the place and the text of its part; empty if there are none."""
    chunks: dict[tuple[str, str], int] = {}
    supports: list[dict[str, Any]] = []
    for place, text, citation in citations:
        number = chunks.setdefault((citation.url, citation.title), len(chunks))
        if citation.start is None or citation.end is None:
            continue
        segment: dict[str, Any] = {"partIndex": place} if place else {}
        segment["startIndex"] = len(text[: citation.start].encode())
        segment["endIndex"] = len(text[: citation.end].encode())
        segment["text"] = text[citation.start : citation.end]
        supports.append({"segment": segment, "groundingChunkIndices": [number]})
    if not chunks:
        return {}
    result: dict[str, Any] = {"groundingChunks": [{"web": {"uri": url, "title": title}} for url, title in chunks]}
    if supports:
        result["groundingSupports"] = supports
    return result
