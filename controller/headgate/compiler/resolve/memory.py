"""What routes resolved to before: with many routes, a change must not cost what all of them cost.

A route's parents and rules depend on the route, on where it is attached, and on what it may refer to, which is anything
but other routes. So as long as all of that is the same objects, they are the same objects too, which is also what makes
the lowering of an unchanged rule a lookup. What was reported on the way is reported again.
"""

from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import TypeVar

from headgate.compiler import ir
from headgate.compiler.options import Options
from headgate.compiler.resolve.parent import Parent
from headgate.compiler.resolve.report import Found, Report
from headgate.compiler.resources.metadata import Resource
from headgate.compiler.world import World

ROUTES_MAX = 50_000
"""Remembered at once, with those that are gone by now; above it all are forgotten."""
_APART = frozenset({"ai_gateway_routes", "http_routes", "outdated", "diagnostics"})
"""Routes, and what only statuses need."""
_OTHERS = frozenset({"http_route_filters"})
"""What only HTTPRoutes refer to, which beside Envoy Gateway are not resolved: we write these there ourselves."""


T = TypeVar("T")
U = TypeVar("U")


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


@dataclass(frozen=True, slots=True)
class _Known:
    """Of each route; it is held, so that no other one can have its identity."""

    parents: dict[int, tuple[Resource, tuple[Parent, ...]]] = field(
        default_factory=dict[int, tuple[Resource, tuple[Parent, ...]]]
    )
    rules: dict[Attached, tuple[Resource, tuple[ir.Rule, ...], tuple[Found, ...]]] = field(
        default_factory=dict[Attached, tuple[Resource, tuple[ir.Rule, ...], tuple[Found, ...]]]
    )


@lru_cache(maxsize=2)
def _known(_surroundings: Identities, _options: Options) -> _Known:
    return _Known()


def _surroundings(world: World, options: Options) -> Iterator[object]:
    apart = _APART | _OTHERS if options.envoy_gateway else _APART
    for each in fields(World):
        if each.name not in apart:
            yield from getattr(world, each.name).values()


class Memory:
    """The memory for one world."""

    def __init__(self, world: World, options: Options) -> None:
        self.surroundings = Identities(_surroundings(world, options))
        self._known = _known(self.surroundings, options)

    def parents(self, route: Resource, resolve: Callable[[], Iterator[Parent]]) -> tuple[Parent, ...]:
        """What `resolve` gives for the route."""
        known = self._known.parents
        if (found := known.get(id(route))) is None:
            _bound(known)
            found = known[id(route)] = route, tuple(resolve())
        return found[1]

    def rules(
        self, route: Resource, place: object, report: Report, resolve: Callable[[], Iterator[ir.Rule]]
    ) -> tuple[ir.Rule, ...]:
        """What `resolve` gives for the route at a place (a hashable value)."""
        key, known = (id(route), place), self._known.rules
        if (found := known.get(key)) is not None:
            report.repeat(found[2])
            return found[1]
        rules, entries = report.recorded(lambda: tuple(resolve()))
        _bound(known)
        known[key] = (route, rules, entries)
        return rules


def _bound(known: MutableMapping[T, U]) -> None:
    if len(known) >= ROUTES_MAX:
        known.clear()
