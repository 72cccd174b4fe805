"""Authorities and the certificates they sign, as PEM; what is due, from what there is and the time.

    authority:   none ──► one ──(half of its life is over)──► two ──(the old one expires)──► one
    certificate: signed by the newest authority that everybody had time to learn; renewed in the last third of its life

Everybody trusts all authorities there are, so the change from one to the next never leaves a certificate that somebody
does not trust.
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA: Final = "ca.crt"
CA_KEY: Final = "ca.key"
CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
SKEW: Final = timedelta(minutes=5)
"""How far the clocks of those who check may be behind ours."""
AUTHORITY_LIVES: Final = 12
"""An authority lives as long as this many certificates."""

Data = Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """How long a certificate is valid; everything else follows from it."""

    certificate: timedelta

    @property
    def authority(self) -> timedelta:
        return self.certificate * AUTHORITY_LIVES

    @property
    def settling(self) -> timedelta:
        """How long an authority is told around before it signs: more than anybody takes to hear of it."""
        return self.certificate / 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whom a certificate is for."""

    common_name: str
    names: tuple[str, ...]
    """DNS names and IP addresses."""
    client: bool = False
    """For one who calls rather than one who is called."""


@dataclass(frozen=True, slots=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def expires(self) -> datetime:
        return self.certificate.not_valid_after_utc


def renewed_authorities(data: Data, lifetime: Lifetime, now: datetime) -> Data:
    """`ca.crt` and `ca.key` as they should be, newest first; the same object where nothing is due."""
    found = list(_authorities(data))
    kept = [each for each in found if each.expires > now]
    if not kept or kept[0].expires - now < lifetime.authority / 2:
        kept.insert(0, _new_authority(lifetime, now))
    if len(kept) == len(found) and all(one is other for one, other in zip(kept, found, strict=True)):
        return data
    return {
        CA: b"".join(_pem(each.certificate) for each in kept),
        CA_KEY: b"".join(_key_pem(each.key) for each in kept),
    }


def renewed_certificate(data: Data, authorities: Data, subject: Subject, lifetime: Lifetime, now: datetime) -> Data:
    """`ca.crt`, `tls.crt` and `tls.key` as they should be; the same object where nothing is due."""
    known = list(_authorities(authorities))
    current = _certificate(data)
    if current is None or _is_due(current, known, subject, lifetime, now):
        key = ec.generate_private_key(ec.SECP256R1())
        signed = _signed(key, subject, _signer(known, lifetime, now), lifetime, now)
        return {CA: authorities[CA], CERTIFICATE: _pem(signed), KEY: _key_pem(key)}
    return data if data.get(CA) == authorities[CA] else {**data, CA: authorities[CA]}


def expires_at(data: Data) -> datetime | None:
    """When the certificate ends; None where there is none."""
    found = _certificate(data)
    return found.not_valid_after_utc if found is not None else None


def _is_due(
    current: x509.Certificate, known: Sequence[_Authority], subject: Subject, lifetime: Lifetime, now: datetime
) -> bool:
    if current.not_valid_after_utc - now < lifetime.certificate / 3:
        return True
    if not any(_signed_by(current, each) for each in known):
        return True
    names = current.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [*names] != _general_names(subject.names)


def _signer(known: Sequence[_Authority], lifetime: Lifetime, now: datetime) -> _Authority:
    """The newest one that is settled; the oldest where none is: others are then newer still."""
    settled = (each for each in known if each.expires - now <= lifetime.authority - lifetime.settling)
    return next(settled, known[-1])


def _new_authority(lifetime: Lifetime, now: datetime) -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    # The name tells authorities apart in a chain; several are valid at once.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"headgate {now:%Y-%m-%dT%H:%M:%SZ}")])
    usage = _key_usage(sign_certificates=True)
    certificate = (
        _builder(now, lifetime.authority)
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _Authority(certificate, key)


def _signed(
    key: ec.EllipticCurvePrivateKey, subject: Subject, signer: _Authority, lifetime: Lifetime, now: datetime
) -> x509.Certificate:
    life = min(lifetime.certificate, signer.expires - now)
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH if subject.client else ExtendedKeyUsageOID.SERVER_AUTH
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key())
    return (
        _builder(now, life)
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject.common_name[:64])]))
        .issuer_name(signer.certificate.subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_general_names(subject.names)), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(issuer, critical=False)
        .sign(signer.key, hashes.SHA256())
    )


def _builder(now: datetime, life: timedelta) -> x509.CertificateBuilder:
    made = x509.CertificateBuilder().serial_number(x509.random_serial_number())
    return made.not_valid_before(now.astimezone(UTC) - SKEW).not_valid_after(now.astimezone(UTC) + life)


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    return [_general_name(name) for name in names]


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _signed_by(certificate: x509.Certificate, authority: _Authority) -> bool:
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _authorities(data: Data) -> Iterator[_Authority]:
    """What can be read, with its key; what cannot be read is as good as nothing."""
    try:
        certificates = x509.load_pem_x509_certificates(data.get(CA, b""))
    except ValueError:
        return
    mark = b"-----END PRIVATE KEY-----\n"
    keys = [part + mark for part in data.get(CA_KEY, b"").split(mark) if part.strip()]
    for certificate, text in zip(certificates, keys, strict=False):
        try:
            key = serialization.load_pem_private_key(text, None)
        except ValueError:
            return
        if isinstance(key, ec.EllipticCurvePrivateKey) and key.public_key() == certificate.public_key():
            yield _Authority(certificate, key)


def _certificate(data: Data) -> x509.Certificate | None:
    try:
        certificate = x509.load_pem_x509_certificate(data.get(CERTIFICATE, b""))
        key = serialization.load_pem_private_key(data.get(KEY, b""), None)
    except ValueError:
        return None
    return certificate if key.public_key() == certificate.public_key() else None


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
