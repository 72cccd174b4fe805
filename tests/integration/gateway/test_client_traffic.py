"""How a ClientTrafficPolicy has requests received, in front of the real Envoy."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

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
)
from support.manifests import target as targeted
from support.ports import LOOPBACK, free_ports
from support.providers import OPENAI, Provider
from support.stage import Stage
from support.waiting import BUSY_SECONDS

pytestmark = pytest.mark.envoy

CIDRS = {"rules": [{"action": "Allow", "principal": {"clientCIDRs": ["192.0.2.0/24", "127.0.0.0/8"]}}]}
POLICIES: dict[str, Document] = {
    "default": {},
    "headers": {
        "headers": {
            "earlyRequestHeaders": {
                "set": [{"name": "x-edge", "value": "100%"}, {"name": "x-ai-eg-model", "value": "other"}],
                "removeOnMatch": [{"type": "Prefix", "value": "x-debug-"}],
            },
            "lateResponseHeaders": {"set": [{"name": "x-late", "value": "yes"}], "remove": ["content-type"]},
            "withUnderscoresAction": "RejectRequest",
            "maxRequestHeaderLimit": "8Ki",
        },
        "path": {"escapedSlashesAction": "RejectRequest"},
    },
    "kept": {"path": {"escapedSlashesAction": "KeepUnchanged", "disableMergeSlashes": True}},
    "bounded": {
        "connection": {"connectionLimit": {"value": 1, "maxRequestsPerConnection": 2}},
        "timeout": {"http": {"requestHeadersReceivedTimeout": "300ms"}},
        "http2": {"maxConcurrentStreams": 3, "connectionKeepalive": {"interval": "5s", "timeout": "2s"}},
        "tcpKeepalive": {"probes": 3, "idleTime": "60s", "interval": "10s"},
    },
    "proxied": {"proxyProtocol": {}},
    "old": {"http1": {"http10": {}, "ignoredUpgradeTypes": [{"value": "h2c"}]}, "healthCheck": {"path": "/healthz"}},
    "trailing": {"http1": {"enableTrailers": True}},
}
"""Policies, each at a listener of its name. Only addresses of `CIDRS` may ask."""
BACKENDS: Document = {
    "timeout": {"http": {"connectionIdleTimeout": "5m", "maxConnectionDuration": "1h", "maxStreamDuration": "10m"}},
    "tcpKeepalive": {"probes": 3, "idleTime": "60s", "interval": "10s"},
    "dns": {"dnsRefreshRate": "5s", "respectDnsTtl": False, "lookupFamily": "IPv4AndIPv6"},
    "circuitBreaker": {"perEndpoint": {"maxConnections": 10}},
    "healthCheck": {
        "panicThreshold": 20,
        "passive": {
            "consecutiveGatewayErrors": 3,
            "splitExternalLocalOriginErrors": True,
            "consecutiveLocalOriginFailures": 2,
            "failurePercentageThreshold": 50,
            "alwaysEjectOneEndpoint": True,
        },
    },
}
"""What every cluster has, which all answers here show that Envoy takes."""


def _document(kind: str, name: str, **spec: Any) -> Document:
    return document(f"{ENVOY_GATEWAY}/v1alpha1", kind, name, spec)


def _at(listener: str) -> Document:
    where = targeted("Gateway", "gateway")
    where["targetRefs"][0]["sectionName"] = listener
    return where


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return dict(zip(POLICIES, free_ports(len(POLICIES)), strict=True))


@pytest.fixture(scope="module")
def running(ports: dict[str, int]) -> Iterator[Stage]:
    plain = [{"group": ENVOY_GATEWAY, "kind": "Backend", "name": "plain"}]
    pages = {
        "parentRefs": [{"name": "gateway"}],
        "rules": [{"matches": [{"path": {"value": "/pages"}}], "backendRefs": plain}],
    }
    with Stage(openai=Provider(OPENAI, key="k"), plain=Provider(OPENAI, key="")) as stage:
        stage.run(
            [
                *gateway(*({"name": name, "port": port} for name, port in ports.items())),
                *backend("openai", stage["openai"].port, key="k"),
                endpoint("plain", stage["plain"].port),
                route("models", [rule("gpt", ref("openai"))]),
                document(f"{GATEWAY_API}/v1", "HTTPRoute", "pages", pages),
                _document("BackendTrafficPolicy", "kept", **targeted("Gateway", "gateway"), **BACKENDS),
                _document("SecurityPolicy", "addresses", **targeted("Gateway", "gateway"), authorization=CIDRS),
                *(
                    _document("ClientTrafficPolicy", name, **_at(name), **spec)
                    for name, spec in POLICIES.items()
                    if spec
                ),
            ]
        )
        yield stage


@pytest.fixture
def stage(running: Stage) -> Stage:
    running.forget()
    return running


def _url(ports: dict[str, int], listener: str) -> str:
    return f"http://{LOOPBACK}:{ports[listener]}"


def _chat(url: str, **headers: str) -> httpx.Response:
    body = {"model": "gpt", "messages": [{"role": "user", "content": "Hello!"}]}
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{url}/v1/chat/completions", json=body, headers=sent)


def _raw(port: int, text: bytes) -> bytes:
    """What is answered to these bytes, until the connection ends."""
    with socket.create_connection((LOOPBACK, port), timeout=BUSY_SECONDS) as connection:
        connection.sendall(text)
        found = b""
        with suppress(ConnectionResetError):
            while chunk := connection.recv(65_536):
                found += chunk
        return found


def test_headers_are_changed_before_all_else_and_at_last(stage: Stage, ports: dict[str, int]) -> None:
    answer = _chat(_url(ports, "headers"), x_debug_a="1", x_kept="1")
    assert answer.status_code == 200
    assert (answer.headers["x-late"], "content-type" in answer.headers) == ("yes", False)
    sent = stage["openai"].last
    assert (sent.header("x-edge"), sent.header("x-debug-a"), sent.header("x-kept")) == ("100%", None, "1")
    assert sent.json["model"] == "gpt"


def test_what_the_gateway_answers_itself_is_changed_too(stage: Stage, ports: dict[str, int]) -> None:
    body: Any = {"model": "unknown", "messages": []}
    answer = httpx.post(f"{_url(ports, 'headers')}/v1/chat/completions", json=body)
    assert (answer.status_code, answer.headers["x-late"]) == (404, "yes")


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/pages/a", {}, 200),
        ("/pages%2Fa", {}, 400),
        ("/pages/a", {"x_a": "1"}, 400),
        ("/pages/a", {"x-long": "a" * 9_000}, 431),
    ],
)
def test_what_is_not_taken_is_refused(
    stage: Stage, ports: dict[str, int], path: str, headers: dict[str, str], status: int
) -> None:
    stage["plain"].problems.clear()
    found = httpx.get(f"{_url(ports, 'headers')}{path}", headers=headers).status_code
    assert found == status or (status == 200 and found < 500 and stage["plain"].requests)


def test_paths_are_those_that_providers_see_whatever_a_policy_says(stage: Stage, ports: dict[str, int]) -> None:
    body = {"model": "gpt", "messages": [{"role": "user", "content": "Hello!"}]}
    for path in ("/v1%2Fchat/completions", "//v1//chat/completions"):
        assert httpx.post(_url(ports, "kept") + path, json=body).status_code == 200
    assert {request.path for request in stage["openai"].requests} == {"/v1/chat/completions"}


def test_connections_are_bounded(ports: dict[str, int]) -> None:
    url = _url(ports, "bounded")
    with httpx.Client() as first:
        assert first.get(f"{url}/v1/models").status_code == 200
        with httpx.Client() as second, pytest.raises(httpx.TransportError):
            second.get(f"{url}/v1/models")
        assert first.get(f"{url}/v1/models").headers["connection"] == "close"


def test_headers_that_do_not_come_are_not_waited_for(ports: dict[str, int]) -> None:
    until = time.monotonic() + BUSY_SECONDS
    while b"408" not in (found := _raw(ports["bounded"], b"GET /v1/models HTTP/1.1\r\nhost: a\r\nx-a")):
        assert not found, found  # the connection of the test before may still count
        assert time.monotonic() < until


@pytest.mark.parametrize(("source", "status"), [("192.0.2.7", b"200"), ("198.51.100.9", b"403")])
def test_the_proxy_protocol_says_where_a_connection_comes_from(
    stage: Stage, ports: dict[str, int], source: str, status: bytes
) -> None:
    head = f"PROXY TCP4 {source} 127.0.0.1 4711 80\r\n".encode()
    request = b"GET /v1/models HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    assert _raw(ports["proxied"], head + request).split(b" ")[1] == status
    assert _raw(ports["proxied"], request) == b""


def test_old_clients_are_served(ports: dict[str, int]) -> None:
    assert b" 200 " in _raw(ports["old"], b"GET /v1/models HTTP/1.0\r\nhost: a\r\n\r\n")
    assert b" 426 " in _raw(ports["default"], b"GET /v1/models HTTP/1.0\r\nhost: a\r\n\r\n")
    upgrade = b"connection: upgrade, close\r\nupgrade: h2c\r\n\r\n"
    assert b" 200 " in _raw(ports["old"], b"GET /v1/models HTTP/1.1\r\nhost: a\r\n" + upgrade)


def test_whoever_asks_is_told_that_all_is_well(ports: dict[str, int]) -> None:
    assert httpx.get(f"{_url(ports, 'old')}/healthz").status_code == 200


def test_trailers_of_a_client_harm_nothing(stage: Stage, ports: dict[str, int]) -> None:
    body = b'{"model": "gpt", "messages": [{"role": "user", "content": "Hello!"}]}'
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    head += b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    for name in ("default", "trailing"):
        request = head + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\nx-told: late\r\nauthorization: mine\r\n\r\n"
        assert b" 200 " in _raw(ports[name], request)
    assert [request.header("authorization") for request in stage["openai"].requests] == ["Bearer k", "Bearer k"]
