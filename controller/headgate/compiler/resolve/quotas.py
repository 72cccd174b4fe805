"""QuotaPolicies: how much of the backends of a rule may be used, as limits of single backends.

Each bucket is a limit of its own, checked and charged under one name (upstream: a request is refused only where all
are used up, and some are charged elsewhere than they are checked). The default bucket counts who is in no other. A
backend's service quota counts the models that have no quota of their own, together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from headgate.compiler import cel, ir
from headgate.compiler.resolve.costs import NO_SERVICE, Priced
from headgate.compiler.resolve.policies import reservation
from headgate.compiler.resolve.scope import Scope
from headgate.compiler.resolve.selecting import selectors
from headgate.compiler.resources.quota import PerModelQuota, QuotaPolicy, QuotaRule, QuotaValue
from headgate.compiler.world import Target
from headgate.contract import metadata

UNITS = {"1s": "SECOND", "1m": "MINUTE", "1h": "HOUR", "1d": "DAY"}


@dataclass(frozen=True, slots=True)
class _Bucket:
    """One bucket of a quota of a backend."""

    key: str
    """Of its last descriptor entries: what tells it from others of its model."""
    selectors: tuple[ir.Selector, ...]
    excluded: tuple[tuple[ir.Selector, ...], ...]
    quota: QuotaValue
    shadow: bool = False


def quota_limits(scope: Scope, backends: Sequence[ir.Backend]) -> Iterator[Priced]:
    """The limits of a rule's backends, each with what a finished request costs."""
    found: set[tuple[str, str, str]] = set()
    for service in dict.fromkeys(backend.service for backend in backends):
        namespace, _, name = service.partition("/")
        for policy in scope.quotas.get(Target("aigateway.envoyproxy.io", "AIServiceBackend", namespace, name), ()):
            for key, limit, expression in _of_policy(scope, policy, service):
                of = limit.backend
                # Two policies for one counter: the first by name has it.
                if of is not None and any(map(of.may_be_for, backends)) and (service, of.model, key) not in found:
                    found.add((service, of.model, key))
                    yield Priced(limit, expression)


def check_quotas(scope: Scope) -> None:
    """Reports on what no route leads to, too."""
    for policy in scope.world.quota_policies.values():
        for _ in _of_policy(scope, policy, "ns/none"):
            pass


def _of_policy(scope: Scope, policy: QuotaPolicy, service: str) -> Iterator[tuple[str, ir.LimitRule, str]]:
    """(key of the bucket, limit, cost expression) of each bucket for one backend."""
    if not scope.options.limits:
        scope.report.error(policy, "spec", "quotas are not enforced without a rate limit service", remedy=NO_SERVICE)
        return
    reserve, output = reservation(scope, policy)
    base = ir.LimitRule(
        name="",
        selectors=(),
        requests=0,
        unit="",
        request_amount=0,
        quota=True,
        reserve=reserve,
        reserved_output_tokens=output,
    )
    models = tuple(dict.fromkeys(each.model_name for each in policy.spec.per_model_quotas))
    for index, each in enumerate(policy.spec.per_model_quotas):
        field = f"spec.perModelQuotas[{index}].quota"
        expression = _expression(scope, policy, f"{field}.costExpression", each.quota.cost_expression)
        if expression is None:
            continue
        for bucket in _buckets(scope, policy, field, each):
            name = f"QuotaPolicy/{policy.name}/backend/{service}/model/{each.model_name}/{bucket.key}"
            limited = ir.BackendLimit(service=service, model=each.model_name)
            yield bucket.key, _limit(base, name, limited, bucket), expression
    whole = policy.spec.service_quota
    if whole is not None:
        field = "spec.serviceQuota.costExpression"
        expression = _expression(scope, policy, field, whole.cost_expression)
        if expression is not None:
            limited = ir.BackendLimit(service=service, others=models)
            bucket = _Bucket("all", (), (), whole.quota)
            yield bucket.key, _limit(base, f"QuotaPolicy/{policy.name}/backend/{service}", limited, bucket), expression


def _limit(base: ir.LimitRule, name: str, limited: ir.BackendLimit, bucket: _Bucket) -> ir.LimitRule:
    return replace(
        base,
        name=name.rstrip("/"),
        backend=limited,
        selectors=bucket.selectors,
        excluded=bucket.excluded,
        requests=bucket.quota.limit,
        unit=UNITS[bucket.quota.duration],
        shadow=bucket.shadow,
    )


def _expression(scope: Scope, policy: QuotaPolicy, field: str, expression: str) -> str | None:
    if not expression or expression in metadata.USAGE_KEYS:
        return expression or metadata.TOTAL_TOKENS
    why = cel.check_expression(expression)
    if why is not None:
        scope.report.error(policy, field, why, remedy="an expression such as input_tokens + 4u * output_tokens")
        return None
    return expression


def _buckets(scope: Scope, policy: QuotaPolicy, field: str, model: PerModelQuota) -> Iterator[_Bucket]:
    quota = model.quota
    if not quota.bucket_rules and quota.default_bucket is None:
        remedy = "defaultBucket: {limit: 100000, duration: 1h}"
        scope.report.error(policy, field, "has neither bucketRules nor a defaultBucket", remedy=remedy)
        return
    earlier: list[tuple[ir.Selector, ...]] = []
    for number, rule in enumerate(quota.bucket_rules):
        chosen = _selected(scope, policy, f"{field}.bucketRules[{number}]", rule)
        if chosen is None:
            continue
        excluded = tuple(earlier) if quota.mode == "Exclusive" else ()
        named = _named(number, chosen)
        yield _Bucket("/".join(each.key for each in named), named, excluded, rule.quota, bool(rule.shadow_mode))
        earlier.append(chosen)
    if quota.default_bucket is not None:
        key = f"rule-{len(quota.bucket_rules)}-match--1"
        last = (ir.Selector(source="", value=None, key=key),) if quota.bucket_rules else ()
        if all(earlier):  # a rule for all requests leaves none to the default bucket
            yield _Bucket(key, last, tuple(earlier), quota.default_bucket)


def _selected(scope: Scope, policy: QuotaPolicy, field: str, rule: QuotaRule) -> tuple[ir.Selector, ...] | None:
    """What all selectors of a rule select together."""
    found: list[ir.Selector] = []
    for index, condition in enumerate(rule.client_selectors):
        chosen = selectors(scope, policy, f"{field}.clientSelectors[{index}]", condition)
        if chosen is None:
            return None
        found.extend(chosen)
    return tuple(sorted(dict.fromkeys(found), key=lambda each: (each.source, each.value or "")))


def _named(number: int, chosen: tuple[ir.Selector, ...]) -> tuple[ir.Selector, ...]:
    """compat: the entries are called as upstream calls them."""
    if not chosen:
        return (ir.Selector(source="", value=None, key=f"rule-{number}-match-0"),)
    found: list[ir.Selector] = []
    for index, each in enumerate(chosen):
        source = each.source.removeprefix("header:")
        source = "x-ai-eg-model" if source == "model" else source
        what = source if each.value is None else f"{source}|{each.value}"
        found.append(replace(each, key=f"rule-{number}-{what}-match-{index}"))
    return tuple(found)
