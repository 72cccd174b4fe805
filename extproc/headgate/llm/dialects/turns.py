"""What dialects that have no word for it make of instructions in mid-conversation, of results that come late, of an
answer begun for the model, of turns of nothing, and of a question they can say nothing of."""

from collections.abc import Sequence
from typing import Final

import msgspec
from headgate.llm.canonical import Message, Part, RefusalPart, TextPart, ToolCallPart, ToolResultPart
from headgate.llm.errors import UnsupportedTranslation
from headgate.llm.losses import Loss

GO_ON: Final = "Go on from exactly where you stopped."
"""Said for the user behind an answer that was begun for the model, where it cannot be gone on with."""

SAID_NOTHING: Final = "(The user said nothing.)"
"""Said for the user whose last turn is of nothing, where such a turn is refused. Without it the turn before would be
the last, and a model would go on with its own words."""

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


def without_blanks(messages: Sequence[Message], losses: list[Loss]) -> Sequence[Message]:
    """The messages without those of nothing but blank text, which providers refuse: each is told. `SAID_NOTHING` stands
    for the last one where the user's word, or any, would be missing. The same ones where none is blank."""
    if not any(map(is_blank, messages)):
        return messages
    kept = [message for message in messages if not is_blank(message)]
    last = messages[-1]
    answered = bool(kept) and kept[-1].role == "assistant"
    asked = is_blank(last) and (last.role == "user" or (answered and last.role != "assistant"))
    for message in messages:
        if is_blank(message) and not (message is last and (asked or not kept)):
            report_blank(message, losses)
    if asked or not kept:
        kept.append(Message("user", (TextPart(said_nothing(last, losses)),), path=last.path))
    return kept


def said_nothing(last: Message, losses: list[Loss]) -> str:
    """What stands for the last message of nothing, with its loss."""
    losses.append(Loss(last.path, "changed", f"a turn without text is refused: {SAID_NOTHING}"))
    return SAID_NOTHING


def report_blank(message: Message, losses: list[Loss]) -> None:
    """A loss for a message of nothing that is left out."""
    losses.append(Loss(message.path, "emulated", "a turn without text is refused: left out"))


def is_blank(message: Message) -> bool:
    """There is nothing in it but white space."""
    for part in message.parts:
        if type(part) is not TextPart and type(part) is not RefusalPart:
            return False
        if part.text and not part.text.isspace():
            return False
    return True


def refuse_lost(losses: Sequence[Loss], last: Message | None = None) -> None:
    """UnsupportedTranslation for a conversation of whose turns, or of whose `last` turn, nothing is left, with why.

    A provider would refuse it without saying why, answer the instructions, or go on with its own words."""
    for loss in losses:
        if loss.action == "dropped" and (last is None or loss.path.startswith(last.path)):
            raise UnsupportedTranslation(f"{loss.reason}, and nothing else is left to be answered", path=loss.path)


def report_begun(path: str, losses: list[Loss]) -> None:
    """A loss for an answer that the client has begun for the model."""
    losses.append(Loss(path, "changed", "this model cannot go on with a turn: it is asked to"))
