"""How requests are received from clients, as a ClientTrafficPolicy says: the connection manager's part, the filters
before it, and the socket."""

from collections.abc import Iterator
from typing import Final

from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation as Mutation
from envoy.config.core.v3.protocol_pb2 import HttpProtocolOptions
from envoy.config.listener.v3.listener_components_pb2 import Filter, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import HeaderMutation
from envoy.extensions.filters.http.health_check.v3.health_check_pb2 import HealthCheck
from envoy.extensions.filters.listener.proxy_protocol.v3.proxy_protocol_pb2 import ProxyProtocol
from envoy.extensions.filters.network.connection_limit.v3.connection_limit_pb2 import ConnectionLimit
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)
from envoy.extensions.http.original_ip_detection.custom_header.v3.custom_header_pb2 import CustomHeaderConfig
from envoy.extensions.http.original_ip_detection.xff.v3.xff_pb2 import XffConfig
from headgate.compiler.clients import ClientAddress, ClientTraffic, HeaderEdits, Http1, Socket
from headgate.compiler.lower.connections import set_lifetimes
from headgate.compiler.lower.server_tls import text_matcher
from headgate.compiler.lower.wire import (
    add_header,
    add_header_if_absent,
    cidr_ranges,
    duration,
    extension,
    http_filter,
    literal,
    packed,
    set_header,
)

LATE_HEADERS: Final = "headgate.header_mutation/late"
SOL_SOCKET, SO_KEEPALIVE, IPPROTO_TCP = 1, 9, 6
_TCP_KEEPIDLE, _TCP_KEEPINTVL, _TCP_KEEPCNT = 4, 5, 6
"""Linux' numbers, where Envoy runs, whatever the controller does."""
_SLASHES: Final = {
    "RejectRequest": HttpConnectionManager.REJECT_REQUEST,
    # Routes, limits and prefixes are decided by the path that providers see: some decode what we would have kept.
    "UnescapeAndForward": HttpConnectionManager.UNESCAPE_AND_FORWARD,
    "UnescapeAndRedirect": HttpConnectionManager.UNESCAPE_AND_REDIRECT,
}
_CERTIFICATES: Final = {
    "Sanitize": HttpConnectionManager.SANITIZE,
    "ForwardOnly": HttpConnectionManager.FORWARD_ONLY,
    "AppendForward": HttpConnectionManager.APPEND_FORWARD,
    "SanitizeSet": HttpConnectionManager.SANITIZE_SET,
    "AlwaysForwardOnly": HttpConnectionManager.ALWAYS_FORWARD_ONLY,
}
_UNDERSCORES: Final = {
    "Allow": HttpProtocolOptions.ALLOW,
    "RejectRequest": HttpProtocolOptions.REJECT_REQUEST,
    "DropHeader": HttpProtocolOptions.DROP_HEADER,
}
_XFF = "envoy.extensions.http.original_ip_detection.xff"
_CUSTOM_HEADER = "envoy.extensions.http.original_ip_detection.custom_header"
REFUSED = 403
ENVOY_PREFIX = "x-envoy-"
"""Headers by which one Envoy tells another what to do."""


def set_address(manager: HttpConnectionManager, address: ClientAddress) -> None:
    """Which address a client has.

    Where only the connection and the number of proxies count, Envoy stays at the edge (`use_remote_address`), and takes
    out what only its like may say. Its extensions of detection leave that to `distrusted`.
    """
    manager.use_remote_address.value = not _by_extension(address)
    manager.skip_xff_append = not address.appends
    if address.header:
        custom = CustomHeaderConfig(header_name=address.header, allow_extension_to_set_address_as_trusted=True)
        if address.required:
            custom.reject_with_status.code = REFUSED  # pyright: ignore[reportAttributeAccessIssue]
        manager.original_ip_detection_extensions.append(extension(_CUSTOM_HEADER, custom))
    elif address.trusted_ranges:
        forwarded = XffConfig()
        forwarded.xff_trusted_cidrs.cidrs.extend(cidr_ranges(address.trusted_ranges))
        forwarded.skip_xff_append.value = not address.appends
        manager.original_ip_detection_extensions.append(extension(_XFF, forwarded))
    else:
        manager.xff_num_trusted_hops = address.trusted_hops


def set_protocols(manager: HttpConnectionManager, traffic: ClientTraffic) -> None:
    """How HTTP is spoken, and what is done with headers."""
    headers, http1, http2 = traffic.headers, traffic.http1, traffic.http2
    manager.path_with_escaped_slashes_action = _SLASHES[traffic.escaped_slashes]
    manager.forward_client_cert_details = _CERTIFICATES[headers.certificate]
    for detail in headers.certificate_details:
        told = manager.set_current_client_cert_details
        if detail == "Subject":
            told.subject.value = True
        else:
            setattr(told, detail.lower(), True)
    manager.strip_trailing_host_dot = headers.strips_host_dot
    if headers.kibibytes_max:
        manager.max_request_headers_kb.value = headers.kibibytes_max
    if http1 != Http1():
        manager.http_protocol_options.enable_trailers = http1.trailers
        manager.http_protocol_options.accept_http_10 = http1.accepts_10
        manager.http_protocol_options.ignore_http_11_upgrade.extend(map(text_matcher, http1.ignored_upgrades))
    options = manager.http2_protocol_options
    if http2.streams_max is not None:
        options.max_concurrent_streams.value = http2.streams_max
    if http2.ends_stream:
        options.override_stream_error_on_invalid_http_message.value = True
    if (keepalive := http2.keepalive) is not None:
        if keepalive.interval_seconds is not None:
            options.connection_keepalive.interval.CopyFrom(duration(keepalive.interval_seconds))
        if keepalive.timeout_seconds is not None:
            options.connection_keepalive.timeout.CopyFrom(duration(keepalive.timeout_seconds))
        if keepalive.idle_seconds is not None:
            options.connection_keepalive.connection_idle_interval.CopyFrom(duration(keepalive.idle_seconds))
        options.connection_keepalive.interval_jitter.value = keepalive.jitter_percent


def set_bounds(manager: HttpConnectionManager, traffic: ClientTraffic) -> None:
    """How long requests and connections may last."""
    bounds, common = traffic.connections, HttpProtocolOptions()
    if traffic.headers_received_seconds is not None:
        manager.request_headers_timeout.CopyFrom(duration(traffic.headers_received_seconds))
    set_lifetimes(common, idle=traffic.idle_seconds, connection=bounds.seconds, stream=bounds.stream_seconds)
    if bounds.seconds is not None:
        manager.http1_safe_max_connection_duration = bounds.ends_between_requests
    if bounds.requests_max is not None:
        common.max_requests_per_connection.value = bounds.requests_max
    common.headers_with_underscores_action = _UNDERSCORES[traffic.headers.underscores]
    if common != HttpProtocolOptions():
        manager.common_http_protocol_options.CopyFrom(common)


def network_filters(name: str, traffic: ClientTraffic) -> Iterator[Filter]:
    """What stands before the connection manager of a listener."""
    bounds = traffic.connections
    if bounds.count_max is not None:
        message = ConnectionLimit(stat_prefix=name.replace("/", "."))
        message.max_connections.value = bounds.count_max
        if bounds.close_delay_seconds is not None:
            message.delay.CopyFrom(duration(bounds.close_delay_seconds))
        yield Filter(name="envoy.filters.network.connection_limit", typed_config=packed(message))


def first_filters(traffic: ClientTraffic) -> Iterator[HttpFilter]:
    """What a request meets first, and its answer last."""
    if traffic.headers.late is not None:
        message = HeaderMutation()
        message.mutations.response_mutations.extend(edits(traffic.headers.late))
        yield http_filter(LATE_HEADERS, message)
    if traffic.health_path:
        check = HealthCheck()
        check.pass_through_mode.value = False
        check.headers.add(name=":path").string_match.exact = traffic.health_path
        yield http_filter("envoy.filters.http.health_check", check)


def edits(found: HeaderEdits) -> Iterator[Mutation]:
    """Changes of headers, in the order that Gateway API's filters have."""
    for pairs, option in (
        (found.add, add_header),
        (found.add_if_absent, add_header_if_absent),
        (found.set, set_header),
    ):
        yield from (Mutation(append=option(name, literal(value))) for name, value in pairs)
    yield from (Mutation(remove=name) for name in found.remove)
    for rule in found.remove_matching:
        mutation = Mutation()
        mutation.remove_on_match.key_matcher.CopyFrom(text_matcher(rule))
        yield mutation


def set_socket(listener: Listener, socket: Socket) -> None:
    """What the listeners of a port share. Before their own filters for listeners: the PROXY protocol comes first."""
    if socket.proxy_protocol:
        optional = socket.proxy_protocol == "optional"
        message = ProxyProtocol(allow_requests_without_proxy_protocol=optional)
        found = ListenerFilter(name="envoy.filters.listener.proxy_protocol", typed_config=packed(message))
        listener.listener_filters.append(found)
    if socket.inspection_seconds is not None:
        listener.listener_filters_timeout.CopyFrom(duration(socket.inspection_seconds))
    if socket.accepted_at_once:
        listener.max_connections_to_accept_per_socket_event.value = socket.accepted_at_once
    if (keepalive := socket.keepalive) is not None:
        options: tuple[tuple[str, int, int, int | None], ...] = (
            ("keepalive", SOL_SOCKET, SO_KEEPALIVE, 1),
            ("keepalive probes", IPPROTO_TCP, _TCP_KEEPCNT, keepalive.probes),
            ("keepalive idle time", IPPROTO_TCP, _TCP_KEEPIDLE, keepalive.idle_seconds),
            ("keepalive interval", IPPROTO_TCP, _TCP_KEEPINTVL, keepalive.interval_seconds),
        )
        for description, level, name, value in options:
            if value is not None:
                listener.socket_options.add(description=description, level=level, name=name, int_value=value)


def distrusted(address: ClientAddress) -> Iterator[Mutation]:
    """What clients may not say where Envoy does not see to it by itself: to it, who comes through proxies is none of
    the outside."""
    if _by_extension(address):
        mutation = Mutation()
        mutation.remove_on_match.key_matcher.prefix = ENVOY_PREFIX
        yield mutation
        yield Mutation(remove="x-request-id")


def _by_extension(address: ClientAddress) -> bool:
    return bool(address.header or address.trusted_ranges)
