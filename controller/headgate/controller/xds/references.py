"""Which resources a resource refers to, found by walking its message.

A table says which messages hold references. Messages of types that cannot contain any are never entered (the reachable
types of each descriptor are computed once), and every `Any` is opened if its type is linked in.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from hashlib import sha256
from typing import Any, Final, Literal, NamedTuple

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from headgate.controller.xds.resource_types import CLUSTER, ENDPOINT, EXTENSION, ROUTE, SECRET

_ANY: Final = "google.protobuf.Any"


class Reference(NamedTuple):
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
        key = (kind, sha256(content).digest())
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
    plan = _plan(message.DESCRIPTOR)
    match plan.kind:
        case "any":
            _walk_inside(message, found)
        case "part":
            content = message.SerializeToString(deterministic=True)
            _remembered.add(_PART, content, partial(_walk_fields, message, plan), found)
        case "other":
            _walk_fields(message, plan, found)


def _walk_fields(message: Message, plan: "_Plan", found: set[Reference]) -> None:
    if plan.row is not None:
        found.update(plan.row(message))
    for name, kind in plan.fields:
        if kind is _SINGULAR:
            if message.HasField(name):
                _walk(getattr(message, name), found)
            continue
        children = getattr(message, name)
        for child in children if kind is _REPEATED else children.values():
            _walk(child, found)


_SINGULAR: Final = "singular"
_REPEATED: Final = "repeated"
_MAP: Final = "map"


def _walk_inside(message: Any, found: set[Reference]) -> None:
    type_url: str = message.type_url
    inner_class = _class_inside(type_url)
    if inner_class is not None:
        value: bytes = message.value
        _remembered.add(type_url, value, lambda fresh: _walk(inner_class.FromString(value), fresh), found)


@cache
def _class_inside(type_url: str) -> type[Message] | None:
    """What is in an `Any`; None where it cannot refer to anything, or its type is not linked in (then it is none of
    ours)."""
    found = _message_class(type_url.rpartition("/")[2])
    return found if found is not None and _may_refer(found.DESCRIPTOR) else None


@cache
def _message_class(full_name: str) -> type[Message] | None:
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(full_name)
    except KeyError:
        return None
    return message_factory.GetMessageClass(descriptor)


class _Plan(NamedTuple):
    """How messages of one type are walked."""

    kind: Literal["any", "part", "other"]
    row: _Row | None
    fields: Sequence[tuple[str, str]]
    """(name, how to iterate it) of the message fields below which a reference may be."""


@cache
def _plan(descriptor: Descriptor) -> _Plan:
    kinds: Mapping[str, Literal["any", "part"]] = {_ANY: "any", _PART: "part"}
    name = descriptor.full_name
    fields = ((field, _message_field_type(field)) for field in descriptor.fields)
    entered = [(field.name, _kind(field)) for field, target in fields if target is not None and _may_refer(target)]
    return _Plan(kinds.get(name, "other"), _ROWS.get(name), entered)


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
