"""How Envoy tells the rate limit service which backends a request may go to, and what the service answers.

The compiler adds one descriptor to the check: an entry per backend, its key `BACKEND_ENTRY`. Descriptors that begin
with an entry `backend_name` limit that backend alone: one that is used up is passed over, not answered with 429, as
long as another has room. Where it must be, the answer's dynamic metadata holds `PRIORITY_GROUPS`, which Envoy's cluster
specifier reads in place of its own groups.
"""

from typing import Final, NamedTuple

BACKEND_ENTRY: Final = "headgate_backend"
PRIORITY_GROUPS: Final = "priority_groups"
"""In the filter's metadata namespace: groups of clusters with weights, the one to begin with first."""


class Choice(NamedTuple):
    """A backend that a request may go to."""

    cluster: str
    group: int
    """The lower is tried first."""
    weight: int
    """Among those of its group; 1 or more."""
    service: str
    """What its descriptors say as `backend_name`."""
    model: str = ""
    """What its descriptors say as `model_name_override`; empty where that is the client's own model."""


def encode_choice(choice: Choice) -> str:
    """The value of the backend's entry. The model comes last: it may hold spaces."""
    return f"{choice.group} {choice.weight} {choice.cluster} {choice.service} {choice.model}"


def decode_choice(text: str) -> Choice | None:
    """What `encode_choice` made; None for anything else."""
    parts = text.split(" ", 4)
    if len(parts) != 5 or not (_is_number(parts[0]) and _is_number(parts[1])):
        return None
    return Choice(parts[2], int(parts[0]), max(int(parts[1]), 1), parts[3], parts[4])


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10
