"""HTTP and connections of a ClientTrafficPolicy."""

from headgate.compiler.clients import (
    ClientHeaders,
    Connections,
    HeaderEdits,
    Http1,
    Http2,
    Keepalive,
    Socket,
    TextRule,
)
from headgate.compiler.resolve.connections import tcp_keepalive
from headgate.compiler.resolve.policies import seconds
from headgate.compiler.resolve.scope import Scope
from headgate.compiler.resources import client_http, client_traffic
from headgate.compiler.resources.quantities import quantity_bytes


def headers(spec: client_http.ClientHeaders) -> ClientHeaders:
    """What is done with headers."""
    certificate = spec.x_forwarded_client_cert or client_http.XForwardedClientCert()
    limit = spec.max_request_header_limit
    return ClientHeaders(
        early=_edits(spec.early_request_headers),
        late=_edits(spec.late_response_headers),
        underscores=spec.with_underscores_action,
        certificate=certificate.mode,
        certificate_details=certificate.cert_details_to_add,
        strips_host_dot=spec.host is not None and spec.host.strip_trailing_host_dot,
        kibibytes_max=-(-quantity_bytes(limit) // 1024) if limit is not None else 0,
        hides_limits=spec.disable_rate_limit_headers,
    )


def _edits(spec: client_http.HeaderEdits | None) -> HeaderEdits | None:
    if spec is None:
        return None
    return HeaderEdits(
        set=tuple((each.name.lower(), each.value) for each in spec.set),
        add=tuple((each.name.lower(), each.value) for each in spec.add),
        add_if_absent=tuple((each.name.lower(), each.value) for each in spec.add_if_absent),
        remove=tuple(name.lower() for name in spec.remove),
        remove_matching=tuple(TextRule(each.type, each.value) for each in spec.remove_on_match),
    )


def check_path(scope: Scope, policy: client_traffic.ClientTrafficPolicy) -> None:
    """What of a policy would have us see other paths than providers."""
    path = policy.spec.path
    if path is None:
        return
    if path.escaped_slashes_action == "KeepUnchanged":
        message = "not followed: %2F is a slash to routes, limits and authorization, as it may be to a provider"
        scope.report.warning(policy, "spec.path.escapedSlashesAction", message, remedy="RejectRequest")
    if path.disable_merge_slashes:
        message = "not followed: // is / to routes, limits and authorization, as it may be to a provider"
        scope.report.warning(policy, "spec.path.disableMergeSlashes", message)


def http1(spec: client_http.Http1) -> Http1:
    return Http1(
        trailers=spec.enable_trailers,
        accepts_10=spec.http10 is not None,
        ignored_upgrades=tuple(TextRule(each.type, each.value) for each in spec.ignored_upgrade_types),
    )


def http2(spec: client_http.ClientHttp2) -> Http2:
    asked, keepalive = spec.connection_keepalive, None
    if asked is not None and asked.timeout:  # without it, it asks for nothing
        keepalive = Keepalive(
            interval_seconds=seconds(asked.interval),
            timeout_seconds=seconds(asked.timeout),
            jitter_percent=asked.interval_jitter,
            idle_seconds=seconds(asked.idle_interval),
        )
    ends_stream = spec.on_invalid_message == "TerminateStream"
    return Http2(streams_max=spec.max_concurrent_streams, ends_stream=ends_stream, keepalive=keepalive)


def connections(spec: client_traffic.ClientTrafficPolicySpec) -> Connections:
    """Bounds of connections."""
    limit = spec.connection.connection_limit if spec.connection is not None else None
    tcp = spec.timeout.tcp if spec.timeout is not None else None
    handshake = seconds(tcp.tls_handshake_timeout) if tcp is not None else None
    if limit is None:
        return Connections(handshake_seconds=handshake)
    return Connections(
        count_max=limit.value,
        close_delay_seconds=seconds(limit.close_delay),
        seconds=seconds(limit.max_connection_duration),
        ends_between_requests=spec.http1 is None or not spec.http1.disable_safe_max_connection_duration,
        requests_max=limit.max_requests_per_connection,
        stream_seconds=seconds(limit.max_stream_duration),
        handshake_seconds=handshake,
    )


def socket(spec: client_traffic.ClientTrafficPolicySpec) -> Socket:
    """What the listeners of a port share."""
    tcp = spec.timeout.tcp if spec.timeout is not None else None
    proxy = ""
    if spec.proxy_protocol is not None:
        proxy = "optional" if spec.proxy_protocol.optional else "required"
    elif spec.enable_proxy_protocol:
        proxy = "required"
    return Socket(
        keepalive=tcp_keepalive(spec.tcp_keepalive),
        proxy_protocol=proxy,
        inspection_seconds=seconds(tcp.connection_inspection_timeout) if tcp is not None else None,
        accepted_at_once=spec.connection.max_accept_per_socket_event if spec.connection is not None else None,
    )
