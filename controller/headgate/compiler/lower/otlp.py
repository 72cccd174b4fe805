"""Receivers of OpenTelemetry's data as clusters, with the credentials that they ask for."""

from collections.abc import Iterator
from hashlib import sha256
from urllib.parse import urlsplit

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.core.v3.http_service_pb2 import HttpService
from envoy.extensions.filters.http.credential_injector.v3.credential_injector_pb2 import CredentialInjector
from envoy.extensions.filters.http.upstream_codec.v3.upstream_codec_pb2 import UpstreamCodec
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.extensions.http.injected_credentials.generic.v3.generic_pb2 import Generic
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret as SdsSecret
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from headgate.compiler.lower.filters.telemetry import COLLECTOR_CLUSTER
from headgate.compiler.lower.wire import (
    ads,
    duration,
    extension,
    http_filter,
    packed,
    require_name,
    socket_address,
    upstream_tls,
)
from headgate.contract.addresses import is_address
from headgate.contract.otel import Exporter, Protocol

_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
CONNECT_SECONDS = 5.0
UNSENT_BYTES_MAX = 4_194_304
"""What Envoy has written and the receiver not read: a receiver that hangs must not fill Envoy's memory."""


def cluster_name(exporter: Exporter) -> str:
    """Receivers that are asked alike share a cluster; a socket is our own collector's."""
    if exporter.socket:
        return COLLECTOR_CLUSTER
    said = repr((exporter.protocol, exporter.authority, exporter.addresses, exporter.tls, _secret_digest(exporter)))
    files = repr((exporter.ca_file, exporter.certificate_file, exporter.key_file))
    return f"headgate-otlp/{sha256((said + files).encode()).hexdigest()[:12]}"


def _secret_digest(exporter: Exporter) -> str:
    """Two receivers may differ by their headers alone; names of clusters are no place for those."""
    digest = sha256()
    for name, value in exporter.headers:
        digest.update(f"{name}\0{value.reveal()}\0".encode())
    return digest.hexdigest()


def _secret_name(exporter: Exporter, header: str) -> str:
    return f"{cluster_name(exporter)}/{header}"


def secrets(exporter: Exporter) -> Iterator[SdsSecret]:
    """The headers' values: by SDS, so that no dump of the configuration shows them."""
    for header, value in exporter.headers:
        secret = SdsSecret(name=_secret_name(exporter, header))
        secret.generic_secret.secret.inline_string = value.reveal()
        yield secret


def _filters(exporter: Exporter) -> Iterator[HttpFilter]:
    for header, _ in exporter.headers:
        generic = Generic(header=header)
        generic.credential.CopyFrom(SdsSecretConfig(name=_secret_name(exporter, header), sds_config=ads()))
        injector = CredentialInjector(overwrite=True)
        injector.credential.CopyFrom(extension("envoy.http.injected_credentials.generic", generic))
        yield http_filter(f"headgate.credential_injector/{header}", injector)
    yield http_filter("envoy.filters.http.upstream_codec", UpstreamCodec())


def _tls(exporter: Exporter, ca_file: str) -> TransportSocket:
    name = urlsplit(f"//{exporter.authority}").hostname or exporter.authority
    context = upstream_tls(name)
    validation = context.common_tls_context.validation_context
    validation.trusted_ca.filename = exporter.ca_file or ca_file
    require_name(validation, name)
    if exporter.certificate_file and exporter.key_file:
        certificate = context.common_tls_context.tls_certificates.add()
        certificate.certificate_chain.filename = exporter.certificate_file
        certificate.private_key.filename = exporter.key_file
    if exporter.protocol is Protocol.GRPC:
        context.common_tls_context.alpn_protocols.append("h2")
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def cluster(exporter: Exporter, ca_file: str) -> Cluster:
    """The receiver."""
    name = cluster_name(exporter)
    dns = any(not is_address(address.host) for address in exporter.addresses)
    result = Cluster(name=name, type=Cluster.STRICT_DNS if dns else Cluster.STATIC)
    result.connect_timeout.CopyFrom(duration(CONNECT_SECONDS))
    result.per_connection_buffer_limit_bytes.value = UNSENT_BYTES_MAX
    if dns:
        result.dns_lookup_family = Cluster.V4_PREFERRED
    result.load_assignment.cluster_name = name
    locality = result.load_assignment.endpoints.add()
    for address in exporter.addresses:
        locality.lb_endpoints.add().endpoint.address.CopyFrom(socket_address(address.host, address.port))
    protocol = HttpProtocolOptions()
    if exporter.protocol is Protocol.GRPC:
        protocol.explicit_http_config.http2_protocol_options.SetInParent()
    else:
        protocol.explicit_http_config.http_protocol_options.SetInParent()
    protocol.http_filters.extend(_filters(exporter))
    result.typed_extension_protocol_options[_PROTOCOL_OPTIONS].CopyFrom(packed(protocol))
    if exporter.tls:
        result.transport_socket.CopyFrom(_tls(exporter, ca_file))
    return result


def http_service(exporter: Exporter) -> HttpService:
    """How a receiver is asked by HTTP."""
    result = HttpService()
    result.http_uri.uri = f"{'https' if exporter.tls else 'http'}://{exporter.authority}{exporter.path}"
    result.http_uri.cluster = cluster_name(exporter)
    result.http_uri.timeout.CopyFrom(duration(exporter.timeout_seconds))
    return result
