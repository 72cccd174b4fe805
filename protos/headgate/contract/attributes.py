"""Which request headers become attributes of logs, metrics and spans: `header:attribute,header:attribute` (compat)."""

from collections.abc import Iterator, Mapping
from typing import Final

ATTRIBUTES_DEFAULT: Final = "agent-session-id:session.id"
"""compat: of logs and spans, where nothing else is said."""


class AttributesError(ValueError):
    """The text is no mapping; one line for the user."""


def attribute_pairs(text: str) -> Iterator[tuple[str, str]]:
    """(header in lower case, attribute). The first colon of a pair splits it. Raises AttributesError."""
    for pair in text.split(",") if text else ():
        header, colon, attribute = pair.partition(":")
        if not header.strip() or not colon or not attribute.strip():
            raise AttributesError(f"{pair!r} is not HEADER:ATTRIBUTE (in {text!r})")
        yield header.strip().lower(), attribute.strip()


def parse_attributes(text: str) -> Mapping[str, str]:
    """Header to attribute, one for each; raises AttributesError."""
    return dict(attribute_pairs(text))


def merged_attributes(common: str, own: str | None, otherwise: str = ATTRIBUTES_DEFAULT) -> Mapping[str, str]:
    """compat: those of one signal: what all have, and the signal's own, which win; `otherwise` where none are said.

    Raises AttributesError.
    """
    return {**parse_attributes(common), **parse_attributes(otherwise if own is None else own)}
