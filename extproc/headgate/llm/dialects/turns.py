"""What dialects that have no word for it make of instructions in mid-conversation, of results that come late, of an
answer begun for the model, and of a conversation they can say nothing of."""

from collections.abc import Sequence
from typing import Final

import msgspec
from headgate.llm.canonical import Message, Part, TextPart, ToolCallPart, ToolResultPart
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
    """The messages with the results of calls right behind them, where others stand between (which Responses take, say;
    or parallel calls, told in turns of their own); the same ones where none do."""
    return _moved(messages) if _have_late_results(messages) else messages


def _have_late_results(messages: Sequence[Message]) -> bool:
    calls: dict[str, int] = {}
    last = -1
    """The assistant's turn that nothing but results has followed."""
    for index, message in enumerate(messages):
        if message.role == "assistant":
            calls.update((part.id, index) for part in message.parts if type(part) is ToolCallPart)
            last = index
            continue
        if calls:
            found = [calls.get(part.call_id) for part in message.parts if type(part) is ToolResultPart]
            if any(turn is not None and turn != last for turn in found):
                return True
            if len(found) == len(message.parts):
                continue
        last = -1
    return False


def _moved(messages: Sequence[Message]) -> Sequence[Message]:
    calls: dict[str, int] = {}
    turns: list[list[Message]] = []
    for index, message in enumerate(messages):
        if message.role == "assistant":
            calls.update((part.id, index) for part in message.parts if type(part) is ToolCallPart)
            turns.append([message])
            continue
        rest: list[Part] = []
        results: dict[int, list[Part]] = {}
        for part in message.parts:
            turn = calls.get(part.call_id) if type(part) is ToolResultPart else None
            (rest if turn is None else results.setdefault(turn, [])).append(part)
        for turn, parts in results.items():
            turns[turn].append(msgspec.structs.replace(message, parts=tuple(parts)))
        if results:
            turns.append([msgspec.structs.replace(message, parts=tuple(rest))] if rest else [])
        else:
            turns.append([message])
    return [message for turn in turns for message in turn]


def refuse_lost(losses: Sequence[Loss]) -> None:
    """UnsupportedTranslation for a conversation of whose turns nothing is left, with why.

    A provider would refuse it without saying why, or answer the instructions."""
    for loss in losses:
        if loss.action == "dropped":
            raise UnsupportedTranslation(f"{loss.reason}, and nothing else is left to be answered", path=loss.path)


def report_begun(path: str, losses: list[Loss]) -> None:
    """A loss for an answer that the client has begun for the model."""
    losses.append(Loss(path, "changed", "this model cannot go on with a turn: it is asked to"))
