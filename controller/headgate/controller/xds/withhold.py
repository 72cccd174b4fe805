"""What to serve instead of resources that Envoy refused.

A refused resource is replaced by the version Envoy last accepted, or left out if there is none. Whatever then refers to
something missing also stays as it was last accepted, together with what that refers to: a route whose new cluster was
refused keeps its old cluster. What has no accepted version is served as it is; Envoy answers 503 for a route to a
missing cluster, 404 for a listener without routes, and everything else works.

A listener and its routes change together or not at all: routes configure the listener's filters, those that ask for
keys among them, and old routes in a new listener, or new ones in an old, might be served unguarded.
"""

from collections.abc import Mapping

from headgate.controller.xds.references import Reference
from headgate.controller.xds.resource_types import LISTENER, ROUTE
from headgate.controller.xds.snapshot import EMPTY, Resource, Snapshot, make_snapshot


def withhold(wanted: Snapshot, accepted: Snapshot | None, refused: Mapping[Reference, frozenset[str]]) -> Snapshot:
    """`wanted` without the `refused` versions (reference → versions Envoy refused)."""
    if not refused and not wanted.missing:
        return wanted
    last = accepted or EMPTY
    chosen: dict[Reference, Resource] = {}
    for reference, resource in wanted:
        if resource.version not in refused.get(reference, ()):
            chosen[reference] = resource
        elif (before := last.get(reference)) is not None:
            chosen[reference] = before
    while changes := {**_apart(chosen, wanted, last), **_repairs(chosen, last)}:
        chosen.update(changes)
    return make_snapshot(chosen.items())


def _apart(chosen: Mapping[Reference, Resource], wanted: Snapshot, last: Snapshot) -> Mapping[Reference, Resource]:
    """What to put back from `last` because a listener and its routes are not of the same configuration."""

    def is_held_back(reference: Reference) -> bool:
        here, there = chosen.get(reference), wanted.get(reference)
        return here is not None and there is not None and here.version != there.version

    repairs: dict[Reference, Resource] = {}
    for referrer, resource in chosen.items():
        if referrer.type_url != LISTENER:
            continue
        routes = [reference for reference in resource.references if reference.type_url == ROUTE]
        late = [referrer] if any(map(is_held_back, routes)) else []
        late += routes if is_held_back(referrer) else []
        for reference in late:
            before = last.get(reference)
            if before is not None and before.version != chosen[reference].version:
                repairs[reference] = before
    return repairs


def _repairs(chosen: Mapping[Reference, Resource], last: Snapshot) -> Mapping[Reference, Resource]:
    """What to put back from `last` because something refers to what is missing. Every round moves towards `last`."""
    repairs: dict[Reference, Resource] = {}
    for referrer, resource in chosen.items():
        missing = [reference for reference in resource.references if reference not in chosen]
        if not missing:
            continue
        before = last.get(referrer)
        if before is not None and before.version != resource.version:
            repairs[referrer] = before
        elif before is not None:
            repairs.update((r, known) for r in missing if (known := last.get(r)) is not None)
    return repairs
