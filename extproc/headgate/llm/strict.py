"""Decodes what clients send: strictly, and with the path of the first thing wrong."""

import re
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec
from headgate.llm.errors import RequestError
from headgate.llm.members import check_utf8, invalid_json, split_members
from headgate.llm.unknown_members import decode_known

T = TypeVar("T")

AllowedWords = Sequence[tuple[re.Pattern[str], str]]
"""Where msgspec does not say what would be right: paths, and the words that may stand there."""

_PATH: Final = re.compile(r"(?:key in )?\$\.?(.*?)`$", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(.+?)`")


def decode_strict(
    decoder: msgspec.json.Decoder[T], body: bytes, *, conversation: str = "", allowed: AllowedWords = ()
) -> tuple[T, dict[str, msgspec.Raw]]:
    """The typed value, and all top-level members raw (for those the type does not name), with what a `Told` struct
    deeper inside does not name, by its path.

    `conversation` names the member that holds nearly all of the body and that is read to the last text: reading checks
    texts, so only the others are looked through for what is not UTF-8. What the type leaves raw in it is read with
    `text_of`. RequestError 400: what `decode_members` refuses, or a value of the wrong type, with its JSON path.
    """
    members = split_members(body)
    try:
        value, found = decode_known(decoder, body)
    except msgspec.ValidationError as error:
        check_utf8(body)
        raise _refusal(error, allowed) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid_json(body, error) from None
    _check_others(body, members, conversation)
    return value, members | found if found else members


def _check_others(body: bytes, members: dict[str, msgspec.Raw], conversation: str) -> None:
    """RequestError 400 where a member but the conversation holds what is not UTF-8."""
    if body.isascii():
        return
    if any(_is_not_utf8(bytes(raw)) for name, raw in members.items() if name != conversation):
        check_utf8(body)


def _is_not_utf8(value: bytes) -> bool:
    try:
        if not value.isascii():
            value.decode()
    except UnicodeDecodeError:
        return True
    return False


def text_of(raw: msgspec.Raw | bytes, path: str) -> str:
    """A raw value as text. RequestError 400 where it is not UTF-8."""
    try:
        return bytes(raw).decode()
    except UnicodeDecodeError:
        raise RequestError("must be valid UTF-8", path=path, code="invalid_utf8") from None


def _refusal(error: msgspec.ValidationError, allowed: AllowedWords) -> RequestError:
    """msgspec's words with our path: `messages[0].content: expected …`."""
    reason, _, place = str(error).partition(" - at `")
    found = _PATH.match(place)
    path = found[1] if found is not None else ""
    missing = _MISSING.search(reason)
    if missing is not None:
        path = f"{path}.{missing[1]}" if path else missing[1]
        reason = "this member is required"
    words = next((words for pattern, words in allowed if pattern.search(path)), "")
    reason = reason[:1].lower() + reason[1:]
    return RequestError(f"{reason}; must be {words}" if words else reason, path=path, code="invalid_value")
