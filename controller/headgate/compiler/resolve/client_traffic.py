"""ClientTrafficPolicies: how a listener receives requests."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal

from headgate.compiler import ir
from headgate.compiler.clients import NO_POLICY, ClientAddress, ClientTraffic, ServerTls
from headgate.compiler.resolve.client_http import check_path, connections, headers, http1, http2, socket
from headgate.compiler.resolve.client_tls import server_tls
from headgate.compiler.resolve.policies import gateway_targets, seconds
from headgate.compiler.resolve.routes import CLOSED, closed
from headgate.compiler.resolve.scope import Scope
from headgate.compiler.resources import client_http, client_traffic
from headgate.compiler.resources.client_connections import ClientHTTPTimeout
from headgate.compiler.resources.metadata import Name
from headgate.compiler.resources.quantities import quantity_bytes


def client_policy(scope: Scope, gateway: Name, listener: str) -> client_traffic.ClientTrafficPolicy | None:
    """The policy of a listener: its own before its Gateway's."""
    targets = gateway_targets(gateway, listener)
    return next((scope.client[target] for target in targets if target in scope.client), None)


def together(
    scope: Scope, port: int, found: Sequence[tuple[Name, ir.Listener]], *, tls: bool
) -> tuple[ir.Listener, ...]:
    """The listeners of a port, received as they can be together: plain ones are one to Envoy, those with TLS share the
    socket. In what they do not agree no policy of theirs is in force, which each is told (compat: none wins): none may
    decide for the other's clients whom to believe. A listener that is to believe proxies, in which the others do not
    agree, serves nothing: with their addresses for its clients', what is allowed by address might be allowed to all."""
    shared = ("socket",) if tls else _ALL
    listeners = tuple(listener for _, listener in found)
    disputed = _disputed(listeners, shared)
    if disputed:
        listeners = _aligned(listeners, shared)
        disputed = _disputed(listeners, shared)
    if not disputed:
        return listeners
    names = ", ".join(sorted(listener.name for listener in listeners))
    received = [_undisputed(listener, disputed) for listener in listeners]
    for (gateway, _), listener, serves in zip(found, listeners, received, strict=True):
        policy = client_policy(scope, gateway, listener.name.rpartition("/")[2])
        if policy is not None:
            what = f"what it says of {' and '.join(SAID[name] for name in disputed)}"
            message = f"{what} is not in force on port {port}, which listeners share that do not agree in it: {names}"
            if serves.hosts != listener.hosts:
                message += f"; {listener.name} serves nothing, for its clients would have the addresses of its proxies"
            scope.report.error(policy, "spec", message, remedy="one policy for all of them, or a port for each")
    return tuple(received)


SAID: Final = {
    "body_bytes_max": "bodies",
    "request_received_seconds": "requests' time",
    "headers_received_seconds": "headers' time",
    "idle_seconds": "idle connections",
    "stream_idle_seconds": "idle streams",
    "address": "clients' addresses",
    "tls": "TLS",
    "headers": "headers",
    "escaped_slashes": "paths",
    "http1": "HTTP/1",
    "http2": "HTTP/2",
    "health_path": "health checks",
    "connections": "connections",
    "socket": "sockets",
}
"""What a policy says, by where `ClientTraffic` has it, in words."""
_ALL: Final = tuple(SAID)


def _aligned(listeners: Sequence[ir.Listener], names: Sequence[str]) -> tuple[ir.Listener, ...]:
    """The listeners, of which those that serve nothing go along with one that does."""
    leading = next(filter(_serves, listeners), None)
    if leading is None:
        return tuple(listeners)
    taken = {name: getattr(leading.traffic, name) for name in names}
    return tuple(
        listener if _serves(listener) else replace(listener, traffic=replace(listener.traffic, **taken))
        for listener in listeners
    )


def _serves(listener: ir.Listener) -> bool:
    return any(rule.direct != CLOSED for host in listener.hosts for rule in host.all_rules)


def _disputed(listeners: Sequence[ir.Listener], names: Sequence[str]) -> list[str]:
    return [name for name in names if len({getattr(each.traffic, name) for each in listeners}) > 1]


def _undisputed(listener: ir.Listener, disputed: Sequence[str]) -> ir.Listener:
    """As without a policy in what is disputed."""
    traffic = replace(listener.traffic, **{name: getattr(NO_POLICY, name) for name in disputed})
    shut = "address" in disputed and listener.traffic.address != ClientAddress()
    return replace(listener, traffic=traffic, hosts=closed(listener.hosts) if shut else listener.hosts)


def received(scope: Scope, policy: client_traffic.ClientTrafficPolicy) -> ClientTraffic | None:
    """What a policy asks of a listener; None, reported, where that cannot be: what it guards must then stay closed."""
    spec = policy.spec
    tls = server_tls(scope, policy, spec.tls) if spec.tls is not None else ServerTls()
    if tls is None:
        return None
    check_path(scope, policy)
    connection, timeout = spec.connection, spec.timeout
    http = timeout.http if timeout is not None and timeout.http is not None else ClientHTTPTimeout()
    limit = connection.buffer_limit if connection is not None else None
    return ClientTraffic(
        body_bytes_max=quantity_bytes(limit) if limit is not None else None,
        request_received_seconds=seconds(http.request_received_timeout),
        headers_received_seconds=seconds(http.request_headers_received_timeout),
        idle_seconds=seconds(http.idle_timeout),
        stream_idle_seconds=seconds(http.stream_idle_timeout),
        address=_address(spec.client_ip_detection),
        tls=tls,
        headers=headers(spec.headers or client_http.ClientHeaders()),
        escaped_slashes=_slashes(spec.path),
        http1=http1(spec.http1 or client_http.Http1()),
        http2=http2(spec.http2 or client_http.ClientHttp2()),
        health_path=spec.health_check.path if spec.health_check is not None else "",
        connections=connections(spec),
        socket=socket(spec),
    )


def _slashes(
    path: client_http.ClientPath | None,
) -> Literal["RejectRequest", "UnescapeAndForward", "UnescapeAndRedirect"]:
    action = path.escaped_slashes_action if path is not None else "UnescapeAndForward"
    return "UnescapeAndForward" if action == "KeepUnchanged" else action


def _address(detection: client_traffic.ClientIPDetection | None) -> ClientAddress:
    if detection is None:
        return ClientAddress()
    if (custom := detection.custom_header) is not None:
        return ClientAddress(header=custom.name.lower(), required=custom.fail_closed)
    if (forwarded := detection.x_forwarded_for) is not None:
        return ClientAddress(
            trusted_hops=forwarded.num_trusted_hops or 0,
            trusted_ranges=forwarded.trusted_cidrs or (),
            appends=not forwarded.disable_x_forwarded_for_append,
        )
    return ClientAddress()
