"""`mergeType`: a route's policy over the closest one of its Gateway, as Envoy Gateway merges them.

Objects are merged field by field, and lists replaced: in what is read here `StrategicMerge` and `JSONMerge` differ in
nothing but global limits (`InForce.limiting`). What a policy refers to is looked for in its own namespace, with its own
grants, so each part has an owner: the policy that says something of it, the route's before the Gateway's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeGuard, TypeVar

import msgspec
from headgate.compiler.resolve.scope import Scope
from headgate.compiler.resources import policies, security_policy
from headgate.compiler.resources.checking import broken_rules
from headgate.compiler.world import Target

P = TypeVar("P", policies.BackendTrafficPolicy, security_policy.SecurityPolicy)
_Members: TypeAlias = Mapping[str, object]

FILLED_IN: Final[_Members] = {
    "extAuth": {"failOpen": False},
    "retry": {"numRetries": 2},
    "circuitBreaker": {
        "maxConnections": 1024,
        "maxPendingRequests": 1024,
        "maxParallelRequests": 1024,
        "maxParallelRetries": 1024,
        "perEndpoint": {"maxConnections": 1024},
    },
    "healthCheck": {
        "active": {"timeout": "1s", "interval": "3s", "unhealthyThreshold": 3, "healthyThreshold": 1},
        "passive": {
            "consecutive5XxErrors": 5,
            "interval": "3s",
            "baseEjectionTime": "30s",
            "maxEjectionPercent": 10,
            "consecutiveLocalOriginFailures": 5,
            "splitExternalLocalOriginErrors": False,
            "alwaysEjectOneEndpoint": False,
        },
    },
    "loadBalancer": {"consistentHash": {"tableSize": 65_537}},
}
"""compat: what an API server fills in where a policy has the object and says nothing of the field; so it counts as
said, and replaces the Gateway's. In files it is the same."""
_GLOBAL_RULES: Final = ("rateLimit", "global", "rules")
_OWN: Final = frozenset({"targetRef", "targetRefs", "targetSelectors", "mergeType"})


@dataclass(frozen=True, slots=True)
class InForce(Generic[P]):
    """The policy that decides at a place."""

    policy: P
    """The route's or Gateway's; with `parent`, the route's with the spec that both make."""
    parent: P | None = None
    """The Gateway's that it was merged with."""
    broken: bool = False
    """Whether both together are no policy; told. What they guard must stay closed."""

    @property
    def name(self) -> str:
        """Unique among those of a listener."""
        return str(self.policy.name) if self.parent is None else f"{self.policy.name}+{self.parent.name}"

    @property
    def limiting(self) -> tuple[P, ...]:
        """Those whose global limits count, the closest first: with `StrategicMerge` both (compat: Envoy Gateway merges
        their rules by name, and no two have one), else the one that has rules."""
        closest = self.owner(*_GLOBAL_RULES)
        if self.parent is None or closest is self.parent or self.policy.spec.merge_type != "StrategicMerge":
            return (closest,)
        return closest, self.parent

    def owner(self, *path: str) -> P:
        """The policy whose part of the spec that is, as on the wire."""
        if self.parent is None or _at(self.policy.written.spec, path):
            return self.policy
        return self.parent


def in_force(
    scope: Scope, found: Mapping[Target, P], targets: Sequence[Target], wider: Sequence[Target] = ()
) -> InForce[P] | None:
    """The policy of the first of `targets` that has one, merged with the first one of `wider`, a route's listener and
    Gateway, where it asks for that."""
    own = next((found[target] for target in targets if target in found), None)
    if own is None:
        return None
    parent = next((found[target] for target in wider if target in found), None)
    if not own.spec.merge_type or parent is None or parent is own:
        return InForce(own)
    return _merged(scope, own, parent)


def _merged(scope: Scope, own: P, parent: P) -> InForce[P]:
    theirs = {name: value for name, value in parent.written.spec.items() if name not in _OWN}
    merged = _over(_filled_in(own.written.spec, FILLED_IN), theirs)
    balancer = merged.get("loadBalancer")
    if _is_members(balancer) and balancer.get("type") != "ConsistentHash":  # nobody could merge it away
        merged["loadBalancer"] = {name: value for name, value in balancer.items() if name != "consistentHash"}
    whole = msgspec.convert(merged, type(own.spec))
    broken = False
    for finding in () if scope.options.envoy_gateway else broken_rules(whole, "spec"):
        message = f"merged with {parent.name}: {finding.message}"
        scope.report.error(own, finding.path, message, remedy=finding.remedy)
        broken = True
    return InForce(msgspec.structs.replace(own, spec=whole), parent, broken)


def _over(upper: _Members, lower: _Members) -> dict[str, object]:
    result = dict(lower)
    for name, value in upper.items():
        below = result.get(name)
        if _is_members(value) and _is_members(below):
            result[name] = _over(value, below)
        elif _says(value):
            result[name] = value
    return result


def _filled_in(members: _Members, defaults: _Members) -> dict[str, object]:
    result = dict(members)
    for name, value in defaults.items():
        held = result.get(name)
        if not _is_members(value):
            result[name] = value if held is None else held
        elif _is_members(held):
            result[name] = _filled_in(held, value)
    return result


def _at(members: _Members, path: Sequence[str]) -> bool:
    value: object = members
    for name in path:
        value = value.get(name) if _is_members(value) else None
    return _says(value)


def _says(value: object) -> bool:
    """compat: empty lists and texts are those that are not there."""
    return value is not None and value != "" and value != [] and value != ()


def _is_members(value: object) -> TypeGuard[_Members]:
    return isinstance(value, Mapping)
