"""Tokens and grants in front of the real Envoy: who may call, and what may refer to what."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.jwt import Issuer
from support.manifests import (
    AI,
    ENVOY_GATEWAY,
    GATEWAY_API,
    Document,
    backend,
    document,
    gateway,
    limits,
    ref,
    route,
    rule,
    target,
    text,
)
from support.ports import LOOPBACK
from support.providers import OPENAI, Provider
from support.stage import Stage
from support.tls import server_tls
from support.waiting import wait_until

pytestmark = pytest.mark.envoy

ISSUER = "https://issuer.test"
AUDIENCE = "gateway"
MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
CLAIMS: Any = [{"header": "x-team", "claim": "team"}, {"header": "x-rank", "claim": "user.rank"}]

TWO_A_TEAM: Any = {
    "clientSelectors": [{"headers": [{"name": "x-team", "type": "Distinct"}]}],
    "limit": {"requests": 2, "unit": "Day"},
}


@dataclass(frozen=True)
class Issuers:
    """Two issuers: one whose keys are in the policy, one whose keys are fetched; and one that nobody trusts."""

    inline: Issuer
    remote: Issuer
    stranger: Issuer


@pytest.fixture(scope="module")
def issuers(tmp_path_factory: pytest.TempPathFactory) -> Issuers:
    directory = tmp_path_factory.mktemp("issuers")
    return Issuers(*(Issuer(directory, name) for name in ("inline", "remote", "stranger")))


@pytest.fixture(scope="module")
def key_server(issuers: Issuers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """(URL of the remote issuer's key set, the certificate that it must be trusted by)"""

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = issuers.remote.jwks.encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    directory = tmp_path_factory.mktemp("keys")
    context, _ = server_tls(directory, "localhost")
    server = ThreadingHTTPServer((LOOPBACK, 0), Keys)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://localhost:{server.server_port}/keys", directory / "localhost.crt"
    server.shutdown()
    server.server_close()
    thread.join()


def _policy(name: str, at: Document, *providers: Document, **more: Any) -> Document:
    return document(
        f"{ENVOY_GATEWAY}/v1alpha1", "SecurityPolicy", name, {**at, "jwt": {"providers": list(providers), **more}}
    )


def _provider(name: str, issuer: str, **keys: Any) -> Document:
    return {"name": name, "issuer": issuer, "audiences": [AUDIENCE], "claimToHeaders": CLAIMS, **keys}


def _documents(stage: Stage, issuers: Issuers, keys_url: str) -> list[Document]:
    inline = _provider("inline", ISSUER, localJWKS={"type": "Inline", "inline": issuers.inline.jwks})
    remote = _provider("remote", "https://remote.test", remoteJWKS={"uri": keys_url})
    return [
        *gateway({"port": stage.port}),
        *backend("openai", stage["openai"].port, key="k"),
        route("inline", [rule("inline", ref("openai"))]),
        _policy("inline", target("AIGatewayRoute", "inline"), inline),
        route("remote", [rule("remote", ref("openai"))]),
        _policy("remote", target("AIGatewayRoute", "remote"), inline, remote),
        route("optional", [rule("optional", ref("openai"))]),
        _policy("optional", target("AIGatewayRoute", "optional"), inline, optional=True),
        route("open", [rule("open", ref("openai"))]),
        route("limited", [rule("limited", ref("openai"))]),
        _policy("limited", target("AIGatewayRoute", "limited"), inline, optional=True),
        limits("limited", "limited", TWO_A_TEAM),
    ]


@pytest.fixture(scope="module")
def guarded_stage(issuers: Issuers, key_server: tuple[str, Path]) -> Iterator[Stage]:
    url, certificate = key_server
    with Stage(openai=Provider(OPENAI, key="k")) as stage:
        environment = {"SSL_CERT_FILE": str(certificate)}
        yield stage.run(_documents(stage, issuers, url), environment=environment)


@pytest.fixture
def stage(guarded_stage: Stage) -> Iterator[Stage]:
    guarded_stage.forget()
    yield guarded_stage
    guarded_stage.check()


def _call(stage: Stage, model: str, token: str, path: str = "/v1/chat/completions", **headers: str) -> httpx.Response:
    sent: Any = {"authorization": f"Bearer {token}", **headers} if token else headers
    return stage.post(path, {"model": model, "messages": MESSAGES, "max_tokens": 9}, **sent)


def _token(issuer: Issuer, name: str = ISSUER, **claims: Any) -> str:
    return issuer.token(**{"iss": name, "aud": AUDIENCE, "sub": "ann", **claims})


# --- tokens


@pytest.mark.parametrize("model", ["inline", "remote", "optional"])
def test_a_valid_token_is_let_in_and_goes_no_further(stage: Stage, issuers: Issuers, model: str) -> None:
    assert _call(stage, model, _token(issuers.inline)).status_code == 200
    assert stage["openai"].last.header("authorization") == "Bearer k"


def test_keys_are_fetched(stage: Stage, issuers: Issuers) -> None:
    remote = _token(issuers.remote, "https://remote.test")
    wait_until(lambda: _call(stage, "remote", remote).status_code == 200, "the keys to be there")
    assert _call(stage, "inline", remote).status_code == 401


BAD: dict[str, tuple[Callable[[Issuers], str], int]] = {
    "none": (lambda _: "", 401),
    "not a token": (lambda _: "sk-123", 401),
    "expired": (lambda found: _token(found.inline, exp=int(time.time()) - 3600), 401),
    "not yet valid": (lambda found: _token(found.inline, nbf=int(time.time()) + 3600), 401),
    "another issuer": (lambda found: _token(found.inline, "https://other.test"), 401),
    "another audience": (lambda found: _token(found.inline, aud="elsewhere"), 403),
    "another key": (lambda found: _token(found.stranger), 401),
    "another signature": (lambda found: _token(found.inline)[:-8] + "AAAAAAAA", 401),
    "no algorithm": (lambda found: "eyJhbGciOiJub25lIn0." + _token(found.inline).split(".")[1] + ".", 401),
}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_token_is_refused(stage: Stage, issuers: Issuers, name: str, path: str) -> None:
    make, status = BAD[name]
    refused = _call(stage, "inline", make(issuers), path)
    assert refused.status_code == status
    error = refused.json()["error"]
    assert "Jwt" in error["message"]  # "Jwt is expired", and so on
    assert error["type"] == ("authentication_error" if status == 401 else "permission_error")
    assert not stage["openai"].requests


def test_an_optional_token_may_be_missing_but_not_bad(stage: Stage, issuers: Issuers) -> None:
    assert _call(stage, "optional", "").status_code == 200
    assert _call(stage, "optional", _token(issuers.stranger)).status_code == 401
    assert _call(stage, "open", _token(issuers.stranger)).status_code == 200


def test_claims_are_told_in_headers(stage: Stage, issuers: Issuers) -> None:
    claims: Any = {"team": "blue", "user": {"rank": 3}}
    assert _call(stage, "inline", _token(issuers.inline, **claims)).status_code == 200
    received = stage["openai"].last
    assert (received.header("x-team"), received.header("x-rank")) == ("blue", "3")


@pytest.mark.parametrize(("model", "token"), [("inline", True), ("optional", True), ("optional", False)])
def test_a_claims_header_cannot_be_spoofed(stage: Stage, issuers: Issuers, model: str, token: bool) -> None:
    spoofed = {"x-team": "admins", "x-rank": "1"}
    sent = _token(issuers.inline, team="blue") if token else ""
    assert _call(stage, model, sent, **spoofed).status_code == 200
    found = [value for name, value in stage["openai"].last.headers if name in spoofed]
    assert found == (["blue"] if token else [])


def test_a_claim_is_limited_by_itself_and_nobody_can_claim_it_without_a_token(stage: Stage, issuers: Issuers) -> None:
    red, blue = (_token(issuers.inline, team=team) for team in ("red", "blue"))
    statuses = [_call(stage, "limited", red, **{"x-team": f"other-{number}"}).status_code for number in range(4)]
    assert statuses == [200, 200, 429, 429], "what the client says of its team counts for nothing"
    assert _call(stage, "limited", "", **{"x-team": "blue"}).status_code == 200, "who has no team is not counted"
    assert [_call(stage, "limited", blue).status_code for _ in range(3)] == [200, 200, 429]


# --- a Gateway's own policy


def test_a_gateways_policy_guards_everything_before_bodies_are_read(issuers: Issuers) -> None:
    with Stage(openai=Provider(OPENAI, key="k")) as stage:
        inline = _provider("inline", ISSUER, localJWKS={"type": "Inline", "inline": issuers.inline.jwks})
        documents = [
            *gateway({"port": stage.port}),
            *backend("openai", stage["openai"].port, key="k"),
            route("r", [rule("gpt", ref("openai"))]),
            _policy("all", target("Gateway", "gateway"), inline),
        ]
        stage.run(documents)
        assert _call(stage, "gpt", _token(issuers.inline)).status_code == 200
        for path in ("/v1/chat/completions", "/v1/models", "/v1/nowhere"):
            assert stage.http.get(stage.url + path).status_code == 401
        # the answer comes while the body is still to be sent
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 50000000\r\n\r\n"
        with socket.create_connection((LOOPBACK, stage.port), timeout=10) as connection:
            connection.sendall(head)
            assert connection.recv(1000).startswith(b"HTTP/1.1 401 ")
        stage.check()


# --- grants


def _in(namespace: str, *documents: Document) -> list[Document]:
    return [{**each, "metadata": {**each["metadata"], "namespace": namespace}} for each in documents]


def _grant(name: str, source: tuple[str, str], to: Document) -> list[Document]:
    granted = {"group": source[0], "kind": source[1], "namespace": "default"}
    return _in("models", document(f"{GATEWAY_API}/v1beta1", "ReferenceGrant", name, {"from": [granted], "to": [to]}))


def test_a_grant_opens_and_closes_a_reference_live() -> None:
    with Stage(openai=Provider(OPENAI, key="k")) as stage:
        shared = [
            *gateway({"port": stage.port}),
            *_in("models", *backend("openai", stage["openai"].port, key="k")),
            route("r", [rule("gpt", ref("openai", namespace="models"))]),
        ]
        backends = (AI, "AIGatewayRoute")
        other = _grant("other", backends, {"group": AI, "kind": "AIServiceBackend", "name": "another"})
        granted = _grant("granted", backends, {"group": AI, "kind": "AIServiceBackend"})
        stage.run([*shared, *other])
        said = stage.gateway.wait_output("no valid ReferenceGrant found.*")
        assert "a ReferenceGrant in namespace models" in said.group()
        assert stage.chat("gpt").status_code == 500
        stage.gateway.write(text([*shared, *granted]))
        wait_until(lambda: stage.chat("gpt").status_code == 200, "the grant to count")
        stage.gateway.write(text([*shared, *other]))
        wait_until(lambda: stage.chat("gpt").status_code == 500, "the grant to be gone")
        before = len(stage["openai"].requests)
        assert stage.chat("gpt").status_code != 200
        assert len(stage["openai"].requests) == before
        stage.check()


def test_a_secret_in_another_namespace_needs_a_grant() -> None:
    with Stage(openai=Provider(OPENAI, key="k")) as stage:
        *served, secret, policy = backend("openai", stage["openai"].port, key="k")
        policy["spec"]["apiKey"]["secretRef"]["namespace"] = "models"
        shared = [
            *gateway({"port": stage.port}),
            *served,
            policy,
            *_in("models", secret),
            route("r", [rule("gpt", ref("openai"))]),
        ]
        stage.run(shared)
        assert stage.chat("gpt").status_code == 500
        granted = _grant("keys", (AI, "BackendSecurityPolicy"), {"group": "", "kind": "Secret"})
        stage.gateway.write(text([*shared, *granted]))
        wait_until(lambda: stage.chat("gpt").status_code == 200, "the grant to count")
        stage.check()
