"""What limits there are, and which counters are theirs: for showing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headgate.limits.algorithms.pooled_window import POOL_ENTRY
from headgate.limits.config import Descriptor
from headgate.limits.engine import LimitRequest, Moment, RequestDescriptor, Status
from headgate.limits.matching import Entries, Rule, Snapshot, match_descriptor


@dataclass(frozen=True, slots=True)
class Listed:
    """A limit in force."""

    rule: Rule
    entries: Entries | None
    """Of its only counter; None where it has one for each of many values."""


def listed(snapshot: Snapshot, domain: str) -> Iterator[Listed]:
    """Every limit that requests for `domain` may meet, in the configuration's order; one that pools share once for each
    of them."""
    for source in snapshot.source:
        if source.name == domain:
            for descriptor in source.descriptors:
                yield from _below(snapshot, domain, (), descriptor)


def _below(snapshot: Snapshot, domain: str, above: Entries, descriptor: Descriptor) -> Iterator[Listed]:
    # A level without a value, or with a wildcard, has many: its text, which it matches too, stands for them.
    entries = (*above, (descriptor.key, descriptor.value))
    single = all(value and "*" not in value for _, value in entries)
    limit = descriptor.rate_limit
    if limit is not None:
        for each in (entries, *((*entries, (POOL_ENTRY, pool.name)) for pool in limit.pools)):
            match = match_descriptor(snapshot, domain, each)
            if match is not None:
                yield Listed(match.rule, each if single else None)
    for child in descriptor.descriptors:
        yield from _below(snapshot, domain, entries, child)


def look(domain: str, counters: tuple[Entries, ...]) -> LimitRequest:
    """A request that finds how counters stand, and changes nothing."""
    return LimitRequest(domain, tuple(RequestDescriptor(entries, 0) for entries in counters), Moment.SETTLEMENT)


def described(rule: Rule) -> Mapping[str, Any]:
    """A limit in JSON's terms; names as in the configuration."""
    kept: dict[str, Any] = {
        "domain": rule.domain,
        "rule": rule.key,
        "name": rule.name,
        "unit": "" if rule.unit is None else rule.unit.name.lower(),
        "amount": rule.amount,
        "unlimited": rule.unit is None,
        "algorithm": _algorithm(rule),
        "burst": rule.burst,
        "time_zone": rule.time_zone,
        "reserve": str(rule.reserve),
        "shadow_mode": rule.shadow_mode,
        "quota_mode": rule.quota_mode,
        "warn_at": list(rule.warn_at),
        "refusal_status": 0 if rule.unit is None else rule.refusal_status,
    }
    if rule.bounds:
        own = rule.bounds[rule.own]
        kept["pool"] = {"name": own.name, "min": own.least, "max": own.most}
    return {name: value for name, value in kept.items() if value or name in ("amount", "rule")}


def _algorithm(rule: Rule) -> str:
    return "pools" if rule.bounds else "token_bucket" if rule.burst else "sliding_window" if rule.slides else ""


def counted(entries: Entries, status: Status) -> Mapping[str, Any]:
    """One counter, as a look at it found it."""
    return {
        "descriptor": [{"key": key, "value": value} for key, value in entries],
        "used": status.before,
        "remaining": status.remaining,
        "reset_seconds": status.reset_seconds,
    }
