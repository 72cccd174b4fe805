"""Finds the rule of a descriptor: an immutable tree, walked one entry at a time.

On each level a child for (key, value) wins over a wildcard child, that over a child for the key alone; wildcards are
tried in the order of the file. A rule counts only where the descriptor ends; a descriptor that goes on, or stops
early, matches nothing. As in envoyproxy/ratelimit, the walk does not go back to try a second child.

Two differences: there ("a_b", "c") and ("a", "b_c") are one composite key, here they are two; and a counter's key is
bounded (`STEM_MAX`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from types import MappingProxyType
from typing import Final

import msgspec
from headgate.limits.algorithms.pooled_window import POOL_ENTRY, Bounds, Pool, bounds_of
from headgate.limits.config import TOO_MANY, ConfigError, Descriptor, Domain, Reserve
from headgate.limits.units import UNIT_SECONDS, Unit

STEM_MAX: Final = 512
"""Characters of a counter's key: clients' headers are in it, of 8 KB each, and a million keys are kept."""

Entries = tuple[tuple[str, str], ...]
"""A descriptor as Envoy sends it: (key, value) pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A limit in force. `unit` is None where it is unlimited."""

    domain: str
    key: str
    """The rule's place in the tree, as envoyproxy/ratelimit names it in metrics: `message_type_marketing.to_number`."""
    unit: Unit | None
    seconds: int
    """The window's length; 0 where it is unlimited."""
    amount: int
    name: str = ""
    replaces: tuple[str, ...] = ()
    shadow_mode: bool = False
    quota_mode: bool = False
    detailed_metric: bool = False
    levels: tuple[str, ...] = ()
    """The parts of `key`, which may hold dots of their own; only where `valued_levels` are."""
    valued_levels: tuple[int, ...] = ()
    """The levels whose values of the request metrics name, where not all do."""
    reserve: Reserve = Reserve.OFF
    slides: bool = False
    time_zone: str = ""
    burst: int = 0
    """What a token bucket holds; 0 where it is none."""
    metadata: str = ""
    """JSON for the answer's dynamic metadata."""
    warn_at: tuple[int, ...] = ()
    pools: tuple[Pool, ...] = ()
    """Who shares it."""
    bounds: Bounds = ()
    """What a request of this rule's pool must know of all pools, those that name none included; its own is `own`."""
    own: int = 0
    refusal_status: int = TOO_MANY

    @property
    def label(self) -> str:
        """What people are told: the name they gave, else the place in the tree."""
        return self.name or self.key


@dataclass(frozen=True, slots=True)
class _Wildcard:
    key: str
    parts: tuple[str, ...]
    """The pattern's text between its stars: at least two."""
    shared: str
    """The pattern where all its matches share a counter, else empty."""
    node: "_Node"


@dataclass(slots=True)
class _Node:
    """Not frozen: it is built in place, and changed by nobody after `build_snapshot` returned."""

    rule: Rule | None = None
    exact: dict[tuple[str, str], "_Node"] = field(default_factory=dict)
    wildcards: list[_Wildcard] = field(default_factory=list)
    default: dict[str, "_Node"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All limits in force at one moment."""

    domains: Mapping[str, _Node]
    source: tuple[Domain, ...]
    """What it was built from, for showing."""
    replaces: bool = False
    """Whether any limit replaces another."""
    shadow_mode: bool = False
    quota_mode: bool = False
    """The modes of limits that come with a request."""


class Match(msgspec.Struct, frozen=True, gc=False):
    """A rule and the counter it means for these entries: `stem` is the storage key without prefix and window."""

    rule: Rule
    stem: str
    metric_key: str


def build_snapshot(domains: Iterable[Domain]) -> Snapshot:
    """The tree of `domains`; raises ConfigError when two have one name."""
    source = tuple(domains)
    trees: dict[str, _Node] = {}
    for domain in source:
        if domain.name in trees:
            raise ConfigError(f"domain {domain.name!r} is defined twice")
        trees[domain.name] = _tree(domain.name, "", domain.descriptors, ())
    replaces = any(_replaces(descriptor) for domain in source for descriptor in domain.descriptors)
    return Snapshot(MappingProxyType(trees), source, replaces)


def _replaces(descriptor: Descriptor) -> bool:
    limit = descriptor.rate_limit
    return bool(limit is not None and limit.replaces) or any(map(_replaces, descriptor.descriptors))


def _tree(domain: str, parent_key: str, descriptors: Iterable[Descriptor], parents: tuple[Descriptor, ...]) -> _Node:
    node = _Node()
    for descriptor in descriptors:
        key = f"{parent_key}.{_level(descriptor)}" if parent_key else _level(descriptor)
        path = (*parents, descriptor)
        counted_as = descriptor.domain or domain
        child = _tree(counted_as, key, descriptor.descriptors, path)
        child.rule = _rule(counted_as, key, descriptor, path)
        if child.rule is not None and child.rule.pools:
            _add_pools(child, child.rule)
        if not descriptor.value:
            node.default[descriptor.key] = child
        elif "*" in descriptor.value:
            parts = tuple(descriptor.value.split("*"))
            shared = descriptor.value if descriptor.share_threshold else ""
            node.wildcards.append(_Wildcard(descriptor.key, parts, shared, child))
        else:
            node.exact[descriptor.key, descriptor.value] = child
    return node


def _add_pools(node: _Node, rule: Rule) -> None:
    """The limit once for each pool, by the entry that names it."""

    def of(pool: str) -> Rule:
        bounds, own = bounds_of(rule.pools, pool, rule.amount)
        return replace(rule, key=f"{rule.key}.{POOL_ENTRY}_{pool}" if pool else rule.key, bounds=bounds, own=own)

    node.rule = of("")
    node.default[POOL_ENTRY] = _Node(node.rule)
    for pool in rule.pools:
        node.exact[POOL_ENTRY, pool.name] = _Node(of(pool.name))


def _level(descriptor: Descriptor) -> str:
    return f"{descriptor.key}_{descriptor.value}" if descriptor.value else descriptor.key


def _rule(domain: str, key: str, descriptor: Descriptor, path: tuple[Descriptor, ...]) -> Rule | None:
    limit = descriptor.rate_limit
    if limit is None:
        return None
    valued = tuple(i for i, each in enumerate(path) if each.value_to_metric and not each.share_threshold)
    return Rule(
        domain=domain,
        key=key,
        unit=limit.unit,
        seconds=0 if limit.unit is None else UNIT_SECONDS[limit.unit],
        amount=limit.requests_per_unit,
        name=limit.name,
        replaces=limit.replaces,
        shadow_mode=descriptor.shadow_mode,
        quota_mode=descriptor.quota_mode,
        detailed_metric=descriptor.detailed_metric,
        levels=tuple(map(_level, path)) if valued else (),
        valued_levels=valued,
        reserve=limit.reserve,
        slides=limit.slides,
        time_zone=limit.time_zone,
        burst=limit.burst,
        metadata=descriptor.metadata,
        warn_at=limit.warn_at,
        pools=limit.pools,
        refusal_status=limit.refusal_status,
    )


EMPTY: Final = Snapshot(MappingProxyType({}), ())


def match_descriptor(snapshot: Snapshot, domain: str, entries: Entries) -> Match | None:
    """The rule that limits `entries` in `domain`, or None."""
    node = snapshot.domains.get(domain)
    if node is None or not entries:
        return None
    counted: list[tuple[str, str]] | None = None
    for index, entry in enumerate(entries):
        child = node.exact.get(entry)
        if child is None and node.wildcards:
            wildcard = _wildcard(node.wildcards, entry)
            if wildcard is not None:
                child = wildcard.node
                if wildcard.shared:
                    counted = list(entries) if counted is None else counted
                    counted[index] = (entry[0], wildcard.shared)
        if child is None:
            child = node.default.get(entry[0])
            if child is None:
                return None
        node = child
    rule = node.rule
    if rule is None:
        return None
    counted_entries = entries if counted is None else counted
    if rule.pools and entries[-1][0] == POOL_ENTRY:
        counted_entries = counted_entries[:-1]
    if rule.detailed_metric:
        metric_key = ".".join(map("_".join, counted_entries))
    else:
        metric_key = _valued_key(rule, entries) if rule.valued_levels else rule.key
    return Match(rule, counter_stem(rule.domain, counted_entries), metric_key)


def _valued_key(rule: Rule, entries: Entries) -> str:
    levels = list(rule.levels)
    for index in rule.valued_levels:
        levels[index] = "_".join(entries[index])
    return ".".join(levels)


def counter_stem(domain: str, entries: Sequence[tuple[str, str]]) -> str:
    """`domain_key_value_key_value_`: envoyproxy/ratelimit's cache key up to the window's start; of one longer than
    `STEM_MAX` its beginning and its digest."""
    stem = f"{domain}_{'_'.join(map('_'.join, entries))}_"
    if len(stem) <= STEM_MAX:
        return stem
    digest = sha256(stem.encode()).hexdigest()
    return f"{stem[: STEM_MAX - len(digest) - 1]}{digest}_"


def _wildcard(wildcards: Iterable[_Wildcard], entry: tuple[str, str]) -> _Wildcard | None:
    key, value = entry
    for wildcard in wildcards:
        if wildcard.key == key and _matches(wildcard.parts, value):
            return wildcard
    return None


def _matches(parts: tuple[str, ...], value: str) -> bool:
    """Whether `value` is the parts in their order with anything between them; linear, no backtracking."""
    first, *middle, last = parts
    if len(value) < len(first) + len(last) or not value.startswith(first) or not value.endswith(last):
        return False
    position, end = len(first), len(value) - len(last)
    for part in middle:
        found = value.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True
