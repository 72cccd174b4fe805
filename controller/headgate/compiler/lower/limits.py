"""Limits: the descriptors that Envoy sends; `ratelimit` writes the configuration of the service that counts them.

A limit rule R becomes the descriptor `("rule", R.name)` plus one entry per selector. Envoy sends it when the request is
admitted, with the amount to add then (0 only checks), and again when the response is done, with the cost. Both carry
`hits_addend`, which Envoy honours only in `RateLimitPerRoute.rate_limits` (`route.rate_limits` ignores it silently).

A limit of a single backend begins with `("backend_name", <ns>/<name>)` (and, of a QuotaPolicy, with the model, and goes
on as upstream's do). It is checked for every backend that a request may go to, which one more descriptor names, and
charged for the one that served (`headgate.contract.steering`).

Identity comes from dynamic metadata, never from headers: at the end of a request Envoy builds descriptors from headers
that the upstream filters have changed by then, and a missing header would drop the charge without a trace.
"""

from collections.abc import Iterable, Iterator
from itertools import chain

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.route.v3.route_components_pb2 import RateLimit
from envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2 import RateLimitPerRoute
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.extensions.rate_limit_descriptors.expr.v3.expr_pb2 import Descriptor
from envoy.type.metadata.v3.metadata_pb2 import MetadataKey
from envoy.type.v3.token_bucket_pb2 import TokenBucket
from headgate.compiler import cel, ir
from headgate.compiler.lower.addresses import addresses
from headgate.compiler.lower.wire import duration, http_filter, packed
from headgate.compiler.options import Options
from headgate.compiler.remembered import remembered
from headgate.compiler.resources.rate_limits import HITS_MAX
from headgate.contract import metadata
from headgate.contract.steering import BACKEND_ENTRY, Choice, encode_choice
from headgate.limits.algorithms.pooled_window import POOL_ENTRY
from headgate.pb import overlay

DOMAIN = "headgate"
METADATA = "headgate.ratelimit"
"""Where the service's answers go: who refused, for the access log; with which backend to begin, for the router."""
FILTER = "envoy.filters.http.ratelimit"
RULE_KEY = "rule"
BACKEND_KEY = metadata.BACKEND_NAME
MODEL_KEY = metadata.MODEL_NAME_OVERRIDE


def filter_name(options: Options) -> str:
    """The rate limit filter's; beside Envoy Gateway, whose own have Envoy's name for it, ours has another."""
    return "headgate.ratelimit" if options.envoy_gateway else FILTER


def header_key(name: str) -> str:
    """Metadata key that holds a request header's value for limits."""
    return f"header:{name}"


QUERY_PREFIX = "query:"
TOO_LONG = "-"
"""What all clients are counted as together whose path is too long for Envoy's metadata (8 KiB)."""


def query_key(name: str) -> str:
    """Metadata key that holds a query parameter's value for limits."""
    return f"{QUERY_PREFIX}{name}"


def _metadata_key(source: str) -> str:
    return metadata.INTERNAL_MODEL if source == "model" else source


def _values(key: str) -> tuple[str, str]:
    """CEL: whether our metadata has the key, and its value."""
    values, written = f"metadata.filter_metadata['{metadata.INTERNAL}']", cel.quoted(key)
    return f"'{metadata.INTERNAL}' in metadata.filter_metadata && {written} in {values}", f"{values}[{written}]"


def _holds(selector: ir.Selector) -> str:
    """CEL: whether a request is selected."""
    negate = "!" if selector.invert else ""
    if selector.source == "range":
        ways = [f"source.address.matches({cel.quoted(each)})" for each in addresses(selector.value or "")]
        return f"{negate}{ways[0] if len(ways) == 1 else '(' + ' || '.join(ways) + ')'}"
    known, value = _values(_metadata_key(selector.source))
    if selector.value is None:
        return f"({known})"
    if selector.regex:
        matches = f"{value}.matches({cel.quoted('^(?:' + selector.value + ')$')})"
        if selector.source == PATH and not selector.invert:
            # one that is too long for metadata counts everywhere: nobody gets around a limit so
            return f"(!({known}) || {matches})"
        return f"{negate}({known} && {matches})"
    return f"{negate}({known} && {value} == {cel.quoted(selector.value)})"


def _unselected(group: Iterable[ir.Selector]) -> str:
    """CEL: whether one of the selectors does not hold."""
    return f"!({' && '.join(map(_holds, group))})"


def selected(selectors: Iterable[ir.Selector]) -> Iterator[tuple[str, str]]:
    """Key and value of the entries that `_selector_action` makes of those that hold; an empty value stands for any,
    each counted apart."""
    for selector in selectors:
        if selector.key:
            distinct = bool(selector.source) and selector.value is None
            yield selector.key, "" if distinct else selector.key
        elif selector.regex or selector.invert or selector.source == "range":
            yield selector.source, "true"  # decided by Envoy, which sends whether it held
        else:
            yield selector.source, selector.value or ""


def _selector_action(action: RateLimit.Action, selector: ir.Selector) -> None:
    if not selector.source:
        action.generic_key.descriptor_key = action.generic_key.descriptor_value = selector.key
    elif selector.value is None and selector.source == "remote_address":
        action.remote_address.SetInParent()
    elif selector.source == "range" and not selector.key:
        _expression(action, "range", _holds(selector))
    elif selector.value is None or not (
        selector.regex or selector.invert or selector.key or selector.source == "range"
    ):
        action.metadata.descriptor_key = selector.key or selector.source
        action.metadata.metadata_key.CopyFrom(
            MetadataKey(
                key=metadata.INTERNAL,
                path=[MetadataKey.PathSegment(key=_metadata_key(selector.source))],
            )
        )
        if selector.source.startswith(QUERY_PREFIX):  # of a path that is too long for metadata, which has been selected
            action.metadata.default_value = TOO_LONG
    else:
        holds = _holds(selector)
        _expression(action, selector.key or selector.source, _chosen(holds, selector.key) if selector.key else holds)


def _chosen(condition: str, value: str) -> str:
    """CEL: the value where the condition holds, else one that no limit is for."""
    return f"({condition} ? {cel.quoted(value)} : '-')"


def _expression(action: RateLimit.Action, key: str, text: str) -> None:
    message = Descriptor(descriptor_key=key, text=text)
    action.extension.CopyFrom(
        TypedExtensionConfig(name="envoy.rate_limit_descriptors.expr", typed_config=packed(message))
    )


def _literal(limit: RateLimit, key: str, value: str) -> None:
    action = limit.actions.add()
    action.generic_key.descriptor_key, action.generic_key.descriptor_value = key, value


def _conditions(rule: ir.LimitRule, model: str) -> list[str]:
    """What must hold beside the selectors; `model` is what the backend is asked for, empty for the client's own."""
    found = list(map(_unselected, rule.excluded))
    if rule.backend is not None and not model:
        known, value = _values(metadata.INTERNAL_MODEL)
        if rule.backend.model:
            found.append(f"({known} && {value} == {cel.quoted(rule.backend.model)})")
        elif rule.backend.others:
            others = ", ".join(map(cel.quoted, rule.backend.others))
            found.append(f"!({known} && {value} in [{others}])")
    return found


def _actions(limit: RateLimit, rule: ir.LimitRule, model: str = "") -> None:
    if rule.backend is not None:
        conditions = _conditions(rule, model)
        if conditions:
            _expression(limit.actions.add(), BACKEND_KEY, _chosen(" && ".join(conditions), rule.backend.service))
        else:
            _literal(limit, BACKEND_KEY, rule.backend.service)
    if rule.quota:
        if model:
            _literal(limit, MODEL_KEY, model)
        else:
            own = ir.Selector(source="model", value=None, key=MODEL_KEY)
            _selector_action(limit.actions.add(), own)
    else:
        _literal(limit, RULE_KEY, rule.name)
    for selector in rule.selectors:
        _selector_action(limit.actions.add(), selector)
    if rule.pool:
        _literal(limit, POOL_ENTRY, rule.pool)


def _set_amount(
    limit: RateLimit, amount: int | str, rule: ir.Rule, clusters: tuple[str, ...], *, bounded: bool = False
) -> None:
    if isinstance(amount, int) and not clusters:
        limit.hits_addend.number.value = amount
        return
    cost = str(amount) if isinstance(amount, int) else cost_expression(amount, rule)
    if bounded:  # Envoy drops a descriptor that is to add more
        cost = f"(int({cost}) > {HITS_MAX} ? {HITS_MAX} : int({cost}))"
    if clusters:
        served = " || ".join(f"xds.cluster_name == {cel.quoted(cluster)}" for cluster in clusters)
        cost = f"({served} ? int({cost}) : 0)"
    limit.hits_addend.format = cel.formatted(cost.replace(")%", ") %"))


def cost_expression(key: str, rule: ir.Rule) -> str:
    """Envoy's CEL for the cost that a limit names: the route's own, else what someone else put under that key."""
    overrides = tuple((backend.name, backend.model) for backend in rule.backends if backend.model)
    for cost in rule.costs:
        if cost.key == key:
            return cel.lower_cost(cost.expression, route=rule.route, overrides=overrides)
    values, written = f"metadata.filter_metadata['{metadata.NAMESPACE}']", cel.quoted(key)
    return (
        f"('{metadata.NAMESPACE}' in metadata.filter_metadata && {written} in {values} ? int({values}[{written}]) : 0)"
    )


def _set_estimate(limit: RateLimit, limit_rule: ir.LimitRule, rule: ir.Rule, backends: tuple[ir.Backend, ...]) -> None:
    cost = next((cost for cost in rule.costs if cost.key == limit_rule.response_amount), None)
    if cost is None:
        limit.hits_addend.number.value = 0
        return
    first = backends[0] if backends else None
    expression = cel.lower_estimate(
        cost.expression,
        route=rule.route,
        backend=first.name if first else "",
        model=first.model or "" if first else "",
        output_default=limit_rule.reserved_output_tokens,
        counted=rule.counts_prompts,
    )
    limit.hits_addend.format = cel.formatted(expression)


def reserves(rules: Iterable[ir.Rule]) -> bool:
    """Whether any limit of these rules must know which request it is about: to reserve, or to choose a backend."""
    return any(limit.reserve or limit.backend is not None for rule in rules for limit in rule.limits)


def _limited(limit: ir.LimitRule, backends: tuple[ir.Backend, ...]) -> Iterator[tuple[ir.Backend, ...]]:
    """The backends that a limit is checked for, those together that it is checked for in the same words."""
    if limit.backend is None:
        yield backends
        return
    found: dict[str, list[ir.Backend]] = {}
    for backend in backends:
        if limit.backend.may_be_for(backend):
            found.setdefault(backend.model if limit.quota else "", []).append(backend)
    yield from map(tuple, found.values())


@remembered
def per_route(rule: ir.Rule, backends: tuple[ir.Backend, ...] | None = None) -> RateLimitPerRoute:
    """What the rate limit filter does on a rule's routes: a check and, where a cost is due, a charge per limit.

    Where a limit reserves, the check brings what the request may cost, and the charge replaces it. `backends` are those
    that the route chooses among.
    """
    chosen_among = rule.backends if backends is None else backends
    result = RateLimitPerRoute(vh_rate_limits=RateLimitPerRoute.IGNORE)
    if len(chosen_among) > 1 and any(limit.backend is not None for limit in rule.limits):
        _name_backends(result.rate_limits.add(), chosen_among)
    for limit_rule in rule.limits:
        for limited in _limited(limit_rule, chosen_among):
            _check_and_charge(result, limit_rule, rule, limited)
    return result


def _name_backends(limit: RateLimit, backends: tuple[ir.Backend, ...]) -> None:
    priorities = sorted({backend.priority for backend in backends})
    for backend in backends:
        group = priorities.index(backend.priority)
        choice = Choice(backend.name, group, backend.weight, backend.service, backend.model)
        _literal(limit, BACKEND_ENTRY, encode_choice(choice))
    limit.hits_addend.number.value = 0


def _check_and_charge(
    result: RateLimitPerRoute,
    limit: ir.LimitRule,
    rule: ir.Rule,
    backends: tuple[ir.Backend, ...],
) -> None:
    model = backends[0].model if limit.quota and backends else ""
    check = result.rate_limits.add()
    _actions(check, limit, model)
    if limit.reserve:
        _set_estimate(check, limit, rule, backends)
    else:
        _set_amount(check, limit.request_amount, rule, ())
    if limit.response_amount is not None:
        charge = result.rate_limits.add(apply_on_stream_done=True)
        _actions(charge, limit, model)
        clusters = tuple(backend.name for backend in backends) if limit.backend is not None else ()
        _set_amount(charge, limit.response_amount, rule, clusters, bounded=limit.what == "usd")


PATH = header_key(":path")
"""The source that is a request's path; selectors of it are expressions."""
LOCAL = "envoy.filters.http.local_ratelimit"
LOCAL_STAGE = 1
"""Of the rate limits that a route has for the local filter: the service's filter reads those of stage 0."""
UNLIMITED = 4_294_967_295
CLIENTS_MAX = 10_000
"""How many clients a local limit counts apart at a time: who was seen longest ago is forgotten, and starts anew."""
OTHERS_KEY = "others"


def _fill(bucket: TokenBucket, requests: int, seconds: int) -> None:
    bucket.max_tokens = requests
    bucket.tokens_per_fill.value = requests
    bucket.fill_interval.CopyFrom(duration(seconds))


def local_filter(rules: Iterable[ir.Rule]) -> HttpFilter:
    """Token buckets for the limits of each rule, in every Envoy by itself.

    A bucket in the config of a route would count each class of a rule's paths alone; here routes name their rule's.
    """
    message = LocalRateLimit(stat_prefix="local_ratelimit", stage=LOCAL_STAGE)
    # what no rule limits: the filter must have a bucket, and refuses without one
    _fill(message.token_bucket, UNLIMITED, 1)
    message.always_consume_default_token_bucket.value = False
    message.max_dynamic_descriptors.value = CLIENTS_MAX
    for fraction in (message.filter_enabled, message.filter_enforced):
        fraction.default_value.numerator = 100
        fraction.runtime_key = "headgate.never.local_ratelimit"
    found = {_local_name(rule, limit): limit for rule in rules for limit in rule.local_limits}
    for name, limit in sorted(found.items()):
        descriptor = message.descriptors.add()
        descriptor.entries.add(key=RULE_KEY, value=name)
        if limit.excluded:
            descriptor.entries.add(key=OTHERS_KEY, value="true")
        for key, value in selected(limit.selectors):
            descriptor.entries.add(key=key, value=value)
        _fill(descriptor.token_bucket, limit.requests, limit.unit_seconds)
        if limit.shadow:
            overlay.local_shadow(descriptor)
    return http_filter(LOCAL, message)


def local_limits(rule: ir.Rule) -> Iterator[RateLimit]:
    """What the rule's routes say so that the local filter counts them together."""
    for limit in rule.local_limits:
        result = RateLimit()
        result.stage.value = LOCAL_STAGE
        _literal(result, RULE_KEY, _local_name(rule, limit))
        if limit.excluded:
            _expression(result.actions.add(), OTHERS_KEY, " && ".join(map(_unselected, limit.excluded)))
        for selector in limit.selectors:
            _selector_action(result.actions.add(), selector)
        yield result


def _local_name(rule: ir.Rule, limit: ir.LocalLimit) -> str:
    return f"{rule.name}/limit/{limit.name}"


def _selectors(rules: Iterable[ir.Rule]) -> Iterator[ir.Selector]:
    """Those of all limits, and of whom they leave out."""
    for rule in rules:
        for limit in (*rule.limits, *rule.local_limits):
            yield from limit.selectors
            yield from chain.from_iterable(limit.excluded)


def selector_headers(rules: Iterable[ir.Rule]) -> tuple[str, ...]:
    """The request headers whose values limits need in metadata, sorted."""
    sources = {selector.source for selector in _selectors(rules)}
    return tuple(sorted(each.removeprefix("header:") for each in sources if each.startswith("header:")))


def selector_queries(rules: Iterable[ir.Rule]) -> tuple[str, ...]:
    """The query parameters whose values limits need in metadata, sorted."""
    sources = {selector.source for selector in _selectors(rules)}
    return tuple(sorted(each.removeprefix(QUERY_PREFIX) for each in sources if each.startswith(QUERY_PREFIX)))


def limit_rules(program: ir.Program) -> tuple[ir.LimitRule, ...]:
    """Every limit of the program once, by name."""
    found = {
        (limit.name, limit.backend): limit
        for port in program.ports
        for listener in port.listeners
        for host in listener.hosts
        for rule in host.all_rules
        for limit in rule.limits
    }
    return tuple(
        found[key] for key in sorted(found, key=lambda key: (key[0], "" if key[1] is None else key[1].service))
    )
