"""What parts of a configuration became, for the next compilation: most of them are as before.

What is gone must not stay for ever: a backend's addresses change with each rollout, and a rule and what it became are
0.1 MB. Nobody tells what is gone. So each function's memory may become three times what the last compilation that
began without it has left there, and is emptied then: the next compilation makes what is still there once more, after at
least twice as many changes. Rejected: a bound in numbers, which a large configuration thrashes in and a small one fills
with what is gone; two generations, which cost each look-up a function of Python.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

SPARED: Final = 200
"""So many more are never too many."""


class _Memory:
    def __init__(self, forget: Callable[[], None], size: Callable[[], int]) -> None:
        self._forget = forget
        self._size = size
        self._in_use: int | None = None
        """What one compilation left there that began without anything; None before it."""

    def settle(self) -> None:
        size = self._size()
        if self._in_use is None:
            self._in_use = size
        elif size > 3 * self._in_use + SPARED:
            self._forget()
            self._in_use = None


_MEMORIES: Final[list[_Memory]] = []


def remembered(function: Callable[P, T]) -> Callable[P, T]:
    """A pure function of hashable values that is called for each part of a configuration. Its results are shared: they
    must not be changed."""
    known = lru_cache(maxsize=None)(function)
    _MEMORIES.append(_Memory(known.cache_clear, lambda: known.cache_info().currsize))
    return known  # pyright: ignore[reportReturnType] (the wrapper's type has forgotten the arguments)


def settle() -> None:
    """After each compilation."""
    for memory in _MEMORIES:
        memory.settle()
