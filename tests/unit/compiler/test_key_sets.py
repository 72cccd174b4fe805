"""Where key sets are fetched from."""

import pytest
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from headgate.compiler.lower.clusters import jwks_cluster
from headgate.compiler.lower.filters.security import jwks_cluster_name
from headgate.compiler.options import Options


@pytest.mark.parametrize(
    ("host", "address", "kind", "san", "sni"),
    [
        ("issuer.example", "issuer.example", "STRICT_DNS", "DNS", "issuer.example"),
        ("192.0.2.1", "192.0.2.1", "STATIC", "IP_ADDRESS", ""),
        ("[2001:DB8:0::1]", "2001:db8::1", "STATIC", "IP_ADDRESS", ""),
    ],
)
def test_an_address_is_not_looked_up_and_the_certificate_is_for_it(
    host: str, address: str, kind: str, san: str, sni: str
) -> None:
    uri = f"https://{host}:8443/keys"
    cluster = jwks_cluster(jwks_cluster_name(uri), uri, Options())
    assert cluster.type == getattr(cluster, kind)
    (endpoint,) = cluster.load_assignment.endpoints[0].lb_endpoints
    assert endpoint.endpoint.address.socket_address.address == address
    context = UpstreamTlsContext()
    cluster.transport_socket.typed_config.Unpack(context)
    (name,) = context.common_tls_context.validation_context.match_typed_subject_alt_names
    assert (name.SanType.Name(name.san_type), name.matcher.exact, context.sni) == (san, address, sni)
