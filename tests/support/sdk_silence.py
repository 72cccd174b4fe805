"""What SDKs can say and nobody gets: values that could be others, and nothing of what is sent or told would change."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from support.sdk_shapes import Place, Variant, Writer, leaves, replaced, value_at, written


class Sent(Protocol):
    """What becomes of the documents of one side on the other."""

    def sent(self, document: Any) -> tuple[str, frozenset[str]] | None:
        """All that comes of it, and the paths of the losses; None where it is refused."""
        ...

    def reported(self, place: Place, losses: frozenset[str]) -> bool:
        """Whether one of the losses is of what stands at the place."""
        ...

    def says_nothing(self, path: str) -> bool:
        """Whether a place, or a pair of choices there (`path one = other`), may vanish."""
        ...


def name_at(place: Place) -> str:
    """The member that a place is, or is in."""
    return next((str(step) for step in reversed(place) if isinstance(step, str)), "")


def silent(asked: Sent, variants: Iterable[Variant], writer: Writer) -> Iterator[str]:
    """Places, and pairs of choices, that vanish."""
    choices: dict[str, dict[str, str]] = defaultdict(dict)
    for variant in variants:
        result = asked.sent(variant.document)
        if result is None or asked.reported(variant.place, result[1]):
            continue
        path = written(variant.place)
        if variant.choice:
            others = choices[json.dumps(replaced(variant.document, variant.place, "*"))]
            same = others.setdefault(result[0], variant.choice)
            if same != variant.choice and not asked.says_nothing(f"{path} {same} = {variant.choice}"):
                yield f"{path} {same} = {variant.choice}"
        for leaf in leaves(value_at(variant.document, variant.place), variant.place):
            value = value_at(variant.document, leaf)
            if value in ({}, [], None) or asked.says_nothing(written(leaf)):
                continue
            other = asked.sent(replaced(variant.document, leaf, writer.other(value, name_at(leaf))))
            if other is not None and other[0] == result[0]:
                yield written(leaf)
