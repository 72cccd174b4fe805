"""What both wire formats share: errors, server-sent events, typed access to decoded JSON."""

import json
from collections.abc import Mapping, Sequence
from typing import Any


class BadRequestError(Exception):
    """The client's fault; `str()` says where and what."""


def decode_object(body: bytes) -> dict[str, Any]:
    """The request's JSON object; raises BadRequestError."""
    try:
        value = json.loads(body)
    except ValueError as error:
        raise BadRequestError(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadRequestError("the body is not a JSON object")
    return value  # pyright: ignore[reportUnknownVariableType]


def string(value: Mapping[str, Any], name: str) -> str:
    """A required string member; raises BadRequestError."""
    found = value.get(name)
    if not isinstance(found, str) or not found:
        raise BadRequestError(f"{name}: a non-empty string is required")
    return found


def objects(value: Mapping[str, Any], name: str, *, required: bool = False) -> list[dict[str, Any]]:
    """A member that is an array of objects; raises BadRequestError."""
    found = value.get(name)
    if found is None and not required:
        return []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):  # pyright: ignore[reportUnknownVariableType]
        raise BadRequestError(f"{name}: an array of objects is required")
    return found  # pyright: ignore[reportUnknownVariableType]


def text_of(content: Any) -> str:
    """The text in a string, or in the text parts of an array of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        return ""
    return " ".join(str(part["text"]) for part in content if isinstance(part, Mapping) and part.get("text"))  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType, reportUnknownMemberType]


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def event(value: Any, name: str = "") -> bytes:
    """One server-sent event."""
    return (f"event: {name}\n" if name else "").encode() + f"data: {compact(value)}\n\n".encode()
