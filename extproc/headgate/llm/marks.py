"""What an answer says of itself besides its content and its usage: what it is called, and why it ended."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec
from headgate.llm.canonical import ChatResponse, Finish, FinishReason, OtherAnswer, Start

FINISH_WORDS: Final[Mapping[FinishReason, str]] = MappingProxyType(
    {
        FinishReason.STOP: "stop",
        FinishReason.STOP_SEQUENCE: "stop",
        FinishReason.LENGTH: "length",
        FinishReason.CONTEXT_WINDOW: "length",
        FinishReason.TOOL_CALLS: "tool_call",
        FinishReason.REFUSAL: "content_filter",
        FinishReason.PAUSE: "pause",
    }
)
"""OpenTelemetry's words."""


class Marks(msgspec.Struct, frozen=True):
    """Of one answer, or of as much of it as came; `reasons` has one for each of several answers to choose from."""

    id: str = ""
    reasons: tuple[FinishReason, ...] = ()

    def after(self, event: object) -> "Marks":
        """With what an event of a stream adds: those that say nothing of it are welcome."""
        match event:
            case Start(id=str(name)) if name:
                return Marks(name, self.reasons)
            case Finish(reason=reason) | OtherAnswer(event=Finish(reason=reason)):
                return Marks(self.id, (*self.reasons, reason))
            case _:
                return self


NO_MARKS: Final = Marks()


def marks_of(response: ChatResponse) -> Marks:
    """Of an answer that came whole."""
    reasons = (response.finish_reason,)
    if response.alternatives:
        reasons += tuple([each.finish_reason for each in response.alternatives])
    return Marks(response.id, reasons)
