"""What every object has: its version, kind, names, and the place it was written at.

Structs of this package are the API as written in YAML: field names are camelCase on the wire, lists are tuples, an
absent text is `""`, an absent object or number is None, every default of the API is filled in. Rules on them:

* a field that is not in a struct is either in its `unsupported` table (a warning: it is not implemented), in its
  `refused` table (an error: leaving it out would weaken what the author asked for), or unknown (an error);
* bounds are in the types; what the API server checks with CEL is in `violations`, with upstream's words.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, ClassVar, Final, NamedTuple

import msgspec

OBJECT_NAME_PATTERN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z"
NAMESPACE_PATTERN: Final = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?\Z"
Name253 = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
KIND_PATTERN: Final = r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?\Z"
Name63 = Annotated[str, msgspec.Meta(min_length=1, max_length=63, pattern=KIND_PATTERN)]
"""The name of a kind."""
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class Name(NamedTuple):
    """An object among those of its kind; `namespace` is empty for kinds that have none."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Key(NamedTuple):
    """An object among all."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {Name(self.namespace, self.name)}"


class Source:
    """Where an object was written.

    All sources are equal: the place is no part of what an object says, so an object that only moved is unchanged.
    """

    __slots__ = ("_locate", "file", "line")

    def __init__(self, file: str, line: int = 0, locate: Callable[[str], int] | None = None) -> None:
        self.file = file
        """Path of the file as given by the user; empty for objects that come from elsewhere."""
        self.line = line
        """Line of the object's first key, from 1; 0 where it is not known."""
        self._locate = locate

    def line_of(self, path: str) -> int:
        """Line of a field, or of the closest thing around it that exists; `path` is like `spec.rules[0].name`."""
        return self._locate(path) if self._locate is not None else self.line

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source)

    def __hash__(self) -> int:
        return hash(Source)

    def __repr__(self) -> str:
        return f"{self.file}:{self.line}" if self.file else "elsewhere"


NOWHERE = Source("")


class Violation(NamedTuple):
    """A rule of the API that an object breaks. `field` is below the struct that reports it."""

    message: str
    field: str = ""
    remedy: str = ""


class Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Part of an object."""

    unsupported: ClassVar[Mapping[str, str]] = {}
    """Fields of the API that are accepted and ignored (wire name to what happens instead)."""
    refused: ClassVar[Mapping[str, str]] = {}
    """Fields of the API that make an object invalid, because ignoring them would not be safe (wire name to remedy)."""
    guards: ClassVar[bool] = False
    """Whether nothing in it, however deep, may be left out for not being known: its author may count on it."""

    def violations(self) -> Iterator[Violation]:
        """The rules that this struct breaks, not those of structs in it."""
        return iter(())


class ObjectMeta(Struct, frozen=True, kw_only=True):
    """The `metadata` of an object."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=253, pattern=OBJECT_NAME_PATTERN)]
    """Unique among the objects of its kind in its namespace."""
    namespace: Annotated[str, msgspec.Meta(max_length=63, pattern=NAMESPACE_PATTERN)] = ""
    """Where it lives; `default` if a file does not say. Empty for kinds that live in no namespace."""
    labels: Mapping[str, str] = {}
    """What selectors select."""
    annotations: Mapping[str, str] = {}
    """Notes; some are read by Headgate."""
    generation: int = 0
    """Counted by the API server; reported back as `observedGeneration`."""
    creation_timestamp: str = ""
    """When the API server first saw it (RFC 3339); the older of two equal matches wins."""
    uid: str = ""
    """Given by the API server."""
    resource_version: str = ""
    """Given by the API server."""
    deletion_timestamp: str = ""
    """Set by the API server when the object is about to go."""
    generate_name: str = ""
    """Not used: an object needs a name."""
    finalizers: tuple[str, ...] = ()
    """Not used."""
    owner_references: tuple[Mapping[str, str | bool], ...] = ()
    """Not used."""
    managed_fields: tuple[object, ...] = ()
    """Not used."""
    self_link: str = ""
    """Not used."""
    deletion_grace_period_seconds: int = 0
    """Not used."""


OWN_FIELDS: Final = frozenset({"source", "written"})
"""Fields of resources that the API does not have."""


class Resource(Struct, frozen=True, kw_only=True):
    """An object: its head, and where it was written."""

    api_version: str
    """Group and version, as `group/version`; `v1` for the core group."""
    kind: str
    """Name of the kind."""
    metadata: ObjectMeta
    """Names, labels and annotations."""
    status: object = None
    """Written by controllers; not read."""
    source: Source = NOWHERE
    """Where it was written; not a field of the API."""

    @property
    def name(self) -> Name:
        return Name(self.metadata.namespace, self.metadata.name)

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        return self.api_version.rpartition("/")[2]

    @property
    def key(self) -> Key:
        return Key(self.group, self.kind, self.metadata.namespace, self.metadata.name)
