"""Policies: what they ask of a rule or a listener. Which policy that is: `merging`."""

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from headgate.compiler import answers, cel, ir, upstreams
from headgate.compiler.resolve.authorizing import authorized
from headgate.compiler.resolve.connections import connections
from headgate.compiler.resolve.credentials import secret_value
from headgate.compiler.resolve.ext_auth import external
from headgate.compiler.resolve.merging import InForce
from headgate.compiler.resolve.scope import Scope
from headgate.compiler.resolve.selecting import selectors
from headgate.compiler.resources import ai_gateway, gateway_api, policies, rate_limits, security_policy
from headgate.compiler.resources.key_sets import is_key_set
from headgate.compiler.resources.metadata import Name, Resource
from headgate.compiler.resources.quantities import duration_seconds, quantity_bytes
from headgate.compiler.upstreams import RETRIES_MAX
from headgate.compiler.world import Target
from headgate.contract.secret import Secret

HTPASSWD: Final = ".htpasswd"
"""The key of a Secret with users."""
_SHA: Final = re.compile(r"\{SHA\}[A-Za-z0-9+/]{27}=")
RETRY_ON_DEFAULT = ("5xx", "reset", "connect-failure")
UNIT_SECONDS = {
    "Second": 1,
    "Minute": 60,
    "Hour": 3600,
    "Day": 86_400,
    "Week": 604_800,
    "Month": 2_592_000,
    "Year": 31_536_000,
}


def seconds(duration: str) -> float | None:
    """Seconds of a duration; None for an absent one."""
    return duration_seconds(duration) if duration else None


def route_targets(route: Resource, section: str, gateway: Name, listener: str) -> tuple[Target, ...]:
    """Where a policy for a rule may be attached, closest first.

    An AI route is an HTTPRoute of the same name to Envoy Gateway, so policies for that one apply to it too (compat).
    """
    group, namespace, name = gateway_api.GROUP, route.metadata.namespace, route.metadata.name
    kinds = [(route.group, route.kind), (group, "HTTPRoute")]
    found = [Target(g, k, namespace, name, s) for s in (section, "") for g, k in dict.fromkeys(kinds)]
    if section == "":
        found = found[: len(found) // 2]
    return (*found, *gateway_targets(gateway, listener))


def gateway_targets(gateway: Name, listener: str) -> tuple[Target, ...]:
    """Where a policy for a listener may be attached, closest first."""
    group = gateway_api.GROUP
    return (
        Target(group, "Gateway", gateway.namespace, gateway.name, listener),
        Target(group, "Gateway", gateway.namespace, gateway.name),
    )


def costs(
    scope: Scope, route: ai_gateway.AIGatewayRoute, config: ai_gateway.GatewayConfig | None
) -> tuple[ir.Cost, ...]:
    """The costs of a route: its own over the Gateway's, by key. A broken one is reported and left out."""
    found: dict[str, ir.Cost] = {}
    sources: list[tuple[Resource, str, tuple[ai_gateway.LLMRequestCost, ...]]] = []
    if config is not None:
        sources.append((config, "spec.globalLLMRequestCosts", config.spec.global_llm_request_costs))
    sources.append((route, "spec.llmRequestCosts", route.spec.llm_request_costs))
    for resource, field, listed in sources:
        for index, cost in enumerate(listed):
            expression = cel.TYPES.get(cost.type, cost.cel)
            why = cel.check_expression(expression) if cost.type == "CEL" else None
            if why is not None:
                remedy = "an expression such as input_tokens + 4u * output_tokens"
                scope.report.error(resource, f"{field}[{index}].cel", why, remedy=remedy)
                continue
            found[cost.metadata_key] = ir.Cost(cost.metadata_key, expression)
    return tuple(found[key] for key in sorted(found))


def _amount(specifier: rate_limits.CostSpecifier | None) -> int | str | None:
    if specifier is None:
        return None
    if specifier.from_ == "Number":
        return specifier.number
    return specifier.metadata.key if specifier.metadata is not None else None


RESERVATION_ANNOTATION = "headgate.dev/token-reservation"
OUTPUT_ANNOTATION = "headgate.dev/reserved-output-tokens"
RESERVATIONS = {"lenient": "lenient", "strict": "strict", "off": ""}


def reservation(scope: Scope, policy: Resource) -> tuple[str, int]:
    """How the token limits of a policy reserve, and how much for an answer whose length the request does not bound."""
    mode = policy.metadata.annotations.get(RESERVATION_ANNOTATION, "lenient")
    if mode not in RESERVATIONS:
        field = f"metadata.annotations[{RESERVATION_ANNOTATION}]"
        scope.report.error(policy, field, f"{mode} is no kind of reservation", remedy=", ".join(RESERVATIONS))
        mode = "lenient"
    output = policy.metadata.annotations.get(OUTPUT_ANNOTATION, "0")
    if not (output.isascii() and output.isdigit() and int(output) <= cel.ESTIMATE_MAX):
        field = f"metadata.annotations[{OUTPUT_ANNOTATION}]"
        scope.report.error(policy, field, f"{output} is no number of tokens", remedy='"1000"')
        output = "0"
    return RESERVATIONS[mode], int(output)


def _selected(
    scope: Scope, policy: policies.BackendTrafficPolicy, field: str, rule: rate_limits.RateLimitRule
) -> Iterator[tuple[str, tuple[ir.Selector, ...]]]:
    """What a rule's limits, one for each of its selectors, are called behind its name, and whom they choose."""
    for number, condition in enumerate(rule.client_selectors or (None,)):
        place = f"{field}.clientSelectors[{number}]"
        chosen = selectors(scope, policy, place, condition) if condition is not None else ()
        if chosen is not None:
            yield f"/selector/{number}" if len(rule.client_selectors) > 1 else "", chosen


def limits(
    scope: Scope, policy: policies.BackendTrafficPolicy, route: str, known: tuple[ir.Cost, ...]
) -> tuple[ir.LimitRule, ...]:
    """The global limits of a policy for one route. A rule that is not shared counts each route by itself."""
    spec = policy.spec.rate_limit
    if spec is None or spec.global_ is None:
        return ()
    if not scope.options.limits:
        scope.report.error(policy, "spec.rateLimit.global", "this installation runs no rate limit service")
        return ()
    found: list[ir.LimitRule] = []
    reserve, reserved_output = reservation(scope, policy)
    for index, rule in enumerate(spec.global_.rules):
        field = f"spec.rateLimit.global.rules[{index}]"
        amounts = rule.cost or rate_limits.RateLimitCost()
        response = _amount(amounts.response)
        if isinstance(response, str) and response not in {cost.key for cost in known}:
            message = f"no cost of {route} is called {response}, so nothing would be charged"
            keys = ", ".join(cost.key for cost in known)
            remedy = f"one of {keys}" if keys else f"llmRequestCosts: [{{metadataKey: {response}, type: TotalToken}}]"
            scope.report.error(policy, f"{field}.cost.response.metadata.key", message, remedy=remedy)
        request = _amount(amounts.request)
        # What a request may cost is known of our costs only, and a limit that also counts requests stays as it is.
        estimated = request == 0 and response in {cost.key for cost in known}
        owner = str(policy.name) if rule.shared else f"{policy.name}/route/{route}"
        for suffix, chosen in _selected(scope, policy, field, rule):
            found.append(
                ir.LimitRule(
                    name=f"{owner}/rule/{index}{suffix}",
                    selectors=chosen,
                    requests=rule.limit.requests,
                    unit=rule.limit.unit.upper(),
                    request_amount=1 if request is None else request,
                    response_amount=response,
                    shadow=rule.shadow_mode,
                    reserve=reserve if estimated else "",
                    reserved_output_tokens=reserved_output if estimated else 0,
                )
            )
    return tuple(found)


def local_limits(scope: Scope, policy: policies.BackendTrafficPolicy) -> tuple[ir.LocalLimit, ...] | None:
    """The local limits of a policy; None, reported, where one of them would let nobody in. As Envoy Gateway has it,
    a rule without selectors counts the requests that no other rule selects.
    """
    spec = policy.spec.rate_limit
    if spec is None or spec.local is None:
        return ()
    found: list[ir.LocalLimit] = []
    for index, rule in enumerate(spec.local.rules):
        field = f"spec.rateLimit.local.rules[{index}]"
        requests = _requests(rule)
        if requests is None:
            message = "an Envoy by itself has no bucket for that: it lets at least one request in"
            remedy = "limit.requests of at least cost.request.number, which is at least 1"
            scope.report.error(policy, field, message, remedy=remedy)
            return None
        for suffix, chosen in _selected(scope, policy, field, rule):
            limit = ir.LocalLimit(
                name=f"{policy.name}/rule/{index}{suffix}",
                requests=requests,
                unit_seconds=UNIT_SECONDS[rule.limit.unit],
                selectors=chosen,
                shadow=rule.shadow_mode,
            )
            found.append(limit)
    others = tuple(limit.selectors for limit in found if limit.selectors)
    return tuple(limit if limit.selectors else replace(limit, excluded=others) for limit in found)


def _requests(rule: rate_limits.RateLimitRule) -> int | None:
    """How many requests a local rule lets in: its bucket is filled whole, so a cost divides it."""
    amount = _amount(rule.cost.request) if rule.cost is not None else None
    cost = 1 if amount is None else amount
    if isinstance(cost, str) or not 0 < cost <= rule.limit.requests:
        return None
    return rule.limit.requests // cost


def retry(policy: policies.BackendTrafficPolicy) -> upstreams.Retry | None:
    """The retries of a policy; Envoy Gateway's defaults where it names none."""
    spec = policy.spec.retry
    if spec is None:
        return None
    triggers = tuple(spec.retry_on.triggers) if spec.retry_on is not None else ()
    codes = spec.retry_on.http_status_codes if spec.retry_on is not None else ()
    if not triggers and not codes:
        triggers, codes = (*RETRY_ON_DEFAULT, "retriable-status-codes"), (429, 503)
    elif codes and "retriable-status-codes" not in triggers:
        triggers = (*triggers, "retriable-status-codes")
    per_retry = spec.per_retry or policies.PerRetryPolicy()
    back_off = per_retry.back_off or policies.BackOffPolicy()
    return upstreams.Retry(
        count=spec.num_retries,
        on=",".join(triggers),
        status_codes=codes,
        per_try_seconds=seconds(per_retry.timeout),
        back_off_base_seconds=seconds(back_off.base_interval),
        back_off_max_seconds=seconds(back_off.max_interval),
    )


def fault(policy: policies.BackendTrafficPolicy) -> answers.Fault | None:
    """The faults that a policy injects."""
    asked = policy.spec.fault_injection
    if asked is None:
        return None
    delay, abort = asked.delay, asked.abort
    return answers.Fault(
        delay_seconds=duration_seconds(delay.fixed_delay) if delay is not None else 0.0,
        delayed=round(delay.percentage * 10_000) if delay is not None else 0,
        abort_status=abort.http_status if abort is not None else 0,
        aborted=round(abort.percentage * 10_000) if abort is not None else 0,
    )


WEBSOCKET: Final = ("websocket",)
"""What connections may be upgraded to where nothing is said (compat)."""


def upgrades(policy: policies.BackendTrafficPolicy | None) -> tuple[str, ...]:
    """What connections may be upgraded to."""
    asked = policy.spec.http_upgrade if policy is not None else ()
    return tuple(dict.fromkeys(each.type.lower() for each in asked)) or WEBSOCKET


def compressors(policy: policies.BackendTrafficPolicy) -> tuple[answers.Compressor, ...]:
    """How a policy has answers compressed: of formats that a client likes equally, the first."""
    return tuple(
        answers.Compressor(
            kind=each.type.lower(),
            bytes_min=30 if each.min_content_length is None else quantity_bytes(each.min_content_length),
        )
        for each in policy.spec.compressor or policy.spec.compression
    )


def hash_keys(policy: policies.BackendTrafficPolicy | None) -> tuple[upstreams.HashKey, ...]:
    """By what requests find their backend."""
    balancer = policy.spec.load_balancer if policy is not None else None
    if balancer is None or balancer.consistent_hash is None:
        return ()
    asked = balancer.consistent_hash
    match asked.type:
        case "SourceIP":
            return (upstreams.HashKey("source_ip"),)
        case "Header":
            return (upstreams.HashKey("header", asked.header.name.lower()),) if asked.header is not None else ()
        case "Headers":
            return tuple(upstreams.HashKey("header", header.name.lower()) for header in asked.headers)
        case "Cookie":
            return (upstreams.HashKey("cookie", asked.cookie.name),) if asked.cookie is not None else ()
        case "QueryParams":
            return tuple(upstreams.HashKey("query", parameter.name) for parameter in asked.query_params)


_BALANCING: Final[Mapping[str, upstreams.Balancing]] = {
    "LeastRequest": upstreams.LEAST_REQUEST,
    "Random": upstreams.Balancing("random"),
    "RoundRobin": upstreams.Balancing("round_robin"),
}


def _balancing(balancer: policies.LoadBalancer) -> upstreams.Balancing:
    if balancer.consistent_hash is not None:
        return upstreams.Balancing("hash", balancer.consistent_hash.table_size)
    return _BALANCING.get(balancer.type, upstreams.LEAST_REQUEST)


def check_balancer(
    scope: Scope, policy: policies.BackendTrafficPolicy, security: security_policy.SecurityPolicy | None
) -> None:
    """What of a policy's load balancer comes to nothing: types that are not served, and headers that are taken out of
    requests, as `security` asks, before their backend is chosen."""
    if policy.spec.load_balancer is None:
        return
    balancer = policy.spec.load_balancer
    if balancer.consistent_hash is None and balancer.type not in _BALANCING:
        message = f"{balancer.type} is not supported: the endpoint with the fewest requests is chosen"
        scope.report.warning(policy, "spec.loadBalancer.type", message, remedy="type: LeastRequest")
    if security is None or security.spec.api_key_auth is None:
        return
    taken = {name.lower() for source in security.spec.api_key_auth.extract_from for name in source.headers}
    for key in hash_keys(policy):
        if key.kind == "header" and key.name in taken:
            message = f"{key.name} holds keys, and is taken out before a backend is chosen: requests go to any"
            remedy = "forwardClientIDHeader in the SecurityPolicy, and that header here"
            scope.report.warning(policy, "spec.loadBalancer.consistentHash", message, remedy=remedy)


def _breaker(breaker: policies.CircuitBreaker) -> upstreams.Breaker:
    budget = breaker.retry_budget
    return upstreams.Breaker(
        connections_max=breaker.max_connections or 0,
        pending_max=breaker.max_pending_requests or 0,
        requests_max=breaker.max_parallel_requests or 0,
        retries_max=RETRIES_MAX if breaker.max_parallel_retries is None else breaker.max_parallel_retries,
        requests_per_connection_max=breaker.max_requests_per_connection or 0,
        retry_percent=100 * budget.percent.ratio if budget is not None else None,
        retries_min=budget.min_retry_concurrency if budget is not None else None,
    )


def _health_check(active: policies.ActiveHealthCheck) -> upstreams.HealthCheck:
    check = upstreams.HealthCheck(
        interval_seconds=duration_seconds(active.interval),
        timeout_seconds=duration_seconds(active.timeout),
        unhealthy_threshold=active.unhealthy_threshold,
        healthy_threshold=active.healthy_threshold,
        jitter_seconds=seconds(active.initial_jitter),
        port=active.overrides.port or 0 if active.overrides is not None else 0,
    )
    if (http := active.http) is not None:
        return replace(
            check,
            path=http.path,
            method=http.method,
            host=http.hostname or "",
            statuses=http.expected_statuses,
            retriable_statuses=http.retriable_statuses,
            sent=_data(http.request_body),
            expected=_data(http.expected_response),
        )
    assert active.tcp is not None
    return replace(check, sent=_data(active.tcp.send), expected=_data(active.tcp.receive))


def _data(payload: policies.Payload | None) -> bytes:
    if payload is None:
        return b""
    return payload.text.encode() if payload.text is not None else b64decode(payload.binary or "")


def to_backend(policy: policies.BackendTrafficPolicy, backend: ir.Backend, *, followed: bool) -> ir.Backend:
    """The backend with what the policy says of connections to it; `followed` where its rule has others."""
    spec = policy.spec
    backend = replace(backend, connections=connections(spec, followed=followed))
    if spec.circuit_breaker is not None:
        backend = replace(backend, breaker=_breaker(spec.circuit_breaker))
    if spec.timeout is not None and spec.timeout.tcp is not None and spec.timeout.tcp.connect_timeout:
        backend = replace(backend, connect_timeout_seconds=duration_seconds(spec.timeout.tcp.connect_timeout))
    if spec.load_balancer is not None:
        backend = replace(backend, balancing=_balancing(spec.load_balancer))
    health = spec.health_check
    if health is not None and health.active is not None:
        backend = replace(backend, health_check=_health_check(health.active))
    if health is not None and health.passive is not None:
        passive = health.passive
        outlier = upstreams.OutlierDetection(
            consecutive_5xx=passive.consecutive_5xx_errors,
            interval_seconds=duration_seconds(passive.interval),
            base_ejection_seconds=duration_seconds(passive.base_ejection_time),
            ejection_percent_max=passive.max_ejection_percent,
            consecutive_gateway_errors=passive.consecutive_gateway_errors,
            consecutive_local_failures=passive.consecutive_local_origin_failures
            if passive.split_external_local_origin_errors
            else None,
            failure_percent=passive.failure_percentage_threshold,
            ejects_one=passive.always_eject_one_endpoint,
        )
        backend = replace(backend, outlier=outlier)
    return backend


def _api_keys(
    scope: Scope, policy: security_policy.SecurityPolicy, spec: security_policy.APIKeyAuth
) -> ir.ApiKeys | None:
    """The client keys of a policy: each Secret's keys are client names, its values their keys."""
    found: dict[str, Secret] = {}
    for index, ref in enumerate(spec.credential_refs):
        name = Name(ref.namespace or policy.metadata.namespace, ref.name)
        field = f"spec.apiKeyAuth.credentialRefs[{index}]"
        secret = scope.world.secrets.get(name)
        if secret is None:
            scope.report.error(policy, field, f"there is no Secret {name}", reason="InvalidSecretRef")
            return None
        for client in secret.keys:
            value = secret_value(scope, policy, field, ref, client)
            if value is None:
                return None
            found[client] = value
    if len({value.reveal() for value in found.values()}) < len(found):
        scope.report.error(policy, "spec.apiKeyAuth.credentialRefs", "two clients have the same key")
        return None
    return ir.ApiKeys(
        keys=tuple(sorted(found.items())),
        headers=tuple(name.lower() for source in spec.extract_from for name in source.headers),
        queries=tuple(name for source in spec.extract_from for name in source.params),
        cookies=tuple(name for source in spec.extract_from for name in source.cookies),
        client_header=spec.forward_client_id_header.lower(),
        sanitize=True,
    )


def _basic_auth(
    scope: Scope, policy: security_policy.SecurityPolicy, spec: security_policy.BasicAuth
) -> ir.BasicAuth | None:
    """The users of a policy; None, reported, where they cannot be had: Envoy takes all of them or none."""
    field = "spec.basicAuth.users"
    text = secret_value(scope, policy, field, spec.users, HTPASSWD)
    if text is None:
        return None
    found: dict[str, Secret] = {}
    for number, line in enumerate(text.reveal().splitlines(), start=1):
        name, _, password = line.strip().partition(":")
        if not line.strip() or line.startswith("#"):
            continue
        if not name or name in found or not _SHA.fullmatch(password):
            message = f"line {number} of {HTPASSWD} is no user with the SHA-1 of a password, or its name is there twice"
            remedy = "one line for each user, as htpasswd -s -n NAME writes it: NAME:{SHA}..."
            scope.report.error(policy, field, message, remedy=remedy, reason="InvalidSecretRef")
            return None
        found[name] = Secret(password)
    if not found:
        scope.report.error(policy, field, f"{HTPASSWD} has no users", reason="InvalidSecretRef")
        return None
    return ir.BasicAuth(users=tuple(found.items()), client_header=spec.forward_username_header.lower())


def _jwks(
    scope: Scope, policy: security_policy.SecurityPolicy, index: int, provider: security_policy.JWTProvider
) -> tuple[str, str] | None:
    """(inline keys, URI); None, reported, where neither can be had."""
    if provider.remote_jwks is not None:
        return "", provider.remote_jwks.uri
    local = provider.local_jwks
    assert local is not None
    if local.inline is not None:
        return local.inline, ""
    if local.value_ref is not None:
        found = scope.world.config_maps.get(Name(policy.metadata.namespace, local.value_ref.name))
        text = (found.data.get("jwks") or next(iter(found.data.values()), "")) if found is not None else ""
        if is_key_set(text):
            return text, ""
    field = f"spec.jwt.providers[{index}].localJWKS.valueRef"
    message = "there is no such ConfigMap with a set of keys (JWKS) under jwks"
    scope.report.error(policy, field, message, reason="InvalidConfigMapRef")
    return None


def _jwt(
    scope: Scope, policy: security_policy.SecurityPolicy, spec: security_policy.JWT
) -> tuple[ir.JwtProvider, ...] | None:
    found: list[ir.JwtProvider] = []
    for index, provider in enumerate(spec.providers):
        keys = _jwks(scope, policy, index, provider)
        if keys is None:
            return None
        found.append(
            ir.JwtProvider(
                name=provider.name,
                issuer=provider.issuer,
                audiences=provider.audiences,
                jwks_inline=keys[0],
                jwks_uri=keys[1],
                claim_headers=tuple((claim.header.lower(), claim.claim) for claim in provider.claim_to_headers),
            )
        )
    return tuple(found)


def _origin(origin: str) -> ir.TextMatch:
    if "*" not in origin:
        return ir.TextMatch("origin", ir.MatchKind.EXACT, origin)
    if origin == "*":
        return ir.TextMatch("origin", ir.MatchKind.REGEX, ".*")
    pattern = "".join("[^/]+" if c == "*" else ("\\" + c if c in ".+?()[]{}|^$" else c) for c in origin)
    return ir.TextMatch("origin", ir.MatchKind.REGEX, pattern)


def cors(spec: security_policy.CORS | gateway_api.HTTPCORSFilter, max_age_seconds: int | None) -> ir.Cors:
    """What a policy or a filter says of pages of other origins."""
    return ir.Cors(
        allow_origins=tuple(_origin(origin) for origin in spec.allow_origins),
        allow_methods=_any_or_all(spec.allow_methods),
        allow_headers=_any_or_all(spec.allow_headers),
        expose_headers=spec.expose_headers,
        max_age_seconds=max_age_seconds,
        allow_credentials=spec.allow_credentials,
    )


def _any_or_all(names: tuple[str, ...]) -> tuple[str, ...]:
    """Among other names Envoy takes `*` for a name."""
    return ("*",) if "*" in names else names


def auth(scope: Scope, found: InForce[security_policy.SecurityPolicy]) -> ir.Auth | None:
    """What a SecurityPolicy asks; None, reported, where it cannot be enforced: what it guards must then stay closed."""
    spec, owner = found.policy.spec, found.owner
    keys = None
    if spec.api_key_auth is not None:
        keys = _api_keys(scope, owner("apiKeyAuth", "credentialRefs"), spec.api_key_auth)
    providers = _jwt(scope, owner("jwt"), spec.jwt) if spec.jwt is not None else ()
    basic = _basic_auth(scope, owner("basicAuth"), spec.basic_auth) if spec.basic_auth is not None else None
    allowed = None
    if spec.authorization is not None:
        known = spec.jwt.providers if spec.jwt is not None else ()
        allowed = authorized(scope, owner("authorization", "rules"), spec.authorization, known)
    if (spec.api_key_auth is not None and keys is None) or providers is None or found.broken:
        return None
    asked = external(scope, owner("extAuth"), spec.ext_auth) if spec.ext_auth is not None else None
    if (spec.basic_auth is not None and basic is None) or (spec.authorization is not None and allowed is None):
        return None
    if spec.ext_auth is not None and asked is None:
        return None
    allowed_pages = None
    if spec.cors is not None:
        allowed_pages = cors(spec.cors, int(duration_seconds(spec.cors.max_age)) if spec.cors.max_age else None)
    optional = spec.jwt is not None and spec.jwt.optional
    return ir.Auth(
        name=found.name,
        api_keys=keys,
        basic=basic,
        jwt=providers,
        jwt_optional=optional,
        cors=allowed_pages,
        external=asked,
        authorization=allowed,
    )
