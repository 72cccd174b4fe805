"""How many marks for a cache a request may have: four, at Anthropic's and at Bedrock. More are refused there.

The last are kept, in the order in which prefixes are read (tools, instructions, turns): what they end includes all that
the others would.
"""

from typing import Final, TypeVar

import msgspec
from headgate.llm.canonical import (
    ChatRequest,
    DocumentPart,
    FunctionTool,
    ImagePart,
    Message,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from headgate.llm.losses import Loss

MARKS_MAX: Final = 4

T = TypeVar("T", bound=msgspec.Struct)


def last_marks(request: ChatRequest, losses: list[Loss]) -> ChatRequest:
    """The request with its last marks; itself if it has no more than may be."""
    surplus = _count(request) - MARKS_MAX
    if surplus <= 0:
        return request
    losses.append(Loss("cache_control", "changed", f"only {MARKS_MAX} marks are taken: the last ones"))
    leave_out = _Surplus(surplus)
    tools = tuple(leave_out.of(tool) if isinstance(tool, FunctionTool) else tool for tool in request.tools)
    first = tuple(_message(message, leave_out) if _instructs(message) else message for message in request.messages)
    messages = tuple(message if _instructs(message) else _message(message, leave_out) for message in first)
    return msgspec.structs.replace(request, tools=tools, messages=messages)


def _count(request: ChatRequest) -> int:
    """Of every request there is, so by kinds."""
    count = 0
    for tool in request.tools:
        if type(tool) is FunctionTool and tool.cache is not None:
            count += 1
    for message in request.messages:
        for part in message.parts:
            if type(part) is TextPart:  # as most are
                if part.cache is not None:
                    count += 1
                continue
            if isinstance(part, _MARKED) and part.cache is not None:
                count += 1
            if type(part) is ToolResultPart:
                for content in part.content:
                    if isinstance(content, _MARKED) and content.cache is not None:
                        count += 1
    return count


_MARKED: Final = (TextPart, ToolCallPart, ToolResultPart, ImagePart, DocumentPart)
"""A tuple: a union would be made anew for each part."""


def _instructs(message: Message) -> bool:
    return message.role in ("system", "developer")


class _Surplus:
    """Marks still to be left out."""

    __slots__ = ("_left",)

    def __init__(self, left: int) -> None:
        self._left = left

    def of(self, value: T) -> T:
        """The value, without its mark while there are too many."""
        if not self._left or getattr(value, "cache", None) is None:
            return value
        self._left -= 1
        return msgspec.structs.replace(value, cache=None)


def _message(message: Message, leave_out: _Surplus) -> Message:
    parts = tuple(
        leave_out.of(
            msgspec.structs.replace(part, content=tuple(map(leave_out.of, part.content)))
            if isinstance(part, ToolResultPart)
            else part
        )
        for part in message.parts
    )
    return msgspec.structs.replace(message, parts=parts)
