"""What a translation could not say, as values. Nothing vanishes in silence."""

from collections.abc import Sequence
from typing import Literal

import msgspec


class Loss(msgspec.Struct, frozen=True):
    """One thing of the request that the target cannot express.

    `path` is a JSON path into the client's body without a leading `$` (`messages[2].content[0]`, `seed`).
    """

    path: str
    action: Literal["dropped", "changed", "emulated"]
    reason: str


def format_losses(losses: Sequence[Loss]) -> str:
    """The value of the response header `x-headgate-losses`: `path;reason` items joined by `, `, in ASCII."""
    text = ", ".join(f"{loss.path};{loss.action}: {loss.reason}" for loss in losses[:LOSSES_IN_HEADER_MAX])
    if len(losses) > LOSSES_IN_HEADER_MAX:
        text += f", and {len(losses) - LOSSES_IN_HEADER_MAX} more"
    return text.encode("ascii", "replace").decode("ascii").replace("\r", " ").replace("\n", " ")


LOSSES_IN_HEADER_MAX = 16
"""Protects the client's header size limit."""
