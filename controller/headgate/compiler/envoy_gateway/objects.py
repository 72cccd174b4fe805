"""The objects that Envoy Gateway needs of ours: World -> HTTPRoutes and HTTPRouteFilters, as plain values.

An AIGatewayRoute becomes one HTTPRoute of its name (compat: users' policies target it) and two HTTPRouteFilters. Our
hook serves a rule from the AIGatewayRoute itself, so the HTTPRoute need not hold all of it: what is beyond the bounds
of an HTTPRoute is left out of it, and served all the same. It is never split: a policy would guard a part of it only.

All that routes are made of is hashed into an annotation: Envoy Gateway translates again only where it sees a change.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TypeAlias, cast

import msgspec
from headgate.compiler.envoy_gateway.names import GENERATED, INPUTS, NOT_FOUND, PREFIX, PRIORITIES
from headgate.compiler.envoy_gateway.rules import Rules
from headgate.compiler.reading import read_object
from headgate.compiler.resolve.scope import Scope, granted
from headgate.compiler.resources import ai_gateway, envoy_gateway, gateway_api
from headgate.compiler.resources.metadata import NOWHERE, Name, Resource
from headgate.compiler.world import World

Json: TypeAlias = "str | int | bool | Sequence[Json] | Mapping[str, Json] | None"
Object: TypeAlias = dict[str, Json]

REFS_MAX = 16
MATCHES_MAX = 64
MATCHES_OF_ROUTE_MAX = 128
WEIGHT_MAX = 1_000_000
"""Bounds of an HTTPRoute that are tighter than an AIGatewayRoute's."""
NOT_FOUND_TEXT = (
    "No matching route found. "
    "It is likely because the model specified in your request is not configured in the Gateway."
)
"""compat."""
_NOT_COPIED = ("kubectl.kubernetes.io/",)
"""Annotations about the object that they are on."""


def host_rewrite_name(route: str) -> str:
    return f"ai-eg-host-rewrite-{route}"


def not_found_name(route: str) -> str:
    return f"ai-eg-route-not-found-response-{route}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object as it should be, and the route that owns it."""

    value: Object
    owner: ai_gateway.AIGatewayRoute
    resource: Resource | None
    """`value`, read."""

    @property
    def kind(self) -> str:
        return str(self.value["kind"])

    @property
    def name(self) -> Name:
        return Name(self.owner.metadata.namespace, str(cast("Object", self.value["metadata"])["name"]))


def _metadata(route: ai_gateway.AIGatewayRoute, name: str) -> dict[str, Json]:
    owner: dict[str, Json] = {
        "apiVersion": route.api_version,
        "kind": route.kind,
        "name": route.metadata.name,
        "uid": route.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    owners: dict[str, Json] = {"ownerReferences": [owner]} if route.metadata.uid else {}
    return {"name": name, "namespace": route.metadata.namespace, **owners}


def _filter(route: ai_gateway.AIGatewayRoute, name: str, spec: Mapping[str, Json]) -> Wanted:
    value: Object = {
        "apiVersion": f"{envoy_gateway.GROUP}/v1alpha1",
        "kind": "HTTPRouteFilter",
        "metadata": _metadata(route, name),
        "spec": spec,
    }
    return _wanted(value, route)


def _wanted(value: Object, route: ai_gateway.AIGatewayRoute) -> Wanted:
    return Wanted(value, route, read_object(value, NOWHERE).resource)


def _filters(route: ai_gateway.AIGatewayRoute) -> Iterator[Wanted]:
    name = route.metadata.name
    yield _filter(route, host_rewrite_name(name), {"urlRewrite": {"hostname": {"type": "Backend"}}})
    body: Json = {"type": "Inline", "inline": NOT_FOUND_TEXT}
    spec: dict[str, Json] = {"directResponse": {"statusCode": 404, "contentType": "text/plain", "body": body}}
    yield _filter(route, not_found_name(name), spec)


def _backend_ref(
    scope: Scope, route: ai_gateway.AIGatewayRoute, ref: ai_gateway.AIGatewayRouteRuleBackendRef
) -> Object | None:
    """What the HTTPRoute refers to; None where our reference leads nowhere (which `resolve` reports)."""
    weight: Json = min(ref.weight, WEIGHT_MAX)
    name = Name(ref.namespace or route.metadata.namespace, ref.name)
    if ref.kind:
        return {"group": ref.group, "kind": ref.kind, "name": ref.name, "namespace": name.namespace, "weight": weight}
    backend = scope.world.ai_service_backends.get(name)
    if backend is None or not granted(scope, route, ai_gateway.GROUP, "AIServiceBackend", name):
        return None
    target = backend.spec.backend_ref
    namespace = target.namespace or (name.namespace if name.namespace != route.metadata.namespace else "")
    return {
        "group": envoy_gateway.GROUP,
        "kind": "Backend",
        "name": target.name,
        **({"namespace": namespace} if namespace else {}),
        "weight": weight,
    }


def _extension_ref(name: str) -> Json:
    ref: Json = {"group": envoy_gateway.GROUP, "kind": "HTTPRouteFilter", "name": name}
    return {"type": "ExtensionRef", "extensionRef": ref}


def _path(root: str) -> Json:
    return {"type": "PathPrefix", "value": root}


def _matches(rule: ai_gateway.AIGatewayRouteRule, root: str, most: int) -> list[Json]:
    found: list[Json] = []
    for match in rule.matches[:most]:
        wanted: list[Json] = [{"type": each.type, "name": each.name, "value": each.value} for each in match.headers]
        found.append({"path": _path(root), **({"headers": wanted} if wanted else {})})
    return found


def matches_of_rules(rules: Sequence[ai_gateway.AIGatewayRouteRule]) -> list[int]:
    """How many matches of each rule an HTTPRoute can hold: one of each, then as they come."""
    left = MATCHES_OF_ROUTE_MAX - 1 - len(rules)
    result: list[int] = []
    for rule in rules:
        more = min(max(len(rule.matches) - 1, 0), MATCHES_MAX - 1, left)
        left -= more
        result.append(1 + more)
    return result


def _timeouts(timeouts: gateway_api.HTTPRouteTimeouts | None) -> Json:
    """compat: 60 s where the rule says nothing."""
    if timeouts is None:
        return {"request": "60s"}
    named = (("request", timeouts.request), ("backendRequest", timeouts.backend_request))
    return {name: value for name, value in named if value}


def _rule(
    scope: Scope, route: ai_gateway.AIGatewayRoute, rule: ai_gateway.AIGatewayRouteRule, most: int
) -> dict[str, Json]:
    refs = [found for ref in rule.backend_refs if (found := _backend_ref(scope, route, ref)) is not None]
    matches = _matches(rule, scope.options.path_root, most)
    return {
        **({"name": rule.name} if rule.name else {}),
        **({"matches": matches} if matches else {}),
        "filters": [_extension_ref(host_rewrite_name(route.metadata.name))],
        **({"backendRefs": refs[:REFS_MAX]} if refs else {}),
        "timeouts": _timeouts(rule.timeouts),
    }


def _not_found_rule(route: ai_gateway.AIGatewayRoute, root: str) -> Json:
    return {
        "name": NOT_FOUND,
        "matches": [{"path": _path(root)}],
        "filters": [_extension_ref(not_found_name(route.metadata.name))],
    }


def _parents(route: ai_gateway.AIGatewayRoute) -> list[Json]:
    result: list[Json] = []
    for parent in route.spec.parent_refs:
        optional = (("namespace", parent.namespace), ("sectionName", parent.section_name), ("port", parent.port))
        more: dict[str, Json] = {name: value for name, value in optional if value}
        result.append({"group": parent.group, "kind": parent.kind, "name": parent.name, **more})
    return result


def _priorities(route: ai_gateway.AIGatewayRoute) -> str:
    """compat."""
    listed = (
        f"{index}:{ref.name}:{ref.priority or 0}"
        for index, rule in enumerate(route.spec.rules)
        for ref in rule.backend_refs
    )
    return ",".join(listed)


def _secret_references(value: object) -> Iterator[gateway_api.SecretReference]:
    if isinstance(value, gateway_api.SecretReference):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _secret_references(getattr(value, name))
    elif isinstance(value, tuple):
        for each in cast("tuple[object, ...]", value):
            yield from _secret_references(each)


def _secrets(scope: Scope, route: ai_gateway.AIGatewayRoute) -> Iterator[str]:
    """The Secrets of a route's backends, each with its version: their values are hashed where they have none."""
    names = {
        Name(ref.namespace or route.metadata.namespace, ref.name)
        for rule in route.spec.rules
        for ref in rule.backend_refs
    }
    for name in sorted(names):
        for policy in scope.credentials.get(name, ()):
            for reference in _secret_references(policy.spec):
                where = Name(reference.namespace or policy.metadata.namespace, reference.name)
                secret = scope.world.secrets.get(where)
                if secret is None:
                    continue
                yield f"{where}={secret.metadata.resource_version or _value_hash(secret.name, scope.world)}"


def _value_hash(name: Name, world: World) -> str:
    secret = world.secrets[name]
    values = ((key, value.reveal()) for key in sorted(secret.keys) if (value := secret.value(key)) is not None)
    return sha256(repr(tuple(values)).encode()).hexdigest()


def _inputs(scope: Scope, route: ai_gateway.AIGatewayRoute, fingerprints: Iterable[str], build: str) -> str:
    parts = [
        build,
        repr(scope.options),
        repr(route.spec),
        repr((sorted(route.metadata.labels.items()), sorted(route.metadata.annotations.items()))),
        *sorted(fingerprints),
        *_secrets(scope, route),
    ]
    return sha256("\n".join(parts).encode()).hexdigest()[:32]


def _annotations(route: ai_gateway.AIGatewayRoute, inputs: str) -> dict[str, Json]:
    kept = {k: v for k, v in route.metadata.annotations.items() if not k.startswith(_NOT_COPIED)}
    ours = {GENERATED: "true", PRIORITIES: _priorities(route), INPUTS: inputs}
    return {**kept, **{f"{PREFIX}{name}": value for name, value in ours.items()}}


def _http_route(scope: Scope, route: ai_gateway.AIGatewayRoute, inputs: str) -> Wanted:
    root = scope.options.path_root
    bounds = matches_of_rules(route.spec.rules)
    rules: list[Json] = [_rule(scope, route, rule, most) for rule, most in zip(route.spec.rules, bounds, strict=True)]
    labels: dict[str, Json] = {"labels": dict(route.metadata.labels)} if route.metadata.labels else {}
    value: Object = {
        "apiVersion": f"{gateway_api.GROUP}/v1",
        "kind": "HTTPRoute",
        "metadata": {
            **_metadata(route, route.metadata.name),
            **labels,
            "annotations": _annotations(route, inputs),
        },
        "spec": {
            "parentRefs": _parents(route),
            **({"hostnames": list(route.spec.hostnames)} if route.spec.hostnames else {}),
            "rules": [*rules, _not_found_rule(route, root)],
        },
    }
    return _wanted(value, route)


def foreign(world: World, route: ai_gateway.AIGatewayRoute) -> bool:
    """Whether an HTTPRoute of that name is there that somebody else wrote: it stays, and the AIGatewayRoute is told."""
    found = world.http_routes.get(route.name)
    return found is not None and found.metadata.annotations.get(f"{PREFIX}{GENERATED}") != "true"


@dataclass(frozen=True, slots=True)
class RouteObjects:
    """What one route becomes, filters before the route that refers to them, and the hash of what it is made of."""

    route: ai_gateway.AIGatewayRoute
    fingerprints: frozenset[str]
    wanted: tuple[Wanted, ...]
    inputs: str


@dataclass(frozen=True, slots=True)
class Objects:
    """Every object that Envoy Gateway needs of ours; what a deleted route owned, the API server collects."""

    by_route: Mapping[Name, RouteObjects] = field(default_factory=dict[Name, RouteObjects])
    surroundings: object = None
    """All that these are made of, but the routes."""

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        return tuple(each for found in self.by_route.values() for each in found.wanted)

    @property
    def inputs(self) -> Mapping[str, str]:
        """The hash by `<ns>/<route>`."""
        return {str(name): found.inputs for name, found in self.by_route.items()}


def wanted_objects(scope: Scope, rules: Rules, *, build: str, previous: Objects | None = None) -> Objects:
    """The objects of a world. `previous` saves making those of routes that did not change.

    `build` is the version of Headgate: another one makes other routes of the same objects.
    """
    fingerprints: defaultdict[str, set[str]] = defaultdict(set)
    for found in rules.by_gateway.values():
        for name, known in found.items():
            fingerprints[name.rpartition("/rule/")[0]].add(known.fingerprint)
    surroundings = scope.memory.surroundings, scope.options, build
    if previous is None or previous.surroundings != surroundings:
        previous = Objects()
    made: dict[Name, RouteObjects] = {}
    for name, route in scope.world.ai_gateway_routes.items():
        if foreign(scope.world, route):
            continue
        own, known = frozenset(fingerprints[str(name)]), previous.by_route.get(name)
        if known is None or known.route is not route or known.fingerprints != own:
            known = _objects(scope, route, own, build)
        made[name] = known
    return Objects(made, surroundings)


def _objects(scope: Scope, route: ai_gateway.AIGatewayRoute, fingerprints: frozenset[str], build: str) -> RouteObjects:
    inputs = _inputs(scope, route, fingerprints, build)
    # nothing is written of a route that is to go, for the API server may be collecting it; what is there is served
    leaving = bool(route.metadata.deletion_timestamp)
    made = () if leaving else (*_filters(route), _http_route(scope, route, inputs))
    return RouteObjects(route, fingerprints, made, inputs)


def _same(is_there: Resource, wanted: Resource) -> bool:
    spec, other = getattr(is_there, "spec", None), getattr(wanted, "spec", None)
    there, should = is_there.metadata, wanted.metadata
    return (
        spec == other
        and should.annotations.items() <= there.annotations.items()
        and should.labels.items() <= there.labels.items()
        and [owner.get("uid") for owner in should.owner_references]
        == [owner.get("uid") for owner in there.owner_references]
    )


def there(world: World, wanted: Wanted) -> Resource | None:
    """What is in an object's place."""
    found: Mapping[Name, Resource] = world.http_routes if wanted.kind == "HTTPRoute" else world.http_route_filters
    return found.get(wanted.name)


def missing(world: World, wanted: Iterable[Wanted]) -> tuple[Wanted, ...]:
    """Those that are not there, or not as they should be: only these are written."""
    result: list[Wanted] = []
    for each in wanted:
        is_there = there(world, each)
        if is_there is None or each.resource is None or not _same(is_there, each.resource):
            result.append(each)
    return tuple(result)
