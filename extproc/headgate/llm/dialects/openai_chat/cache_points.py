"""Marks for a cache in OpenAI's words, which its two chat dialects share.

OpenAI keeps what is marked for half an hour or half a day, Anthropic for five minutes or an hour: the short and the
long of one are the short and the long of the other.
"""

from typing import Final

from headgate.llm.canonical import CachePoint

BREAKPOINT: Final = "prompt_cache_breakpoint"
_LONG: Final = "12h"
_ANTHROPICS_LONG: Final = "1h"


def point_of(ttl: str | None) -> CachePoint:
    """The cache point that a `prompt_cache_breakpoint` is."""
    return CachePoint(_ANTHROPICS_LONG if ttl == _LONG else "")


def breakpoint_of(point: CachePoint) -> dict[str, str]:
    """The `prompt_cache_breakpoint` that a cache point is."""
    return {"mode": "explicit", "ttl": _LONG} if point.ttl == _ANTHROPICS_LONG else {"mode": "explicit"}
