"""What of its rules the filters of a listener depend on: equal needs, equal filters."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from headgate.compiler import ir
from headgate.compiler.lower import limits
from headgate.compiler.lower.filters import brought, extraction, steered


@dataclass(frozen=True, slots=True)
class Needs:
    """Of the rules of one route configuration."""

    computes: bool = False
    """Costs that are more than counts."""
    brings: bool = False
    """Credentials that come with requests."""
    limited: bool = False
    reserves: bool = False
    """Limits that must know which request they are asked about."""
    counts: bool = False
    """Prompts are counted before they are admitted."""
    chooses_late: bool = False
    """The backend is chosen after the rate limit service was asked, or authentication."""
    selected: tuple[str, ...] = ()
    """Headers that limits select by."""
    queries: tuple[str, ...] = ()
    """Query parameters that they select by."""
    clients: tuple[str, ...] = ()
    """Headers that tell the client's name."""


def needs_of(rules: Iterable[ir.Rule], clients: Collection[str]) -> Needs:
    """`clients` as in `Needs`."""
    listed = tuple(rules)
    return Needs(
        computes=any(map(extraction.computes, listed)),
        brings=any(brought.overrides(rule.backends) for rule in listed),
        limited=any(rule.limits for rule in listed),
        reserves=limits.reserves(listed),
        counts=any(rule.counts_prompts for rule in listed),
        chooses_late=steered.chooses_late(listed),
        selected=limits.selector_headers(listed),
        queries=limits.selector_queries(listed),
        clients=tuple(sorted(clients)),
    )
