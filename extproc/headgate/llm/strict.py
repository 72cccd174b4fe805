"""Decodes what clients send: strictly, and with the path of the first thing wrong.

msgspec tells where a value failed but not at which place of a list (`$.messages[...].content`); the place is found by
halving the list until it is known. That happens only for bodies that are refused, and only up to a size.
"""

import re
from typing import Any, Final, TypeVar

import msgspec
from headgate.llm.errors import RequestError
from headgate.llm.members import check_utf8, split_members

T = TypeVar("T")

LOCATED_BYTES_MAX: Final = 1_048_576
"""Bodies above this keep `[...]` in the path: protects the time spent on refusing."""

_PATH: Final = re.compile(r" - at `(?:key in )?\$\.?(.*?)`$")
_MISSING: Final = re.compile(r"Object missing required field `(.+?)`")
_ANY_PLACE: Final = "[...]"


def decode_strict(
    decoder: msgspec.json.Decoder[T], body: bytes, *, conversation: str = ""
) -> tuple[T, dict[str, msgspec.Raw]]:
    """The typed value, and all top-level members raw (for those the type does not name).

    `conversation` names the member that holds nearly all of the body and that is read to the last text: reading checks
    texts, so only the others are looked through for what is not UTF-8. What the type leaves raw in it is read with
    `text_of`. RequestError 400: what `decode_members` refuses, or a value of the wrong type, with its JSON path.
    """
    members = split_members(body)
    try:
        value = decoder.decode(body)
    except msgspec.ValidationError as error:
        check_utf8(body)
        raise _refusal(decoder, body, error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        check_utf8(body)
        raise RequestError(f"the body is not valid JSON: {error}", code="invalid_json") from None
    check_others(body, members, conversation)
    return value, members


def check_others(body: bytes, members: dict[str, msgspec.Raw], conversation: str) -> None:
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


def _refusal(decoder: msgspec.json.Decoder[Any], body: bytes, error: msgspec.ValidationError) -> RequestError:
    path = _path_of(error)
    if _ANY_PLACE in path and len(body) <= LOCATED_BYTES_MAX:
        path = _locate(decoder, body, path)
    text = str(error)
    reason = text[: text.rfind(" - at `")] if " - at `" in text else text
    missing = _MISSING.search(reason)
    if missing is not None:
        path = f"{path}.{missing[1]}" if path else missing[1]
        reason = "this member is required"
    return RequestError(reason[:1].lower() + reason[1:], path=path, code="invalid_value")


def _path_of(error: msgspec.ValidationError) -> str:
    match = _PATH.search(str(error))
    return match[1] if match is not None else ""


def _locate(decoder: msgspec.json.Decoder[Any], body: bytes, path: str) -> str:
    """The path with every `[...]` replaced by the place that failed."""
    document: Any = msgspec.json.decode(body)
    located = ""
    remaining = path
    while _ANY_PLACE in remaining:
        before, _, remaining = remaining.partition(_ANY_PLACE)
        located += before
        holder, key = _find_list(document, located)
        if holder is None:
            return located + _ANY_PLACE + remaining
        items: list[Any] = holder[key]
        index = _first_failing(decoder, document, holder, key, items)
        if index is None:
            return located + _ANY_PLACE + remaining
        # From here on the list holds only the culprit, so that what fails next is inside it.
        holder[key] = [items[index]]
        failure = _failure(decoder, document)
        located_now = _path_of(failure) if failure is not None else ""
        located += f"[{index}]"
        remaining = _after_places(located_now, located.count("["))
    return located + remaining


def _after_places(path: str, places: int) -> str:
    """What follows the given number of `[...]` in a path."""
    return path.split(_ANY_PLACE, places)[-1] if places else path


def _first_failing(
    decoder: msgspec.json.Decoder[Any], document: Any, holder: Any, key: str | int, items: list[Any]
) -> int | None:
    low, high = 0, len(items)
    while low < high:
        middle = (low + high) // 2
        holder[key] = items[: middle + 1]
        if _failure(decoder, document) is None:
            low = middle + 1
        else:
            high = middle
    return low if low < len(items) else None


def _failure(decoder: msgspec.json.Decoder[Any], document: Any) -> msgspec.ValidationError | None:
    try:
        decoder.decode(msgspec.json.encode(document))
    except msgspec.ValidationError as error:
        return error
    return None


_STEP: Final = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


def _find_list(document: Any, path: str) -> tuple[Any, str | int]:
    """The container that holds the list at `path` and its key there; (None, "") if there is no such list.

    Lists already located hold one item, so their index counts as 0.
    """
    holder: Any = None
    key: str | int = ""
    value = document
    for name, index in _STEP.findall(path):
        holder, key = value, (0 if index else str(name))
        try:
            value = holder[key]
        except (KeyError, IndexError, TypeError):
            return None, ""
    return (holder, key) if isinstance(value, list) else (None, "")
