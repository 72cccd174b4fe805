"""Characters that are written as two escapes of JSON (`\\ud83d\\ude00`), cut apart.

Servers that cut their texts by UTF-16 put one half into each of two events, or end a text with a first half. JSON takes
that; UTF-8 has no halves. Rule: what came apart is put together again; a half that stays alone is U+FFFD. A client's
half is refused.
"""

import re
from typing import Final

_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb'|(?P<first>u[dD][89abAB][0-9a-fA-F]{2})(?P<last>(?="))?'
    rb"|(?P<second>u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|.)",
    re.DOTALL,
)
_ALONE: Final = rb"\ufffd"


def may_have_halves(data: bytes) -> bool:
    """Whether any such escape is in there, whole or half."""
    return b"\\u" in data and (b"\\ud" in data or b"\\uD" in data)  # one look in most events


def whole_characters(body: bytes) -> bytes:
    """An answer's JSON without halves."""
    return _ESCAPE.sub(_told_alone, body) if may_have_halves(body) else body


def first_half(body: bytes) -> re.Match[bytes] | None:
    """The first escape of half a character in a JSON text, if there is one."""
    if not may_have_halves(body):
        return None
    return next((escape for escape in _ESCAPE.finditer(body) if escape["first"] or escape["second"]), None)


def _told_alone(escape: re.Match[bytes]) -> bytes:
    return _ALONE if escape["first"] or escape["second"] else escape[0]


class Halves:
    """Mends the events of one stream. A first half at the end of a text waits for the next text that begins with a
    second one; if none comes it is left out."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting = b""

    def feed(self, data: bytes) -> bytes:
        """An event's JSON, of which `may_have_halves` is true."""
        return _ESCAPE.sub(self._mend, data)

    def _mend(self, escape: re.Match[bytes]) -> bytes:
        if escape["first"]:
            if escape["last"] is None:
                return _ALONE
            self._waiting = escape[0]
            return b""
        if not escape["second"]:
            return escape[0]
        waiting, self._waiting = self._waiting, b""
        return waiting + escape[0] if waiting else _ALONE
