"""An issuer of JSON web tokens, made with openssl, and its key set."""

import base64
import json
import subprocess
import time
from pathlib import Path
from typing import Any, Final

EXPONENT: Final = "AQAB"
"""65537, which openssl uses."""


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """Signs tokens (RS256) with a key of its own, which lies in `directory`."""

    def __init__(self, directory: Path, key_id: str = "key-1") -> None:
        self._key = directory / f"{key_id}.pem"
        self._key_id = key_id
        _openssl("genrsa", "-out", str(self._key), "2048")

    @property
    def jwks(self) -> str:
        """The public key as a JSON web key set."""
        modulus = _openssl("rsa", "-in", str(self._key), "-noout", "-modulus").decode().strip().partition("=")[2]
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": self._key_id, "e": EXPONENT}
        return json.dumps({"keys": [{**key, "n": _text(bytes.fromhex(modulus))}]})

    def token(self, **claims: Any) -> str:
        """A token; without `exp` among the claims it is valid for an hour."""
        head = {"alg": "RS256", "typ": "JWT", "kid": self._key_id}
        body = {"exp": int(time.time()) + 3600, **claims}
        signed = ".".join(_text(json.dumps(part).encode()) for part in (head, body))
        signature = _openssl("dgst", "-sha256", "-sign", str(self._key), given=signed.encode())
        return f"{signed}.{_text(signature)}"


def _openssl(*arguments: str, given: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=given, check=True, capture_output=True).stdout
