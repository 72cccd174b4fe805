"""ClientTrafficPolicies: how a listener receives requests."""

from collections.abc import Sequence

from headgate.compiler import ir
from headgate.compiler.clients import ClientAddress, ClientTraffic, ServerTls
from headgate.compiler.resolve.client_tls import server_tls
from headgate.compiler.resolve.policies import gateway_targets, seconds
from headgate.compiler.resolve.scope import Scope
from headgate.compiler.resources import client_traffic
from headgate.compiler.resources.metadata import Name
from headgate.compiler.resources.quantities import quantity_bytes


def client_policy(scope: Scope, gateway: Name, listener: str) -> client_traffic.ClientTrafficPolicy | None:
    """The policy of a listener: its own before its Gateway's."""
    targets = gateway_targets(gateway, listener)
    return next((scope.client[target] for target in targets if target in scope.client), None)


def agreed(scope: Scope, port: int, found: Sequence[tuple[Name, ir.Listener]]) -> bool:
    """Whether the listeners of a plain port, which are one to Envoy, are received alike. Where not, no policy of theirs
    can be in force, which each of them is told: none may decide for the other's clients whom to believe."""
    if len({listener.traffic for _, listener in found}) == 1:
        return True
    names = ", ".join(sorted(listener.name for _, listener in found))
    for gateway, listener in found:
        policy = client_policy(scope, gateway, listener.name.rpartition("/")[2])
        if policy is not None:
            message = f"not in force on port {port}: its listeners ({names}) share a connection, and not this policy"
            scope.report.error(policy, "spec", message, remedy="one policy for all of them, or a port for each")
    return False


def received(scope: Scope, policy: client_traffic.ClientTrafficPolicy) -> ClientTraffic | None:
    """What a policy asks of a listener; None, reported, where that cannot be: what it guards must then stay closed."""
    spec = policy.spec
    tls = server_tls(scope, policy, spec.tls) if spec.tls is not None else ServerTls()
    if tls is None:
        return None
    connection, timeout = spec.connection, spec.timeout
    http = timeout.http if timeout is not None and timeout.http is not None else client_traffic.ClientHTTPTimeout()
    limit = connection.buffer_limit if connection is not None else None
    return ClientTraffic(
        body_bytes_max=quantity_bytes(limit) if limit is not None else None,
        request_received_seconds=seconds(http.request_received_timeout),
        idle_seconds=seconds(http.idle_timeout),
        stream_idle_seconds=seconds(http.stream_idle_timeout),
        address=_address(spec.client_ip_detection),
        tls=tls,
    )


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
