"""What dialects that have no word for it make of instructions in mid-conversation, of results that come late, of an
answer begun for the model, and of a conversation they can say nothing of."""

from collections.abc import Sequence
from typing import Final

import msgspec
from headgate.llm.canonical import Message, TextPart, ToolCallPart, ToolResultPart
from headgate.llm.errors import UnsupportedTranslation
from headgate.llm.losses import Loss

GO_ON: Final = "Go on from exactly where you stopped."
"""Said for the user behind an answer that was begun for the model, where it cannot be gone on with."""

_INSTRUCTIONS: Final = "<system>\n{}\n</system>"


def inlined(message: Message, losses: list[Loss]) -> Message:
    """Instructions in mid-conversation as what the user says at their place.

    At the top they would change what came before, from its first word: the provider's cache would be lost.
    """
    losses.append(Loss(message.path, "changed", "instructions in mid-conversation are said in the user's turn"))
    parts: list[TextPart] = []
    for part in message.parts:
        if type(part) is not TextPart:
            losses.append(Loss(message.path, "dropped", "instructions are text only in this dialect"))
        elif part.text and not part.text.isspace():
            parts.append(msgspec.structs.replace(part, text=_INSTRUCTIONS.format(part.text)))
    return Message("user", tuple(parts), path=message.path)


def results_at_calls(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages with the results of calls right behind them, where others stand between (which Responses take, say);
    the same ones where none do."""
    result: list[Message] = []
    waiting: list[Message] = []
    pending: set[str] = set()
    moved = False
    for message in messages:
        if message.role == "assistant":
            result += waiting
            waiting = []
            pending = {part.id for part in message.parts if type(part) is ToolCallPart}
        elif pending:
            answered = {part.call_id for part in message.parts if type(part) is ToolResultPart} & pending
            pending -= answered
            if not answered:
                waiting.append(message)
                continue
            if waiting:
                moved = True
                message, rest = _without_results(message)
                waiting += rest
            result.append(message)
            if not pending:
                result += waiting
                waiting = []
            continue
        result.append(message)
    return [*result, *waiting] if moved else messages


def _without_results(message: Message) -> tuple[Message, Sequence[Message]]:
    """The results of a turn; and the rest, if there is any."""
    results = tuple(part for part in message.parts if type(part) is ToolResultPart)
    rest = tuple(part for part in message.parts if type(part) is not ToolResultPart)
    replace = msgspec.structs.replace
    return replace(message, parts=results), [replace(message, parts=rest)] if rest else ()


def refuse_lost(losses: Sequence[Loss]) -> None:
    """UnsupportedTranslation for a conversation of whose turns nothing is left, with why.

    A provider would refuse it without saying why, or answer the instructions."""
    for loss in losses:
        if loss.action == "dropped":
            raise UnsupportedTranslation(f"{loss.reason}, and nothing else is left to be answered", path=loss.path)


def report_begun(path: str, losses: list[Loss]) -> None:
    """A loss for an answer that the client has begun for the model."""
    losses.append(Loss(path, "changed", "this model cannot go on with a turn: it is asked to"))
