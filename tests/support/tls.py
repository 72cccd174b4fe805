"""Certificates, made with openssl, that servers of tests show, and clients to those that ask for one."""

import ssl
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key


def server_tls(directory: Path, hostname: str) -> tuple[ssl.SSLContext, str]:
    """A server's context for a hostname, and the certificate that a client must trust."""
    key, chain = directory / f"{hostname}.key", directory / f"{hostname}.crt"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(chain), "-days", "2", "-subj", f"/CN={hostname}"]
    command += ["-addext", f"subjectAltName=DNS:{hostname}"]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context, chain.read_text()


@dataclass(frozen=True, slots=True)
class MutualTls:
    """Files of an authority, and of what it has signed: a server on loopback, and a client."""

    ca: Path
    server_certificate: Path
    server_key: Path
    client_certificate: Path
    client_key: Path

    def server_context(self) -> ssl.SSLContext:
        """Of a server that hears nobody without a certificate of the authority."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.ca))
        context.load_cert_chain(self.server_certificate, self.server_key)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def mutual_tls(directory: Path) -> MutualTls:
    """All of it, valid for two days."""
    ca, ca_key = directory / "ca.crt", directory / "ca.key"
    _openssl("req", "-x509", *_NEW_KEY, "-keyout", ca_key, "-out", ca, "-days", "2", "-subj", "/CN=ca")
    signed: list[Path] = []
    for name, purpose in (("server", "serverAuth"), ("client", "clientAuth")):
        certificate, key, request = (directory / f"{name}.{kind}" for kind in ("crt", "key", "csr"))
        _openssl("req", *_NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        extensions = directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName=IP:127.0.0.1\nextendedKeyUsage={purpose}\n")
        signing = ("-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2", "-extfile", extensions)
        _openssl("x509", "-req", "-in", request, "-out", certificate, *signing)
        signed += (certificate, key)
    return MutualTls(ca, *signed)


def revocations(directory: Path, *certificates: Path) -> str:
    """The list of what an authority that `mutual_tls` has made in the folder has revoked, as PEM."""
    ca = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
    key = load_pem_private_key((directory / "ca.key").read_bytes(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    now = datetime.now(UTC)
    made = x509.CertificateRevocationListBuilder(ca.subject, now - timedelta(hours=1), now + timedelta(days=1))
    for certificate in certificates:
        serial = x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number
        made = made.add_revoked_certificate(x509.RevokedCertificateBuilder(serial, now - timedelta(minutes=1)).build())
    return made.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
