"""Which backend a request begins with, where backends have limits of their own (`headgate.contract.steering`).

By group, lower first, and by weight within one, as Envoy would choose; but who has no room left is passed over. A
random choice would not be a function: the draw is made from the request's name, which no other request has.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from headgate.contract.metadata import BACKEND_NAME, MODEL_NAME_OVERRIDE
from headgate.contract.steering import Choice

Groups = tuple[tuple[tuple[str, int], ...], ...]
"""(cluster, weight) of each group, the one to begin with first."""

_DRAWS: Final = 2**64


def ordered(choices: Sequence[Choice], name: str) -> tuple[Choice, ...]:
    """The order in which they are tried: who stands first in a group does so in the share of its weight."""
    return tuple(sorted(choices, key=lambda choice: (choice.group, _draw(choice, name))))


def _draw(choice: Choice, name: str) -> float:
    # Weighted sampling: the largest u**(1/weight) comes first, https://doi.org/10.1016/j.ipl.2005.11.003
    text = f"{name} {choice.cluster}".encode()
    drawn = (int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) + 1) / (_DRAWS + 1)
    return 1 - drawn ** (1 / choice.weight)


def owned(choices: Sequence[Choice], descriptors: Sequence[Sequence[tuple[str, str]]]) -> tuple[tuple[int, ...], ...]:
    """Per choice which descriptors limit that backend alone."""
    own = [(index, each) for index, each in enumerate(descriptors) if each and each[0][0] == BACKEND_NAME]
    return tuple(tuple([index for index, each in own if _limits(each, choice)]) for choice in choices)


def _limits(entries: Sequence[tuple[str, str]], choice: Choice) -> bool:
    if entries[0][1] != choice.service:
        return False
    if len(entries) == 1 or entries[1][0] != MODEL_NAME_OVERRIDE or not choice.model:
        return True
    return entries[1][1] == choice.model


def groups(choices: Sequence[Choice], chosen: int, room: Sequence[bool]) -> Groups:
    """What Envoy is told to try: the chosen one, then the groups after its own, as far as they have room.

    Empty where that is what Envoy does by itself.
    """
    first = choices[chosen]
    later: dict[int, list[tuple[str, int]]] = {}
    for choice, free in zip(choices, room, strict=True):
        if choice.group > first.group and free:
            later.setdefault(choice.group, []).append((choice.cluster, choice.weight))
    alone = sum(choice.group == first.group for choice in choices) == 1
    if chosen == 0 and alone and all(room):
        return ()
    return (((first.cluster, 1),), *(tuple(later[group]) for group in sorted(later)))
