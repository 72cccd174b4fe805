"""Names of tools for who takes few characters: letters, digits, `_` and `-`. Google's clients write others too."""

import re
from functools import lru_cache
from hashlib import sha256
from typing import Final

_TAKEN: Final = re.compile(r"[a-zA-Z0-9_-]+")
_REFUSED: Final = re.compile(r"[^a-zA-Z0-9_-]")


@lru_cache(maxsize=4096)
def taken_name(name: str, characters_max: int) -> str:
    """The name itself, or as much of it as is taken, with a digest: the same on every call."""
    if len(name) <= characters_max and _TAKEN.fullmatch(name):
        return name
    digest = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{_REFUSED.sub('_', name)[: characters_max - 9]}_{digest}"
