"""Formats, CEL, key sets and certificates of users: what we take Envoy takes, and what we refuse Envoy refuses."""

import json
import subprocess
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from headgate.compiler.cel import lower_cost
from headgate.compiler.resolve.limit_policies import money
from headgate.compiler.resolve.pem import pair_problem
from headgate.compiler.resources.cel_syntax import FUNCTIONS, METHODS
from headgate.compiler.resources.formats import COMMANDS, format_problem
from headgate.compiler.resources.key_sets import is_key_set
from headgate.compiler.resources.limit_policy import ModelPrice
from headgate.contract.secret import Secret
from headgate.runtime.envoy import find_envoy

Json: TypeAlias = Any

_HTTP = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_FILE = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
_JWT = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_PARAMETERS = {
    "COALESCE": '{"operators": ["PROTOCOL", {"command": "REQ", "param": "a"}]}',
    "COMMON_DURATION": "DS_RX_BEG:DS_TX_END:ms",
    "FILTER_STATE": "a:FIELD:b",
    "GRPC_STATUS": "NUMBER",
    "METADATA": "ROUTE:a:b",
    "PATH": "NQ:PATH",
    "QUERY_PARAMS": "DECODED",
    "REQ": ":path?x-b",
    "REQUESTED_SERVER_NAME": "SNI_FIRST:HOST",
    "START_TIME": "%Y-%m-%d (%3f)",
}
REFUSED = [
    "%NOPE%",
    "%req(a)%",
    "100%",
    "%DURATION",
    "%DURATION:5%",
    "%DURATION(x)%",
    "%REQ%",
    "%REQ()%",
    "%REQ(a b)%",
    "%REQ(a?b?c)%",
    "%REQ(a):%",
    "%REQ(a\n)%",
    "%METADATA(X:a)%",
    "%COMMON_DURATION(a)%",
    "%COMMON_DURATION(a:b:s)%",
    "%COMMON_DURATION(a:b):5%",
    "%CLUSTER_METADATA(a):5%",
    "%START_TIME:5%",
    "%PATH(X)%",
    "%GRPC_STATUS(X)%",
    "%FILTER_STATE(a:X)%",
    "%QUERY_PARAMS(X)%",
    "%REQUESTED_SERVER_NAME(X)%",
    '%COALESCE({"operators": ["NOPE"]})%',
    '%COALESCE({"operators": [{"command": "REQ"}]})%',
    "%COALESCE(x)%",
    '%COALESCE({"operators": ["REQ(a)"]})%',
    "%CEL()%",
    "%CEL(1 +)%",
    "%CEL(string(1))%",
    "%CEL([1].map(x, x))%",
    "%CEL('a'.matches('('))%",
    "%CEL(size(1, 2))%",
    "%CEL('a'.lowerAscii())%",
    "%CEL(Foo{a: 1})%",
    f"%CEL(1{' + 1' * 32})%",
    f"%CEL({'a == 1 ? 1 : ' * 31}2)%",
    f"%CEL({'(true ? 1 : ' * 17}2{')' * 17})%",
    "%CEL(as == 1)%",
    "%CEL(has(a))%",
    "%CEL(9223372036854775808)%",
    r"%CEL('\q' == 'q')%",
    r"%CEL('a'.matches('\U00110000'))%",
]


def _forms(name: str) -> list[str]:
    takes = COMMANDS[name]
    parameter = _PARAMETERS.get(name, "a")
    given = [f"({parameter if takes.parameter else ''})"]
    ends = ["", ":5"] if takes.length else [""]
    return [f"%{name}{start}{end}%" for start in (*([] if takes.needed else [""]), *given) for end in ends]


def _calls() -> list[str]:
    texts = {"bool": "'true'", "bytes": "'a'", "duration": "'1s'", "timestamp": "'2026-01-01T00:00:00Z'"}
    functions = {name: texts.get(name, "request.headers.a") for name in FUNCTIONS if name != "matches"}
    calls = [f"{name}({argument})" for name, argument in functions.items()]
    calls += ["matches('a', 'b')", "'a'.matches('^(a|b)$')", "re.extract('a', 'b', 'c')"]
    calls += [f"re.{name}('a', 'b')" for name in ("capture", "captureN")]
    calls += [f"request.time.{name}()" for name in METHODS if name.startswith("get")]
    calls += [f"1{' + 1' * 31}", f"{'a == 1 ? 1 : ' * 30}2", f"{'(a == 1 ? 1 : ' * 16}2{')' * 16}", f"a{' && a' * 99}"]
    calls += ["'a'.size()", *(f"request.path.{name}('a')" for name in ("contains", "endsWith", "startsWith"))]
    assert {call.partition("(")[0].rpartition(".")[2] for call in calls} >= {*FUNCTIONS, *METHODS}
    return calls


def _taken(directory: Path, *, logs: Json = (), filters: Json = (), tls: Json = None) -> bool:
    """Whether Envoy takes a listener with that (`--mode validate`)."""
    manager = {
        "@type": _HTTP,
        "stat_prefix": "a",
        "route_config": {"name": "none"},
        "http_filters": [*filters, {"name": "router", "typed_config": {"@type": _ROUTER}}],
        "access_log": [*logs],
    }
    chain: dict[str, Json] = {"filters": [{"name": "http", "typed_config": manager}]}
    if tls is not None:
        chain["transport_socket"] = {"name": "tls", "typed_config": tls}
    listener = {"name": "l", "address": {"pipe": {"path": str(directory / "l")}}, "filter_chains": [chain]}
    config = json.dumps({"static_resources": {"listeners": [listener]}})
    command = [str(find_envoy()), "--mode", "validate", "--log-level", "off", "--config-yaml", config]
    return subprocess.run(command, capture_output=True, timeout=60).returncode == 0


def _takes_format(text: str, directory: Path) -> bool:
    log = {"@type": _FILE, "path": "/dev/null", "log_format": {"text_format_source": {"inline_string": text}}}
    return _taken(directory, logs=[{"name": "file", "typed_config": log}])


def test_formats_that_we_take_envoy_takes(short_path: Path) -> None:
    forms = [form for name in COMMANDS for form in _forms(name)]
    text = " ".join([*(form.replace("(a)", "(1)") if "CEL" in form else form for form in forms), "5 %% x"])
    text += "".join(f"%CEL({call})%" for call in _calls())
    assert format_problem(text) == ""
    assert _takes_format(text, short_path)


@pytest.mark.parametrize("text", REFUSED)
def test_formats_that_we_refuse_envoy_refuses(text: str, short_path: Path) -> None:
    assert format_problem(text)
    assert not _takes_format(text, short_path)


def test_costs_of_many_models_and_backends_envoy_takes(short_path: Path) -> None:
    prices = [ModelPrice(model=f"m{number}", input=1, output=2) for number in range(63)]
    overrides = [(f"c{number}", f"m{number}") for number in range(64)]
    cost = lower_cost(money([*prices, ModelPrice(model="*", input=1, output=2)]), route="a/b", overrides=overrides)
    assert _takes_format(f"%CEL(({cost} > 0u ? int({cost}) : 0))%", short_path)


# --- sets of keys


def _encoded(number: int) -> str:
    return urlsafe_b64encode(number.to_bytes((number.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()


_N = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key().public_numbers().n
_POINT = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
RSA = {"kty": "RSA", "n": _encoded(_N), "e": "AQAB"}
EC = {"kty": "EC", "crv": "P-256", "x": _encoded(_POINT.x), "y": _encoded(_POINT.y)}
OKP = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
OCT = {"kty": "oct", "k": "AAAA"}
KEY_SETS: dict[str, list[dict[str, Json]]] = {
    "RSA": [RSA],
    "RSA for PS256, with padding": [RSA | {"alg": "PS256", "n": f"{RSA['n']}=="}],
    "RSA for another use": [RSA | {"use": "enc", "kid": 1}],
    "RSA without n": [{"kty": "RSA", "e": "AQAB"}],
    "RSA, n of nothing": [RSA | {"n": ""}],
    "RSA, n no base64": [RSA | {"n": "!!"}],
    "RSA, n of another base64": [RSA | {"n": "+/" + RSA["n"][2:]}],
    "RSA, n small": [RSA | {"n": "AQAB"}],
    "RSA, e with padding that it has no use for": [RSA | {"e": "AQAB=="}],
    "RSA, n of 16,385 bits": [RSA | {"n": _encoded((1 << 16_384) + 1)}],
    "RSA, e even": [RSA | {"e": "Ag"}],
    "RSA, e of 1": [RSA | {"e": "AQ"}],
    "RSA for HS256": [RSA | {"alg": "HS256"}],
    "one that is none, and RSA": [{"kty": "RSA"}, RSA],
    "one of another kind, and RSA": [{"kty": "x"}, RSA],
    "one of another kind": [{"kty": "x"}],
    "no kind": [{"n": "a"}],
    "RSA with null in what is not its": [RSA | dict.fromkeys(("alg", "crv", "x", "y", "k", "x5c", "use"))],
    "RSA, n null": [RSA | {"n": None}],
    "EC": [EC],
    "EC with null in what is not its": [EC | dict.fromkeys(("alg", "n", "e", "k"))],
    "EC, curve null": [EC | {"crv": None}],
    "EC without curve": [{name: value for name, value in EC.items() if name != "crv"}],
    "EC for ES256": [EC | {"alg": "ES256"}],
    "EC for another curve's": [EC | {"alg": "ES384"}],
    "EC, not on the curve": [EC | {"x": "BQ"}],
    "EC, unknown curve": [EC | {"crv": "P-1"}],
    "EC without x": [{"kty": "EC", "crv": "P-256"}],
    "OKP": [OKP],
    "OKP for EdDSA": [OKP | {"alg": "EdDSA"}],
    "OKP, short": [OKP | {"x": "AA"}],
    "OKP, for exchange": [OKP | {"crv": "X25519"}],
    "oct": [OCT | {"alg": "HS256"}],
    "oct for another": [OCT | {"alg": "HS999"}],
    "oct without k": [{"kty": "oct"}],
    "none": [],
}


@pytest.mark.parametrize("keys", KEY_SETS.values(), ids=KEY_SETS.keys())
def test_a_set_of_keys_is_one_where_envoy_takes_it(keys: list[dict[str, Json]], short_path: Path) -> None:
    text = json.dumps({"keys": keys})
    providers = {"p": {"issuer": "a", "local_jwks": {"inline_string": text}}}
    filters = [{"name": "jwt", "typed_config": {"@type": _JWT, "providers": providers}}]
    assert is_key_set(text) == _taken(short_path, filters=filters)


# --- certificates


def _certificate(key: CertificateIssuerPrivateKeyTypes) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.example")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(5).not_valid_before(start).not_valid_after(start + timedelta(days=1))
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM).decode()


def _pem(
    key: CertificateIssuerPrivateKeyTypes,
    form: PrivateFormat = PrivateFormat.PKCS8,
    encryption: KeySerializationEncryption | None = None,
) -> str:
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption()).decode()


_SERVER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_SMALL = rsa.generate_private_key(public_exponent=65537, key_size=1024)
_P256 = ec.generate_private_key(ec.SECP256R1())
_P521 = ec.generate_private_key(ec.SECP521R1())
_K1 = ec.generate_private_key(ec.SECP256K1())
_ED = ed25519.Ed25519PrivateKey.generate()
_GARBAGE = "-----BEGIN {0}-----\nAAAA\n-----END {0}-----\n"
_OWN = _certificate(_SERVER)
PAIRS = {
    "RSA": (_OWN, _pem(_SERVER)),
    "RSA in its older form": (_OWN, _pem(_SERVER, PrivateFormat.TraditionalOpenSSL)),
    "P-256": (_certificate(_P256), _pem(_P256, PrivateFormat.TraditionalOpenSSL)),
    "P-521": (_certificate(_P521), _pem(_P521)),
    "Ed25519": (_certificate(_ED), _pem(_ED)),
    "a chain, with words": (f"leaf\n{_OWN}issuer\n{_certificate(_P256)}", f"key\n{_pem(_SERVER)}"),
    "a small key": (_certificate(_SMALL), _pem(_SMALL)),
    "another curve": (_certificate(_K1), _pem(_K1)),
    "another key": (_OWN, _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))),
    "a key of another kind": (_OWN, _pem(_P256)),
    "an encrypted key": (_OWN, _pem(_SERVER, encryption=BestAvailableEncryption(b"a"))),
    "no certificate": (_GARBAGE.format("CERTIFICATE"), _pem(_SERVER)),
    "half a certificate": (_OWN[:400], _pem(_SERVER)),
    "no second certificate": (_OWN + _GARBAGE.format("CERTIFICATE"), _pem(_SERVER)),
    "two on one line": (_OWN.rstrip() + _OWN, _pem(_SERVER)),
    "indented": (_OWN.replace("\n", "\n  "), _pem(_SERVER)),
    "a mark of bytes before it": (f"\ufeff{_OWN}", _pem(_SERVER)),
    "one that does not end": (f"{_OWN}-----BEGIN CERTIFICATE-----\n", _pem(_SERVER)),
    "lines as Windows has them": (_OWN.replace("\n", "\r\n"), _pem(_SERVER).replace("\n", "\r\n")),
    "no last line's end": (_OWN.rstrip(), _pem(_SERVER).rstrip()),
    "no key": (_OWN, _GARBAGE.format("PRIVATE KEY")),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())
def test_a_certificate_and_its_key_are_good_where_envoy_takes_them(pair: tuple[str, str], short_path: Path) -> None:
    chain, key = pair
    certificate = {"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}}
    tls = {"@type": _TLS, "common_tls_context": {"tls_certificates": [certificate]}}
    assert (pair_problem(Secret(chain), Secret(key)) == "") == _taken(short_path, tls=tls)
