"""What was read from the Kubernetes API, as the World that the compiler takes. No I/O.

    events of collections ──► entries (typed, by key) ──► World + diagnostics
                                   └──► statuses as they were seen, for the writer of statuses

Rules: an object that is not valid now is not in force, whatever it said before, so that every replica serves the same
after any restart. What changes only in its status or in how often it was written does not change the world. `view` may
be called from another thread: it takes all entries in one step.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import msgspec
from headgate.compiler.conditions import Diagnostic, diagnostic_order
from headgate.compiler.exchanges import secret_name
from headgate.compiler.reading import read_object
from headgate.compiler.resources.ai_gateway import BackendSecurityPolicy
from headgate.compiler.resources.kinds import ENVOY_GATEWAYS
from headgate.compiler.resources.metadata import NOWHERE, Key, Resource, Struct
from headgate.compiler.world import Rejected, World, make_world
from headgate.controller.sources.kubernetes.watching import Raw, metadata_of

VALUES: Final = frozenset({"Secret", "ConfigMap"})
"""Kinds that only matter where something names them."""


class Collection(NamedTuple):
    """What one list or watch covers."""

    group: str
    kind: str
    namespace: str = ""
    """Empty for all namespaces, and for kinds that live in none."""
    name: str = ""
    """One object; empty for all."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An object's status as the API server last told it."""

    api_version: str
    uid: str
    version: str
    """The object's resource version."""
    status: bytes
    """JSON; kept so, since it is read only when it may have to be written."""

    def decoded(self) -> Mapping[str, object]:
        value: object = msgspec.json.decode(self.status) if self.status else None
        return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]


@dataclass(frozen=True, slots=True)
class Entry:
    """One object, read."""

    key: Key
    resource: Resource | None
    rejected: Rejected | None
    diagnostics: tuple[Diagnostic, ...]
    seen: Seen = field(compare=False)
    references: frozenset[Key] = frozenset()
    """The Secrets and ConfigMaps that it names."""
    beside: Resource | None = None
    """The object beside Envoy Gateway, where it serves what we do not: nothing is wrong with it then."""


@dataclass(frozen=True, slots=True)
class View:
    """All that was read at one moment."""

    world: World
    diagnostics: tuple[Diagnostic, ...]


def read_entry(raw: Raw) -> Entry | None:
    """Reads an object; None where it is of no kind that is read. Takes `raw` apart."""
    status = raw.pop("status", None)
    metadata = metadata_of(raw)
    seen = Seen(
        str(raw.get("apiVersion", "")),
        str(metadata.get("uid", "")),
        str(metadata.pop("resourceVersion", "")),
        msgspec.json.encode(status) if status is not None else b"",
    )
    key = key_of(raw)
    reading = read_object(raw, NOWHERE, lenient=True)
    if reading.resource is None and reading.rejected is None:
        return None
    references = frozenset(_references(reading.resource)) if reading.resource is not None else frozenset[Key]()
    entry = Entry(key, reading.resource, reading.rejected, reading.diagnostics, seen, references)
    if reading.diagnostics and (key.group, key.kind) in ENVOY_GATEWAYS:
        entry = replace(entry, beside=read_object(raw, NOWHERE, lenient=True, beside=True).resource)
    return entry


def key_of(raw: Raw) -> Key:
    """The object that `raw` is."""
    metadata = metadata_of(raw)
    group = str(raw.get("apiVersion", "")).rpartition("/")[0]
    namespace, name = (str(metadata.get(each, "")) for each in ("namespace", "name"))
    return Key(group, str(raw.get("kind", "")), namespace, name)


def _references(resource: Resource) -> Iterator[Key]:
    """The Secrets and ConfigMaps that an object names: every reference struct below it whose kind is one of them.

    And the Secret that a credential is exchanged into, which is named after its policy.
    """
    if isinstance(resource, BackendSecurityPolicy) and resource.has_token:
        yield Key("", "Secret", *secret_name(resource.name))
    pending: list[object] = [getattr(resource, "spec", None)]
    while pending:
        value = pending.pop()
        if isinstance(value, Struct):
            kind, name = getattr(value, "kind", ""), getattr(value, "name", "")
            if kind in VALUES and name and not getattr(value, "group", ""):
                yield Key("", kind, getattr(value, "namespace", "") or resource.metadata.namespace, name)
            else:
                pending.extend(getattr(value, each) for each in value.__struct_fields__)
        elif isinstance(value, tuple):
            pending.extend(value)  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(value, Mapping):
            pending.extend(value.values())  # pyright: ignore[reportUnknownArgumentType]


class KubernetesWorld:
    """See the module. What changes it returns whether the world is another one now."""

    def __init__(self, held: Iterable[str] = ()) -> None:
        """New objects of the kinds in `held` are not in the world before they are released."""
        self._held_kinds = frozenset(held)
        self._held: dict[Key, str] = {}
        self._entries: dict[Key, Entry] = {}
        self._members: dict[Collection, set[Key]] = {}

    def put(self, collection: Collection, raw: Raw) -> bool:
        """An object is there."""
        entry = read_entry(raw)
        if entry is None:
            return False
        self._members.setdefault(collection, set()).add(entry.key)
        return self._set(entry)

    def remove(self, collection: Collection, raw: Raw) -> bool:
        """An object is gone."""
        key = key_of(raw)
        self._members.setdefault(collection, set()).discard(key)
        return self._delete([key])

    def replace(self, collection: Collection, entries: Iterable[Entry]) -> bool:
        """These are all the objects of a collection."""
        found = {entry.key: entry for entry in entries}
        before = self._members.get(collection, set())
        self._members[collection] = set(found)
        gone = self._delete(before - found.keys())
        changes = [self._set(entry) for entry in found.values()]
        return any(changes) or gone

    def drop(self, collection: Collection) -> bool:
        """A collection is not watched any more, or its kind is gone."""
        return self._delete(self._members.pop(collection, ()))

    def seen(self, key: Key) -> Seen | None:
        """The object's last known status; None where there is no such object."""
        entry = self._entries.get(key)
        return entry.seen if entry is not None else None

    def wrote(self, key: Key, seen: Seen) -> None:
        """We wrote a status, and this is what the API server answered: known before the watch tells it."""
        entry = self._entries.get(key)
        if entry is not None and entry.seen.uid == seen.uid and not older(seen.version, entry.seen.version):
            self._entries[key] = _with_seen(entry, seen)

    def references(self) -> frozenset[Key]:
        """Every Secret and ConfigMap that some object names."""
        return frozenset(key for entry in self._entries.values() for key in entry.references)

    def held(self) -> Mapping[Key, str]:
        """The objects that are not in the world yet, each with its resource version."""
        return dict(self._held)

    def release(self, keys: Iterable[Key]) -> None:
        """From now on they are in the world."""
        for key in keys:
            self._held.pop(key, None)

    def view(self, *, beside_envoy_gateway: bool = False) -> View:
        """The world now; may be called from another thread."""
        entries = tuple(self._entries.values())
        if held := frozenset(self._held):
            entries = tuple(entry for entry in entries if entry.key not in held)
        if beside_envoy_gateway:
            entries = tuple(entry if entry.beside is None else _beside(entry, entry.beside) for entry in entries)
        diagnostics = tuple(each for entry in entries for each in entry.diagnostics)
        return View(
            make_world(
                (entry.resource for entry in entries if entry.resource is not None),
                (entry.rejected for entry in entries if entry.rejected is not None),
                diagnostics=diagnostics,
            ),
            tuple(sorted(diagnostics, key=diagnostic_order)),
        )

    def _set(self, entry: Entry) -> bool:
        known = self._entries.get(entry.key)
        if known is not None and known == entry:
            if not older(entry.seen.version, known.seen.version):
                self._entries[entry.key] = _with_seen(known, entry.seen)
            return False
        if known is None and entry.key.kind in self._held_kinds:
            self._held[entry.key] = entry.seen.version
        self._entries[entry.key] = entry
        return True

    def _delete(self, keys: Iterable[Key]) -> bool:
        gone = tuple(keys)
        self.release(gone)
        changes = [self._entries.pop(key, None) is not None for key in gone]
        return any(changes)


def _with_seen(entry: Entry, seen: Seen) -> Entry:
    return replace(entry, seen=seen)


def _beside(entry: Entry, resource: Resource) -> Entry:
    return replace(entry, resource=resource, rejected=None, diagnostics=())


def older(version: str, other: str) -> bool:
    """Whether a resource version is certainly before another. They are numbers, by Kubernetes' word since 1.35."""
    return version.isdigit() and other.isdigit() and int(version) < int(other)
