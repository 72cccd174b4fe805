"""Citations to and from canonical ones.

A citation is of the whole text block that bears it. Sources are told in five ways; canonical is a page or a document,
its title and its words. Where in the source those words stand is not told to other dialects, none of which knows it.
"""

from collections.abc import Iterable, Iterator

from headgate.llm.canonical import Citation
from headgate.llm.dialects.anthropic import wire


def citations_of(cited: Iterable[wire.Citation] | None) -> tuple[Citation, ...]:
    """What a text block's citations say."""
    return tuple(map(citation_of, cited)) if cited else ()


def citation_of(cited: wire.Citation) -> Citation:
    """What one citation says."""
    return Citation(
        url=cited.url or cited.source or "",
        title=cited.title or cited.document_title or "",
        quote=cited.cited_text or "",
        document=cited.document_index,
    )


def written_citations(citations: Iterable[Citation]) -> Iterator[wire.WrittenCitation]:
    """The same for a client of this dialect; one that names neither page nor document says nothing."""
    for citation in citations:
        if citation.document is not None:
            yield wire.WrittenDocumentPlace(
                cited_text=citation.quote,
                document_index=citation.document,
                document_title=citation.title or None,
                start_char_index=0,
                end_char_index=len(citation.quote),
            )
        elif citation.url:
            yield wire.WrittenPage(
                cited_text=citation.quote, encrypted_index="", title=citation.title or None, url=citation.url
            )
