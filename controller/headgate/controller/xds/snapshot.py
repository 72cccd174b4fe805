"""What Envoy should have: named resources per type, each serialised and versioned by its content.

A snapshot is a value. Equal configurations give equal versions in any process, so a restarted controller sends nothing
to an Envoy that already has it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Final

from google.protobuf.message import Message
from headgate.controller.xds.references import Reference, references
from headgate.controller.xds.resource_types import RESOURCE_TYPES

_VERSION_LENGTH: Final = 16
"""Of a SHA-256 in hexadecimal, for which processors have instructions: a route configuration may be megabytes."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource as it is sent: `body` is the serialised message that goes into an `Any`."""

    name: str
    version: str
    body: bytes
    references: frozenset[Reference] = frozenset()


@dataclass(frozen=True)
class Snapshot:
    """A consistent set of resources. `resources` has an entry for every served type, keyed by name."""

    version: str
    resources: Mapping[str, Mapping[str, Resource]]

    def get(self, reference: Reference) -> Resource | None:
        """The resource `reference` names, if it is here."""
        return self.resources[reference.type_url].get(reference.name)

    def count(self) -> int:
        """How many resources there are in all."""
        return sum(map(len, self.resources.values()))

    @cached_property
    def missing(self) -> frozenset[Reference]:
        """What is referred to and is not here."""
        referred = frozenset[Reference]().union(*(each.references for _, each in self))
        return frozenset(each for each in referred if self.get(each) is None)

    def __iter__(self) -> Iterator[tuple[Reference, Resource]]:
        for type_url, named in self.resources.items():
            for name, resource in named.items():
                yield Reference(type_url, name), resource


@dataclass(frozen=True, slots=True)
class Dangling:
    """A reference that nothing in the snapshot satisfies."""

    referrer: Reference
    reference: Reference

    def __str__(self) -> str:
        kind, other = (r.type_url.rpartition(".")[2] for r in (self.referrer, self.reference))
        return f"{kind} {self.referrer.name} refers to {other} {self.reference.name}, which does not exist"


class SnapshotTaker:
    """Takes snapshots of one configuration as it changes, at the cost of what changed.

    A message that is the same object as last time is not looked at: compilers share what did not change, and never
    change what they gave out.
    """

    def __init__(self) -> None:
        self._taken: dict[Reference, tuple[Message, Resource]] = {}

    def take(self, messages: Mapping[str, Mapping[str, Message]]) -> Snapshot:
        """A snapshot of `messages` (type URL → name → message)."""
        taken = {
            reference: self._resource(reference, message)
            for type_url, named in messages.items()
            for name, message in named.items()
            for reference in (Reference(type_url, name),)
        }
        self._taken = taken
        return make_snapshot((reference, resource) for reference, (_, resource) in taken.items())

    def _resource(self, reference: Reference, message: Message) -> tuple[Message, Resource]:
        known = self._taken.get(reference)
        if known is not None and known[0] is message:
            return known
        body = message.SerializeToString(deterministic=True)
        if known is not None and known[1].body == body:
            return message, known[1]
        version = sha256(body).hexdigest()[:_VERSION_LENGTH]
        return message, Resource(name=reference.name, version=version, body=body, references=references(message))


def make_snapshot(resources: Iterable[tuple[Reference, Resource]]) -> Snapshot:
    """A snapshot of `resources`; raises ValueError for a type that is not served."""
    by_type: dict[str, dict[str, Resource]] = {row.url: {} for row in RESOURCE_TYPES}
    for reference, resource in resources:
        if reference.type_url not in by_type:
            raise ValueError(f"resources of type {reference.type_url} are not served")
        by_type[reference.type_url][reference.name] = resource
    digest = sha256()
    for type_url, named in by_type.items():
        digest.update(f"{type_url}\n".encode())
        for name in sorted(named):
            digest.update(f"{name}\t{named[name].version}\n".encode())
    return Snapshot(version=digest.hexdigest()[:_VERSION_LENGTH], resources=by_type)


EMPTY: Final = make_snapshot(())


def dangling(snapshot: Snapshot, static_clusters: frozenset[str] = frozenset()) -> tuple[Dangling, ...]:
    """Every reference that does not resolve; `static_clusters` are those of Envoy's bootstrap."""
    missing = {each for each in snapshot.missing if each.name not in static_clusters}
    if not missing:
        return ()
    return tuple(
        Dangling(referrer, reference)
        for referrer, resource in snapshot
        for reference in sorted(resource.references & missing)
    )
