"""Backends that are asked whether they are well, and what is done with silence, in front of the real Envoy."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

import pytest
from support.manifests import Document, backend, gateway, ref, route, rule, traffic
from support.ports import LOOPBACK, free_port
from support.providers import OPENAI, Answer, Delivery, Provider
from support.stage import Stage
from support.waiting import wait_until

pytestmark = pytest.mark.envoy

TEXT: Any = {"type": "Text"}
PING: Any = {"type": "Binary", "binary": "cGluZw=="}
ASKING: Any = {"path": "/health", "method": "POST", "requestBody": {**TEXT, "text": "how are you?"}}
WELL: Any = {
    "well": {"type": "HTTP", "http": {**ASKING, "expectedResponse": {**TEXT, "text": "how are you? well"}}},
    "ill": {"type": "HTTP", "http": {**ASKING, "expectedResponse": {**TEXT, "text": "could not be better"}}},
    "unexpected": {"type": "HTTP", "http": {"path": "/gone", "expectedStatuses": [204]}},
    "expected": {"type": "HTTP", "http": {"path": "/gone", "expectedStatuses": [404], "retriableStatuses": [500]}},
    "ponging": {"type": "TCP", "tcp": {"send": PING, "receive": {**TEXT, "text": "pong"}}},
    "mute": {"type": "TCP", "tcp": {"send": {**TEXT, "text": "ping"}, "receive": {**TEXT, "text": "pang"}}},
    "open": {"type": "TCP", "tcp": {}},
}  # fmt: skip
SERVED = {"well", "expected", "ponging", "open"}


class Health(BaseHTTPRequestHandler):
    """Says that it is well, in answer to what it is asked."""

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(asked + b" well")

    def do_GET(self) -> None:
        self.send_response(404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class Ping(StreamRequestHandler):
    """Answers `pong`."""

    def handle(self) -> None:
        while self.rfile.read(4) == b"ping":
            self.wfile.write(b"pong")


def _documents(stage: Stage, http_port: int, tcp_port: int) -> list[Document]:
    documents = [*gateway({"port": stage.port}), *backend("b", stage["openai"].port, key="k")]
    for name, check in WELL.items():
        port = http_port if check["type"] == "HTTP" else tcp_port
        active = {**check, "interval": "100ms", "timeout": "1s", "unhealthyThreshold": 1, "overrides": {"port": port}}
        documents += [
            route(name, [rule(name, ref("b"))]),
            traffic(name, name, healthCheck={"active": active, "panicThreshold": 0}),
        ]
    dead: Document = {
        "active": {"type": "TCP", "tcp": {}, "interval": "100ms", "unhealthyThreshold": 1},
        "panicThreshold": 0,
    }
    documents += [
        *backend("dead", free_port(), key="k"),
        route("followed", [rule("followed", ref("dead", priority=0), ref("b", priority=1))]),
        traffic("followed", "followed", healthCheck=dead),
    ]
    silent = {"timeout": {"http": {"streamIdleTimeout": "300ms"}}}
    budget = {"circuitBreaker": {"retryBudget": {"percent": {"numerator": 20}, "minRetryConcurrency": 5}}}
    return [*documents, route("silent", [rule("silent", ref("b"))]), traffic("silent", "silent", **silent, **budget)]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    servers = [ThreadingHTTPServer((LOOPBACK, 0), Health), ThreadingTCPServer((LOOPBACK, 0), Ping)]
    for server in servers:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
    with Stage(openai=Provider(OPENAI, key="k")) as stage:
        yield stage.run(_documents(stage, *(server.server_address[1] for server in servers)))
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("name", WELL)
def test_who_does_not_answer_as_the_well_do_is_left_out(stage: Stage, name: str) -> None:
    wanted = 200 if name in SERVED else 503
    wait_until(lambda: stage.chat(name).status_code == wanted, f"{name} to answer {wanted}")
    assert stage.chat(name).status_code == wanted


def test_where_one_is_left_out_the_next_is_asked(stage: Stage) -> None:
    unwell = {"envoy_cluster_name": "default/dead/route/followed/rule/0/ref/0"}
    wait_until(lambda: stage.stat("envoy_cluster_health_check_failure", **unwell), "the dead one to be found so")
    assert stage.chat("followed").status_code == 200


def test_a_silent_request_ends(stage: Stage) -> None:
    stage["openai"].answer(Answer(delivery=Delivery(delay_seconds=20)))
    refused = stage.chat("silent")
    assert (refused.status_code, refused.json()["error"]["type"]) == (504, "server_error")
