"""The rate limit service's configuration: for each limit the descriptor that `lower/limits.py` makes Envoy send."""

from collections.abc import Sequence

from headgate.compiler import ir
from headgate.compiler.lower.limits import DOMAIN, RULE_KEY
from headgate.limits.config import Descriptor, Domain, RateLimit, Reserve
from headgate.limits.config_text import dump_text
from headgate.limits.units import Unit


def _selected(rule: ir.LimitRule, selectors: Sequence[ir.Selector]) -> Descriptor:
    first, rest = selectors[0], selectors[1:]
    # a regular expression is decided by Envoy, which sends whether it held
    value = "true" if first.regex or first.invert else (first.value or "")
    if rest:
        return Descriptor(key=first.source, value=value, descriptors=(_selected(rule, rest),))
    return Descriptor(key=first.source, value=value, rate_limit=_limit(rule), shadow_mode=rule.shadow)


def _limit(rule: ir.LimitRule) -> RateLimit:
    return RateLimit(unit=Unit[rule.unit], requests_per_unit=rule.requests, reserve=Reserve(rule.reserve))


def _descriptor(rule: ir.LimitRule) -> Descriptor:
    if not rule.selectors:
        return Descriptor(key=RULE_KEY, value=rule.name, rate_limit=_limit(rule), shadow_mode=rule.shadow)
    return Descriptor(key=RULE_KEY, value=rule.name, descriptors=(_selected(rule, rule.selectors),))


def limits_text(rules: Sequence[ir.LimitRule]) -> str:
    """The YAML that the service reads; empty without limits."""
    if not rules:
        return ""
    domain = Domain(name=DOMAIN, descriptors=tuple(_descriptor(rule) for rule in rules))
    return dump_text((domain,))
