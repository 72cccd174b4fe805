"""LimitPolicies: what limits a rule's requests, and those of its backends.

Unlike other policies they add up: every one counts that has the rule, its route, listener or Gateway, or one of its
backends, as a target. A limit is one counter (for each whom it counts apart), whatever routes lead to it.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from headgate.compiler import cel, ir
from headgate.compiler.resolve.costs import NO_SERVICE, Priced
from headgate.compiler.resolve.scope import Scope, similar
from headgate.compiler.resolve.selecting import selectors
from headgate.compiler.resources.limit_policy import LimitPolicy, LimitPolicyRule, ModelPrice
from headgate.compiler.resources.metadata import Name
from headgate.compiler.world import Target
from headgate.contract import metadata
from headgate.limits.calendar import known_zone
from headgate.limits.config import PAYMENT_REQUIRED, TOO_MANY

RESERVATIONS = {"Lenient": "lenient", "Strict": "strict", "Off": ""}
_SOURCES = {"source_ip": "remote_address"}
_ROUTES = ("AIGatewayRoute", "HTTPRoute")


def policy_limits(scope: Scope, targets: Sequence[Target], backends: Sequence[ir.Backend]) -> Iterator[Priced]:
    """The limits of one rule; `targets` are what policies for it may be attached to."""
    wanted = set(targets)
    services = {Target("aigateway.envoyproxy.io", "AIServiceBackend", *_split(each.service)) for each in backends}
    for policy in scope.world.limit_policies.values():
        of = [
            Target(r.group, r.kind, policy.metadata.namespace, r.name, r.section_name) for r in policy.spec.target_refs
        ]
        routes = {each.name for each in targets if each.kind in _ROUTES and each.namespace == policy.metadata.namespace}
        pool = next((each.name for each in policy.spec.pools if routes.intersection(each.routes)), "")
        if wanted.intersection(of):
            yield from _limits(scope, policy, None, pool)
        for target in sorted(services.intersection(of)):
            yield from _limits(scope, policy, f"{target.namespace}/{target.name}", pool)


def _split(service: str) -> tuple[str, str]:
    namespace, _, name = service.partition("/")
    return namespace, name


def check_limit_policies(scope: Scope) -> None:
    """Reports on what no route leads to, too."""
    for policy in scope.world.limit_policies.values():
        if scope.options.envoy_gateway:
            _check_targets(scope, policy)
        for _ in _limits(scope, policy, None):
            pass
        _check_pools(scope, policy)


def _check_targets(scope: Scope, policy: LimitPolicy) -> None:
    """Envoy Gateway's own routes do not pass our filters. An AI route is an HTTPRoute of its name there."""
    remedy = "a BackendTrafficPolicy for them"
    for index, target in enumerate(policy.spec.target_refs):
        field = f"spec.targetRefs[{index}]"
        if target.kind == "Gateway":
            message = "beside Envoy Gateway only requests on AI routes are counted"
            scope.report.warning(policy, field, message, remedy=remedy)
        elif target.kind == "HTTPRoute" and Name(policy.metadata.namespace, target.name) not in (
            scope.world.ai_gateway_routes
        ):
            message = f"HTTPRoute {target.name} is no AI route: beside Envoy Gateway nothing else is counted"
            scope.report.error(policy, field, message, remedy=remedy)


def _check_pools(scope: Scope, policy: LimitPolicy) -> None:
    world, namespace = scope.world, policy.metadata.namespace
    for index, pool in enumerate(policy.spec.pools):
        for number, route in enumerate(pool.routes):
            name = Name(namespace, route)
            if name not in world.ai_gateway_routes and name not in world.http_routes:
                message = f"there is no route {name}, so the pool is of nobody there"
                known = (*world.ai_gateway_routes, *world.http_routes)
                field = f"spec.pools[{index}].routes[{number}]"
                scope.report.warning(policy, field, message, remedy=similar(name, known))


def _limits(scope: Scope, policy: LimitPolicy, service: str | None, pool: str = "") -> Iterator[Priced]:
    """The limits of a policy, of one backend or of all."""
    if not scope.options.limits:
        scope.report.error(policy, "spec", "limits are not enforced without a rate limit service", remedy=NO_SERVICE)
        return
    for index, rule in enumerate(policy.spec.rules):
        field = f"spec.rules[{index}]"
        chosen, expression = _chosen(scope, policy, field, rule), _expression(scope, policy, field, rule)
        if rule.time_zone and not known_zone(rule.time_zone):
            remedy = "like Europe/Berlin"
            scope.report.error(policy, f"{field}.timeZone", f"{rule.time_zone} is no time zone", remedy=remedy)
            continue
        if chosen is None or expression is None:
            continue
        _check_money(scope, policy, field, rule)
        limit = _limit(policy, rule, service, chosen)
        yield Priced(_shared(policy, limit, pool) if rule is policy.spec.shared else limit, expression)


CENT = 10_000
"""Of a budget less is hardly meant."""
PRICE_MIN = 1_000
"""The cheapest models cost five times this."""


def _check_money(scope: Scope, policy: LimitPolicy, field: str, rule: LimitPolicyRule) -> None:
    """Amounts that look like dollars, and are millionths of them."""
    if rule.unit != "usd":
        return
    said = {f"{field}.amount": (rule.amount, CENT, "")}
    for index, price in enumerate(rule.prices):
        place, of = f"{field}.prices[{index}]", " for a million tokens"
        said[f"{place}.input"] = (price.input, PRICE_MIN, of)
        said[f"{place}.output"] = (price.output, PRICE_MIN, of)
    for place, (value, least, of) in said.items():
        if 0 < value < least:
            message = f"{value} is ${value / 1_000_000:f}{of}: it is in millionths of a dollar"
            scope.report.warning(policy, place, message, remedy=f"{value * 1_000_000} for ${value}")


def _shared(policy: LimitPolicy, limit: ir.LimitRule, pool: str) -> ir.LimitRule:
    pools = (
        ir.Pool(name=each.name, rank=each.rank, minimum=each.min_reservation, maximum=each.max_reservation)
        for each in policy.spec.pools
    )
    return replace(limit, pools=tuple(pools), pool=pool)


def _limit(
    policy: LimitPolicy, rule: LimitPolicyRule, service: str | None, chosen: tuple[ir.Selector, ...]
) -> ir.LimitRule:
    counted = rule.unit != "requests"
    return ir.LimitRule(
        name=f"LimitPolicy/{policy.name}/{rule.name}",
        backend=None if service is None else ir.BackendLimit(service=service),
        selectors=chosen,
        requests=rule.amount,
        unit=rule.window.upper(),
        what=rule.unit,
        request_amount=0 if counted else 1,
        shadow=rule.mode == "Shadow",
        reserve=RESERVATIONS[rule.reservation] if counted else "",
        reserved_output_tokens=rule.reserved_output_tokens,
        counts_prompts=rule.count_prompts and counted and rule.reservation != "Off",
        slides=rule.algorithm == "Sliding",
        burst=(rule.burst or rule.amount) if rule.algorithm == "TokenBucket" else 0,
        time_zone=rule.time_zone,
        warn_at=tuple(sorted(set(rule.warn_at))),
        refusal_status=rule.refusal_status or (PAYMENT_REQUIRED if rule.unit == "usd" else TOO_MANY),
    )


def _chosen(scope: Scope, policy: LimitPolicy, field: str, rule: LimitPolicyRule) -> tuple[ir.Selector, ...] | None:
    """Whom a rule counts; None, reported, where that cannot be expressed."""
    found: list[ir.Selector] = []
    if rule.models:
        several = len(rule.models) > 1
        value = "|".join(map(re.escape, rule.models)) if several else rule.models[0]
        found.append(ir.Selector(source="model", value=value, regex=several))
    for index, condition in enumerate(rule.client_selectors):
        chosen = selectors(scope, policy, f"{field}.clientSelectors[{index}]", condition)
        if chosen is None:
            return None
        found.extend(chosen)
    found.extend(ir.Selector(source=_SOURCES.get(each, each), value=None) for each in rule.per)
    return tuple(dict.fromkeys(found))


def _expression(scope: Scope, policy: LimitPolicy, field: str, rule: LimitPolicyRule) -> str | None:
    """What a finished request costs; empty where nothing, None, reported, where it cannot be told."""
    if rule.unit == "requests":
        return ""
    if not rule.cost_expression:
        if rule.unit == "tokens":
            return metadata.TOTAL_TOKENS
        if not any(each.model == "*" for each in rule.prices):
            message = "models without a price cost nothing"
            scope.report.warning(policy, f"{field}.prices", message, remedy="a price for model '*'")
        return money(rule.prices)
    why = cel.check_expression(rule.cost_expression)
    if why is not None:
        remedy = "an expression such as input_tokens + 4u * output_tokens"
        scope.report.error(policy, f"{field}.costExpression", why, remedy=remedy)
        return None
    return rule.cost_expression


def money(prices: Sequence[ModelPrice]) -> str:
    """CEL for what a request costs, in millionths of a dollar, rounded up: a model's own price before that of `*`.

    Tables: Envoy takes nothing that is nested deeper than 32, as a question for each model would be.
    """
    others = next((each for each in reversed(prices) if each.model == "*"), ModelPrice(model="*", input=0, output=0))
    own = {each.model: each for each in reversed(prices) if each.model != "*"}

    def priced(price: Callable[[ModelPrice], int]) -> str:
        if not own:
            return f"{price(others)}u"
        table = ", ".join(f"{cel.quoted(model)}: {price(own[model])}u" for model in sorted(own))
        return f"(model in {{{table}}} ? {{{table}}}[model] : {price(others)}u)"

    fresh = "(input_tokens > cached_input_tokens ? input_tokens - cached_input_tokens : 0u)"
    read = priced(lambda each: each.input if each.cached_input is None else each.cached_input)
    total = f"{fresh} * {priced(lambda each: each.input)} + cached_input_tokens * {read}"
    return f"(({total} + output_tokens * {priced(lambda each: each.output)} + 999999u) / 1000000u)"
