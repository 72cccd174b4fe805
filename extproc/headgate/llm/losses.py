"""What a translation could not say, as values. Nothing vanishes in silence."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec


class Loss(msgspec.Struct, frozen=True):
    """One thing of the request that the target cannot express.

    `path` is a JSON path into the client's body without a leading `$` (`messages[2].content[0]`, `seed`).
    """

    path: str
    action: Literal["dropped", "changed", "emulated"]
    reason: str


def in_words_of(losses: Sequence[Loss], names: Mapping[str, str], reasoning: str) -> tuple[Loss, ...]:
    """The losses under the names that a client's dialect has for canonical members, each once.

    `reasoning` is the canonical name of what the client said of reasoning: encoders name what they would have written.
    """
    named = (msgspec.structs.replace(loss, path=_named(loss.path, names, reasoning)) for loss in losses)
    return tuple(dict.fromkeys(named))


_REASONING = frozenset(("reasoning_effort", "thinking", "thinking.budget_tokens", "output_config.effort"))
_WORD = re.compile(r"[A-Za-z_]+")


def _named(path: str, names: Mapping[str, str], reasoning: str) -> str:
    if path in _REASONING and reasoning:
        return names.get(reasoning, reasoning)
    if path in names:
        return names[path]
    if "[" not in path:
        return path

    def own(word: re.Match[str]) -> str:
        name = names.get(word[0], "")
        return name if name and name not in path else word[0]

    return _WORD.sub(own, path)


def format_losses(losses: Sequence[Loss]) -> str:
    """The value of the response header `x-headgate-losses`: `path;reason` items joined by `, `, in printable ASCII."""
    shown = losses[:LOSSES_IN_HEADER_MAX]
    text = ", ".join(f"{loss.path[:PATH_IN_HEADER_MAX]};{loss.action}: {loss.reason}" for loss in shown)
    if len(losses) > LOSSES_IN_HEADER_MAX:
        text += f", and {len(losses) - LOSSES_IN_HEADER_MAX} more"
    return _UNPRINTABLE.sub("?", text)


_UNPRINTABLE = re.compile(r"[^ -~]")

LOSSES_IN_HEADER_MAX = 16
PATH_IN_HEADER_MAX = 256
"""Both protect the client's header size limit: members of any name may be lost."""
