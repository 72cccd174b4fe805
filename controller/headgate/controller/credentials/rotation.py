"""When to fetch a credential again. Pure: times come in as seconds, and so does chance (from 0 to 1)."""

from dataclasses import dataclass
from typing import Final

MARGIN_SECONDS: Final = 300.0
"""compat: a credential is renewed this long before it ends…"""
MARGIN_SHARE: Final = 0.5
"""…but never before half of its life is over."""
SPREAD_SECONDS: Final = 30.0
"""Credentials that were fetched together are not all renewed at once."""
RETRY_FIRST_SECONDS: Final = 1.0
RETRY_SECONDS_MAX: Final = 60.0
"""compat: a failed exchange is tried again within a minute."""
LIFE_SECONDS_MIN: Final = 1.0
"""A provider that says less is not believed: it would be asked without pause."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """Where one credential stands."""

    due: float
    """When to fetch next."""
    expires: float | None = None
    """When what there is ends; None where there is nothing."""
    failures: int = 0
    """Since the last success."""

    def usable(self, now: float) -> bool:
        return self.expires is not None and now < self.expires


def begin(now: float, expires: float | None, chance: float) -> Rotation:
    """With a credential found when we started, or with none."""
    if expires is None or expires <= now:
        return Rotation(now)
    return Rotation(max(now, expires - MARGIN_SECONDS - chance * SPREAD_SECONDS), expires)


def succeeded(now: float, expires: float, chance: float) -> Rotation:
    """A credential has come."""
    life = max(expires - now, LIFE_SECONDS_MIN)
    margin = min(MARGIN_SECONDS + chance * SPREAD_SECONDS, life * MARGIN_SHARE)
    return Rotation(now + life - margin, now + life)


def failed(rotation: Rotation, now: float, chance: float) -> Rotation:
    """None has come: again soon, then less often, and once when what there is ends, for that has to be said."""
    wait = min(RETRY_FIRST_SECONDS * 2.0**rotation.failures, RETRY_SECONDS_MAX)
    due = now + wait * (0.5 + chance / 2)
    if rotation.expires is not None and now < rotation.expires:
        due = min(due, rotation.expires)
    return Rotation(due, rotation.expires, min(rotation.failures + 1, 16))
