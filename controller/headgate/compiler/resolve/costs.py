"""What limits charge that no route names: costs of their own, under keys that the access log shows too."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from headgate.compiler import ir

QUOTA_COST = "quota_cost"
"""compat: what the cost of a quota is called in the metadata of a request."""
LIMIT_COST = "limit_cost"
NO_SERVICE = "rateLimit.enabled of the chart, or --ratelimit-address or --ratelimit-socket of the controller"
"""What to do where limits are not enforced."""


@dataclass(frozen=True, slots=True)
class Priced:
    """A limit, and the CEL of what a finished request adds to it; empty for nothing."""

    limit: ir.LimitRule
    expression: str


def with_costs(
    found: Sequence[Priced], costs: tuple[ir.Cost, ...]
) -> tuple[tuple[ir.LimitRule, ...], tuple[ir.Cost, ...]]:
    """The limits with the keys that they charge, and the costs with those that had none."""
    keys = {cost.expression: cost.key for cost in reversed(costs)}
    new: dict[str, str] = {}
    for each in found:
        if each.expression and each.expression not in keys:
            new.setdefault(each.expression, QUOTA_COST if each.limit.quota else LIMIT_COST)
    taken = {cost.key for cost in costs}
    for expression, base in new.items():
        key = next(key for n in range(len(new) + len(taken) + 1) if (key := f"{base}_{n}" if n else base) not in taken)
        keys[expression] = key
        taken.add(key)
    added = tuple(ir.Cost(keys[expression], expression) for expression in new)
    limits = tuple(replace(each.limit, response_amount=keys.get(each.expression)) for each in found)
    return limits, (*costs, *added)
