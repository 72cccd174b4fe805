"""A limiter as simple as it can be, to compare the real one with: no plans, no storages, no batches.

It knows fixed windows only, and is told limits as (amount, seconds, shadow) by the descriptor's single key.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Limit = tuple[int, int, bool]
Asked = tuple[str, str, int]
"""Key, value, hits."""


@dataclass
class NaiveLimiter:
    limits: Mapping[str, Limit]
    counters: dict[tuple[str, str, int], int] = field(default_factory=dict)
    """By key, value and the number of the window."""

    def ask(self, asked: Sequence[Asked], *, settlement: bool, now: int) -> list[bool]:
        """Counts, and returns for each descriptor whether it is over its limit (shadow or not)."""
        tried = dict(self.counters)
        over: list[bool] = []
        refused = False
        for key, value, hits in asked:
            if key not in self.limits:
                over.append(False)
                continue
            amount, seconds, shadow = self.limits[key]
            counter = (key, value, now // seconds)
            count = tried.get(counter, 0)
            is_over = count >= amount if hits == 0 else hits > 0 and count + hits > amount
            over.append(is_over)
            refused = refused or (is_over and not shadow)
            tried[counter] = max(count + hits, 0)
        if settlement or not refused:
            self.counters = tried
        return over
