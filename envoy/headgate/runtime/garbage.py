"""How often Python looks for reference cycles."""

import gc
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

_THRESHOLDS: Final = (100_000, 50, 100)


def collect_rarely() -> None:
    """For processes whose memory is large, immutable trees: looking for cycles in them finds none and costs more than
    making them (a change of one among 1,000 routes: 0.70 s with Python's thresholds, 0.30 s with these).
    """
    gc.set_threshold(*_THRESHOLDS)


@contextmanager
def collect_later() -> Generator[None]:
    """For work that somebody waits for: cycles are looked for when it is done, if at all. Not to be nested, nor to be
    entered twice at once."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
