"""Clusters: one per backend of a rule, plus the processor's and the rate limit service's."""

import ipaddress
from functools import lru_cache

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.core.v3.protocol_pb2 import Http1ProtocolOptions, Http2ProtocolOptions
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.transport_sockets.http_11_proxy.v3.upstream_http_11_connect_pb2 import (
    Http11ProxyUpstreamTransport,
)
from envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2 import RawBuffer
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import CertificateValidationContext
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from headgate.compiler import ir, upstreams
from headgate.compiler.lower import tracing
from headgate.compiler.lower.connections import add_health, set_connections, set_lifetimes
from headgate.compiler.lower.filters import telemetry
from headgate.compiler.lower.filters.extraction import EXTPROC_CLUSTER
from headgate.compiler.lower.filters.security import jwks_host_and_port
from headgate.compiler.lower.upstream import upstream_filters
from headgate.compiler.lower.wire import (
    duration,
    packed,
    pipe,
    require_name,
    serialised,
    set_packed,
    socket_address,
    upstream_tls,
)
from headgate.compiler.options import Options
from headgate.compiler.remembered import remembered
from headgate.compiler.upstreams import AS_ENVOY_DOES
from headgate.contract import metadata
from headgate.contract.addresses import is_address
from headgate.llm.provider_names import compat_provider_name

RATELIMIT_CLUSTER = "headgate-ratelimit"
KEEPALIVE_SECONDS = 5.0
"""To servers on other machines: one that is gone without a word would have each request wait for its answer, until TCP
gives the connection up after a quarter of an hour."""
_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
WINDOW_BYTES_MAX = 2_147_483_647
"""HTTP/2 windows of connections to our own servers; to Envoy, also what a stream may hold before filters must wait.

No filter may be told to wait: in the upstream position ext_proc then crashes Envoy 1.40 (a body above the window, or
several above the connection's buffer, suffice). What is held is bounded by the bodies of the requests in flight.
"""


_PROXY_ADDRESS = "envoy.http11_proxy_transport_socket.proxy_address"
"""Where Envoy looks for the address of a proxy, in metadata."""
_NOWHERE = ipaddress.ip_network("192.0.2.0/24")


def _address(endpoint: ir.Endpoint) -> Address:
    return pipe(endpoint.address) if endpoint.is_socket else socket_address(endpoint.address, endpoint.port)


@lru_cache(maxsize=4096)
def _members(endpoints: tuple[ir.Endpoint, ...]) -> bytes:
    """A ClusterLoadAssignment but for its cluster's name, serialised."""
    result = ClusterLoadAssignment()
    locality = result.endpoints.add()
    for endpoint in endpoints:
        member = locality.lb_endpoints.add().endpoint
        member.address.CopyFrom(_address(endpoint))
        if endpoint.is_dns:
            member.hostname = endpoint.address
    return serialised(result)


def _set_endpoints(cluster: Cluster, endpoints: tuple[ir.Endpoint, ...]) -> None:
    cluster.load_assignment.cluster_name = cluster.name
    cluster.load_assignment.MergeFromString(_members(endpoints))


@lru_cache(maxsize=4096)
def _transport_socket(tls: ir.UpstreamTls, ca_file: str) -> TransportSocket:
    context = upstream_tls(tls.server_name)
    if not tls.insecure:
        validation = CertificateValidationContext()
        if tls.ca_certificates:
            validation.trusted_ca.inline_string = tls.ca_certificates
        else:
            validation.trusted_ca.filename = ca_file
        require_name(validation, tls.server_name)
        context.common_tls_context.validation_context.CopyFrom(validation)
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


@lru_cache(maxsize=4096)
def _through_proxy(tls: ir.UpstreamTls | None, ca_file: str) -> TransportSocket:
    """In a tunnel that the proxy of the endpoints' metadata opens (HTTP CONNECT)."""
    message = Http11ProxyUpstreamTransport()
    if tls is not None:
        message.transport_socket.CopyFrom(_transport_socket(tls, ca_file))
    else:
        message.transport_socket.name = "envoy.transport_sockets.raw_buffer"
        message.transport_socket.typed_config.CopyFrom(packed(RawBuffer()))
    return TransportSocket(name="envoy.transport_sockets.http_11_proxy", typed_config=packed(message))


def _tunnelled(cluster: Cluster, proxy: ir.Endpoint) -> None:
    """Makes the cluster's endpoints ones that are reached through the proxy.

    By metadata, and not the socket's `default_proxy_address`, with which Envoy sends plain requests to the proxy as if
    that was the backend. The proxy is told names and looks them up; Envoy, whose network may know none, needs no
    address then, and has some that lead nowhere (RFC 5737).
    """
    (locality,) = cluster.load_assignment.endpoints
    locality.metadata.typed_filter_metadata[_PROXY_ADDRESS].CopyFrom(packed(_address(proxy)))
    for index, member in enumerate(locality.lb_endpoints):
        if member.endpoint.hostname:
            member.endpoint.address.socket_address.address = str(_NOWHERE[index])


@lru_cache(maxsize=4096)
def _breakers(breaker: upstreams.Breaker) -> bytes:
    """CircuitBreakers, serialised."""
    result = CircuitBreakers()
    threshold = result.thresholds.add()
    for field, value in (
        ("max_connections", breaker.connections_max),
        ("max_pending_requests", breaker.pending_max),
        ("max_requests", breaker.requests_max),
    ):
        if value:
            getattr(threshold, field).value = value
    threshold.max_retries.value = breaker.retries_max
    if breaker.retry_percent is not None:
        threshold.retry_budget.budget_percent.value = breaker.retry_percent
        if breaker.retries_min is not None:
            threshold.retry_budget.min_retry_concurrency.value = breaker.retries_min
    return serialised(result)


def _protocol(backend: ir.Backend) -> HttpProtocolOptions:
    options = HttpProtocolOptions()
    if backend.tls is not None and backend.http2:
        options.auto_config.http_protocol_options.CopyFrom(Http1ProtocolOptions())
        options.auto_config.http2_protocol_options.CopyFrom(Http2ProtocolOptions())
    elif backend.http2:
        options.explicit_http_config.http2_protocol_options.CopyFrom(Http2ProtocolOptions())
    else:
        options.explicit_http_config.http_protocol_options.CopyFrom(Http1ProtocolOptions())
    return options


_POLICIES = {
    "least_request": Cluster.LEAST_REQUEST,
    "random": Cluster.RANDOM,
    "round_robin": Cluster.ROUND_ROBIN,
    "hash": Cluster.MAGLEV,
}


def _balance(cluster: Cluster, backend: ir.Backend, *, one_endpoint: bool) -> None:
    if one_endpoint:  # there is nothing to choose, and a table for it takes memory
        cluster.lb_policy = Cluster.LEAST_REQUEST
        return
    cluster.lb_policy = _POLICIES[backend.balancing.kind]
    if backend.balancing.kind == "hash":
        cluster.maglev_lb_config.table_size.value = backend.balancing.table_size


@remembered
def backend_cluster(backend: ir.Backend, route: str, options: Options) -> Cluster:
    """The cluster of one backend of a rule. The result is shared: it must not be changed."""
    dns = backend.proxy is None and any(endpoint.is_dns for endpoint in backend.endpoints)
    cluster = Cluster(
        name=backend.name,
        type=Cluster.STRICT_DNS if dns else Cluster.STATIC,
        connect_timeout=duration(backend.connect_timeout_seconds),
    )
    _set_endpoints(cluster, backend.endpoints)
    _balance(cluster, backend, one_endpoint=len(backend.endpoints) == 1 and not dns)
    protocol, filters = _protocol(backend), b""
    if backend.dialect is not None:
        filters = upstream_filters(backend, route, options)
        values = cluster.metadata.filter_metadata[metadata.RESOURCE]
        values[metadata.RESOURCE_BACKEND] = backend.name
        values[metadata.RESOURCE_PROVIDER] = compat_provider_name(backend.dialect, backend.host)
        if options.tracing is not None:
            tracing.describe(cluster, backend)
    cluster.circuit_breakers.MergeFromString(_breakers(backend.breaker))
    set_connections(cluster, backend.connections, dns=dns)
    if backend.connections != AS_ENVOY_DOES:
        set_lifetimes(
            protocol.common_http_protocol_options,
            idle=backend.connections.idle_seconds,
            connection=backend.connections.seconds,
            stream=backend.connections.stream_seconds,
        )
    if backend.breaker.requests_per_connection_max:
        limit = protocol.common_http_protocol_options.max_requests_per_connection
        limit.value = backend.breaker.requests_per_connection_max
    set_packed(cluster.typed_extension_protocol_options[_PROTOCOL_OPTIONS], protocol, filters)
    if backend.proxy is not None:
        _tunnelled(cluster, backend.proxy)
        cluster.transport_socket.CopyFrom(_through_proxy(backend.tls, options.ca_file))
    elif backend.tls is not None:
        cluster.transport_socket.CopyFrom(_transport_socket(backend.tls, options.ca_file))
    add_health(cluster, backend)
    return cluster


def _service_cluster(name: str, endpoints: tuple[ir.Endpoint, ...], *, keepalive_seconds: float = 0) -> Cluster:
    protocol = HttpProtocolOptions()
    http2 = protocol.explicit_http_config.http2_protocol_options
    if keepalive_seconds:
        http2.connection_keepalive.interval.CopyFrom(duration(keepalive_seconds))
        http2.connection_keepalive.timeout.CopyFrom(duration(keepalive_seconds))
    http2.initial_stream_window_size.value = WINDOW_BYTES_MAX
    http2.initial_connection_window_size.value = WINDOW_BYTES_MAX
    dns = any(endpoint.is_dns for endpoint in endpoints)
    cluster = Cluster(
        name=name,
        type=Cluster.STRICT_DNS if dns else Cluster.STATIC,
        connect_timeout=duration(1),
        lb_policy=Cluster.LEAST_REQUEST,
    )
    _set_endpoints(cluster, endpoints)
    cluster.per_connection_buffer_limit_bytes.value = 0  # unlimited, see WINDOW_BYTES_MAX
    threshold = cluster.circuit_breakers.thresholds.add()
    for field in (threshold.max_connections, threshold.max_pending_requests, threshold.max_requests):
        field.value = 1_000_000  # every request in flight has a stream here; the backends' breakers bound them
    cluster.typed_extension_protocol_options[_PROTOCOL_OPTIONS].CopyFrom(packed(protocol))
    return cluster


def _sockets(*paths: str) -> tuple[ir.Endpoint, ...]:
    return tuple(ir.Endpoint(path, 0, is_socket=True) for path in paths)


@lru_cache(maxsize=1)
def _as_envoy_gateways_envoy() -> TransportSocket:
    """TLS with the files that Envoy Gateway's pods have, as to its own rate limit service: their certificate, which is
    read again when it changes, and whom to trust."""
    context = upstream_tls()
    certificate = context.common_tls_context.tls_certificate_sds_secret_configs.add(name="xds_certificate")
    certificate.sds_config.path_config_source.path = "/sds/xds-certificate.json"
    certificate.sds_config.resource_api_version = ApiVersion.V3
    context.common_tls_context.validation_context.trusted_ca.filename = "/certs/ca.crt"
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def _remote_cluster(name: str, address: str) -> Cluster:
    host, _, port = address.rpartition(":")
    cluster = _service_cluster(name, (ir.Endpoint(host, int(port), is_dns=True),), keepalive_seconds=KEEPALIVE_SECONDS)
    cluster.dns_lookup_family = Cluster.V4_PREFERRED
    cluster.transport_socket.CopyFrom(_as_envoy_gateways_envoy())
    return cluster


def service_clusters(options: Options) -> tuple[Cluster, ...]:
    """The clusters of our own servers that this installation runs."""
    result: list[Cluster] = []
    if options.extproc_sockets:
        result.append(_service_cluster(EXTPROC_CLUSTER, _sockets(*options.extproc_sockets)))
    if options.ratelimit_socket:
        result.append(_service_cluster(RATELIMIT_CLUSTER, _sockets(options.ratelimit_socket)))
    elif options.ratelimit_address:
        result.append(_remote_cluster(RATELIMIT_CLUSTER, options.ratelimit_address))
    spans = options.tracing.exporter.socket if options.tracing is not None else ""
    if socket := options.collector_socket or spans:
        result.append(_service_cluster(telemetry.COLLECTOR_CLUSTER, _sockets(socket)))
    elif options.collector_address:
        result.append(_remote_cluster(telemetry.COLLECTOR_CLUSTER, options.collector_address))
    for cluster in result:
        if cluster.name == telemetry.COLLECTOR_CLUSTER:
            telemetry.bound(cluster)
    return tuple(result)


def jwks_cluster(name: str, uri: str, options: Options) -> Cluster:
    """A cluster to fetch a JSON web key set from."""
    host, port = jwks_host_and_port(uri)
    backend = ir.Backend(
        name=name,
        service=name,
        endpoints=(ir.Endpoint(host, port, is_dns=not is_address(host)),),
        authority=host,
        tls=ir.UpstreamTls(server_name=host) if uri.startswith("https:") else None,
    )
    return backend_cluster(backend, "", options)
