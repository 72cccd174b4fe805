"""Certificates, keys and lists of what is revoked, as PEM: whether Envoy takes them. What it refuses costs a port.

`cryptography` is imported where it is needed: few configurations have any of it, and a start is waited for.
"""

import re
from functools import lru_cache
from typing import Final

from headgate.contract.secret import Secret

RSA_BITS_MIN: Final = 2048
_MARK = re.compile(r"^-----(BEGIN|END) ([^\n-]+)-----[ \t\r]*$", re.MULTILINE)
_CRL = re.compile(r"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


def _is_marked(text: str) -> bool:
    """Whether each of its blocks begins and ends with a line, which Envoy asks for and `cryptography` does not."""
    marks = [(found[1], found[2]) for found in _MARK.finditer(text)]
    begun, ended = marks[::2], marks[1::2]
    return len(marks) == text.count("-----BEGIN ") + text.count("-----END ") and [*zip(begun, ended, strict=False)] == [
        (("BEGIN", what), ("END", what)) for _, what in begun
    ]


@lru_cache(maxsize=1024)
def pair_problem(chain: Secret, key: Secret) -> str:
    """What Envoy would not take of a server's certificates, its own first, and their key; empty where it takes both."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    for name, text in (("tls.crt", chain), ("tls.key", key)):
        if not _is_marked(text.reveal()):
            return (
                f"{name} has -----BEGIN …----- or -----END …----- that is no line by itself, or one without the other"
            )
    try:
        own = x509.load_pem_x509_certificates(chain.reveal().encode())[0].public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "tls.crt cannot be read as certificates"
    if isinstance(own, rsa.RSAPublicKey):
        if own.key_size < RSA_BITS_MIN:
            return f"the key of tls.crt has {own.key_size} bits, and Envoy takes RSA from {RSA_BITS_MIN} bits on"
    elif isinstance(own, ec.EllipticCurvePublicKey):
        if not isinstance(own.curve, (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)):
            return f"the key of tls.crt is on the curve {own.curve.name}, and Envoy takes P-256, P-384 and P-521"
    elif not isinstance(own, ed25519.Ed25519PublicKey):
        return "the key of tls.crt is neither RSA nor ECDSA nor Ed25519"
    try:
        private = load_pem_private_key(key.reveal().encode(), None)
    except TypeError:
        return "tls.key is encrypted"
    except (ValueError, UnsupportedAlgorithm):
        return "tls.key cannot be read as a private key"
    return "" if private.public_key() == own else "tls.key is not the key of tls.crt"


@lru_cache(maxsize=1024)
def are_certificates(text: str) -> bool:
    """Whether all in it can be read, and there is one at least."""
    from cryptography import x509

    try:
        return _is_marked(text) and bool(x509.load_pem_x509_certificates(text.encode()))
    except ValueError:
        return False


def are_revocations(text: str) -> bool:
    """Likewise, of lists of what is revoked."""
    from cryptography import x509

    blocks = _CRL.findall(text)
    try:
        for block in blocks:
            x509.load_pem_x509_crl(block.encode())
    except ValueError:
        return False
    return bool(blocks)
