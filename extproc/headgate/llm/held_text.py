"""A text that is collected piece by piece, in one buffer."""

from io import StringIO


def held_text() -> StringIO:
    """An empty text to write to. It holds four bytes a character and none of the pieces, which are several times that:
    a `StringIO` keeps its pieces until it is first changed in another way than by writing at its end."""
    text = StringIO(" ")
    text.seek(0)
    text.truncate()
    return text
