"""Token counts: exact (o200k) once the vocabulary is loaded, an estimate until then.

Loading costs about 0.4 s of CPU and 60 MB, so it waits for the first count and runs on a thread.
"""

import threading
from collections.abc import Callable
from typing import Final

BYTES_PER_TOKEN: Final = 4
ENCODING: Final = "o200k_base"


class TokenCounter:
    """Callable: a text to its number of tokens."""

    def __init__(self) -> None:
        self._count: Callable[[str], int] = self._estimate_and_load
        self._thread: threading.Thread | None = None

    def __call__(self, text: str) -> int:
        return self._count(text)

    def _estimate_and_load(self, text: str) -> int:
        self._load_in_background()
        return -(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN)

    def _load_in_background(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._load, name="vocabulary", daemon=True)
            self._thread.start()

    def _load(self) -> None:
        from bpe_openai import get_encoding

        encoding = get_encoding(ENCODING)
        self._count = lambda text: len(encoding.encode_ordinary(text))
