"""Which resources a resource refers to, found by walking its message.

A table says which messages hold references. Messages of types that cannot contain any are never entered (the reachable
types of each descriptor are computed once), and every `Any` is opened if its type is linked in.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from hashlib import blake2b
from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from headgate.controller.xds.resource_types import CLUSTER, ENDPOINT, EXTENSION, ROUTE, SECRET

_ANY: Final = "google.protobuf.Any"


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """A resource by type URL and name."""

    type_url: str
    name: str


# The messages' attributes are known only to the protobuf runtime, hence Any.
_Row = Callable[[Any], Iterator[Reference]]
_Find = Callable[[set[Reference]], None]


def _cluster(message: Any) -> Iterator[Reference]:
    if message.HasField("eds_cluster_config"):
        yield Reference(ENDPOINT, message.eds_cluster_config.service_name or message.name)


def _secret(message: Any) -> Iterator[Reference]:
    if message.HasField("sds_config"):
        yield Reference(SECRET, message.name)


def _route_configuration(message: Any) -> Iterator[Reference]:
    yield Reference(ROUTE, message.route_config_name)


def _filter(message: Any) -> Iterator[Reference]:
    if message.HasField("config_discovery"):
        yield Reference(EXTENSION, message.name)


def _named_cluster(field: str) -> _Row:
    def row(message: Any) -> Iterator[Reference]:
        if name := getattr(message, field):
            yield Reference(CLUSTER, name)

    return row


_ROWS: Final[Mapping[str, _Row]] = {
    "envoy.config.cluster.v3.Cluster": _cluster,
    "envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig": _secret,
    "envoy.extensions.filters.network.http_connection_manager.v3.Rds": _route_configuration,
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter": _filter,
    "envoy.config.route.v3.RouteAction": _named_cluster("cluster"),
    "envoy.config.route.v3.RouteAction.RequestMirrorPolicy": _named_cluster("cluster"),
    "envoy.config.route.v3.WeightedCluster.ClusterWeight": _named_cluster("name"),
    "envoy.extensions.router.cluster_specifiers.priority_group.v3.ClusterWeight": _named_cluster("cluster_name"),
    "envoy.config.core.v3.GrpcService.EnvoyGrpc": _named_cluster("cluster_name"),
    "envoy.config.core.v3.HttpUri": _named_cluster("cluster"),
}


def references(message: Message) -> frozenset[Reference]:
    """Every resource `message` refers to, at any depth."""
    found: set[Reference] = set()
    _walk(message, found)
    return frozenset(found)


_REMEMBERED_MAX: Final = 50_000
_PART: Final = "envoy.config.route.v3.Route"
"""What a large resource has many of outside of any `Any`."""


class _Remembered:
    """References of parts that come again and again, by a digest of their bytes: a route configuration of a thousand
    routes is one resource, of which a change touches one route.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes], frozenset[Reference]] = {}

    def add(self, kind: str, content: bytes, find: _Find, found: set[Reference]) -> None:
        """Adds what `find` finds, or what it found for the same content before."""
        key = (kind, blake2b(content, digest_size=16).digest())
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _REMEMBERED_MAX:
                self._known.clear()
            fresh: set[Reference] = set()
            find(fresh)
            known = self._known[key] = frozenset(fresh)
        found |= known


_remembered: Final = _Remembered()


def _walk(message: Message, found: set[Reference]) -> None:
    full_name = message.DESCRIPTOR.full_name
    if full_name == _ANY:
        _walk_inside(message, found)
    elif full_name == _PART:
        content = message.SerializeToString(deterministic=True)
        _remembered.add(full_name, content, partial(_walk_fields, message), found)
    else:
        _walk_fields(message, found)


def _walk_fields(message: Message, found: set[Reference]) -> None:
    descriptor = message.DESCRIPTOR
    row = _ROWS.get(descriptor.full_name)
    if row is not None:
        found.update(row(message))
    entered = _fields_to_enter(descriptor)
    if not entered:
        return
    for field, value in message.ListFields():
        kind = entered.get(field.name)
        if kind is None:
            continue
        for child in _children(kind, value):
            _walk(child, found)


_SINGULAR: Final = "singular"
_REPEATED: Final = "repeated"
_MAP: Final = "map"


def _children(kind: str, value: Any) -> Iterable[Message]:
    if kind is _SINGULAR:
        return (value,)
    return value if kind is _REPEATED else value.values()


def _walk_inside(message: Any, found: set[Reference]) -> None:
    """What the message in an `Any` refers to; nothing if its type is not linked in (then it cannot be one of ours)."""
    type_url: str = message.type_url
    inner_class = _message_class(type_url.rpartition("/")[2])
    if inner_class is not None:
        value: bytes = message.value
        _remembered.add(type_url, value, lambda fresh: _walk(inner_class.FromString(value), fresh), found)


@cache
def _message_class(full_name: str) -> type[Message] | None:
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(full_name)
    except KeyError:
        return None
    return message_factory.GetMessageClass(descriptor)


@cache
def _fields_to_enter(descriptor: Descriptor) -> Mapping[str, str]:
    """Field name → how to iterate it, for the message fields below which a reference may be."""
    entered: dict[str, str] = {}
    for field in descriptor.fields:
        target = _message_field_type(field)
        if target is not None and _may_refer(target):
            entered[field.name] = _kind(field)
    return entered


def _kind(field: FieldDescriptor) -> str:
    if not field.is_repeated:
        return _SINGULAR
    entry = field.message_type
    return _MAP if entry is not None and entry.GetOptions().map_entry else _REPEATED


def _message_field_type(field: FieldDescriptor) -> Descriptor | None:
    """The message type a field holds, a map's value type for a map; None for scalars."""
    target = field.message_type
    if target is not None and target.GetOptions().map_entry:
        return target.fields_by_name["value"].message_type
    return target


@cache
def _may_refer(descriptor: Descriptor) -> bool:
    """Whether a row's message or an `Any` is reachable from `descriptor`."""
    seen: set[str] = set()
    todo = [descriptor]
    while todo:
        current = todo.pop()
        if current.full_name == _ANY or current.full_name in _ROWS:
            return True
        if current.full_name in seen:
            continue
        seen.add(current.full_name)
        todo += [target for field in current.fields if (target := _message_field_type(field)) is not None]
    return False
