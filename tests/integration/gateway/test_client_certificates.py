"""TLS with clients, in front of the real Envoy: which certificates they must show, and which versions are spoken."""

import socket
import ssl
from collections.abc import Iterator

import httpx
import pytest
from support.manifests import (
    ENVOY_GATEWAY,
    GATEWAY_API,
    Document,
    backend,
    document,
    endpoint,
    gateway,
    ref,
    route,
    rule,
    secret,
    target,
)
from support.ports import LOOPBACK, free_ports
from support.providers import OPENAI, Provider
from support.stage import Stage
from support.tls import MutualTls, mutual_tls, revocations
from support.waiting import BUSY_SECONDS

pytestmark = pytest.mark.envoy

TRUST: Document = {"caCertificateRefs": [{"kind": "ConfigMap", "name": "ca"}]}
POLICIES: dict[str, Document] = {
    "verified": {"clientValidation": TRUST},
    "from-a-secret": {"clientValidation": {"caCertificateRefs": [{"kind": "Secret", "name": "ca"}]}},
    "if-given": {"clientValidation": {**TRUST, "mode": "VerifyIfGiven"}},
    "optional": {"clientValidation": {**TRUST, "optional": True}},
    "any": {"clientValidation": {**TRUST, "mode": "RequireAny"}},
    "named": {"clientValidation": {**TRUST, "subjectAltNames": {"ipAddresses": [{"value": "127.0.0.1"}]}}},
    "misnamed": {
        "clientValidation": {**TRUST, "subjectAltNames": {"dnsNames": [{"type": "Suffix", "value": ".test"}]}}
    },
    "revoked": {"clientValidation": {**TRUST, "crl": {"refs": [{"kind": "ConfigMap", "name": "revoked"}]}}},
    "others-revoked": {"clientValidation": {**TRUST, "crl": {"refs": [{"kind": "ConfigMap", "name": "others"}]}}},
    "absent": {"clientValidation": {"caCertificateRefs": [{"kind": "ConfigMap", "name": "absent"}]}},
    "newest": {"minVersion": "1.3", "alpnProtocols": ["http/1.1"]},
    "chosen": {
        "minVersion": "1.2",
        "maxVersion": "1.2",
        "ciphers": ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"],
        "ecdhCurves": ["P-384"],
        "signatureAlgorithms": ["ecdsa_secp256r1_sha256", "rsa_pss_rsae_sha256"],
        "session": {"resumption": {"stateless": {}}},
    },
}
"""What policies say of TLS, each at a listener of its name."""
SPECS: dict[str, Document] = {
    **{name: {"tls": tls} for name, tls in POLICIES.items()},
    "hasty": {"timeout": {"tcp": {"tlsHandshakeTimeout": "300ms"}}},
    "told": {
        "tls": {"clientValidation": TRUST},
        "headers": {"xForwardedClientCert": {"mode": "SanitizeSet", "certDetailsToAdd": ["Subject", "Cert"]}},
    },
}
"""Whole policies, each at a listener of its name."""


class Clients:
    """Clients of all kinds, asking at a listener."""

    def __init__(self, stage: Stage, ports: dict[str, int], known: MutualTls, stranger: MutualTls) -> None:
        self.stage = stage
        self.ports = ports
        self._known = known
        self._stranger = stranger

    def context(self, who: str = "") -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self._known.ca))
        if who:
            found = self._known if who == "known" else self._stranger
            context.load_cert_chain(found.client_certificate, found.client_key)
        return context

    def ask(self, listener: str, who: str = "", *, context: ssl.SSLContext | None = None) -> int | None:
        """The status of the answer; None where there is none."""
        body = {"model": "gpt", "messages": [{"role": "user", "content": "Hello!"}]}
        url = f"https://{LOOPBACK}:{self.ports[listener]}/v1/chat/completions"
        told = {"x-forwarded-client-cert": "Hash=0"}
        with httpx.Client(verify=context or self.context(who), headers=told) as client:
            try:
                return client.post(url, json=body).status_code
            except httpx.TransportError:
                return None


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    known, stranger = (mutual_tls(tmp_path_factory.mktemp(name)) for name in ("known", "stranger"))
    folder = known.ca.parent
    revoked = {"ca.crl": revocations(folder, known.client_certificate)}
    others = {"ca.crl": revocations(folder, known.server_certificate)}
    ports = dict(zip(SPECS, free_ports(len(SPECS)), strict=True))
    plain = [{"group": ENVOY_GATEWAY, "kind": "Backend", "name": "plain"}]
    pages = {
        "parentRefs": [{"name": "gateway"}],
        "rules": [{"matches": [{"path": {"value": "/pages"}}], "backendRefs": plain}],
    }
    terminated = {"mode": "Terminate", "certificateRefs": [{"name": "server"}]}
    listeners = [{"name": name, "port": ports[name], "protocol": "HTTPS", "tls": terminated} for name in ports]
    certificate = {"tls.crt": known.server_certificate.read_text(), "tls.key": known.server_key.read_text()}
    with Stage(openai=Provider(OPENAI, key="k"), plain=Provider(OPENAI, key="")) as stage:
        stage.run(
            [
                *gateway(*listeners),
                secret("server", **certificate),
                secret("ca", **{"ca.crt": known.ca.read_text()}),
                document("v1", "ConfigMap", "ca", data={"ca.crt": known.ca.read_text()}),
                *backend("openai", stage["openai"].port, key="k"),
                document("v1", "ConfigMap", "revoked", data=revoked),
                document("v1", "ConfigMap", "others", data=others),
                endpoint("plain", stage["plain"].port),
                document(f"{GATEWAY_API}/v1", "HTTPRoute", "pages", pages),
                route("models", [rule("gpt", ref("openai"))]),
                *(_policy(name, spec) for name, spec in SPECS.items()),
            ]
        )
        yield Clients(stage, ports, known, stranger)
        stage.check()


def _policy(listener: str, spec: Document) -> Document:
    where = target("Gateway", "gateway")
    where["targetRefs"][0]["sectionName"] = listener
    return document(f"{ENVOY_GATEWAY}/v1alpha1", "ClientTrafficPolicy", listener, {**where, **spec})


@pytest.mark.parametrize(
    ("listener", "without", "known", "stranger"),
    [
        ("verified", None, 200, None),
        ("from-a-secret", None, 200, None),
        ("if-given", 200, 200, None),
        ("optional", 200, 200, None),
        ("any", None, 200, 200),
        ("named", None, 200, None),
        ("misnamed", None, None, None),
        ("revoked", None, None, None),
        ("others-revoked", None, 200, None),
        # whom to trust cannot be told: nobody is served
        ("absent", 500, 500, 500),
    ],
)
def test_who_must_show_a_certificate_and_which(
    clients: Clients, listener: str, without: int | None, known: int | None, stranger: int | None
) -> None:
    found = [clients.ask(listener), clients.ask(listener, "known"), clients.ask(listener, "stranger")]
    assert found == [without, known, stranger]


def test_only_the_newest_version_is_spoken(clients: Clients) -> None:
    assert clients.ask("newest") == 200
    older = clients.context()
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    assert clients.ask("newest", context=older) is None


def test_a_session_is_made_as_the_policy_says(clients: Clients) -> None:
    assert clients.ask("chosen") == 200
    newest, small = clients.context(), clients.context()
    newest.minimum_version = ssl.TLSVersion.TLSv1_3
    small.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    assert clients.ask("chosen", context=newest) is None
    assert clients.ask("chosen", context=small) is None


def test_backends_of_http_routes_are_told_whose_certificate_it_is_and_providers_are_not(clients: Clients) -> None:
    plain, openai = clients.stage["plain"], clients.stage["openai"]
    openai.forget()
    with httpx.Client(verify=clients.context("known"), headers={"x-forwarded-client-cert": "Hash=0"}) as client:
        client.get(f"https://{LOOPBACK}:{clients.ports['told']}/pages/a")
    told = plain.last.header("x-forwarded-client-cert") or ""
    plain.forget()  # it knows no pages
    assert "CN=client" in told
    assert "BEGIN%20CERTIFICATE" in told
    assert "Hash=0;" not in told
    assert clients.ask("told", "known") == 200
    assert openai.last.header("x-forwarded-client-cert") is None


def test_who_does_not_agree_on_tls_in_time_is_cut(clients: Clients) -> None:
    with socket.create_connection((LOOPBACK, clients.ports["hasty"]), timeout=BUSY_SECONDS) as silent:
        assert silent.recv(1) == b""
    assert clients.ask("hasty") == 200
