"""TLS of a ClientTrafficPolicy: how it is spoken, and which certificates clients must show."""

from collections.abc import Iterator, Sequence

from headgate.compiler.clients import AltName, ClientCertificates, ServerTls, TextRule
from headgate.compiler.resolve.pem import are_certificates, are_revocations
from headgate.compiler.resolve.scope import Scope, grant_remedy, granted
from headgate.compiler.resources import client_tls
from headgate.compiler.resources.client_traffic import ClientTrafficPolicy
from headgate.compiler.resources.gateway_api import SecretReference
from headgate.compiler.resources.metadata import Name

FIELD = "spec.tls.clientValidation"


def server_tls(scope: Scope, policy: ClientTrafficPolicy, spec: client_tls.ClientTls) -> ServerTls | None:
    """How TLS is spoken; None, reported, where nobody can tell which clients to trust."""
    validation = spec.client_validation
    clients = _certificates(scope, policy, validation) if validation is not None else None
    if validation is not None and clients is None:
        return None
    resumption = spec.session.resumption if spec.session is not None else None
    return ServerTls(
        version_min=_version(spec.min_version),
        version_max=_version(spec.max_version),
        ciphers=spec.ciphers,
        curves=spec.ecdh_curves,
        signature_algorithms=spec.signature_algorithms,
        alpn=spec.alpn_protocols if spec.alpn_protocols is not None else ServerTls().alpn,
        clients=clients,
        resumes_by_id=resumption.stateful is not None if resumption is not None else clients is None,
        resumes_by_ticket=resumption.stateless is not None if resumption is not None else clients is None,
    )


def _version(version: client_tls.TlsVersion | None) -> str:
    return "" if version in (None, "Auto") else version


def _certificates(
    scope: Scope, policy: ClientTrafficPolicy, spec: client_tls.ClientValidation
) -> ClientCertificates | None:
    authorities = _texts(scope, policy, f"{FIELD}.caCertificateRefs", spec.ca_certificate_refs, "ca.crt")
    crl = spec.crl
    revoked = _texts(scope, policy, f"{FIELD}.crl.refs", crl.refs, "ca.crl") if crl is not None else ""
    if authorities is None or revoked is None:
        return None
    return ClientCertificates(
        required=spec.in_force in ("RequireAny", "RequireAndVerify"),
        untrusted=spec.in_force in ("RequireAny", "Request"),
        authorities=authorities,
        revoked=revoked,
        revoked_leaf_alone=crl is not None and crl.only_verify_leaf_certificate,
        public_keys=spec.spki_hashes,
        hashes=spec.certificate_hashes,
        names=tuple(_names(spec.subject_alt_names)) if spec.subject_alt_names is not None else (),
        expired=spec.allow_expired_certificate,
    )


def _names(spec: client_tls.SubjectAltNames) -> Iterator[AltName]:
    for kind, rules in (
        ("DNS", spec.dns_names),
        ("EMAIL", spec.email_addresses),
        ("IP_ADDRESS", spec.ip_addresses),
        ("URI", spec.uris),
    ):
        yield from (AltName(kind, TextRule(rule.type, rule.value)) for rule in rules)
    yield from (AltName(rule.oid, TextRule(rule.type, rule.value)) for rule in spec.other_names)


def _texts(
    scope: Scope, policy: ClientTrafficPolicy, field: str, references: Sequence[SecretReference], key: str
) -> str | None:
    """What all of them hold, one after the other; None, reported, where one cannot be had."""
    found = [_text(scope, policy, f"{field}[{index}]", ref, key) for index, ref in enumerate(references)]
    texts = [text for text in found if text is not None]
    return "\n".join(texts) if len(texts) == len(found) else None


def _text(scope: Scope, policy: ClientTrafficPolicy, field: str, ref: SecretReference, key: str) -> str | None:
    name = Name(ref.namespace or policy.metadata.namespace, ref.name)
    if (ref.group, ref.kind) not in (("", "Secret"), ("", "ConfigMap")):
        scope.report.error(policy, field, f"{ref.kind} cannot be referred to", remedy="a ConfigMap or a Secret")
        return None
    if not granted(scope, policy, "", ref.kind, name):
        message = f"may not refer to {ref.kind} {name} in another namespace"
        remedy = grant_remedy(policy, "", ref.kind, name)
        scope.report.error(policy, field, message, remedy=remedy, reason="RefNotPermitted")
        return None
    text = _value(scope, ref, name, key)
    if not (are_certificates(text) if key == "ca.crt" else are_revocations(text)):
        what = "certificates" if key == "ca.crt" else "lists of what is revoked"
        message = f"there is no {ref.kind} {name} with {what} as PEM under the key {key}"
        scope.report.error(policy, field, message, reason="InvalidCACertificateRef")
        return None
    return text


def _value(scope: Scope, ref: SecretReference, name: Name, key: str) -> str:
    """compat: the value of the key, or of the only one."""
    if ref.kind == "ConfigMap":
        config = scope.world.config_maps.get(name)
        if config is None:
            return ""
        return config.data.get(key) or (next(iter(config.data.values())) if len(config.data) == 1 else "")
    secret = scope.world.secrets.get(name)
    if secret is None:
        return ""
    value = secret.value(key) or (secret.value(secret.keys[0]) if len(secret.keys) == 1 else None)
    return value.reveal() if value is not None else ""
