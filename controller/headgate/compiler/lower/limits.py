"""Limits: the descriptors that Envoy sends, and the configuration of the service that counts them.

A limit rule R becomes the descriptor `("rule", R.name)` plus one entry per selector. Envoy sends it when the request is
admitted, with the amount to add then (0 only checks), and again when the response is done, with the cost. Both carry
`hits_addend`, which Envoy honours only in `RateLimitPerRoute.rate_limits` (`route.rate_limits` ignores it silently).

Identity comes from dynamic metadata, never from headers: at the end of a request Envoy builds descriptors from headers
that the upstream filters have changed by then, and a missing header would drop the charge without a trace.
"""

from collections.abc import Iterable
from functools import lru_cache

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.route.v3.route_components_pb2 import RateLimit
from envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2 import RateLimitPerRoute
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.extensions.rate_limit_descriptors.expr.v3.expr_pb2 import Descriptor
from envoy.type.metadata.v3.metadata_pb2 import MetadataKey
from envoy.type.v3.token_bucket_pb2 import TokenBucket
from headgate.compiler import cel, ir
from headgate.compiler.lower.wire import duration, http_filter, packed
from headgate.contract import metadata

DOMAIN = "headgate"
RULE_KEY = "rule"


def header_key(name: str) -> str:
    """Metadata key that holds a request header's value for limits."""
    return f"header:{name}"


def _metadata_key(source: str) -> str:
    return metadata.INTERNAL_MODEL if source == "model" else source


def _selector_action(action: RateLimit.Action, selector: ir.Selector) -> None:
    if selector.regex or selector.invert:
        _expression_action(action, selector)
    elif selector.source == "remote_address":
        action.remote_address.SetInParent()
    else:
        action.metadata.descriptor_key = selector.source
        action.metadata.metadata_key.CopyFrom(
            MetadataKey(
                key=metadata.INTERNAL,
                path=[MetadataKey.PathSegment(key=_metadata_key(selector.source))],
            )
        )


def _expression_action(action: RateLimit.Action, selector: ir.Selector) -> None:
    key = _metadata_key(selector.source)
    values = f"metadata.filter_metadata['{metadata.INTERNAL}']"
    wanted = (selector.value or "").replace("\\", "\\\\").replace("'", "\\'")
    holds = f"{values}['{key}'].matches('^(?:{wanted})$')" if selector.regex else f"{values}['{key}'] == '{wanted}'"
    known = f"'{metadata.INTERNAL}' in metadata.filter_metadata && '{key}' in {values}"
    negate = "!" if selector.invert else ""
    message = Descriptor(descriptor_key=selector.source, text=f"{negate}({known} && {holds})")
    action.extension.CopyFrom(
        TypedExtensionConfig(name="envoy.rate_limit_descriptors.expr", typed_config=packed(message))
    )


def _actions(limit: RateLimit, rule: ir.LimitRule) -> None:
    first = limit.actions.add()
    first.generic_key.descriptor_key = RULE_KEY
    first.generic_key.descriptor_value = rule.name
    for selector in rule.selectors:
        _selector_action(limit.actions.add(), selector)


def _set_amount(limit: RateLimit, amount: int | str, rule: ir.Rule, processor: bool) -> None:
    if isinstance(amount, int):
        limit.hits_addend.number.value = amount
    else:
        limit.hits_addend.format = cel.formatted(cost_expression(amount, rule, processor=processor))


def cost_expression(key: str, rule: ir.Rule, *, processor: bool) -> str:
    """Envoy's CEL for the cost that a limit names: the route's own, else what someone else put under that key."""
    overrides = tuple((backend.name, backend.model) for backend in rule.backends if backend.model)
    for cost in rule.costs:
        if cost.key == key:
            return cel.lower_cost(cost.expression, route=rule.route, overrides=overrides, processor=processor)
    values = f"metadata.filter_metadata['{metadata.NAMESPACE}']"
    return f"('{metadata.NAMESPACE}' in metadata.filter_metadata && '{key}' in {values} ? int({values}['{key}']) : 0)"


def _set_estimate(limit: RateLimit, limit_rule: ir.LimitRule, rule: ir.Rule) -> None:
    cost = next((cost for cost in rule.costs if cost.key == limit_rule.response_amount), None)
    if cost is None:
        limit.hits_addend.number.value = 0
        return
    first = rule.backends[0] if rule.backends else None
    expression = cel.lower_estimate(
        cost.expression,
        route=rule.route,
        backend=first.name if first else "",
        model=first.model or "" if first else "",
        output_default=limit_rule.reserved_output_tokens,
    )
    limit.hits_addend.format = cel.formatted(expression)


def reserves(rules: Iterable[ir.Rule]) -> bool:
    """Whether any limit of these rules reserves what a request may cost."""
    return any(limit.reserve for rule in rules for limit in rule.limits)


@lru_cache(maxsize=16_384)
def per_route(rule: ir.Rule, *, processor: bool) -> RateLimitPerRoute:
    """What the rate limit filter does on a rule's routes: a check and, where a cost is due, a charge per limit.

    Where a limit reserves, the check brings what the request may cost, and the charge replaces it.
    """
    result = RateLimitPerRoute(vh_rate_limits=RateLimitPerRoute.IGNORE)
    for limit_rule in rule.limits:
        check = result.rate_limits.add()
        _actions(check, limit_rule)
        if limit_rule.reserve:
            _set_estimate(check, limit_rule, rule)
        else:
            _set_amount(check, limit_rule.request_amount, rule, processor)
        if limit_rule.response_amount is not None:
            charge = result.rate_limits.add(apply_on_stream_done=True)
            _actions(charge, limit_rule)
            _set_amount(charge, limit_rule.response_amount, rule, processor)
    return result


LOCAL = "envoy.filters.http.local_ratelimit"
LOCAL_STAGE = 1
"""Of the rate limits that a route has for the local filter: the service's filter reads those of stage 0."""
UNLIMITED = 4_294_967_295


def _fill(bucket: TokenBucket, limit: ir.LocalLimit) -> None:
    bucket.max_tokens = limit.requests
    bucket.tokens_per_fill.value = limit.requests
    bucket.fill_interval.CopyFrom(duration(limit.unit_seconds))


def local_filter(rules: Iterable[ir.Rule]) -> HttpFilter:
    """A token bucket for each rule, in every Envoy by itself.

    A bucket in the config of a route would count each class of a rule's paths alone; here routes name their rule's.
    """
    message = LocalRateLimit(stat_prefix="local_ratelimit", stage=LOCAL_STAGE)
    # what no rule limits: the filter must have a bucket, and refuses without one
    _fill(message.token_bucket, ir.LocalLimit(requests=UNLIMITED, unit_seconds=1))
    message.always_consume_default_token_bucket.value = False
    for fraction in (message.filter_enabled, message.filter_enforced):
        fraction.default_value.numerator = 100
        fraction.runtime_key = "headgate.never.local_ratelimit"
    found = {rule.name: rule.local_limit for rule in rules if rule.local_limit is not None}
    for name in sorted(found):
        descriptor = message.descriptors.add()
        descriptor.entries.add(key=RULE_KEY, value=name)
        _fill(descriptor.token_bucket, found[name])
    return http_filter(LOCAL, message)


def local_limit(rule: ir.Rule) -> RateLimit:
    """What the rule's routes say so that the local filter counts them together."""
    result = RateLimit()
    result.stage.value = LOCAL_STAGE
    action = result.actions.add()
    action.generic_key.descriptor_key = RULE_KEY
    action.generic_key.descriptor_value = rule.name
    return result


def selector_headers(rules: Iterable[ir.Rule]) -> tuple[str, ...]:
    """The request headers whose values limits need in metadata, sorted."""
    return tuple(
        sorted(
            {
                selector.source.removeprefix("header:")
                for rule in rules
                for limit in rule.limits
                for selector in limit.selectors
                if selector.source.startswith("header:")
            }
        )
    )


def limit_rules(program: ir.Program) -> tuple[ir.LimitRule, ...]:
    """Every limit of the program once, by name."""
    found = {
        limit.name: limit
        for port in program.ports
        for listener in port.listeners
        for host in listener.hosts
        for rule in host.all_rules
        for limit in rule.limits
    }
    return tuple(found[name] for name in sorted(found))
