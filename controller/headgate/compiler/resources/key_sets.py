"""Sets of keys (JWKS, RFC 7517) that stand in a policy: whether Envoy finds a key in them that it takes. Where it does
not it refuses the whole listener; a set with one such key it takes, whatever else is in it.

What it takes is held against it by a test; https://www.rfc-editor.org/rfc/rfc7518#section-6 names the members.
"""

from base64 import urlsafe_b64decode
from functools import lru_cache
from typing import Any, Final

import msgspec

_ALPHABET: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_EC_CURVES: Final = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


class _Key(msgspec.Struct):
    """A member of a kind that has no use for it may be anything: some write null in those."""

    kty: str
    alg: Any = ""
    crv: Any = ""
    n: Any = ""
    e: Any = ""
    x: Any = ""
    y: Any = ""
    k: Any = ""


class _KeySet(msgspec.Struct):
    keys: tuple[msgspec.Raw, ...]


@lru_cache(maxsize=256)
def is_key_set(text: str) -> bool:
    """Whether Envoy takes it."""
    try:
        keys = msgspec.json.decode(text, type=_KeySet).keys
    except msgspec.MsgspecError:
        return False
    return any(map(_is_taken, keys))


def _is_taken(raw: msgspec.Raw) -> bool:
    try:
        key = msgspec.json.decode(raw, type=_Key)
        key.alg = key.alg if isinstance(key.alg, str) else ""  # as if it were not there
        if key.kty == "RSA":
            return key.alg[:2] in ("", "RS", "PS") and _is_rsa(key)
        if key.kty == "EC":
            return _is_ec(key)
        if key.kty == "OKP":
            return key.crv == "Ed25519" and key.alg in ("", "EdDSA") and len(_bytes(key.x)) == 32
        return key.kty == "oct" and key.alg in ("", "HS256", "HS384", "HS512") and bool(_bytes(key.k))
    except (msgspec.MsgspecError, ValueError):
        return False


def _is_rsa(key: _Key) -> bool:
    modulus, exponent = _number(key.n), _number(key.e)
    sized = 512 <= modulus.bit_length() <= 16_384 and 3 <= exponent < 1 << 33
    return sized and modulus % 2 == 1 and exponent % 2 == 1


def _is_ec(key: _Key) -> bool:
    from cryptography.hazmat.primitives.asymmetric import ec  # imported here: few sets stand in policies

    wanted = _EC_CURVES.get(key.alg, "P-256")
    if key.alg not in ("", *_EC_CURVES) or (key.alg and key.crv not in ("", wanted)):
        return False
    curves = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
    curve = curves.get(key.crv or wanted) if isinstance(key.crv, str) else None
    if curve is None:
        return False
    ec.EllipticCurvePublicNumbers(_number(key.x), _number(key.y), curve).public_key()  # ValueError: not on it
    return True


def _number(text: object) -> int:
    return int.from_bytes(_bytes(text), "big")


def _bytes(text: object) -> bytes:
    """Raises ValueError where it is not base64url."""
    if not isinstance(text, str) or not text or set(text.rstrip("=")) - _ALPHABET:
        raise ValueError
    bare = text.rstrip("=")
    if text != bare and len(text) % 4:
        raise ValueError
    return urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
