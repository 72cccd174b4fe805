"""Times as counts in bins that grow by a fifth: adding is O(1), a percentile is within a tenth of the true value."""

import math
from collections.abc import Mapping
from typing import Final

MILLISECONDS_MIN: Final = 0.1
MILLISECONDS_MAX: Final = 3_600_000.0
GROWTH: Final = 1.2
_LOG_GROWTH: Final = math.log(GROWTH)
BINS: Final = math.ceil(math.log(MILLISECONDS_MAX / MILLISECONDS_MIN) / _LOG_GROWTH) + 1

Histogram = dict[int, int]
"""Bin to count; at most `BINS` of them."""


def add(histogram: Histogram, milliseconds: float) -> None:
    """Counts one time."""
    bin_ = bin_of(milliseconds)
    histogram[bin_] = histogram.get(bin_, 0) + 1


def bin_of(milliseconds: float) -> int:
    """From 0 for all up to `MILLISECONDS_MIN` to the last one, for all beyond `MILLISECONDS_MAX`."""
    if not milliseconds > MILLISECONDS_MIN:
        return 0
    if milliseconds >= MILLISECONDS_MAX:
        return BINS - 1
    return math.ceil(math.log(milliseconds / MILLISECONDS_MIN) / _LOG_GROWTH)


def merge(into: Histogram, other: Mapping[int, int]) -> None:
    """Adds all counts of `other`."""
    for bin_, count in other.items():
        into[bin_] = into.get(bin_, 0) + count


def percentile(histogram: Mapping[int, int], share: float) -> float | None:
    """The middle of the bin that holds it; None of no times."""
    wanted = share * sum(histogram.values())
    seen = 0
    for bin_, count in sorted(histogram.items()):
        seen += count
        if seen >= wanted:
            return MILLISECONDS_MIN * GROWTH ** (bin_ - 0.5)
    return None
