"""What Envoy Gateway's silence means for statuses. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from headgate.compiler.conditions import ObjectStatus
from headgate.compiler.resources.metadata import Name
from headgate.compiler.world import World
from headgate.controller.extension.liveness import REMEDY, Hooks

_KIND = "AIGatewayRoute"
Json = Mapping[str, object]


def _gateways(world: World, name: Name) -> Iterator[str]:
    route = world.ai_gateway_routes.get(name)
    for parent in route.spec.parent_refs if route is not None else ():
        yield str(Name(parent.namespace or name.namespace, parent.name))


def _changed(condition: Json, state: Hooks, gateways: str, *, alone: bool) -> Json:
    if condition.get("type") != "Programmed" or condition.get("status") != "True":
        return condition
    if state is Hooks.WAITING:
        return {**condition, "status": "Unknown", "reason": "Pending", "message": "Envoy Gateway has not asked yet"}
    if alone:
        message = f"Envoy Gateway does not ask for the routes of {gateways}. {REMEDY}"
        return {**condition, "status": "False", "reason": "HooksNotCalled", "message": message}
    message = f"Envoy Gateway has not asked this replica for the routes of {gateways}; if it asks no other: {REMEDY}"
    return {**condition, "status": "Unknown", "reason": "HooksNotCalled", "message": message}


def with_hooks(
    statuses: Sequence[ObjectStatus], world: World, states: Mapping[str, Hooks], *, alone: bool
) -> tuple[ObjectStatus, ...]:
    """Statuses whose `Programmed` knows whether Envoy Gateway asks for AI routes.

    A route counts as programmed once any of its Gateways was asked for. `alone` is whether no other replica may have
    been asked instead.
    """
    found: list[ObjectStatus] = []
    for each in statuses:
        names = list(_gateways(world, Name(each.key.namespace, each.key.name))) if each.key.kind == _KIND else []
        known = [states[name] for name in names if name in states]
        if not known or Hooks.CALLED in known:
            found.append(each)
            continue
        state = Hooks.WAITING if Hooks.WAITING in known else Hooks.NEVER_CALLED
        conditions = each.status.get("conditions")
        assert isinstance(conditions, (list, tuple))
        made = [_changed(one, state, ", ".join(names), alone=alone) for one in conditions]  # pyright: ignore
        found.append(replace(each, status={**each.status, "conditions": made}))
    return tuple(found)
