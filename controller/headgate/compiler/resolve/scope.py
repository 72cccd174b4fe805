"""What every resolving function needs: the world, the installation's options, and where to report."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar, cast

from headgate.compiler.conditions import Severity
from headgate.compiler.options import Mode, Options
from headgate.compiler.resolve.attachment import Attachments, attach
from headgate.compiler.resolve.memory import Memory
from headgate.compiler.resolve.report import Found, Report
from headgate.compiler.resources import (
    ai_gateway,
    backend_tls,
    client_traffic,
    envoy_gateway,
    gateway_api,
    headgate,
    policies,
    quota,
    security_policy,
)
from headgate.compiler.resources.kinds import BY_NAME
from headgate.compiler.resources.metadata import Key, Name, Resource
from headgate.compiler.resources.policy import PolicySpec
from headgate.compiler.world import Target, World

T = TypeVar("T")

CONFIG_ANNOTATION: Final = "aigateway.envoyproxy.io/gateway-config"
"""On a Gateway: the name of its GatewayConfig."""


@dataclass(frozen=True, slots=True)
class Scope:
    """One compilation. The indexes are made once, because looking things up route by route would be quadratic."""

    world: World
    options: Options
    report: Report = field(default_factory=Report)
    memory: Memory = field(init=False)
    gateways: Mapping[Name, gateway_api.Gateway] = field(init=False)
    """The Gateways that are ours, the older first: of two that want the same it wins."""
    attachments: Attachments = field(init=False)
    configs: Mapping[Name, Name] = field(init=False)
    """The GatewayConfig that a Gateway names, ours or not."""
    credentials: Mapping[Name, tuple[ai_gateway.BackendSecurityPolicy, ...]] = field(init=False)
    """BackendSecurityPolicies by the AIServiceBackend they target."""
    tls: Mapping[Name, tuple[backend_tls.BackendTLSPolicy, ...]] = field(init=False)
    """BackendTLSPolicies by the Backend they target, the one that counts first."""
    translation: Mapping[Target, headgate.TranslationPolicy] = field(init=False)
    """TranslationPolicies by the AIServiceBackend they target."""
    quotas: Mapping[Target, tuple[quota.QuotaPolicy, ...]] = field(init=False)
    """QuotaPolicies by the AIServiceBackend they target, by name."""
    traffic: Mapping[Target, policies.BackendTrafficPolicy] = field(init=False)
    security: Mapping[Target, security_policy.SecurityPolicy] = field(init=False)
    client: Mapping[Target, client_traffic.ClientTrafficPolicy] = field(init=False)
    broken: frozenset[Target] = field(init=False)
    """Targets of policies that were read and are not valid: what they guard must not stand open."""
    _known: dict[object, object] = field(default_factory=dict[object, object], init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        world = self.world
        set_once = object.__setattr__
        set_once(self, "memory", Memory(world, self.options))
        found = sorted(world.gateways.values(), key=by_age)
        ours = {gateway.name: gateway for gateway in found if self.serves_class(gateway.spec.gateway_class_name)}
        set_once(self, "gateways", ours)
        plain = self.options.mode is not Mode.ENVOY_GATEWAY
        set_once(self, "attachments", attach(world, ours, self.memory, plain=plain))
        set_once(self, "configs", dict(_configs(world)))
        set_once(self, "credentials", _credentials(self))
        set_once(self, "tls", _tls(self))
        set_once(self, "translation", dict(_translation(self)))
        set_once(self, "quotas", _quotas(self))
        _check_limited(self)
        set_once(self, "traffic", dict(_targets(self, world.backend_traffic_policies)))
        set_once(self, "security", dict(_targets(self, world.security_policies)))
        set_once(self, "client", dict(_targets(self, world.client_traffic_policies)))
        guards = {"SecurityPolicy", "BackendTrafficPolicy", "ClientTrafficPolicy"}
        broken = (target for entry in world.rejected.values() if entry.key.kind in guards for target in entry.targets)
        set_once(self, "broken", frozenset(broken))

    def once(self, key: object, work: Callable[[], T]) -> T:
        """What `work` gives for a key, made once; but each time where it reports something, which is said of whoever
        asks."""
        if key in self._known:
            return cast("T", self._known[key])
        before = self.report.count
        made = work()
        if self.report.count == before:
            self._known[key] = made
        return made

    def serves_class(self, name: str) -> bool:
        """Whether Gateways of a class are served: standalone only those of classes that name our controller."""
        if self.options.mode is not Mode.STANDALONE:
            return True
        found = self.world.gateway_classes.get(Name("", name))
        return found is not None and found.spec.controller_name == self.options.controller_name

    def found(self, key: Key, severity: Severity) -> list[Found]:
        """All that is wrong with an object: what was found when it was read, and what was found since."""
        read = (Found(diagnostic, "Invalid") for diagnostic in self.world.diagnostics.get(key, ()))
        return [each for each in (*read, *self.report.found(key)) if each.diagnostic.severity is severity]


def by_age(resource: Resource) -> tuple[str, Name]:
    """Sort key: Gateway API's order of precedence between objects, the older first, then by name."""
    return resource.metadata.creation_timestamp, resource.name


def _configs(world: World) -> Iterator[tuple[Name, Name]]:
    for gateway in world.gateways.values():
        if name := gateway.metadata.annotations.get(CONFIG_ANNOTATION, ""):
            yield gateway.name, Name(gateway.metadata.namespace, name)


def _credentials(scope: Scope) -> Mapping[Name, tuple[ai_gateway.BackendSecurityPolicy, ...]]:
    found: dict[Name, tuple[ai_gateway.BackendSecurityPolicy, ...]] = {}
    for policy in scope.world.backend_security_policies.values():
        for index, target in enumerate(policy.spec.target_refs):
            name = Name(policy.metadata.namespace, target.name)
            if target.kind == "AIServiceBackend":
                found[name] = (*found.get(name, ()), policy)
                _check_target(scope, policy, f"spec.targetRefs[{index}]", Target(target.group, target.kind, *name))
    return found


def _tls(scope: Scope) -> Mapping[Name, tuple[backend_tls.BackendTLSPolicy, ...]]:
    found: dict[Name, tuple[backend_tls.BackendTLSPolicy, ...]] = {}
    for policy in sorted(scope.world.backend_tls_policies.values(), key=by_age):
        for index, target in enumerate(policy.spec.target_refs):
            if target.kind != "Backend" or target.group != envoy_gateway.GROUP:
                continue
            name = Name(policy.metadata.namespace, target.name)
            field = f"spec.targetRefs[{index}]"
            _check_target(scope, policy, field, Target(target.group, target.kind, *name))
            found[name] = (*found.get(name, ()), policy)
            if len(found[name]) > 1:
                message = f"Backend {name} is already the target of {found[name][0].name}"
                scope.report.error(policy, field, message, remedy="one policy for each Backend", reason="Conflicted")
    return found


def selected(world: World, policy: Resource, spec: PolicySpec) -> Iterator[tuple[str, Target]]:
    """What a policy applies to, each with the field that says so."""
    namespace = policy.metadata.namespace
    for index, target in enumerate(spec.targets):
        field = "spec.targetRef" if spec.target_ref is target else f"spec.targetRefs[{index}]"
        yield field, Target(target.group, target.kind, namespace, target.name, target.section_name)
    candidates: Mapping[str, Mapping[Name, Resource]] = {
        "Gateway": world.gateways,
        "HTTPRoute": world.http_routes,
        "AIGatewayRoute": world.ai_gateway_routes,
    }
    for index, selector in enumerate(spec.target_selectors):
        labels = gateway_api.LabelSelector(
            match_labels=selector.match_labels, match_expressions=selector.match_expressions
        )
        for name, found in candidates.get(selector.kind, {}).items():
            if name.namespace == namespace and labels.selects(found.metadata.labels):
                target = Target(selector.group, selector.kind, namespace, name.name)
                yield f"spec.targetSelectors[{index}]", target


P = TypeVar("P", policies.BackendTrafficPolicy, security_policy.SecurityPolicy, client_traffic.ClientTrafficPolicy)


def _targets(scope: Scope, found: Mapping[Name, P]) -> Iterator[tuple[Target, P]]:
    """Each target's policy; of two the older wins, then the name, and the other is told."""
    taken: dict[Target, P] = {}
    for policy in sorted(found.values(), key=by_age):
        for place, target in selected(scope.world, policy, policy.spec):
            _check_target(scope, policy, place, target)
            _report_conflict(scope, policy, place, target, taken.setdefault(target, policy))
    yield from taken.items()


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
    """As `_targets`."""
    taken: dict[Target, headgate.TranslationPolicy] = {}
    for policy in sorted(scope.world.translation_policies.values(), key=by_age):
        for index, ref in enumerate(policy.spec.target_refs):
            place = f"spec.targetRefs[{index}]"
            target = Target(ref.group, ref.kind, policy.metadata.namespace, ref.name)
            _check_target(scope, policy, place, target)
            _report_conflict(scope, policy, place, target, taken.setdefault(target, policy))
    yield from taken.items()


def _check_limited(scope: Scope) -> None:
    for policy in scope.world.limit_policies.values():
        for index, ref in enumerate(policy.spec.target_refs):
            target = Target(ref.group, ref.kind, policy.metadata.namespace, ref.name, ref.section_name)
            _check_target(scope, policy, f"spec.targetRefs[{index}]", target)


def _quotas(scope: Scope) -> Mapping[Target, tuple[quota.QuotaPolicy, ...]]:
    found: dict[Target, tuple[quota.QuotaPolicy, ...]] = {}
    for policy in scope.world.quota_policies.values():
        for index, ref in enumerate(policy.spec.target_refs):
            target = Target(ref.group, ref.kind, policy.metadata.namespace, ref.name)
            _check_target(scope, policy, f"spec.targetRefs[{index}]", target)
            found[target] = (*found.get(target, ()), policy)
    return found


def _check_target(scope: Scope, policy: Resource, field: str, target: Target) -> None:
    """A policy for nothing is told: what its author means to guard or limit may stand open."""
    if scope.options.envoy_gateway and (target.group, target.kind) not in BY_NAME:
        return  # of a kind that Envoy Gateway serves and we do not read
    name, world = Name(target.namespace, target.name), scope.world
    kinds = [(target.group, target.kind)]
    if target.kind == "HTTPRoute":  # compat: an AI route is an HTTPRoute of the same name to Envoy Gateway
        kinds.append((ai_gateway.GROUP, "AIGatewayRoute"))
    if not any(world.has(*kind, name) for kind in kinds):
        message = f"there is no {target.kind} {name}, so the policy applies to nothing there"
        remedy = similar(name, (other for kind in kinds for other in world.names(*kind)))
        scope.report.error(policy, field, message, remedy=remedy, reason="TargetNotFound")


def similar(name: Name, known: Iterable[Name]) -> str:
    """The names that there are, where they are few enough to help."""
    same = sorted(other.name for other in known if other.namespace == name.namespace)
    return f"one of {', '.join(same)}" if 0 < len(same) <= 8 else ""


def granted(
    scope: Scope,
    source: Resource,
    target_group: str,
    target_kind: str,
    target: Name,
    *,
    through: tuple[str, str] | None = None,
) -> bool:
    """Whether `source` may refer to an object: in its own namespace always, else where a ReferenceGrant says so.

    `through` is the (group, kind) of an object in its namespace that refers in its place.
    """
    namespace = source.metadata.namespace
    group, kind = through or (source.group, source.kind)
    if target.namespace == namespace:
        return True
    for grant in scope.world.reference_grants.values():
        if grant.metadata.namespace != target.namespace:
            continue
        allowed_from = any(
            entry.group == group and entry.kind == kind and entry.namespace == namespace for entry in grant.spec.from_
        )
        allowed_to = any(
            entry.group == target_group and entry.kind == target_kind and entry.name in ("", target.name)
            for entry in grant.spec.to
        )
        if allowed_from and allowed_to:
            return True
    return False


def grant_remedy(
    source: Resource, target_group: str, target_kind: str, target: Name, *, through: tuple[str, str] | None = None
) -> str:
    """The ReferenceGrant that is missing, in words; arguments as of `granted`."""
    group, kind = through or (source.group, source.kind)
    return (
        f"a ReferenceGrant in namespace {target.namespace} from {group}/{kind} in namespace "
        f"{source.metadata.namespace} to {target_group or 'core'}/{target_kind}"
    )


def service_address(
    scope: Scope, source: Resource, field: str, target: Name, port: int | None, *, example: int
) -> tuple[str, int] | None:
    """Host and port of a Service of the cluster, for who asks it without knowing its endpoints; None, reported, where
    `source` may not refer to it, or says no port."""
    if not granted(scope, source, "", "Service", target):
        message = f"may not refer to Service {target} in another namespace"
        remedy = grant_remedy(source, "", "Service", target)
        scope.report.error(source, field, message, remedy=remedy, reason="RefNotPermitted")
        return None
    if port is None:
        scope.report.error(source, field, "a Service needs a port", remedy=f"port: {example}")
        return None
    return f"{target.name}.{target.namespace}.svc", port
