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


def in_place(losses: Sequence[Loss], body: bytes, other_names: Mapping[str, Sequence[str]]) -> tuple[Loss, ...]:
    """The losses with paths that the client's body has, each once.

    `other_names`: what else may stand for a member, as paths beside it. What a path says beyond the body is left out;
    one of which the body has nothing stays as it is. The body is opened only where a path may be another.
    """
    if not any(_may_be_another(loss.path, body, other_names) for loss in losses):
        return tuple(losses)
    places = _Places(body, other_names)
    return tuple(dict.fromkeys(msgspec.structs.replace(loss, path=places.found(loss.path)) for loss in losses))


def _may_be_another(path: str, body: bytes, other_names: Mapping[str, Sequence[str]]) -> bool:
    if path.endswith(".cache_control") and "cache_control" not in other_names:
        return False  # of nearly every request of an agent: these marks stand where they are said to
    if "[" in path:
        return True
    others = (name for word in path.split(".") for name in other_names.get(word, ()))
    return any(b'"%b"' % name.rpartition(".")[2].encode() in body for name in others)


_Container = dict[str, msgspec.Raw] | list[msgspec.Raw]

_STEPS = re.compile(r"[^.\[\]]+|\[\d+\]")
_INDEX_DIGITS_MAX = 9
_container = msgspec.json.Decoder(_Container).decode


class _Places:
    """Looks for paths in a body. What was opened for one path is not opened again for the next."""

    __slots__ = ("_opened", "_other_names", "_whole")

    def __init__(self, body: bytes, other_names: Mapping[str, Sequence[str]]) -> None:
        self._whole = msgspec.Raw(body)
        self._other_names = other_names
        self._opened: dict[str, _Container | None] = {}

    def found(self, path: str) -> str:
        """The path as far as the body has it."""
        return self._walk("", self._whole, path)[0] or path

    def _walk(self, seen: str, at: msgspec.Raw, path: str) -> tuple[str, msgspec.Raw | None]:
        """How far it goes from a place, and what stands at its end."""
        for step in _STEPS.findall(path):
            place, inner = self._step(seen, at, step)
            if inner is None:
                return seen, None
            seen, at = place, inner
        return seen, at

    def _step(self, seen: str, at: msgspec.Raw, step: str) -> tuple[str, msgspec.Raw | None]:
        inside = self._open(seen, at)
        if isinstance(inside, list):
            index = int(step[1:-1]) if step[0] == "[" and len(step) < _INDEX_DIGITS_MAX else len(inside)
            return f"{seen}{step}", inside[index] if index < len(inside) else None
        if inside is None:
            return seen, None
        if step in inside:
            return f"{seen}.{step}" if seen else step, inside[step]
        for name in self._other_names.get(step, ()):
            place, inner = self._walk(seen, at, name)
            if inner is not None:
                return place, inner
        return seen, None

    def _open(self, seen: str, at: msgspec.Raw) -> _Container | None:
        if seen not in self._opened:
            try:
                self._opened[seen] = _container(at)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self._opened[seen] = None
        return self._opened[seen]


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
