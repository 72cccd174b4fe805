"""What Envoy tells about requests: lines of JSON that it writes itself, and entries for a collector.

A request has a line when it is over, and each of its attempts that failed one before.

With a collector (`Options.collects`) Envoy sends each finished request to it, as it is: nothing is formatted,
and all that is known of the request comes along (metadata, counts, times). Attempts are sent where they failed: what is
known of the one that served is in the request's own entry.
"""

import json
import re
from collections.abc import Iterator, Mapping

from envoy.config.accesslog.v3.accesslog_pb2 import (
    AccessLog,
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    MetadataFilter,
    OrFilter,
    StatusCodeFilter,
)
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import RuntimeUInt32
from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.extensions.access_loggers.grpc.v3.als_pb2 import CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig
from envoy.type.tracing.v3.custom_tag_pb2 import CustomTag
from headgate.compiler.lower.wire import Json, duration, packed
from headgate.compiler.options import Options
from headgate.contract import metadata

COLLECTOR_CLUSTER = "headgate-collector"
LOG_NAME = "headgate"
FLUSH_SECONDS = 0.5
"""How long entries gather. A batch of a hundred costs the collector a third less than a hundred alone."""
UNSENT_BYTES_MAX = 16_777_216
"""Entries that each of Envoy's workers keeps while the collector is away: about 25,000 requests. What comes then is
dropped, and counted in `access_logs.grpc_access_log.logs_dropped`."""
SOCKET_BYTES_MAX = 1_048_576
"""What Envoy has written and the collector not read, before the worker keeps the rest to itself."""
_NOTHING = "%LOCAL_REPLY_BODY%"
"""Empty in a log. In a field of two operators Envoy writes the other one as text, or `-`; one alone that reads metadata
has all of the request's copied first (9,500 instructions for 1,400)."""
CLIENT_PATH = "%COALESCE({})%".format(
    json.dumps(
        {
            "operators": [
                {"command": "DYNAMIC_METADATA", "param": f"{metadata.INTERNAL}:{metadata.INTERNAL_PATH}"},
                {"command": "REQ", "param": ":PATH"},
            ]
        },
        separators=(",", ":"),
    )
)
"""What the upstream script kept when it changed the path, else the path."""


def request_fields(*, clients: bool, ai: bool) -> Mapping[str, Json]:
    """What a line tells of a request.

    What it tells is chosen by its price: a plain field costs 700 instructions, one from dynamic metadata 1,400 as text,
    `metadata` 24,000, one from CEL 12,000 (a bare hop in all: 170,000). Counts are in `metadata`, of a stream that
    broke off as well. Names are those of the collector's records (`headgate.ledger.record`) where both tell the same.
    """
    internal, published = metadata.INTERNAL, metadata.NAMESPACE
    fields: dict[str, Json] = {
        "time": "%START_TIME%",
        "method": "%REQ(:METHOD)%",
        "path": CLIENT_PATH + _NOTHING,
        "status": "%RESPONSE_CODE%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "flags": "%RESPONSE_FLAGS%",
        "duration_ms": "%DURATION%",
        "upstream_ms": "%RESPONSE_DURATION%",
        "first_body_ms": "%COMMON_DURATION(DS_RX_BEG:US_RX_BODY_BEG:ms)%",
        "request_bytes": "%BYTES_RECEIVED%",
        "response_bytes": "%BYTES_SENT%",
        "attempt_count": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "rule": "%ROUTE_NAME%",
        "backend": "%UPSTREAM_CLUSTER%",
        "upstream": "%UPSTREAM_HOST%",
        "request_id": "%REQ(X-REQUEST-ID)%",
    }
    if clients:
        fields["client"] = f"%DYNAMIC_METADATA({internal}:{metadata.INTERNAL_CLIENT})%{_NOTHING}"
    if ai:
        fields["original_model"] = f"%DYNAMIC_METADATA({internal}:{metadata.INTERNAL_MODEL})%{_NOTHING}"
        # counts, costs, losses, the model that answered, and whatever users' own filters add
        fields["metadata"] = f"%DYNAMIC_METADATA({published})%"
    return fields


_NUMBERS = frozenset(
    {"status", "duration_ms", "upstream_ms", "first_body_ms", "request_bytes", "response_bytes", "attempt_count"}
)
_PLAIN = re.compile(r"[ !#-\[\]-~]*")


def is_plain(text: str) -> bool:
    """Whether JSON takes the text as it is, whatever its encoding."""
    return _PLAIN.fullmatch(text) is not None


def short_line(fields: Mapping[str, Json]) -> str:
    """The same line as text: names by the route, counts by the script that read the answer (`usage.lua`) or by the
    processor. With what tells of them it costs half of JSON of the values; but it can escape nothing, and knows no
    null: see `told`."""
    members = [
        f'"{name}":{value}' if name in _NUMBERS else f'"{name}":"{str(value).removesuffix(_NOTHING)}"'
        for name, value in fields.items()
        if name not in ("original_model", "metadata")
    ]
    names = f"%METADATA(ROUTE:{metadata.INTERNAL}:{metadata.INTERNAL_NAMES})%"
    facts = f"%DYNAMIC_METADATA({metadata.INTERNAL}:{metadata.INTERNAL_FACTS})%"
    return f"{{{','.join(members)},{names}{facts}}}}}"


def told(options: Options, *, by_text: bool) -> AccessLogFilter:
    """Requests of which `short_line` has all, and nothing to escape, or else the others."""
    parts = [_has(metadata.INTERNAL, metadata.INTERNAL_FACTS, wanted=by_text)]
    parts += [_has(metadata.NAMESPACE, name, wanted=not by_text) for _, name in options.header_attributes]
    if len(parts) == 1:
        return parts[0]  # Envoy insists on two within
    if by_text:
        return AccessLogFilter(and_filter=AndFilter(filters=parts))
    return AccessLogFilter(or_filter=OrFilter(filters=parts))


def _has(namespace: str, key: str, *, wanted: bool) -> AccessLogFilter:
    """Whether there is such metadata. Envoy heeds no `invert` here."""
    result = MetadataFilter()
    result.matcher.filter = namespace
    result.matcher.path.add(key=key)
    if wanted:
        result.matcher.value.present_match = True
    else:
        result.matcher.value.null_match.SetInParent()
    result.match_if_key_not_found.value = not wanted
    return AccessLogFilter(metadata_filter=result)


def _entries(attributes: Mapping[str, str]) -> AccessLog:
    common = CommonGrpcAccessLogConfig(log_name=LOG_NAME, transport_api_version=ApiVersion.V3)
    common.grpc_service.envoy_grpc.cluster_name = COLLECTOR_CLUSTER
    common.buffer_flush_interval.CopyFrom(duration(FLUSH_SECONDS))
    common.buffer_size_bytes.value = UNSENT_BYTES_MAX
    common.custom_tags.extend(_tags())
    message = HttpGrpcAccessLogConfig(common_config=common, additional_request_headers_to_log=sorted(attributes))
    return AccessLog(name="envoy.access_loggers.http_grpc", typed_config=packed(message))


def _tags() -> Iterator[CustomTag]:
    """What entries do not tell by themselves."""
    provider = CustomTag(tag=metadata.TAG_PROVIDER)
    provider.metadata.kind.cluster.SetInParent()
    provider.metadata.metadata_key.key = metadata.RESOURCE
    provider.metadata.metadata_key.path.add(key=metadata.RESOURCE_PROVIDER)
    yield provider
    costs = CustomTag(tag=metadata.TAG_COSTS)
    costs.metadata.kind.route.SetInParent()
    costs.metadata.metadata_key.key = metadata.INTERNAL
    costs.metadata.metadata_key.path.add(key=metadata.INTERNAL_COSTS)
    yield costs
    yield CustomTag(tag=metadata.TAG_FIRST_BODY, value="%COMMON_DURATION(DS_RX_BEG:US_RX_BODY_BEG:us)%")


def collected(options: Options) -> list[AccessLog]:
    """The logger that sends requests to the collector, where there is one."""
    return [_entries(dict(options.header_attributes))] if options.collects else []


ATTEMPT_FIELDS: Mapping[str, Json] = {
    "time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(:PATH)%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "duration_ms": "%DURATION%",
    "rule": "%ROUTE_NAME%",
    "backend": "%UPSTREAM_CLUSTER%",
    "upstream": "%UPSTREAM_HOST%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "attempt": True,
}
"""A line of an attempt: `path` is the provider's, and `request_id` leads to the request's own line."""


def failed() -> AccessLogFilter:
    """Attempts that did not serve."""
    refused = AccessLogFilter(
        status_code_filter=StatusCodeFilter(
            comparison=ComparisonFilter(
                op=ComparisonFilter.GE, value=RuntimeUInt32(default_value=400, runtime_key="headgate.never.status")
            )
        )
    )
    broken = AccessLogFilter()
    broken.response_flag_filter.SetInParent()
    result = AccessLogFilter()
    result.or_filter.filters.extend([refused, broken])
    return result


def bound(cluster: Cluster) -> None:
    """Of the collector's cluster: it may be away, and Envoy must not keep more for it than is said above."""
    cluster.per_connection_buffer_limit_bytes.value = SOCKET_BYTES_MAX
