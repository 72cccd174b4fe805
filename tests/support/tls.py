"""Certificates, made with openssl, that servers of tests show."""

import ssl
import subprocess
from pathlib import Path


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
