"""An edit that breaks an AI object does not take effect: its last good version serves on, and its status says why.

`compile_world` knows one world only; here is what came before, as a value that goes from one compilation to the next.
What is kept is an object that was changed into a broken one. One whose surroundings broke (its backend was deleted) has
no better version, and one that is broken from the start has none at all: of these, what can be served is.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, cast

from headgate.compiler.compile import Compiled, compile_world
from headgate.compiler.conditions import ObjectStatus, Severity, Told, diagnostic_order, stays
from headgate.compiler.options import Options
from headgate.compiler.resources import ai_gateway
from headgate.compiler.resources.kinds import BY_NAME
from headgate.compiler.resources.metadata import Key, Name, Resource
from headgate.compiler.statuses.form import Json
from headgate.compiler.world import World

KINDS: Final = ("AIGatewayRoute", "AIServiceBackend", "BackendSecurityPolicy")
"""Gateway API asks for another way with its own routes: what refers to nothing is answered 500."""

Good = Mapping[Key, Resource]
"""The last versions that nothing was wrong with."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What is in force."""

    world: World
    """With last good versions in the place of broken ones."""
    compiled: Compiled
    """Of that world; its diagnostics and statuses speak of the newest versions."""
    good: Good
    kept: Good = field(default_factory=dict[Key, Resource])
    """Those in force in the place of broken ones."""


def compile_settled(world: World, options: Options, good: Good) -> Settled:
    """Compiles a world, with the last good versions of what was changed and is broken."""
    newest = compile_world(world, options)
    broken = _broken(newest)
    known = MappingProxyType(dict(_good(world, broken, good)))
    kept = {key: known[key] for key in broken if key in known and known[key] != _of_kind(world, key.kind)[_name(key)]}
    while kept:
        settled = _with(world, kept)
        compiled = compile_world(settled, options)
        worse = kept.keys() & _broken(compiled)
        if not worse:
            return Settled(settled, _told(compiled, newest, kept), known, kept)
        kept = {key: resource for key, resource in kept.items() if key not in worse}
    return Settled(world, newest, known)


def _broken(compiled: Compiled) -> Collection[Key]:
    errors = (each.key for each in compiled.diagnostics if each.severity is Severity.ERROR)
    return {key for key in errors if key is not None and key.group == ai_gateway.GROUP and key.kind in KINDS}


def _good(world: World, broken: Collection[Key], before: Good) -> Iterator[tuple[Key, Resource]]:
    for kind in KINDS:
        for resource in _of_kind(world, kind).values():
            if resource.key not in broken:
                yield resource.key, resource
            elif (found := before.get(resource.key)) is not None and found.metadata.uid == resource.metadata.uid:
                yield resource.key, found


def _of_kind(world: World, kind: str) -> Mapping[Name, Resource]:
    return getattr(world, BY_NAME[ai_gateway.GROUP, kind].world)


def _name(key: Key) -> Name:
    return Name(key.namespace, key.name)


def _with(world: World, kept: Good) -> World:
    for kind in {key.kind for key in kept}:
        good = {_name(key): resource for key, resource in kept.items() if key.kind == kind}
        together = MappingProxyType({**_of_kind(world, kind), **good})
        world = replace(world, **{BY_NAME[ai_gateway.GROUP, kind].world: together})
    return world


def _told(compiled: Compiled, newest: Compiled, kept: Good) -> Compiled:
    """What is in force, with what is wrong with the versions that are not."""
    broken = [stays(each) for each in newest.diagnostics if each.key in kept]
    diagnostics = sorted({*compiled.diagnostics, *broken}, key=diagnostic_order)

    def statuses() -> tuple[ObjectStatus, ...]:
        newer = {each.key: _in_force(each, kept[each.key]) for each in newest.statuses if each.key in kept}
        return tuple(newer.get(each.key, each) for each in compiled.statuses)

    # a policy may be broken only until its first token is there, so that has to be fetched
    exchanges = tuple(dict.fromkeys((*newest.exchanges, *compiled.exchanges)))
    return replace(compiled, diagnostics=tuple(diagnostics), told=Told(statuses), exchanges=exchanges)


def _in_force(status: ObjectStatus, good: Resource) -> ObjectStatus:
    """`Programmed` is about this generation, so it is not true; which one is in force, its message says."""
    generation = good.metadata.generation
    version = f"generation {generation}, the last good version," if generation else "the last good version"

    def changed(condition: Json) -> Json:
        if condition["type"] != "Programmed":
            return condition
        message = f"{version} stays in force"
        return {**condition, "status": "False", "reason": "LastGoodVersion", "message": message}

    conditions = cast("list[Json]", status.status["conditions"])
    return replace(status, status={**status.status, "conditions": [changed(each) for each in conditions]})
