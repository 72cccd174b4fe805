"""Connections to backends, as a BackendTrafficPolicy has them."""

from headgate.compiler.clients import TcpKeepalive
from headgate.compiler.resources import policies
from headgate.compiler.resources.client_connections import TcpKeepalive as WrittenKeepalive
from headgate.compiler.resources.quantities import duration_seconds
from headgate.compiler.upstreams import Connections, Lookup


def connections(spec: policies.BackendTrafficPolicySpec, *, followed: bool) -> Connections:
    """How connections to the backends of a policy are kept; `followed` where another is asked when one fails.

    Envoy answers itself where it leaves out all endpoints of a backend, and asks no other: such a backend is tried.
    """
    timeout = (
        spec.timeout.http if spec.timeout is not None and spec.timeout.http is not None else policies.HTTPTimeout()
    )
    breaker, health = spec.circuit_breaker, spec.health_check
    panic = health.panic_threshold if health is not None else None
    per_endpoint = breaker.per_endpoint if breaker is not None else None
    return Connections(
        idle_seconds=_seconds(timeout.connection_idle_timeout),
        seconds=_seconds(timeout.max_connection_duration),
        stream_seconds=_seconds(timeout.max_stream_duration),
        per_endpoint_max=per_endpoint.max_connections if per_endpoint is not None else None,
        keepalive=tcp_keepalive(spec.tcp_keepalive),
        lookup=_lookup(spec.dns) if spec.dns is not None else Lookup(),
        panic_percent=max(1, panic) if panic is not None and followed else panic,
    )


def tcp_keepalive(spec: WrittenKeepalive | None) -> TcpKeepalive | None:
    """Of clients' and backends' connections."""
    if spec is None:
        return None
    idle, interval = _seconds(spec.idle_time), _seconds(spec.interval)
    return TcpKeepalive(
        probes=spec.probes,
        idle_seconds=int(idle) if idle is not None else None,
        interval_seconds=int(interval) if interval is not None else None,
    )


def _lookup(spec: policies.Dns) -> Lookup:
    return Lookup(
        seconds=_seconds(spec.dns_refresh_rate) or 30.0, as_answered=spec.respect_dns_ttl, family=spec.lookup_family
    )


def _seconds(duration: str) -> float | None:
    return duration_seconds(duration) if duration else None
