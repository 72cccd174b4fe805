"""What dialects that have no word for it make of instructions in mid-conversation, and of an answer begun for the
model."""

from typing import Final

import msgspec
from headgate.llm.canonical import Message, TextPart
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


def report_begun(path: str, losses: list[Loss]) -> None:
    """A loss for an answer that the client has begun for the model."""
    losses.append(Loss(path, "changed", "this model cannot go on with a turn: it is asked to"))
