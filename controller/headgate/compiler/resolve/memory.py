"""What routes resolved to before: with many routes, a change must not cost what all of them cost.

A route's rules depend on the route, on where it is attached, and on what it may refer to, which is anything but other
routes. So as long as all of that is the same objects, the rules are the same objects too, which is also what makes the
lowering of an unchanged rule a lookup. What was reported on the way is reported again.
"""

from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import lru_cache

from headgate.compiler import ir
from headgate.compiler.options import Options
from headgate.compiler.resolve.report import Found, Report
from headgate.compiler.resources.metadata import Resource
from headgate.compiler.world import World

ROUTES_MAX = 50_000
"""Remembered at once, with those that are gone by now; above it all are forgotten."""
_APART = frozenset({"ai_gateway_routes", "http_routes", "outdated", "diagnostics"})
"""Routes, and what only statuses need."""
_OTHERS = frozenset({"http_route_filters"})
"""What only HTTPRoutes refer to, which beside Envoy Gateway are not resolved: we write these there ourselves."""


class Identities:
    """Objects, as themselves: equal to another that holds the very same ones."""

    __slots__ = ("_hash", "objects")

    def __init__(self, objects: Iterator[object]) -> None:
        self.objects = tuple(objects)
        self._hash = hash(tuple(map(id, self.objects)))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Identities) or len(self.objects) != len(other.objects):
            return False
        return all(mine is theirs for mine, theirs in zip(self.objects, other.objects, strict=True))


Attached = tuple[int, object]
"""(identity of a route, where it is attached)"""
_Known = dict[Attached, tuple[Resource, tuple[ir.Rule, ...], tuple[Found, ...]]]


@lru_cache(maxsize=2)
def _known(_surroundings: Identities, _options: Options) -> _Known:
    return {}


def _surroundings(world: World, options: Options) -> Iterator[object]:
    apart = _APART | _OTHERS if options.envoy_gateway else _APART
    for field in fields(World):
        if field.name not in apart:
            yield from getattr(world, field.name).values()


class Memory:
    """The memory for one world."""

    def __init__(self, world: World, options: Options) -> None:
        self.surroundings = Identities(_surroundings(world, options))
        self._routes = _known(self.surroundings, options)

    def rules(
        self, route: Resource, place: object, report: Report, resolve: Callable[[], Iterator[ir.Rule]]
    ) -> tuple[ir.Rule, ...]:
        """What `resolve` gives for the route at a place (a hashable value)."""
        key = (id(route), place)
        if (known := self._routes.get(key)) is not None:
            report.repeat(known[2])
            return known[1]
        rules, entries = report.recorded(lambda: tuple(resolve()))
        if len(self._routes) >= ROUTES_MAX:
            self._routes.clear()
        # the route is held, so that no other one can have its identity
        self._routes[key] = (route, rules, entries)
        return rules
