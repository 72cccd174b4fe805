"""Envoy's access-log messages as entries. The hot path of the collector: a field is read once, or not at all."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from envoy.config.core.v3.address_pb2 import Address
from envoy.config.core.v3.base_pb2 import RequestMethod
from envoy.data.accesslog.v3.accesslog_pb2 import (
    AccessLogCommon,
    HTTPAccessLogEntry,
    ResponseFlags,
    UpstreamEnd,
)
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct
from headgate.collector.asked import asked_of
from headgate.contract import metadata
from headgate.contract.addresses import host_port
from headgate.ledger.entry import Entry, Value
from headgate.pb.received import parse

SERVICE: Final = "envoy.service.accesslog.v3.AccessLogService"
METHOD: Final = f"/{SERVICE}/StreamAccessLogs"
_GATEWAYS: Final = "httproute/"
PATH_MAX: Final = 256
"""Of a path, for its class."""
_NOTHING: Final[Mapping[str, Value]] = {}
_NO_HEADERS: Final[Mapping[str, str]] = {}


def read_message(data: bytes, root: str = "") -> tuple[str, list[Entry]]:
    """The node's id, which only a stream's first message has, and the entries. ValueError for what is no message.

    `root` is the path below which clients ask, without `/` at its end.
    """
    try:
        message = parse(StreamAccessLogsMessage, data)
    except DecodeError as error:
        raise ValueError(f"not an access log message: {error}") from error
    node = message.identifier.node.id if message.HasField("identifier") else ""
    return node, [_entry(entry, root) for entry in message.http_logs.log_entry]


def _entry(entry: HTTPAccessLogEntry, root: str) -> Entry:
    common, request, response = entry.common_properties, entry.request, entry.response
    published, internal = _metadata(common)
    tags = common.custom_tags
    text = tags.get(metadata.TAG_FIRST_BODY, "")
    first_body = int(text) * 1_000 if text.isdecimal() else None
    # the script of a backend, where there was one, kept it without the root
    path = _text(internal, metadata.INTERNAL_PATH) or (request.original_path or request.path).removeprefix(root)
    asked = asked_of(path.partition("?")[0][:PATH_MAX])
    return Entry(
        attempt=common.access_log_type == UpstreamEnd,
        peer=_address(common.downstream_direct_remote_address),
        started_ns=common.start_time.seconds * 1_000_000_000 + common.start_time.nanos,
        duration_ns=_nanos(common.duration),
        first_upstream_ns=_optional(common, "time_to_first_upstream_rx_byte"),
        first_body_ns=first_body,
        first_sent_ns=None if first_body is not None else _optional(common, "time_to_first_downstream_tx_byte"),
        request_id=request.request_id,
        method=_method(request.request_method),
        path=path,
        operation=asked.operation,
        streams=asked.streams,
        prompts=asked.prompts,
        status=response.response_code.value,
        details=response.response_code_details,
        flags=_flags(common.response_flags) if common.HasField("response_flags") else (),
        route=_route(common.route_name, path),
        cluster=common.upstream_cluster,
        upstream=_address(common.upstream_remote_address) if common.HasField("upstream_remote_address") else "",
        provider=tags.get(metadata.TAG_PROVIDER, ""),
        costs=tags.get(metadata.TAG_COSTS, ""),
        attempts=common.upstream_request_attempt_count,
        request_bytes=request.request_body_bytes,
        response_bytes=response.response_body_bytes,
        published=published,
        internal=internal,
        headers=dict(request.request_headers) if request.request_headers else _NO_HEADERS,
    )


def _route(name: str, path: str) -> str:
    """The route's name; one of Envoy Gateway's (`httproute/<ns>/<route>/rule/<i>/match/…`) as ours are called, with the
    class of the client's path."""
    return _gateways_route(name, path.partition("?")[0][:PATH_MAX]) if name.startswith(_GATEWAYS) else name


@lru_cache(maxsize=4096)
def _gateways_route(name: str, path: str) -> str:
    # imported here: what only these need
    from headgate.compiler.matching import path_class_of

    before, rule, after = name.removeprefix(_GATEWAYS).partition("/rule/")
    number, match, rest = after.partition("/match/")
    return f"{before}{rule}{number}/{path_class_of(path).name}{match}{rest.partition('/')[0]}"


def _text(values: Mapping[str, Value], key: str) -> str:
    value = values.get(key, "")
    return value if isinstance(value, str) else ""


def _nanos(duration: Duration) -> int:
    return duration.seconds * 1_000_000_000 + duration.nanos


def _optional(common: AccessLogCommon, field: str) -> int | None:
    return _nanos(getattr(common, field)) if common.HasField(field) else None


@lru_cache(maxsize=64)
def _method(number: int) -> str:
    return RequestMethod.Name(number) if number else ""


def _address(address: Address) -> str:
    socket = address.socket_address
    if socket.address:
        return host_port(socket.address, socket.port_value)
    return address.pipe.path


def _flags(flags: ResponseFlags) -> tuple[str, ...]:
    return tuple(field.name for field, _ in flags.ListFields())


def _metadata(common: AccessLogCommon) -> tuple[Mapping[str, Value], Mapping[str, Value]]:
    """What users read, and what our filters told each other.

    Nothing else is read: there may be credentials in the rest.
    """
    if not common.HasField("metadata"):
        return _NOTHING, _NOTHING
    values = common.metadata.filter_metadata
    published = _values(values[metadata.NAMESPACE]) if metadata.NAMESPACE in values else _NOTHING
    internal = _values(values[metadata.INTERNAL]) if metadata.INTERNAL in values else _NOTHING
    return published, internal


def _values(values: Struct) -> Mapping[str, Value]:
    """Plain values, without what is empty. The first question is the one that is answered most often."""
    found: dict[str, Value] = {}
    for key, value in values.fields.items():
        if text := value.string_value:
            found[key] = text
        elif value.HasField("number_value"):
            found[key] = value.number_value
        elif value.HasField("bool_value"):
            found[key] = value.bool_value
        elif texts := tuple(each.string_value for each in value.list_value.values if each.string_value):
            found[key] = texts
    return found
