"""Rules: what AIGatewayRoutes and HTTPRoutes mean on one listener."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from headgate.compiler import answers, ir, upstreams
from headgate.compiler.lanes import CHATS, lanes_of
from headgate.compiler.resolve import policies
from headgate.compiler.resolve.backends import ai_backend, http_backend, object_backend, with_managed_headers
from headgate.compiler.resolve.capturing import captures_content
from headgate.compiler.resolve.costs import with_costs
from headgate.compiler.resolve.credentials import asked
from headgate.compiler.resolve.egress import by_proxy
from headgate.compiler.resolve.limit_policies import policy_limits
from headgate.compiler.resolve.merging import InForce, in_force
from headgate.compiler.resolve.overriding import response_overrides, written_body
from headgate.compiler.resolve.quotas import quota_limits
from headgate.compiler.resolve.scope import Scope
from headgate.compiler.resources import ai_gateway, envoy_gateway, gateway_api, security_policy
from headgate.compiler.resources import policies as traffic_policies
from headgate.compiler.resources.headers import HTTPHeaderFilter
from headgate.compiler.resources.metadata import Name
from headgate.compiler.resources.quantities import duration_seconds
from headgate.compiler.world import Target
from headgate.contract import metadata

AI_REQUEST_SECONDS = 60.0
"""compat: an AI rule without timeouts."""

_SCHEME_PORTS = {"http": 80, "https": 443}
_KINDS = {"Exact": ir.MatchKind.EXACT, "PathPrefix": ir.MatchKind.PREFIX, "RegularExpression": ir.MatchKind.REGEX}
UNRESOLVED = answers.DirectResponse(
    status=500, body="No backend of this route can be used; the status of the route says why, for its operator to mend."
)
CLOSED = answers.DirectResponse(
    status=500, body="This route's policy is not valid, so the gateway does not serve it; its operator must mend it."
)


def closed(hosts: tuple[ir.VirtualHost, ...]) -> tuple[ir.VirtualHost, ...]:
    """The same hosts with every rule shut: the listener's own policy cannot be enforced."""

    def shut(rules: tuple[ir.Rule, ...]) -> tuple[ir.Rule, ...]:
        return tuple(replace(rule, ai=False, direct=CLOSED) for rule in rules)

    return tuple(replace(host, rules=shut(host.rules), inherited=shut(host.inherited)) for host in hosts)


@dataclass(frozen=True, slots=True)
class Attachment:
    """One route on one listener of a Gateway."""

    gateway: Name
    listener: str
    config: ai_gateway.GatewayConfig | None


def _timeouts(timeouts: gateway_api.HTTPRouteTimeouts | None) -> tuple[float | None, float | None]:
    if timeouts is None:
        return None, None
    return policies.seconds(timeouts.request), policies.seconds(timeouts.backend_request)


def _unix_seconds(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()) if text else 0
    except ValueError:
        return 0


@dataclass(frozen=True, slots=True)
class _Applied:
    """What the policies closest to a rule ask."""

    auth: ir.Auth | None = None
    limits: tuple[ir.LimitRule, ...] = ()
    local_limits: tuple[ir.LocalLimit, ...] = ()
    fault: answers.Fault | None = None
    compressors: tuple[answers.Compressor, ...] = ()
    overrides: tuple[answers.ResponseOverride, ...] = ()
    retry: upstreams.Retry | None = None
    request_seconds: float | None = None
    idle_seconds: float | None = None
    traffic: traffic_policies.BackendTrafficPolicy | None = None
    closed: bool = False

    def upon(self, backends: tuple[ir.Backend, ...]) -> tuple[ir.Backend, ...]:
        """With what the policy of traffic asks of connections to them."""
        traffic = self.traffic
        if traffic is None:
            return backends
        followed = len(backends) > 1
        return tuple(policies.to_backend(traffic, backend, followed=followed) for backend in backends)


def _check_upgraded(scope: Scope, traffic: InForce[traffic_policies.BackendTrafficPolicy]) -> None:
    """Says that nothing of a route for models is upgraded, to who asks for it there."""
    policy = traffic.owner("httpUpgrade")
    if any(target.kind == "AIGatewayRoute" for target in policy.spec.targets):
        scope.report.warning(policy, "spec.httpUpgrade", "models are asked by HTTP alone", remedy="an HTTPRoute")


def _apply(
    scope: Scope,
    route: ai_gateway.AIGatewayRoute | gateway_api.HTTPRoute,
    section: str,
    place: Attachment,
    costs: tuple[ir.Cost, ...],
) -> _Applied:
    targets = policies.route_targets(route, section, place.gateway, place.listener)
    own, wider = targets[:-2], targets[-2:]
    traffic = in_force(scope, scope.traffic, targets, wider)
    security = in_force(scope, scope.security, own, wider)
    if traffic is not None:
        asking = security or in_force(scope, scope.security, wider)
        policies.check_balancer(scope, traffic.policy, asking.policy if asking is not None else None)
    if scope.options.envoy_gateway:
        return _applied_beside_envoy_gateway(traffic)
    if traffic is not None and traffic.policy.spec.http_upgrade and isinstance(route, ai_gateway.AIGatewayRoute):
        _check_upgraded(scope, traffic)
    auth = policies.auth(scope, security) if security is not None else None
    closed = any(target in scope.broken for target in targets) or (security is not None and auth is None)
    if security is not None and security.parent is None:
        _check_replaced(scope, route, security.policy, wider)
    if traffic is None:
        return _Applied(auth=auth, closed=closed)
    local = policies.local_limits(scope, traffic.owner("rateLimit", "local", "rules"))
    counted = str(route.name) if isinstance(route, ai_gateway.AIGatewayRoute) else f"{metadata.PLAIN}{route.name}"
    return replace(
        _applied_beside_envoy_gateway(traffic),
        auth=auth,
        limits=tuple(limit for each in traffic.limiting for limit in policies.limits(scope, each, counted, costs)),
        local_limits=local or (),
        fault=policies.fault(traffic.policy),
        compressors=policies.compressors(traffic.policy),
        overrides=response_overrides(scope, traffic.owner("responseOverride")),
        closed=closed or traffic.broken or local is None,
    )


def _check_replaced(
    scope: Scope,
    route: ai_gateway.AIGatewayRoute | gateway_api.HTTPRoute,
    own: security_policy.SecurityPolicy,
    wider: tuple[Target, ...],
) -> None:
    """Whom a Gateway's policy would have turned away, and the route's own lets in."""
    replaced = next((scope.security[target] for target in wider if target in scope.security), None)
    if replaced is not None and replaced.spec.authenticates and not own.spec.authenticates:
        message = f"it replaces {replaced.name} of the Gateway, so nobody has to show who he is at {route.name}"
        remedy = "mergeType: StrategicMerge, or apiKeyAuth, basicAuth or jwt of that policy, here too"
        scope.report.warning(own, "spec", message, remedy=remedy)


def _applied_beside_envoy_gateway(traffic: InForce[traffic_policies.BackendTrafficPolicy] | None) -> _Applied:
    """Envoy Gateway authenticates and limits by itself; only what concerns attempts and connections is ours too."""
    if traffic is None:
        return _Applied()
    spec = traffic.policy.spec
    http = spec.timeout.http if spec.timeout is not None else None
    return _Applied(
        retry=policies.retry(traffic.policy),
        request_seconds=policies.seconds(http.request_timeout) if http is not None else None,
        idle_seconds=policies.seconds(http.stream_idle_timeout) if http is not None else None,
        traffic=traffic.policy,
    )


def _text_match(match: gateway_api.HTTPHeaderMatch | ai_gateway.ModelHeaderMatch) -> ir.TextMatch:
    return ir.TextMatch(match.name.lower(), _KINDS[match.type], match.value)


def _ai_matches(scope: Scope, rule: ai_gateway.AIGatewayRouteRule) -> tuple[ir.Match, ...]:
    root = scope.options.path_root
    if not rule.matches:
        return (ir.Match(path=root),)
    return tuple(
        ir.Match(path=root, headers=tuple(_text_match(header) for header in match.headers)) for match in rule.matches
    )


def ai_rules(scope: Scope, route: ai_gateway.AIGatewayRoute, place: Attachment) -> Iterator[ir.Rule]:
    """The rules of an AI route on one listener."""
    costs = policies.costs(scope, route, place.config)
    for index, rule in enumerate(route.spec.rules):
        yield _ai_rule(scope, route, (index, rule), place, costs)


def _ai_rule(
    scope: Scope,
    route: ai_gateway.AIGatewayRoute,
    numbered: tuple[int, ai_gateway.AIGatewayRouteRule],
    place: Attachment,
    costs: tuple[ir.Cost, ...],
) -> ir.Rule:
    index, rule = numbered
    _check_refs(scope, route, index, rule)
    applied = _apply(scope, route, rule.name, place, costs)
    usable, unavailable = _usable(scope, route, index, rule)
    targets = policies.route_targets(route, rule.name, place.gateway, place.listener)
    found = (*policy_limits(scope, targets, usable), *quota_limits(scope, usable))
    added, costs = with_costs(found, costs)
    limits, matches = (*applied.limits, *added), _ai_matches(scope, rule)
    counts_prompts = _counts_prompts(scope, route, limits)
    captured = captures_content(scope, place.config)
    backends = tuple(
        replace(
            each,
            include_usage=bool(costs) or scope.options.collects,
            steered=any(limit.backend for limit in added),
            known=not costs and not counts_prompts and all(map(ir.model_of, matches)),
            captured=captured,
            forced_by=each.forced_by or ("the capture of content" if captured else ""),
        )
        for each in with_managed_headers(usable)
    )
    backends = applied.upon(backends)
    _check_served(scope, route, f"spec.rules[{index}].backendRefs", backends)
    unresolved = bool(rule.backend_refs) and not backends and not unavailable
    direct = CLOSED if applied.closed else UNRESOLVED if unresolved else None
    request, backend_request = _timeouts(rule.timeouts)
    if rule.timeouts is None:
        request = applied.request_seconds if applied.request_seconds is not None else AI_REQUEST_SECONDS
    created = rule.models_created_at or route.metadata.creation_timestamp
    return ir.Rule(
        name=f"{route.name}/rule/{index}",
        route=str(route.name),
        ai=direct is None,
        matches=matches,
        backends=backends,
        created=route.metadata.creation_timestamp,
        request_seconds=request,
        backend_request_seconds=backend_request,
        idle_seconds=applied.idle_seconds,
        retry=_with_idle(applied.retry, rule, backends),
        costs=costs,
        limits=limits,
        local_limits=applied.local_limits,
        fault=applied.fault,
        compressors=applied.compressors,
        overrides=applied.overrides,
        hash_keys=policies.hash_keys(applied.traffic),
        auth=applied.auth,
        direct=direct,
        counts_prompts=counts_prompts,
        unavailable=unavailable,
        owned_by=rule.models_owned_by,
        models_created=_unix_seconds(created),
    )


def _usable(
    scope: Scope, route: ai_gateway.AIGatewayRoute, index: int, rule: ai_gateway.AIGatewayRouteRule
) -> tuple[tuple[ir.Backend, ...], str]:
    """The backends of a rule that can be asked now; where that is none of them, what clients are told."""
    resolved = (ai_backend(scope, route, (index, number), ref) for number, ref in enumerate(rule.backend_refs))
    ready, unready = asked(tuple(backend for backend in resolved if backend is not None))
    reached, unreached = by_proxy(scope, route, ready)
    return reached, unready or unreached


COUNT_ANNOTATION = "headgate.dev/count-prompts"


def _counts_prompts(scope: Scope, route: ai_gateway.AIGatewayRoute, limits: Sequence[ir.LimitRule]) -> bool:
    """Whether the route or one of its limits asks for the tokens of prompts before they are admitted, and somebody can
    count them."""
    wanted = route.metadata.annotations.get(COUNT_ANNOTATION, "false")
    field = f"metadata.annotations[{COUNT_ANNOTATION}]"
    if wanted not in ("true", "false"):
        scope.report.error(route, field, f"{wanted} is neither true nor false", remedy='"true"')
    if wanted != "true" and not any(limit.counts_prompts for limit in limits):
        return False
    if not scope.options.extproc_sockets:
        message = "prompts are not counted without a processor: a quarter of their bytes is reserved"
        scope.report.warning(route, field, message)
        return False
    return True


def _check_refs(
    scope: Scope, route: ai_gateway.AIGatewayRoute, index: int, rule: ai_gateway.AIGatewayRouteRule
) -> None:
    if not rule.backend_refs:
        message = "the rule has no backendRefs, so its models are listed but not served"
        scope.report.warning(route, f"spec.rules[{index}].backendRefs", message, remedy="backendRefs: [{name: ...}]")


def _check_served(scope: Scope, route: ai_gateway.AIGatewayRoute, place: str, backends: tuple[ir.Backend, ...]) -> None:
    """Which clients nothing of the rule can serve: said at check time, answered 404 when they come."""
    lanes = [lanes_of(backend) for backend in backends]
    for row in CHATS if backends else ():
        if any(each[row.name] is not None for each in lanes):
            continue
        spoken = ", ".join(sorted({str(backend.dialect) for backend in backends}))
        message = f"clients that speak {row.dialect} are not served: nothing translates to {spoken} yet"
        remedy = "a backend that speaks it, or clients that speak the backend's own dialect"
        scope.report.warning(route, place, message, remedy=remedy)


def _with_idle(
    retry: upstreams.Retry | None, rule: ai_gateway.AIGatewayRouteRule, backends: tuple[ir.Backend, ...]
) -> upstreams.Retry | None:
    """compat: streamIdleTimeout is how long an attempt may be silent before the next one is tried."""
    idle = policies.seconds(rule.stream_idle_timeout)
    if not idle:
        return retry
    groups = len({backend.priority for backend in backends})
    base = retry or upstreams.Retry(
        count=max(1, groups - 1), on="5xx,reset,connect-failure,retriable-status-codes", status_codes=(429,)
    )
    return replace(base, per_try_idle_seconds=idle)


def _http_match(match: gateway_api.HTTPRouteMatch) -> ir.Match:
    path = match.path.value
    return ir.Match(
        path_kind=_KINDS[match.path.type],
        # compat: a slash at the end of a prefix is ignored
        path=path.rstrip("/") or "/" if match.path.type == "PathPrefix" else path,
        headers=tuple(_text_match(header) for header in match.headers),
        queries=tuple(ir.TextMatch(query.name, _KINDS[query.type], query.value) for query in match.query_params),
        method=match.method or "",
    )


def _edit(found: HTTPHeaderFilter | None) -> ir.HeaderEdit | None:
    if found is None:
        return None
    return ir.HeaderEdit(
        set=tuple((item.name, item.value) for item in found.set),
        add=tuple((item.name, item.value) for item in found.add),
        remove=found.remove,
    )


def _path(modifier: gateway_api.HTTPPathModifier | None) -> tuple[str, str | None]:
    """(full path, prefix) of a path modifier."""
    if modifier is None:
        return "", None
    if modifier.type == "ReplaceFullPath":
        return modifier.replace_full_path or "/", None
    return "", modifier.replace_prefix_match or "/"


def _listener(scope: Scope, place: Attachment) -> gateway_api.Listener | None:
    """None of a route that hangs on none: it is looked at all the same, for what is wrong with it."""
    gateway = scope.world.gateways.get(place.gateway)
    listeners = () if gateway is None else gateway.spec.listeners
    return next((listener for listener in listeners if listener.name == place.listener), None)


def _redirect_port(found: gateway_api.HTTPRequestRedirectFilter, listener: gateway_api.Listener | None) -> int | None:
    """The port to name, where the filter names none: that of its scheme, else the listener's (compat).

    Without one Envoy takes the host as it is: the filter's, or the request's with the port that the client named.
    """
    if listener is None or found.port is not None or listener.port == _SCHEME_PORTS[listener.protocol.lower()]:
        return found.port
    if found.scheme:
        return None if found.hostname else _SCHEME_PORTS[found.scheme]
    return listener.port if found.hostname else None


def _redirect(found: gateway_api.HTTPRequestRedirectFilter, listener: gateway_api.Listener | None) -> answers.Redirect:
    path, prefix = _path(found.path)
    return answers.Redirect(
        scheme=found.scheme or "",
        hostname=found.hostname,
        path=path,
        path_prefix=prefix,
        port=_redirect_port(found, listener),
        status=found.status_code,
    )


@dataclass(frozen=True, slots=True)
class _Filters:
    request: ir.HeaderEdit | None = None
    response: ir.HeaderEdit | None = None
    redirect: answers.Redirect | None = None
    rewrite: ir.Rewrite | None = None
    direct: answers.DirectResponse | None = None
    host_of_backend: bool = False
    cors: ir.Cors | None = None
    mirrors: tuple[ir.Mirror, ...] = ()


def _extension(
    scope: Scope, route: gateway_api.HTTPRoute, field: str, ref: gateway_api.LocalObjectReference
) -> tuple[answers.DirectResponse | None, bool]:
    """(direct response, whether the host becomes the backend's) of an HTTPRouteFilter."""
    name = Name(route.metadata.namespace, ref.name)
    found = scope.world.http_route_filters.get(name) if ref.kind == "HTTPRouteFilter" else None
    if found is None:
        message = f"there is no {ref.kind} {name}"
        scope.report.error(route, field, message, remedy="kind: HTTPRouteFilter", reason="BackendNotFound")
        return CLOSED, False
    direct = found.spec.direct_response
    if direct is not None:
        return _direct(scope, found, direct), False
    rewrite = found.spec.url_rewrite
    hostname = rewrite.hostname if rewrite is not None else None
    if hostname is None or hostname.type != "Backend":
        remedy = "urlRewrite: {hostname: {type: Backend}} or directResponse"
        scope.report.error(
            found, "spec", "only a hostname of type Backend or a direct response is supported", remedy=remedy
        )
        return CLOSED, False
    return None, True


def _direct(
    scope: Scope, found: envoy_gateway.HTTPRouteFilter, direct: envoy_gateway.HTTPDirectResponseFilter
) -> answers.DirectResponse:
    text = written_body(scope, found, "spec.directResponse.body", direct.body, direct.status_code) or ""
    return answers.DirectResponse(
        status=direct.status_code, body=text, content_type=direct.content_type or "text/plain"
    )


def _filters(scope: Scope, route: gateway_api.HTTPRoute, index: int, place: Attachment) -> _Filters:
    rule = route.spec.rules[index]
    request = response = redirect = rewrite = direct = cors = None
    host_of_backend = False
    mirrors: list[ir.Mirror] = []
    for number, entry in enumerate(rule.filters):
        request = _edit(entry.request_header_modifier) or request
        response = _edit(entry.response_header_modifier) or response
        if entry.request_redirect is not None:
            redirect = _redirect(entry.request_redirect, _listener(scope, place))
        if entry.url_rewrite is not None:
            path, prefix = _path(entry.url_rewrite.path)
            rewrite = ir.Rewrite(hostname=entry.url_rewrite.hostname, path=path, path_prefix=prefix)
        if entry.extension_ref is not None:
            field = f"spec.rules[{index}].filters[{number}].extensionRef"
            found, backend_host = _extension(scope, route, field, entry.extension_ref)
            direct, host_of_backend = found or direct, host_of_backend or backend_host
        if entry.cors is not None:
            cors = policies.cors(entry.cors, entry.cors.max_age)
        if entry.request_mirror is not None:
            mirrors.extend(_mirror(scope, route, (index, number), entry.request_mirror))
    return _Filters(request, response, redirect, rewrite, direct, host_of_backend, cors, tuple(mirrors))


def _mirror(
    scope: Scope, route: gateway_api.HTTPRoute, place: tuple[int, int], found: gateway_api.HTTPRequestMirrorFilter
) -> Iterator[ir.Mirror]:
    """Nothing where the backend cannot be used, which is reported, or is sent no request."""
    index, number = place
    field = f"spec.rules[{index}].filters[{number}].requestMirror"
    name = f"httproute/{route.name}/rule/{index}/mirror/{number}"
    backend = object_backend(scope, route, f"{field}.backendRef", name, found.backend_ref)
    share = 1.0
    if found.percent is not None:
        share = found.percent / 100
    if found.fraction is not None:
        share = found.fraction.ratio
    if any(entry.request_redirect is not None for entry in route.spec.rules[index].filters):
        scope.report.error(route, field, "requests that are redirected are not mirrored", remedy="a rule of its own")
    elif backend is not None and share:
        yield ir.Mirror(backend=backend, share=share)


def _http_retry(rule: gateway_api.HTTPRouteRule, applied: upstreams.Retry | None) -> upstreams.Retry | None:
    if rule.retry is None:
        return applied
    return upstreams.Retry(
        count=rule.retry.attempts or 1,
        on="reset,connect-failure" + (",retriable-status-codes" if rule.retry.codes else ",5xx"),
        status_codes=rule.retry.codes,
        back_off_base_seconds=duration_seconds(rule.retry.backoff) if rule.retry.backoff else None,
    )


def http_rules(scope: Scope, route: gateway_api.HTTPRoute, place: Attachment) -> Iterator[ir.Rule]:
    """The rules of a plain route on one listener."""
    for index, rule in enumerate(route.spec.rules):
        applied = _apply(scope, route, rule.name, place, ())
        targets = policies.route_targets(route, rule.name, place.gateway, place.listener)
        # no usage is read here, so there is nothing to charge
        requests = tuple(each.limit for each in policy_limits(scope, targets, ()) if not each.expression)
        found = _filters(scope, route, index, place)
        resolved = (http_backend(scope, route, (index, n), ref) for n, ref in enumerate(rule.backend_refs))
        backends = applied.upon(tuple(backend for backend in resolved if backend is not None))
        present = {backend.name.rpartition("/")[2] for backend in backends}
        missing = sum(ref.weight for n, ref in enumerate(rule.backend_refs) if str(n) not in present)
        request, backend_request = _timeouts(rule.timeouts)
        rewrite = found.rewrite
        if found.host_of_backend and backends:
            path = rewrite or ir.Rewrite()
            rewrite = ir.Rewrite(hostname=backends[0].authority, path=path.path, path_prefix=path.path_prefix)
        yield ir.Rule(
            name=f"{metadata.PLAIN}{route.name}/rule/{index}",
            route=str(route.name),
            ai=False,
            matches=tuple(_http_match(match) for match in rule.matches or (gateway_api.HTTPRouteMatch(),)),
            backends=backends,
            unresolved_weight=missing,
            created=route.metadata.creation_timestamp,
            request_seconds=request if request is not None else applied.request_seconds,
            backend_request_seconds=backend_request,
            idle_seconds=applied.idle_seconds,
            retry=_http_retry(rule, applied.retry),
            limits=(*applied.limits, *requests),
            local_limits=applied.local_limits,
            fault=applied.fault,
            compressors=applied.compressors,
            overrides=applied.overrides,
            hash_keys=policies.hash_keys(applied.traffic),
            auth=applied.auth,
            mirrors=found.mirrors,
            upgrades=policies.upgrades(applied.traffic),
            filter_cors=found.cors,
            request_headers=found.request,
            response_headers=found.response,
            redirect=found.redirect,
            rewrite=rewrite,
            direct=CLOSED if applied.closed else found.direct,
        )
