"""Everything the compiler reads: an immutable set of objects, the same for any order they came in."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Never

from headgate.compiler.conditions import Diagnostic, diagnostic_order
from headgate.compiler.resources import (
    ai_gateway,
    backend_tls,
    client_traffic,
    core,
    envoy_gateway,
    gateway_api,
    headgate,
    limit_policy,
    policies,
    quota,
    security_policy,
)
from headgate.compiler.resources.kinds import BY_NAME, KINDS
from headgate.compiler.resources.metadata import Key, Name, Resource, Source


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """What a policy applies to; `namespace` is the policy's."""

    group: str
    kind: str
    namespace: str
    name: str
    section_name: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """An object that was read and is not valid.

    A reference to it is a reference to something broken, not to nothing. `targets` is what can be read of a policy's
    targets: what a rejected SecurityPolicy was to guard must not stand open.
    """

    key: Key
    source: Source
    targets: tuple[Target, ...] = ()
    unclear: bool = False
    """Whether it may have targets that cannot be told: `make_world` then takes all of its namespace for its targets."""
    api_version: str = ""
    generation: int = 0
    uid: str = ""
    parents: tuple[gateway_api.ParentReference, ...] = ()
    """What can be read of a route's parents: their Gateways tell whether its status is ours."""
    gateway_class: str = ""
    """Of a Gateway, for the same reason."""
    controller_name: str = ""
    """Of a GatewayClass."""


def _none() -> Mapping[Name, Never]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Objects by kind and name, each mapping sorted by name. Objects are valid: bounds and rules of the API hold."""

    gateway_classes: Mapping[Name, gateway_api.GatewayClass] = field(default_factory=_none)
    gateways: Mapping[Name, gateway_api.Gateway] = field(default_factory=_none)
    http_routes: Mapping[Name, gateway_api.HTTPRoute] = field(default_factory=_none)
    reference_grants: Mapping[Name, gateway_api.ReferenceGrant] = field(default_factory=_none)
    backend_tls_policies: Mapping[Name, backend_tls.BackendTLSPolicy] = field(default_factory=_none)
    backends: Mapping[Name, envoy_gateway.Backend] = field(default_factory=_none)
    backend_traffic_policies: Mapping[Name, policies.BackendTrafficPolicy] = field(default_factory=_none)
    security_policies: Mapping[Name, security_policy.SecurityPolicy] = field(default_factory=_none)
    client_traffic_policies: Mapping[Name, client_traffic.ClientTrafficPolicy] = field(default_factory=_none)
    http_route_filters: Mapping[Name, envoy_gateway.HTTPRouteFilter] = field(default_factory=_none)
    envoy_proxies: Mapping[Name, envoy_gateway.EnvoyProxy] = field(default_factory=_none)
    ai_gateway_routes: Mapping[Name, ai_gateway.AIGatewayRoute] = field(default_factory=_none)
    ai_service_backends: Mapping[Name, ai_gateway.AIServiceBackend] = field(default_factory=_none)
    backend_security_policies: Mapping[Name, ai_gateway.BackendSecurityPolicy] = field(default_factory=_none)
    gateway_configs: Mapping[Name, ai_gateway.GatewayConfig] = field(default_factory=_none)
    limit_policies: Mapping[Name, limit_policy.LimitPolicy] = field(default_factory=_none)
    quota_policies: Mapping[Name, quota.QuotaPolicy] = field(default_factory=_none)
    translation_policies: Mapping[Name, headgate.TranslationPolicy] = field(default_factory=_none)
    secrets: Mapping[Name, core.Secret] = field(default_factory=_none)
    config_maps: Mapping[Name, core.ConfigMap] = field(default_factory=_none)
    namespaces: Mapping[Name, core.Namespace] = field(default_factory=_none)
    rejected: Mapping[Key, Rejected] = field(default_factory=lambda: MappingProxyType[Key, Rejected]({}))
    """Objects that are not valid and have no last good version."""
    outdated: Mapping[Key, Rejected] = field(default_factory=lambda: MappingProxyType[Key, Rejected]({}))
    """Newest versions that are not valid, of objects whose last good version is in force."""
    diagnostics: Mapping[Key, tuple[Diagnostic, ...]] = field(
        default_factory=lambda: MappingProxyType[Key, tuple[Diagnostic, ...]]({})
    )
    """What was found when the newest version of an object was read, for its status."""

    def objects(self) -> Iterator[Resource]:
        """Every valid object, by kind and name."""
        for kind in KINDS:
            yield from getattr(self, kind.world).values()

    def namespace_labels(self, name: str) -> Mapping[str, str]:
        """Labels of a namespace, with the one that every namespace has."""
        namespace = self.namespaces.get(Name("", name))
        given = dict(namespace.metadata.labels) if namespace is not None else {}
        return {**given, "kubernetes.io/metadata.name": name}

    def has(self, group: str, kind: str, name: Name) -> bool:
        """Whether there is an object of that name, valid or not."""
        row = BY_NAME.get((group, kind))
        return self.is_rejected(group, kind, name) or (row is not None and name in getattr(self, row.world))

    def names(self, group: str, kind: str) -> tuple[Name, ...]:
        """The valid objects of a kind."""
        row = BY_NAME.get((group, kind))
        return tuple(getattr(self, row.world)) if row is not None else ()

    def is_rejected(self, group: str, kind: str, name: Name) -> bool:
        """Whether an object of that name was read and is not valid."""
        return Key(group, kind, name.namespace, name.name) in self.rejected


def _may_be_guarded(namespace: str, by_kind: Mapping[str, Mapping[Name, Resource]]) -> Iterator[Target]:
    for kind in ("Gateway", "HTTPRoute", "AIGatewayRoute"):
        for resource in by_kind.get(kind, {}).values():
            if resource.metadata.namespace == namespace:
                yield Target(resource.group, kind, namespace, resource.metadata.name)


def make_world(
    resources: Iterable[Resource],
    rejected: Iterable[Rejected] = (),
    *,
    outdated: Iterable[Rejected] = (),
    diagnostics: Iterable[Diagnostic] = (),
) -> World:
    """The world of these objects. Of two with the same key the later one counts; sources see to it there is one."""
    by_kind: dict[str, dict[Name, Resource]] = defaultdict(dict)
    for resource in resources:
        by_kind[resource.kind][resource.name] = resource
    sorted_kinds = {
        kind.world: MappingProxyType(dict(sorted(by_kind[kind.name].items()))) for kind in KINDS if kind.name in by_kind
    }
    broken: dict[Key, Rejected] = {}
    for entry in sorted(rejected, key=lambda entry: entry.key):
        targets = {*(broken[entry.key].targets if entry.key in broken else ()), *entry.targets}
        if entry.unclear:
            targets.update(_may_be_guarded(entry.key.namespace, by_kind))
        known = tuple(sorted(targets))
        broken[entry.key] = entry if known == entry.targets else replace(entry, targets=known)
    found: dict[Key, tuple[Diagnostic, ...]] = {}
    for diagnostic in sorted(diagnostics, key=diagnostic_order):
        if diagnostic.key is not None:
            found[diagnostic.key] = (*found.get(diagnostic.key, ()), diagnostic)
    return World(
        **sorted_kinds,  # pyright: ignore[reportArgumentType]
        rejected=MappingProxyType(broken),
        outdated=MappingProxyType({entry.key: entry for entry in outdated}),
        diagnostics=MappingProxyType(found),
    )
