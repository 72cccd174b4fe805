"""Citations to and from canonical ones."""

from headgate.llm.canonical import Citation
from headgate.llm.dialects.bedrock_converse import wire


def decode_citation(said: wire.Citation) -> Citation:
    """What one citation says: its source's words, and where they stand."""
    location = said.location or wire.Location()
    span = location.document_char or location.document_page or location.document_chunk or wire.Span()
    page = location.web.url if location.web is not None else None
    return Citation(
        url=page or ((said.source or "") if span.document_index is None else ""),
        title=said.title or "",
        quote="".join(content.text or "" for content in said.source_content or ()),
        document=span.document_index,
    )


def encode_citation(citation: Citation) -> wire.Citation:
    """The same for a client of this dialect. Where in the answer it stands cannot be said but by its place."""
    location = None
    if citation.url:
        location = wire.Location(web=wire.WebLocation(citation.url))
    elif citation.document is not None:
        location = wire.Location(document_char=wire.Span(citation.document, 0, len(citation.quote)))
    quote = [wire.SourceContent(citation.quote)] if citation.quote else None
    return wire.Citation(citation.title or None, source_content=quote, location=location)
