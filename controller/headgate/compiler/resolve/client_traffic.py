"""ClientTrafficPolicies: how a listener receives requests."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from headgate.compiler import ir
from headgate.compiler.clients import NO_POLICY, ClientAddress, ClientTraffic, ServerTls
from headgate.compiler.resolve.client_http import check_path, connections, headers, http1, http2, socket
from headgate.compiler.resolve.client_tls import server_tls
from headgate.compiler.resolve.policies import gateway_targets, seconds
from headgate.compiler.resolve.routes import closed
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
    socket. Where they do not agree, no policy of theirs is in force, as far as it is about that, which each is told:
    none may decide for the other's clients whom to believe. A listener that is to believe proxies serves nothing then:
    with their addresses for its clients', what is allowed by address might be allowed to all."""
    listeners = tuple(listener for _, listener in found)
    shared = {listener.traffic.socket if tls else listener.traffic for listener in listeners}
    if len(shared) == 1:
        return listeners
    what = "what it says of sockets is " if tls else ""
    names = ", ".join(sorted(listener.name for listener in listeners))
    for gateway, listener in found:
        policy = client_policy(scope, gateway, listener.name.rpartition("/")[2])
        if policy is not None:
            message = f"{what}not in force on port {port}, which listeners share that do not agree in it: {names}"
            scope.report.error(policy, "spec", message, remedy="one policy for all of them, or a port for each")
    if tls:
        return tuple(
            replace(listener, traffic=replace(listener.traffic, socket=NO_POLICY.socket)) for listener in listeners
        )
    return tuple(map(_without_policy, listeners))


def _without_policy(listener: ir.Listener) -> ir.Listener:
    believes = listener.traffic.address != ClientAddress()
    return replace(listener, traffic=NO_POLICY, hosts=closed(listener.hosts) if believes else listener.hosts)


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
