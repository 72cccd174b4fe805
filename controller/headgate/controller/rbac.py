"""What the controller may do on a cluster, as data: one definition for the manifests, the chart and the tests.

Exactly the verbs that are used: `reads`, `reports` and `writes` on what is watched (a ClusterRole or, with
`--watch-namespaces`, a Role in each of them and a ClusterRole for the rest), `leads` and `keeps` in its own namespace,
`rolls` in that of Envoy Gateway's pods.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from headgate.compiler.options import Mode
from headgate.compiler.resources.kinds import KINDS, Kind

NAME: Final = "headgate-controller"
NAMESPACE: Final = "headgate-system"
PROXY_NAMESPACE: Final = "envoy-gateway-system"
_AI: Final = "aigateway.envoyproxy.io"
_OURS: Final = "headgate.dev"
_NO_STATUS: Final = frozenset({"ReferenceGrant", "HTTPRouteFilter", "EnvoyProxy", "Secret", "ConfigMap", "Namespace"})
"""Kinds that we never report on."""
_WATCH: Final = ("list", "watch")


@dataclass(frozen=True, slots=True)
class Rule:
    """What may be done with some resources of a group."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()
    """Only these objects; all where empty."""

    def as_json(self) -> Mapping[str, object]:
        """As the API has it."""
        rule: dict[str, object] = {
            "apiGroups": [self.group],
            "resources": list(self.resources),
            "verbs": list(self.verbs),
        }
        return {**rule, "resourceNames": list(self.names)} if self.names else rule


def plural(kind: Kind) -> str:
    """The name of a kind's resources."""
    name = kind.name.lower()
    if name.endswith("y") and name[-2] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith("s") else f"{name}s"


def reads(*, namespaced: bool | None = None) -> tuple[Rule, ...]:
    """What is watched: all, or only what lives in namespaces (True) or in none (False)."""
    kinds = [kind for kind in KINDS if namespaced is None or kind.namespaced is namespaced]
    return tuple(
        Rule(group, tuple(plural(kind) for kind in members), _WATCH)
        for group, members in groupby(sorted(kinds, key=lambda kind: kind.group), key=lambda kind: kind.group)
    )


def reported(mode: Mode) -> tuple[Kind, ...]:
    """The kinds whose status the mode writes."""
    ours = (_AI, _OURS) if mode is Mode.ENVOY_GATEWAY else tuple({kind.group for kind in KINDS})
    return tuple(kind for kind in KINDS if kind.group in ours and kind.name not in _NO_STATUS)


def reports(mode: Mode, *, namespaced: bool | None = None) -> tuple[Rule, ...]:
    """What is told: statuses by server-side apply, and events."""
    kinds = [kind for kind in reported(mode) if namespaced is None or kind.namespaced is namespaced]
    statuses = tuple(
        Rule(group, tuple(f"{plural(kind)}/status" for kind in members), ("patch",))
        for group, members in groupby(sorted(kinds, key=lambda kind: kind.group), key=lambda kind: kind.group)
    )
    # Events about objects that live in no namespace are written into `default`.
    return (*statuses, Rule("events.k8s.io", ("events",), ("create",)))


def writes(mode: Mode) -> tuple[Rule, ...]:
    """Tokens; and the objects that Envoy Gateway needs of ours, by server-side apply; the API server collects them."""
    # Their names follow those of the policies, so the rule cannot hold them.
    tokens = Rule("", ("secrets",), ("create", "patch"))
    if mode is not Mode.ENVOY_GATEWAY:
        return (tokens,)
    return (
        tokens,
        Rule("gateway.networking.k8s.io", ("httproutes",), ("create", "patch")),
        Rule("gateway.envoyproxy.io", ("httproutefilters",), ("create", "patch")),
        # They name their route as an owner that must not go first, which some clusters let only those do who may write
        # the owner's finalizers (OwnerReferencesPermissionEnforcement).
        Rule(_AI, ("aigatewayroutes/finalizers",), ("update",)),
    )


def keeps(prefix: str = "headgate") -> tuple[Rule, ...]:
    """The Secrets of our certificates, in the controller's own namespace. Creating cannot be limited to names."""
    names = tuple(f"{prefix}-{part}" for part in ("authority", "controller-tls", "envoy-tls"))
    return (Rule("", ("secrets",), ("create",)), Rule("", ("secrets",), ("get", "update"), names))


def admits(mode: Mode, namespace: str = NAMESPACE) -> tuple[Rule, ...]:
    """The webhook's configuration: whom the API server is to trust."""
    if mode is not Mode.ENVOY_GATEWAY:
        return ()
    group, names = "admissionregistration.k8s.io", (f"headgate-pods.{namespace}",)
    return (Rule(group, ("mutatingwebhookconfigurations",), ("get", "patch"), names),)


def inspects(mode: Mode) -> tuple[Rule, ...]:
    """Of which version Gateway API's definitions are, which the status of our GatewayClass says."""
    group, names = "apiextensions.k8s.io", ("gatewayclasses.gateway.networking.k8s.io",)
    return (Rule(group, ("customresourcedefinitions",), ("get",), names),) if mode is Mode.STANDALONE else ()


def rolls() -> tuple[Rule, ...]:
    """In the namespaces of Envoy Gateway's pods: what runs is read, and what needs another processor is rolled."""
    return (Rule("", ("pods",), ("list",)), Rule("apps", ("deployments", "daemonsets"), ("list", "patch")))


def leads(lease: str = NAME) -> tuple[Rule, ...]:
    """The Lease, and what the leader keeps for others, in the controller's own namespace. Creating cannot be limited to
    a name."""
    group = "coordination.k8s.io"
    return (
        Rule(group, ("leases",), ("create",)),
        Rule(group, ("leases",), ("get", "update"), (lease,)),
        Rule("", ("configmaps",), ("create",)),
        Rule("", ("configmaps",), ("get", "patch"), (f"{lease}-last-good",)),
    )


def asks(mode: Mode) -> tuple[Rule, ...]:
    """In the controller's own namespace: where its other replicas are."""
    return (Rule("discovery.k8s.io", ("endpointslices",), ("list",)),) if mode is Mode.ENVOY_GATEWAY else ()


def own(mode: Mode, *, lease: str = NAME, prefix: str = "headgate") -> tuple[Rule, ...]:
    """All that is needed in the controller's own namespace."""
    return (*leads(lease), *keeps(prefix), *asks(mode))


def objects(
    mode: Mode, *, namespace: str = NAMESPACE, watch_namespaces: Sequence[str] = ()
) -> tuple[Mapping[str, object], ...]:
    """ServiceAccount, roles and bindings."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": namespace}}
    roles = _bound("Role", f"{NAME}-leader", namespace, own(mode), namespace)
    if mode is Mode.ENVOY_GATEWAY:
        roles = (*roles, *_bound("Role", f"{NAME}-rollout", PROXY_NAMESPACE, rolls(), namespace))
    if not watch_namespaces:
        everything = (*reads(), *reports(mode), *writes(mode), *admits(mode, namespace), *inspects(mode))
        return (account, *_bound("ClusterRole", _role(mode), "", everything, namespace), *roles)
    outside = (*reads(namespaced=False), *reports(mode, namespaced=False), *admits(mode, namespace), *inspects(mode))
    found = [account, *_bound("ClusterRole", _role(mode), "", outside, namespace)]
    inside = (*reads(namespaced=True), *reports(mode, namespaced=True), *writes(mode))
    for each in watch_namespaces:
        found += _bound("Role", _role(mode), each, inside, namespace)
    return (*found, *roles)


def _role(mode: Mode) -> str:
    return f"{NAME}-{mode}"


def _bound(
    kind: str, name: str, namespace: str, rules: Iterable[Rule], account_namespace: str
) -> tuple[Mapping[str, object], ...]:
    """A role and its binding to the controller's account."""
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    version = "rbac.authorization.k8s.io/v1"
    return (
        {"apiVersion": version, "kind": kind, "metadata": metadata, "rules": [rule.as_json() for rule in rules]},
        {
            "apiVersion": version,
            "kind": f"{kind}Binding",
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": account_namespace}],
        },
    )
