"""Which routes attach to which listeners, by the rules of Gateway API: names, ports, kinds, namespaces, hostnames.

https://gateway-api.sigs.k8s.io/reference/spec/#routeparentstatus has the reasons. A parent that is refused is a value
here; who reports it, and whether it is ours to report, is decided elsewhere.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from headgate.compiler.resolve.memory import Memory
from headgate.compiler.resolve.parent import Parent
from headgate.compiler.resources import ai_gateway, gateway_api
from headgate.compiler.resources.metadata import Key, Name
from headgate.compiler.world import World

Route = ai_gateway.AIGatewayRoute | gateway_api.HTTPRoute
ROUTE_KINDS = ((gateway_api.GROUP, "HTTPRoute"), (ai_gateway.GROUP, "AIGatewayRoute"))
"""Kinds that a listener can serve, with their groups."""


@dataclass(frozen=True, slots=True)
class Attachments:
    """Every route's parents, and every listener's routes. Names are sorted."""

    parents: Mapping[Key, tuple[Parent, ...]] = field(default_factory=dict[Key, tuple[Parent, ...]])
    by_listener: Mapping[tuple[Name, str], tuple[tuple[Route, tuple[str, ...]], ...]] = field(
        default_factory=dict[tuple[Name, str], tuple[tuple[Route, tuple[str, ...]], ...]]
    )


def attach(
    world: World, gateways: Mapping[Name, gateway_api.Gateway], memory: Memory, *, plain: bool = True
) -> Attachments:
    """Attaches the routes of the world to `gateways`, which are those that are ours; `plain` HTTPRoutes too."""
    parents: dict[Key, tuple[Parent, ...]] = {}
    found: defaultdict[tuple[Name, str], list[tuple[Route, tuple[str, ...]]]] = defaultdict(list)
    for route in (*world.ai_gateway_routes.values(), *(world.http_routes.values() if plain else ())):
        found_parents = memory.parents(route, partial(_parents, world, gateways, route))
        parents[route.key] = found_parents
        taken: dict[tuple[Name, str], tuple[str, ...]] = {}
        for parent in found_parents:
            for listener, hostnames in parent.listeners:
                taken.setdefault((parent.gateway, listener), hostnames)
        for place, hostnames in taken.items():
            found[place].append((route, hostnames))
    return Attachments(parents, {place: tuple(routes) for place, routes in found.items()})


def _parents(world: World, gateways: Mapping[Name, gateway_api.Gateway], route: Route) -> Iterator[Parent]:
    for index, reference in enumerate(route.spec.parent_refs):
        name = Name(reference.namespace or route.metadata.namespace, reference.name)
        if (reference.group, reference.kind) != (gateway_api.GROUP, "Gateway"):
            yield Parent(index=index, reference=reference, gateway=name, foreign=True)
            continue
        gateway = gateways.get(name)
        if gateway is not None:
            yield _parent(world, route, index, gateway)
        elif name in world.gateways:
            yield Parent(index=index, reference=reference, gateway=name, foreign=True)
        else:
            yield _missing(world, gateways, (index, reference), name)


def _missing(
    world: World,
    gateways: Iterable[Name],
    numbered: tuple[int, gateway_api.ParentReference],
    name: Name,
) -> Parent:
    broken = world.is_rejected(gateway_api.GROUP, "Gateway", name)
    known = ", ".join(str(other) for other in gateways)
    return Parent(
        index=numbered[0],
        reference=numbered[1],
        gateway=name,
        reason="NoMatchingParent",
        message=f"Gateway {name} is not valid" if broken else f"there is no Gateway {name}",
        remedy=f"one of {known}" if known and not broken else "",
    )


def _parent(world: World, route: Route, index: int, gateway: gateway_api.Gateway) -> Parent:
    reference = route.spec.parent_refs[index]
    name = gateway.name

    def refused(reason: str, message: str, remedy: str = "") -> Parent:
        return Parent(index=index, reference=reference, gateway=name, reason=reason, message=message, remedy=remedy)

    named = [entry for entry in gateway.spec.listeners if _named(reference, entry)]
    if not named:
        known = ", ".join(entry.name for entry in gateway.spec.listeners)
        wanted = " ".join(str(each) for each in (reference.section_name, reference.port) if each)
        return refused("NoMatchingParent", f"Gateway {name} has no listener {wanted}", f"one of {known}")
    allowed = [entry for entry in named if allows(world, gateway, entry, route)]
    if not allowed:
        remedy = "allowedRoutes of the listener must allow its kind and namespace"
        return refused("NotAllowedByListeners", f"no listener of Gateway {name} takes this route", remedy)
    common = tuple((entry.name, found) for entry in allowed if (found := _hostnames(entry, route)))
    if not common:
        message = f"the route and Gateway {name} have no hostname in common"
        hosts = ", ".join(dict.fromkeys(entry.hostname for entry in allowed))
        return refused("NoMatchingListenerHostname", message, f"a hostname of {hosts}")
    return Parent(index=index, reference=reference, gateway=name, listeners=common)


def _named(reference: gateway_api.ParentReference, listener: gateway_api.Listener) -> bool:
    return reference.section_name in ("", listener.name) and reference.port in (None, listener.port)


def supported_kinds(listener: gateway_api.Listener) -> tuple[tuple[str, str], ...]:
    """(group, kind) of the routes that the listener serves: what it allows of what there is."""
    wanted = [(kind.group, kind.kind) for kind in listener.allowed_routes.kinds]
    return tuple(kind for kind in ROUTE_KINDS if kind in wanted) if wanted else ROUTE_KINDS


def allows(world: World, gateway: gateway_api.Gateway, listener: gateway_api.Listener, route: Route) -> bool:
    """Whether the listener takes routes of that kind from that namespace."""
    kinds = supported_kinds(listener)
    # compat: an AI route is an HTTPRoute to whoever wrote the listener
    if (route.group, route.kind) not in kinds and (gateway_api.GROUP, "HTTPRoute") not in kinds:
        return False
    namespaces = listener.allowed_routes.namespaces
    match namespaces.from_:
        case "All":
            return True
        case "Same":
            return route.metadata.namespace == gateway.metadata.namespace
        case "Selector":
            labels = world.namespace_labels(route.metadata.namespace)
            return namespaces.selector is not None and namespaces.selector.selects(labels)


def intersection(listener: str, route: str) -> str | None:
    """The hostname that both take (`*` for any); None where there is none. Gateway API: `*.a.b` takes `x.y.a.b`."""
    if listener in ("", "*") or listener == route:
        return route or "*"
    if route in ("", "*"):
        return listener
    if listener.startswith("*.") and route.endswith(listener[1:]):
        return route
    if route.startswith("*.") and listener.endswith(route[1:]):
        return listener
    return None


def _hostnames(listener: gateway_api.Listener, route: Route) -> tuple[str, ...]:
    wanted = route.spec.hostnames or ("",)
    found = (intersection(listener.hostname, hostname) for hostname in wanted)
    return tuple(dict.fromkeys(hostname for hostname in found if hostname is not None))
