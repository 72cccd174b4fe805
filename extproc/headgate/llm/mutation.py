"""What the operator changes in every request to a backend, after translation: headers and members of the body.

compat: `httpHeaderMutation`, `httpBodyMutation` (`data-plane.md` 4.3, 4.4).
"""

from collections.abc import Mapping, Sequence

from headgate.contract.facts import BackendFacts, BodyMutation
from headgate.contract.headers import INTERNAL, INTERNAL_PREFIXES
from headgate.llm.relay import decode_object, mutate_object


def mutate_headers(
    facts: BackendFacts, headers: Mapping[str, str], remove: Sequence[str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Headers to set and to remove with the backend's own applied: they win over ours. Pseudo and internal headers are
    not the operator's to touch and are ignored."""
    mutation = facts.headers
    if not mutation.set and not mutation.remove:
        return dict(headers), tuple(remove)
    removed = tuple(name for name in map(str.lower, mutation.remove) if _is_mutable(name))
    result = {name: value for name, value in headers.items() if name not in removed}
    result.update((name.lower(), value) for name, value in mutation.set.items() if _is_mutable(name.lower()))
    return result, (*remove, *(name for name in removed if name not in result))


def mutate_body(mutation: BodyMutation, body: bytes) -> bytes:
    """The provider's body with what `BodyMutation` says."""
    if not mutation.set and not mutation.remove and not mutation.within:
        return body
    return mutate_object(decode_object(body), mutation, before={})


def _is_mutable(name: str) -> bool:
    return not name.startswith((":", *INTERNAL_PREFIXES)) and name not in INTERNAL
