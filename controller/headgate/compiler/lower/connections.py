"""Connections to a backend: how they are kept, looked up and found well, in its cluster."""

from typing import Final

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection
from envoy.config.core.v3.base_pb2 import RequestMethod
from envoy.config.core.v3.health_check_pb2 import HealthCheck
from envoy.config.core.v3.protocol_pb2 import HttpProtocolOptions
from google.protobuf.wrappers_pb2 import UInt32Value
from headgate.compiler import ir, upstreams
from headgate.compiler.lower.wire import duration
from headgate.compiler.upstreams import Connections

_FAMILIES: Final = {
    "IPv4": Cluster.V4_ONLY,
    "IPv6": Cluster.V6_ONLY,
    "IPv4Preferred": Cluster.V4_PREFERRED,
    "IPv6Preferred": Cluster.AUTO,
    "IPv4AndIPv6": Cluster.ALL,
}


def set_lifetimes(
    options: HttpProtocolOptions, *, idle: float | None, connection: float | None, stream: float | None
) -> None:
    """How long connections and their streams last, on either side; None is Envoy's default."""
    for message, seconds in (
        (options.idle_timeout, idle),
        (options.max_connection_duration, connection),
        (options.max_stream_duration, stream),
    ):
        if seconds is not None:
            message.CopyFrom(duration(seconds))


def set_connections(cluster: Cluster, connections: Connections, *, dns: bool) -> None:
    """How connections are made."""
    lookup = connections.lookup
    if dns:
        cluster.dns_lookup_family = _FAMILIES[lookup.family]
        cluster.respect_dns_ttl = lookup.as_answered
        if lookup.seconds is not None:
            cluster.dns_refresh_rate.CopyFrom(duration(lookup.seconds))
    if connections.per_endpoint_max is not None:
        threshold = cluster.circuit_breakers.per_host_thresholds.add()
        threshold.max_connections.value = connections.per_endpoint_max
    if connections.panic_percent is not None:
        cluster.common_lb_config.healthy_panic_threshold.value = connections.panic_percent
    if (keepalive := connections.keepalive) is not None:
        options = cluster.upstream_connection_options.tcp_keepalive
        options.SetInParent()
        if keepalive.probes is not None:
            options.keepalive_probes.value = keepalive.probes
        if keepalive.idle_seconds is not None:
            options.keepalive_time.value = keepalive.idle_seconds
        if keepalive.interval_seconds is not None:
            options.keepalive_interval.value = keepalive.interval_seconds


def add_health(cluster: Cluster, backend: ir.Backend) -> None:
    """Who asks whether endpoints are well, and what is done with those that fail."""
    if (found := backend.health_check) is not None:
        check = cluster.health_checks.add(
            timeout=duration(found.timeout_seconds),
            interval=duration(found.interval_seconds),
            unhealthy_threshold=UInt32Value(value=found.unhealthy_threshold),
            healthy_threshold=UInt32Value(value=found.healthy_threshold),
        )
        if found.jitter_seconds is not None:
            check.initial_jitter.CopyFrom(duration(found.jitter_seconds))
        if found.path:
            _set_http(check.http_health_check, found, backend.authority)
        else:
            _set_tcp(check.tcp_health_check, found)
        if found.port:
            for member in cluster.load_assignment.endpoints[0].lb_endpoints:
                if member.endpoint.address.HasField("socket_address"):
                    member.endpoint.health_check_config.port_value = found.port
    if backend.outlier is not None:
        _set_outlier(cluster.outlier_detection, backend.outlier)


def _set_http(message: HealthCheck.HttpHealthCheck, check: upstreams.HealthCheck, authority: str) -> None:
    message.path = check.path
    message.host = check.host or authority
    if check.method != "GET":
        method = RequestMethod.Value(check.method)
        message.method = method  # pyright: ignore[reportAttributeAccessIssue]
    for ranges, statuses in (
        (message.expected_statuses, check.statuses),
        (message.retriable_statuses, check.retriable_statuses),
    ):
        for status in sorted(statuses):
            ranges.add(start=status, end=status + 1)
    if check.sent:
        message.send.text = check.sent.hex()
    if check.expected:
        message.receive.add(text=check.expected.hex())


def _set_tcp(message: HealthCheck.TcpHealthCheck, check: upstreams.HealthCheck) -> None:
    message.SetInParent()
    # (as text, which is hexadecimal: Envoy sends no `binary`)
    if check.sent:
        message.send.text = check.sent.hex()
    if check.expected:
        message.receive.add(text=check.expected.hex())


def _set_outlier(message: OutlierDetection, outlier: upstreams.OutlierDetection) -> None:
    message.consecutive_5xx.value = outlier.consecutive_5xx
    message.interval.CopyFrom(duration(outlier.interval_seconds))
    message.base_ejection_time.CopyFrom(duration(outlier.base_ejection_seconds))
    message.max_ejection_percent.value = outlier.ejection_percent_max
    if outlier.consecutive_gateway_errors:
        message.consecutive_gateway_failure.value = outlier.consecutive_gateway_errors
        message.enforcing_consecutive_gateway_failure.value = 100
    if outlier.consecutive_local_failures is not None:
        message.split_external_local_origin_errors = True
        message.consecutive_local_origin_failure.value = outlier.consecutive_local_failures
    if outlier.failure_percent is not None:
        message.failure_percentage_threshold.value = outlier.failure_percent
        message.enforcing_failure_percentage.value = 100
    if outlier.ejects_one:
        message.always_eject_one_host.value = True
