"""The rate limit service's configuration: for each limit the descriptors that `lower/limits.py` makes Envoy send."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from headgate.compiler import ir
from headgate.compiler.lower.limits import BACKEND_KEY, DOMAIN, MODEL_KEY, RULE_KEY, selected
from headgate.limits.algorithms.pooled_window import Pool
from headgate.limits.config import Descriptor, Domain, RateLimit, Reserve
from headgate.limits.config_text import dump_text
from headgate.limits.units import Unit

QUOTA_DOMAIN = "ai-gateway-quota"
"""compat: what counters and metrics of QuotaPolicies are named by."""

Level = tuple[str, str]
"""Key and value of an entry; an empty value stands for any, each counted apart, `*` for any, counted together."""


def _levels(rule: ir.LimitRule) -> Iterator[Level]:
    if rule.backend is not None:
        yield BACKEND_KEY, rule.backend.service
    if rule.quota:
        assert rule.backend is not None
        yield MODEL_KEY, rule.backend.model or "*"
    else:
        yield RULE_KEY, rule.name
    yield from selected(rule.selectors)


def _limit(rule: ir.LimitRule) -> RateLimit:
    return RateLimit(
        unit=Unit[rule.unit],
        requests_per_unit=rule.requests,
        name=rule.name if rule.what else "",
        reserve=Reserve(rule.reserve),
        slides=rule.slides,
        burst=rule.burst,
        warn_at=rule.warn_at,
        time_zone=rule.time_zone,
        pools=tuple(
            Pool(name=each.name, rank=each.rank, minimum=each.minimum, maximum=each.maximum) for each in rule.pools
        ),
        refusal_status=rule.refusal_status,
    )


@dataclass(slots=True)
class _Node:
    rule: ir.LimitRule | None = None
    children: dict[Level, "_Node"] = field(default_factory=dict["Level", "_Node"])


def _descriptors(children: Mapping[Level, _Node]) -> Iterator[Descriptor]:
    for (key, value), node in children.items():
        yield Descriptor(
            key=key,
            value=value,
            share_threshold=value == "*",
            domain=QUOTA_DOMAIN if key == MODEL_KEY else "",
            rate_limit=None if node.rule is None else _limit(node.rule),
            shadow_mode=node.rule is not None and node.rule.shadow,
            descriptors=tuple(_descriptors(node.children)),
        )


def _tree(rules: Sequence[ir.LimitRule]) -> tuple[Descriptor, ...]:
    root = _Node()
    for rule in rules:
        node = root
        for level in _levels(rule):
            node = node.children.setdefault(level, _Node())
        node.rule = node.rule or rule
    return tuple(_descriptors(root.children))


def limits_text(rules: Sequence[ir.LimitRule]) -> str:
    """The YAML that the service reads; empty without limits."""
    if not rules:
        return ""
    return dump_text((Domain(name=DOMAIN, descriptors=_tree(rules)),))
