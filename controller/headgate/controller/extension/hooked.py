"""What Envoy Gateway's calls, and its silence, mean for statuses. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeGuard

from headgate.compiler.conditions import ObjectStatus
from headgate.compiler.envoy_gateway.routes import Problem
from headgate.compiler.resources.metadata import Name
from headgate.compiler.statuses.form import joined
from headgate.compiler.world import World
from headgate.controller.extension.liveness import REMEDY, Hooks

_KIND = "AIGatewayRoute"
_PARTIAL = "PartiallyProgrammed"
Json = Mapping[str, object]


def _gateways(world: World, name: Name) -> Iterator[str]:
    route = world.ai_gateway_routes.get(name)
    for parent in route.spec.parent_refs if route is not None else ():
        yield str(Name(parent.namespace or name.namespace, parent.name))


def _as_told(condition: Json, shown: Json) -> Json | None:
    """The condition that is there, where a call has told it of the object as it is; it may say more than ours."""
    if condition.get("type") != "Programmed" or condition.get("status") != "True":
        return None
    listed = shown.get("conditions")
    for each in listed if _is_list(listed) else ():
        told = each.get("status") == "True" or each.get("reason") == _PARTIAL
        of_now = each.get("observedGeneration") == condition.get("observedGeneration")
        if each.get("type") == "Programmed" and told and of_now:
            more = str(each.get("message", "")).startswith(str(condition.get("message", "")))
            return {name: value for name, value in each.items() if name != "lastTransitionTime"} if more else condition
    return None


def _changed(condition: Json, state: Hooks, gateways: str, *, alone: bool) -> Json:
    if condition.get("type") != "Programmed" or condition.get("status") != "True":
        return condition
    if state is Hooks.WAITING:
        status, reason, message = "Unknown", "Pending", "Envoy Gateway has not asked yet"
    elif alone:
        status, reason = "False", "HooksNotCalled"
        message = f"Envoy Gateway does not ask for the routes of {gateways}. {REMEDY}"
    else:
        status, reason = "Unknown", "HooksNotCalled"
        message = f"Envoy Gateway does not ask this replica for the routes of {gateways}; if it asks no other: {REMEDY}"
    return {**condition, "status": status, "reason": reason, "message": _and(message, condition)}


def _and(message: str, condition: Json) -> str:
    """With what the condition says already: warnings."""
    return joined(filter(None, (message, str(condition.get("message", "")))))


def with_hooks(
    statuses: Sequence[ObjectStatus],
    world: World,
    states: Mapping[str, Hooks],
    *,
    alone: bool,
    shown: Callable[[ObjectStatus], Json] = lambda _: {},
) -> tuple[ObjectStatus, ...]:
    """Statuses whose `Programmed` knows whether Envoy Gateway asks for AI routes.

    A route counts as programmed once any of its Gateways was asked for. `alone` is whether no replica may have been
    asked that we know nothing of. `shown` gives the status that a route has, if Envoy Gateway has nothing new of it to
    ask for: it asks no new controller for what it asked one of before.
    """
    found: list[ObjectStatus] = []
    for each in statuses:
        names = list(_gateways(world, Name(each.key.namespace, each.key.name))) if each.key.kind == _KIND else []
        known = [states[name] for name in names if name in states]
        if not known or Hooks.CALLED in known:
            found.append(each)
            continue
        state = Hooks.WAITING if Hooks.WAITING in known else Hooks.NEVER_CALLED
        before, gateways = shown(each), ", ".join(names)

        def changed(one: Json, state: Hooks = state, before: Json = before, gateways: str = gateways) -> Json:
            return _as_told(one, before) or _changed(one, state, gateways, alone=alone)

        found.append(_with_conditions(each, changed))
    return tuple(found)


def with_problems(statuses: Sequence[ObjectStatus], problems: Iterable[Problem]) -> tuple[ObjectStatus, ...]:
    """Statuses whose `Programmed` says what translating Envoy Gateway's lists has found about AI routes."""
    by_route: dict[str, dict[Problem, None]] = {}
    for problem in problems:
        by_route.setdefault(problem.route, {})[problem] = None
    if not by_route:
        return tuple(statuses)

    def told(each: ObjectStatus) -> ObjectStatus:
        found = by_route.get(str(Name(each.key.namespace, each.key.name))) if each.key.kind == _KIND else None
        return _with_conditions(each, lambda one: _with_found(one, tuple(found))) if found else each

    return tuple(map(told, statuses))


def _with_found(condition: Json, problems: Sequence[Problem]) -> Json:
    if condition.get("type") != "Programmed":
        return condition
    message = str(condition.get("message", ""))
    said = joined(filter(None, dict.fromkeys((*message.split("\n"), *map(str, problems)))))
    if condition.get("status") != "True" or all(problem.served for problem in problems):
        return {**condition, "message": said}
    return {**condition, "status": "False", "reason": _PARTIAL, "message": said}


def _with_conditions(status: ObjectStatus, change: Callable[[Json], Json]) -> ObjectStatus:
    conditions = status.status.get("conditions")
    assert _is_list(conditions)
    return replace(status, status={**status.status, "conditions": [change(one) for one in conditions]})


def _is_list(value: object) -> TypeGuard[Sequence[Json]]:
    return isinstance(value, (list, tuple))
