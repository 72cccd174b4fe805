"""TLS of a listener: its certificates, how it is spoken, and which certificates clients must show."""

from collections.abc import Mapping
from typing import Final

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    SubjectAltNameMatcher,
    TlsParameters,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from headgate.compiler import ir
from headgate.compiler.clients import ClientCertificates, ServerTls, TextRule
from headgate.compiler.lower.wire import ads, packed, regex

_VERSIONS: Final[Mapping[str, TlsParameters.TlsProtocol]] = {
    "": TlsParameters.TLS_AUTO,
    "1.0": TlsParameters.TLSv1_0,
    "1.1": TlsParameters.TLSv1_1,
    "1.2": TlsParameters.TLSv1_2,
    "1.3": TlsParameters.TLSv1_3,
}
_NAMES: Final[Mapping[str, SubjectAltNameMatcher.SanType]] = {
    "DNS": SubjectAltNameMatcher.DNS,
    "EMAIL": SubjectAltNameMatcher.EMAIL,
    "IP_ADDRESS": SubjectAltNameMatcher.IP_ADDRESS,
    "URI": SubjectAltNameMatcher.URI,
}


def transport_socket(listener: ir.Listener) -> TransportSocket:
    """The transport socket of a listener that speaks TLS."""
    tls, context = listener.traffic.tls, DownstreamTlsContext()
    context.common_tls_context.alpn_protocols.extend(tls.alpn)
    for certificate in listener.certificates:
        context.common_tls_context.tls_certificate_sds_secret_configs.append(
            SdsSecretConfig(name=certificate.name, sds_config=ads())
        )
    parameters = _parameters(tls)
    if parameters != TlsParameters():
        context.common_tls_context.tls_params.CopyFrom(parameters)
    if tls.clients is not None:
        context.require_client_certificate.value = tls.clients.required
        context.common_tls_context.validation_context.CopyFrom(_validation(tls.clients))
    context.disable_stateful_session_resumption = not tls.resumes_by_id
    if not tls.resumes_by_ticket:
        context.disable_stateless_session_resumption = True
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def _parameters(tls: ServerTls) -> TlsParameters:
    return TlsParameters(
        tls_minimum_protocol_version=_VERSIONS[tls.version_min],
        tls_maximum_protocol_version=_VERSIONS[tls.version_max],
        cipher_suites=tls.ciphers,
        ecdh_curves=tls.curves,
        signature_algorithms=tls.signature_algorithms,
    )


def _validation(clients: ClientCertificates) -> CertificateValidationContext:
    result = CertificateValidationContext(
        verify_certificate_spki=clients.public_keys,
        verify_certificate_hash=clients.hashes,
        allow_expired_certificate=clients.expired,
    )
    if clients.authorities:
        result.trusted_ca.inline_string = clients.authorities
    if clients.revoked:
        result.crl.inline_string = clients.revoked
        result.only_verify_leaf_cert_crl = clients.revoked_leaf_alone
    if clients.untrusted:
        result.trust_chain_verification = CertificateValidationContext.ACCEPT_UNTRUSTED
    for name in clients.names:
        wanted = result.match_typed_subject_alt_names.add()
        wanted.matcher.CopyFrom(text_matcher(name.rule))
        wanted.san_type = _NAMES.get(name.kind, SubjectAltNameMatcher.OTHER_NAME)
        if name.kind not in _NAMES:
            wanted.oid = name.kind
    return result


def text_matcher(rule: TextRule) -> StringMatcher:
    """Envoy's form of what a text must be."""
    match rule.kind:
        case "Exact":
            return StringMatcher(exact=rule.value)
        case "Prefix":
            return StringMatcher(prefix=rule.value)
        case "Suffix":
            return StringMatcher(suffix=rule.value)
        case "RegularExpression":
            return StringMatcher(safe_regex=regex(rule.value))
