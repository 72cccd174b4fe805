"""Which resources a resource refers to, found by walking its message.

A table says which messages hold references. Messages of types that cannot contain any are never entered (the reachable
types of each descriptor are computed once), and every `Any` is opened if its type is linked in.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from hashlib import sha256
from operator import attrgetter
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
    _walk(message, _plan(message.DESCRIPTOR), found)
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

    def get(self, kind: str, content: bytes, read: Callable[[bytes], Message]) -> frozenset[Reference]:
        """What the message refers to that `read` makes of the content, or what one of the same content did before."""
        key = (kind, sha256(content).digest())
        known = self._known.get(key)
        if known is None:
            message = read(content)
            fresh: set[Reference] = set()
            _walk_fields(message, _plan(message.DESCRIPTOR), fresh)
            if len(self._known) >= _REMEMBERED_MAX:
                self._known.clear()
            known = self._known[key] = frozenset(fresh)
        return known


_remembered: Final = _Remembered()


def _walk(message: Any, plan: "_Plan", found: set[Reference]) -> None:
    if plan.kind == "other":
        _walk_fields(message, plan, found)
    elif plan.kind == "any":
        type_url: str = message.type_url
        inner_class = _class_inside(type_url)
        if inner_class is not None:
            found |= _remembered.get(type_url, message.value, inner_class.FromString)
    else:
        content = message.SerializeToString(deterministic=True)
        found |= _remembered.get(_PART, content, lambda _: message)


def _walk_fields(message: Any, plan: "_Plan", found: set[Reference]) -> None:
    if plan.row is not None:
        found.update(plan.row(message))
    for name, kind, reach, inner in plan.fields:
        if kind is _SINGULAR:
            if message.HasField(name):
                _walk(reach(message), inner, found)
            continue
        children = getattr(message, name)
        for child in children if kind is _REPEATED else children.values():
            _walk(reach(child), inner, found)


_STEPS_MAX: Final = 4
"""A type may hold nothing but itself."""
_SINGULAR: Final = "singular"
_REPEATED: Final = "repeated"
_MAP: Final = "map"


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


class _Plan:
    """How messages of one type are walked."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor
        name = descriptor.full_name
        self.kind: Literal["any", "part", "other"] = "any" if name == _ANY else "part" if name == _PART else "other"
        self.row = _ROWS.get(name)

    @cached_property
    def fields(self) -> "Sequence[tuple[str, str, Callable[[Any], Any], _Plan]]":
        """(name, how to iterate it, what to walk of what it holds, how) of the message fields below which a reference
        may be. Found late: types contain themselves."""
        return [_field(field, held) for field, held in self.ways]

    @cached_property
    def ways(self) -> Sequence[tuple[FieldDescriptor, Descriptor]]:
        """Those fields, and what they hold."""
        fields = ((field, _message_field_type(field)) for field in self._descriptor.fields)
        return [(field, held) for field, held in fields if held is not None and _may_refer(held)]


def _field(field: FieldDescriptor, held: Descriptor) -> "tuple[str, str, Callable[[Any], Any], _Plan]":
    """Messages that hold nothing but one on the way (`TypedExtensionConfig`) are passed through at once."""
    kind, inner = _kind(field), _plan(held)
    path = [field.name] if kind is _SINGULAR else []
    while inner.kind == "other" and inner.row is None and len(inner.ways) == 1 and len(path) < _STEPS_MAX:
        (way, beyond) = inner.ways[0]
        if _kind(way) is not _SINGULAR:
            break
        path.append(way.name)
        inner = _plan(beyond)
    return field.name, kind, attrgetter(".".join(path)) if path else _itself, inner


def _itself(message: Any) -> Any:
    return message


_plan: Final = cache(_Plan)


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
