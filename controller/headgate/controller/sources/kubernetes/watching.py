"""The protocol of lists and watches: bodies and lines to values. Pure.

GET …?watch=true&sendInitialEvents=true   ADDED… BOOKMARK(initial events end) ADDED MODIFIED DELETED BOOKMARK…
GET …?limit=500, then &continue=…         pages; a watch goes on from the list's resource version
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, assert_never

import msgspec

PAGE_OBJECTS: Final = 500
GONE: Final = 410
_INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"

Raw = dict[str, object]
"""An object as the API has it."""


@dataclass(frozen=True, slots=True)
class Put:
    """An object is there, new or changed."""

    raw: Raw
    version: str


@dataclass(frozen=True, slots=True)
class Removed:
    """An object is gone."""

    raw: Raw
    version: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Everything up to this version was sent."""

    version: str
    initial_end: bool
    """Whether the objects that were there at the start are complete now."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The watch cannot go on."""

    code: int
    message: str

    @property
    def expired(self) -> bool:
        """The version to go on from is no longer known: a new list is needed."""
        return self.code == GONE


Event = Put | Removed | Mark | Failed


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list."""

    items: tuple[Raw, ...]
    version: str
    more: str
    """What to ask the next page with; empty on the last."""


class ProtocolError(Exception):
    """The server sent something that is no event and no list."""


class _Event(msgspec.Struct):
    type: str
    object: Raw


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct, rename="camel"):
    metadata: _ListMeta
    api_version: str = ""
    kind: str = ""
    items: list[Raw] | None = None


_EVENTS: Final = msgspec.json.Decoder(_Event)
_LISTS: Final = msgspec.json.Decoder(_List)


def decode_event(line: bytes) -> Event:
    """One line of a watch. Raises ProtocolError."""
    try:
        event = _EVENTS.decode(line)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"no event: {error}") from error
    match event.type:
        case "ADDED" | "MODIFIED":
            return Put(trimmed(event.object), version_of(event.object))
        case "DELETED":
            return Removed(trimmed(event.object), version_of(event.object))
        case "BOOKMARK":
            end = _annotations(event.object).get(_INITIAL_EVENTS_END) == "true"
            return Mark(version_of(event.object), end)
        case "ERROR":
            code = event.object.get("code")
            return Failed(code if isinstance(code, int) else 0, str(event.object.get("message", "")))
        case _:
            raise ProtocolError(f"an event of type {event.type!r}")


def decode_page(body: bytes, api_version: str, kind: str) -> Page:
    """A page of a list. Lists of Kubernetes' own kinds leave out what every item is: it is filled in."""
    try:
        found = _LISTS.decode(body)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"no list: {error}") from error
    items = tuple(trimmed({"apiVersion": api_version, "kind": kind, **item}) for item in found.items or ())
    return Page(items, found.metadata.resource_version, found.metadata.continue_)


def trimmed(raw: Raw) -> Raw:
    """`raw` without what nobody reads and what repeats all of it (for Secrets: in the clear)."""
    metadata_of(raw).pop("managedFields", None)
    _annotations(raw).pop(_LAST_APPLIED, None)
    return raw


def metadata_of(raw: Mapping[str, object]) -> dict[str, object]:
    """The metadata of an object; empty where it has none."""
    metadata = raw.get("metadata")
    return metadata if isinstance(metadata, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _annotations(raw: Mapping[str, object]) -> dict[str, object]:
    annotations = metadata_of(raw).get("annotations")
    return annotations if isinstance(annotations, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def version_of(raw: Raw) -> str:
    """The object's resource version; empty where it has none."""
    return str(metadata_of(raw).get("resourceVersion", ""))


@dataclass(slots=True)
class Position:
    """Where a reflector is in the history of a collection, and so what it asks for next."""

    version: str = ""
    """Everything up to this was seen; empty before the first list and after the version expired."""
    streaming: bool = True
    """Whether the server can send a list as a watch (Kubernetes 1.32 and newer)."""

    def seen(self, event: Event) -> None:
        match event:
            case Put() | Removed() | Mark():
                self.version = event.version or self.version
            case Failed():
                if event.expired:
                    self.version = ""
            case _:
                assert_never(event)

    def watch_query(self, timeout_seconds: int) -> dict[str, str]:
        """Query of the next watch: one that begins with the list where nothing was seen."""
        query = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(timeout_seconds)}
        if self.version:
            return {**query, "resourceVersion": self.version}
        return {**query, "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}


def page_query(more: str) -> dict[str, str]:
    """Query of a page."""
    return {"limit": str(PAGE_OBJECTS), **({"continue": more} if more else {})}
