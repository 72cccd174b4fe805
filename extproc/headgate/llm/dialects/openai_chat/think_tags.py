"""Thoughts at the beginning of a text, between `<think>` and `</think>`, as MiniMax tells them and takes them back.

Source: <https://platform.minimax.io/docs/guides/text-m2-function-call>.
"""

from typing import Final

OPENED: Final = "<think>"
_CLOSED: Final = "</think>"
_ENDS: Final = ("\n" + _CLOSED, _CLOSED)


def tagged(thought: str) -> str:
    """What stands before the text of an earlier turn."""
    return f"{OPENED}\n{thought}\n{_CLOSED}\n\n"


class ThinkTags:
    """Tells thoughts from text, in pieces cut anywhere. Line breaks beside the tags belong to neither."""

    __slots__ = ("_begun", "_held", "_thinks")

    def __init__(self) -> None:
        self._held = ""
        self._thinks: bool | None = None
        """None until it is known."""
        self._begun = False
        """What comes now has begun: line breaks count."""

    def feed(self, piece: str) -> tuple[str, str]:
        """What more there is of thoughts, and of text."""
        text, self._held = self._held + piece, ""
        if self._thinks is None:
            said = text.lstrip()
            if not said.startswith(OPENED):
                if OPENED.startswith(said):
                    self._held = text
                    return "", ""
                self._thinks, self._begun = False, True
                return "", text
            self._thinks, text = True, said.removeprefix(OPENED)
        thought = ""
        if self._thinks:
            thought, closed, text = self._rest(text).partition(_CLOSED)
            if not closed:
                return self._kept_back(thought), ""
            self._thinks, self._begun, thought = False, False, thought.removesuffix("\n")
        return thought, self._rest(text)

    def close(self) -> tuple[str, str]:
        """What a tag was not made of after all."""
        held, self._held = self._held, ""
        return (held, "") if self._thinks else ("", held)

    def _rest(self, text: str) -> str:
        if not self._begun:
            text = text.lstrip("\n")
            self._begun = bool(text)
        return text

    def _kept_back(self, thought: str) -> str:
        """The thought without what may be the beginning of its end."""
        for size in range(min(len(_ENDS[0]) - 1, len(thought)), 0, -1):
            if any(end.startswith(thought[-size:]) for end in _ENDS):
                self._held = thought[-size:]
                return thought[:-size]
        return thought
