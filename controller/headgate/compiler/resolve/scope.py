"""What every resolving function needs: the world, the installation's options, and where to report."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from headgate.compiler.options import Options
from headgate.compiler.resolve.memory import Memory
from headgate.compiler.resolve.report import Report
from headgate.compiler.resources import ai_gateway, backend_tls, envoy_gateway, gateway_api, headgate, policies
from headgate.compiler.resources.metadata import Name, Resource
from headgate.compiler.world import Target, World


@dataclass(frozen=True, slots=True)
class Scope:
    """One compilation. The indexes are made once, because looking policies up route by route would be quadratic."""

    world: World
    options: Options
    report: Report = field(default_factory=Report)
    memory: Memory = field(init=False)
    credentials: Mapping[Name, tuple[ai_gateway.BackendSecurityPolicy, ...]] = field(init=False)
    """BackendSecurityPolicies by the AIServiceBackend they target."""
    tls: Mapping[Name, tuple[backend_tls.BackendTLSPolicy, ...]] = field(init=False)
    """BackendTLSPolicies by the Backend they target."""
    translation: Mapping[Target, headgate.TranslationPolicy] = field(init=False)
    """TranslationPolicies by the AIServiceBackend they target."""
    traffic: Mapping[Target, policies.BackendTrafficPolicy] = field(init=False)
    security: Mapping[Target, policies.SecurityPolicy] = field(init=False)
    client: Mapping[Target, policies.ClientTrafficPolicy] = field(init=False)
    broken: frozenset[Target] = field(init=False)
    """Targets of policies that were read and are not valid: what they guard must not stand open."""

    def __post_init__(self) -> None:
        world = self.world
        set_once = object.__setattr__
        set_once(self, "memory", Memory(world, self.options))
        set_once(self, "credentials", _credentials(world))
        set_once(self, "tls", _tls(world))
        set_once(self, "translation", dict(_translation(self)))
        set_once(self, "traffic", dict(_targets(self, world.backend_traffic_policies)))
        set_once(self, "security", dict(_targets(self, world.security_policies)))
        set_once(self, "client", dict(_targets(self, world.client_traffic_policies)))
        guards = {"SecurityPolicy", "BackendTrafficPolicy"}
        broken = (target for entry in world.rejected.values() if entry.key.kind in guards for target in entry.targets)
        set_once(self, "broken", frozenset(broken))


def _credentials(world: World) -> Mapping[Name, tuple[ai_gateway.BackendSecurityPolicy, ...]]:
    found: dict[Name, tuple[ai_gateway.BackendSecurityPolicy, ...]] = {}
    for policy in world.backend_security_policies.values():
        for target in policy.spec.target_refs:
            name = Name(policy.metadata.namespace, target.name)
            if target.kind == "AIServiceBackend":
                found[name] = (*found.get(name, ()), policy)
    return found


def _tls(world: World) -> Mapping[Name, tuple[backend_tls.BackendTLSPolicy, ...]]:
    found: dict[Name, tuple[backend_tls.BackendTLSPolicy, ...]] = {}
    for policy in world.backend_tls_policies.values():
        for target in policy.spec.target_refs:
            if target.kind == "Backend" and target.group == envoy_gateway.GROUP:
                name = Name(policy.metadata.namespace, target.name)
                found[name] = (*found.get(name, ()), policy)
    return found


def _selected(world: World, policy: Resource, spec: policies.PolicySpec) -> Iterator[Target]:
    namespace = policy.metadata.namespace
    for target in spec.targets:
        yield Target(target.group, target.kind, namespace, target.name, target.section_name)
    candidates: Mapping[str, Mapping[Name, Resource]] = {
        "Gateway": world.gateways,
        "HTTPRoute": world.http_routes,
        "AIGatewayRoute": world.ai_gateway_routes,
    }
    for selector in spec.target_selectors:
        labels = gateway_api.LabelSelector(
            match_labels=selector.match_labels, match_expressions=selector.match_expressions
        )
        for name, found in candidates.get(selector.kind, {}).items():
            if name.namespace == namespace and labels.selects(found.metadata.labels):
                yield Target(selector.group, selector.kind, namespace, name.name)


P = TypeVar("P", policies.BackendTrafficPolicy, policies.SecurityPolicy, policies.ClientTrafficPolicy)


def _targets(scope: Scope, found: Mapping[Name, P]) -> Iterator[tuple[Target, P]]:
    """Each target's policy; of two the older wins, then the name, and the other is told."""
    taken: dict[Target, P] = {}
    for policy in sorted(found.values(), key=_age):
        for target in _selected(scope.world, policy, policy.spec):
            _report_conflict(scope, policy, "spec.targetRefs", target, taken.setdefault(target, policy))
    yield from taken.items()


def _age(policy: Resource) -> tuple[str, Name]:
    return policy.metadata.creation_timestamp, policy.name


def _report_conflict(scope: Scope, policy: Resource, field: str, target: Target, holder: Resource) -> None:
    if holder is not policy:
        scope.report.error(
            policy,
            field,
            f"{target.kind} {target.name} is already the target of {holder.name}",
            remedy="one policy of a kind for each target",
            reason="Conflicted",
        )


def _translation(scope: Scope) -> Iterator[tuple[Target, headgate.TranslationPolicy]]:
    """As `_targets`; a backend that is not there is told, since nothing else would say that the policy does nothing."""
    taken: dict[Target, headgate.TranslationPolicy] = {}
    for policy in sorted(scope.world.translation_policies.values(), key=_age):
        for index, ref in enumerate(policy.spec.target_refs):
            field = f"spec.targetRefs[{index}]"
            target = Target(ref.group, ref.kind, policy.metadata.namespace, ref.name)
            name = Name(target.namespace, target.name)
            if name not in scope.world.ai_service_backends and not scope.world.is_rejected(ref.group, ref.kind, name):
                message = f"there is no AIServiceBackend {name}"
                scope.report.error(policy, f"{field}.name", message, reason="TargetNotFound")
            _report_conflict(scope, policy, field, target, taken.setdefault(target, policy))
    yield from taken.items()


def granted(scope: Scope, source: Resource, target_group: str, target_kind: str, target: Name) -> bool:
    """Whether `source` may refer to an object: in its own namespace always, else where a ReferenceGrant says so."""
    namespace = source.metadata.namespace
    if target.namespace == namespace:
        return True
    for grant in scope.world.reference_grants.values():
        if grant.metadata.namespace != target.namespace:
            continue
        allowed_from = any(
            entry.group == source.group and entry.kind == source.kind and entry.namespace == namespace
            for entry in grant.spec.from_
        )
        allowed_to = any(
            entry.group == target_group and entry.kind == target_kind and entry.name in ("", target.name)
            for entry in grant.spec.to
        )
        if allowed_from and allowed_to:
            return True
    return False


def grant_remedy(source: Resource, target_group: str, target_kind: str, target: Name) -> str:
    """The ReferenceGrant that is missing, in words."""
    return (
        f"a ReferenceGrant in namespace {target.namespace} from {source.group}/{source.kind} in namespace "
        f"{source.metadata.namespace} to {target_group or 'core'}/{target_kind}"
    )
