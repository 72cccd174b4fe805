"""WebSockets of plain HTTPRoutes, through the real Envoy, with a client and a server of theirs.

Envoy Gateway lets them pass wherever a route does not say otherwise. What is asked of models is HTTP.
"""

import socket
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
from support.manifests import (
    ENVOY_GATEWAY,
    GATEWAY_API,
    Document,
    api_keys,
    backend,
    document,
    endpoint,
    gateway,
    ref,
    route,
    rule,
    target,
)
from support.providers import OPENAI, Provider
from support.stage import Stage
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import Server, ServerConnection, serve

pytestmark = pytest.mark.envoy


def _echo(connection: ServerConnection) -> None:
    assert connection.request is not None
    connection.send(connection.request.path)
    for message in connection:
        connection.send(message)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve(_echo, "127.0.0.1", 0, max_size=None) as started:
        thread = Thread(target=started.serve_forever, daemon=True)
        thread.start()
        yield started
        started.shutdown()
        thread.join()


ONE: Document = {"rateLimit": {"type": "Global", "global": {"rules": [{"limit": {"requests": 1, "unit": "Hour"}}]}}}


def _http_route(name: str, hostname: str, path: str) -> Document:
    pages = {"group": ENVOY_GATEWAY, "kind": "Backend", "name": "sockets"}
    rules = [{"matches": [{"path": {"value": path}}], "backendRefs": [pages]}]
    spec = {"parentRefs": [{"name": "gateway"}], "hostnames": [hostname], "rules": rules}
    return document(f"{GATEWAY_API}/v1", "HTTPRoute", name, spec)


def _upgrades(name: str, *types: str) -> Document:
    spec = {**target("HTTPRoute", name), "httpUpgrade": [{"type": each} for each in types]}
    return document(f"{ENVOY_GATEWAY}/v1alpha1", "BackendTrafficPolicy", name, spec)


def _documents(stage: Stage, server: Server) -> list[Document]:
    small: dict[str, Any] = {**target("Gateway", "gateway"), "connection": {"bufferLimit": "256Ki"}}
    return [
        *gateway({"port": stage.port}),
        document(f"{ENVOY_GATEWAY}/v1alpha1", "ClientTrafficPolicy", "small", small),
        endpoint("sockets", server.socket.getsockname()[1]),
        *backend("openai", stage["openai"].port, key="k"),
        route("models", [rule("gpt", ref("openai"))], hostnames=["mixed.test"]),
        _http_route("plain", "plain.test", "/"),
        _http_route("mixed", "mixed.test", "/sockets"),
        _http_route("none", "plain.test", "/none"),
        _upgrades("none", "spdy/3.1"),
        _http_route("keyed", "mixed.test", "/keyed"),
        *api_keys("keyed", target("HTTPRoute", "keyed"), {"ann": "hg-ann"}),
        _http_route("limited", "mixed.test", "/limited"),
        document(
            f"{ENVOY_GATEWAY}/v1alpha1", "BackendTrafficPolicy", "limited", {**target("HTTPRoute", "limited"), **ONE}
        ),
        _http_route("named", "plain.test", "/named"),
        _upgrades("named", "WebSocket"),
    ]


@pytest.fixture(scope="module")
def stage(server: Server) -> Iterator[Stage]:
    with Stage(openai=Provider(OPENAI, key="k")) as stage:
        yield stage.run(_documents(stage, server))
        stage.check()


def _connect(stage: Stage, host: str, path: str, **headers: str) -> Any:
    reached = socket.create_connection(("127.0.0.1", stage.port))
    return connect(
        f"ws://{host}:{stage.port}{path}", sock=reached, max_size=None, proxy=None, additional_headers=headers
    )


@pytest.mark.parametrize(
    ("host", "path"), [("plain.test", "/a?b=1"), ("mixed.test", "/sockets/a"), ("plain.test", "/named")]
)
def test_messages_go_both_ways(stage: Stage, host: str, path: str) -> None:
    with _connect(stage, host, path) as connection:
        assert connection.recv(timeout=10) == path
        for text in ("a", "b" * 100_000):
            connection.send(text)
            assert connection.recv(timeout=10) == text


@pytest.mark.parametrize(("host", "path"), [("plain.test", "/"), ("mixed.test", "/sockets")])
def test_no_bound_of_bodies_ends_a_connection(stage: Stage, host: str, path: str) -> None:
    with _connect(stage, host, path) as connection:
        connection.recv(timeout=10)
        for number in range(40):
            connection.send(b"%04d" % number * 8192)
            assert connection.recv(timeout=10) == b"%04d" % number * 8192


@pytest.mark.parametrize(
    ("host", "path", "status"), [("plain.test", "/none", 426), ("mixed.test", "/v1/realtime?model=gpt", 426)]
)
def test_what_is_not_upgraded_says_so(stage: Stage, host: str, path: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as refused:
        _connect(stage, host, path)

    assert refused.value.response.status_code == status
    assert b"WebSocket" in (refused.value.response.body or b"")


def _refusal(stage: Stage, path: str, **headers: str) -> int:
    with pytest.raises(InvalidStatus) as refused:
        _connect(stage, "mixed.test", path, **headers)
    return refused.value.response.status_code


def test_who_connects_is_asked_for_a_key(stage: Stage) -> None:
    assert _refusal(stage, "/keyed") == 401
    with _connect(stage, "mixed.test", "/keyed", authorization="Bearer hg-ann") as connection:
        assert connection.recv(timeout=10) == "/keyed"


def test_connections_count_as_requests(stage: Stage) -> None:
    with _connect(stage, "mixed.test", "/limited") as connection:
        assert connection.recv(timeout=10) == "/limited"
        assert _refusal(stage, "/limited") == 429
