"""The real Envoy tells the limiter a call's moment and path: what decides between refusing and charging."""

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from headgate.contract import headers
from support.envoy import EnvoyProcess
from support.limiter import LimiterProcess, client_limits
from support.ports import LOOPBACK
from support.static_envoy import Config, bootstrap, cluster, extension, listener, pipe, routed, tcp
from support.waiting import wait_until

pytestmark = pytest.mark.envoy

CHARGE = 7


class Provider(ThreadingHTTPServer):
    """Answers at once, but to a path that ends in /hang only when released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.hanging = threading.Event()
        super().__init__((LOOPBACK, 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Provider  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        if self.path.endswith("/hang"):
            self.server.hanging.set()
            self.server.released.wait(20)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def rate_limits(client: str) -> Sequence[Mapping[str, Any]]:
    """A check and a charge."""
    who = [{"generic_key": {"descriptor_key": "client", "descriptor_value": client}}]
    return [
        {"actions": who, "hits_addend": {"number": 0}},
        {"actions": who, "hits_addend": {"number": CHARGE}, "apply_on_stream_done": True},
    ]


def rate_limit_filter(clients: Iterable[str]) -> Config:
    metadata = [
        {"key": headers.GRPC_MOMENT, "value": headers.GRPC_MOMENT_FORMAT},
        {"key": headers.GRPC_PATH, "value": headers.GRPC_PATH_FORMAT},
    ]
    service = {"envoy_grpc": {"cluster_name": "limiter"}, "initial_metadata": metadata}
    return extension(
        "envoy.filters.http.ratelimit",
        "filters.http.ratelimit.v3.RateLimit",
        domain="d",
        timeout="5s",
        enable_x_ratelimit_headers="DRAFT_VERSION_03",
        rate_limit_service={"transport_api_version": "V3", "grpc_service": service},
        rate_limits=[each for client in clients for each in rate_limits(client)],
    )


def limited_envoy(provider_port: int, limiter_path: str, clients: Iterable[str]) -> Config:
    """Its bootstrap."""
    return bootstrap(
        [listener("in", tcp(), routed("provider"), rate_limit_filter(clients))],
        [cluster("provider", tcp(provider_port)), cluster("limiter", pipe(limiter_path), http2=True)],
    )


class Gateway:
    """Envoy with a limiter behind it."""

    def __init__(self, envoy: EnvoyProcess, limiter: LimiterProcess) -> None:
        self.port = envoy.listeners()["in"]
        self.limiter = limiter

    def get(self, path: str) -> tuple[int, Mapping[str, str], bytes]:
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}{path}", timeout=10) as response:
                return response.status, dict(response.headers), response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    def admissions(self) -> int:
        return self.limiter.metric("headgate_ratelimit_admissions")

    def settlements(self) -> int:
        return self.limiter.metric("headgate_ratelimit_settlements")

    def used(self, limit: int, client: str = "alice") -> int:
        status = self.limiter.ask(client, hits=0, metadata=((headers.GRPC_MOMENT, "0-"),)).statuses[0]
        return limit - status.limit_remaining


StartGateway = Callable[..., Gateway]


@pytest.fixture
def start_gateway(
    start_envoy: Callable[..., EnvoyProcess], provider: Provider, short_path: Path
) -> Iterator[StartGateway]:
    """Starts a gateway with this limit for each of the clients that it takes every request to be of."""
    started: list[LimiterProcess] = []

    def start(limit: int, *clients: str) -> Gateway:
        limiter = LimiterProcess(short_path, client_limits(limit, "year"))
        started.append(limiter)
        socket_path = limiter.address.removeprefix("unix:")
        envoy = start_envoy(limited_envoy(provider.server_port, socket_path, clients or ("alice",)))
        return Gateway(envoy, limiter)

    yield start
    for limiter in started:
        limiter.close()


def test_charges_at_stream_end_and_refuses_in_the_clients_dialect(start_gateway: StartGateway) -> None:
    gateway = start_gateway(CHARGE)
    assert gateway.get("/v1/messages")[0] == 200
    wait_until(lambda: gateway.settlements() == 1, "the charge")
    status, fields, body = gateway.get("/v1/messages?beta=true")
    assert status == 429
    assert fields["content-type"] == "application/json"
    assert int(fields["retry-after"]) > 0
    assert fields["x-ratelimit-remaining"] == "0"
    assert json.loads(body)["error"]["type"] == "rate_limit_error"
    _, _, body = gateway.get("/v1/chat/completions")
    assert json.loads(body)["error"]["code"] == "rate_limit_exceeded"


def test_a_charge_that_goes_over_is_kept(start_gateway: StartGateway) -> None:
    gateway = start_gateway(CHARGE + 1)
    for count in (1, 2):
        assert gateway.get("/")[0] == 200
        wait_until(lambda count=count: gateway.settlements() == count, "the charge")
    assert gateway.get("/")[0] == 429


def test_a_client_that_leaves_before_the_answer_is_charged(start_gateway: StartGateway, provider: Provider) -> None:
    gateway = start_gateway(100)
    with socket.create_connection((LOOPBACK, gateway.port)) as client:
        client.sendall(b"GET /hang HTTP/1.1\r\nhost: a\r\n\r\n")
        assert provider.hanging.wait(10)
    wait_until(lambda: gateway.settlements() == 1, "the charge")
    assert gateway.used(100) == CHARGE


def test_all_limits_of_a_request_go_in_one_call(start_gateway: StartGateway) -> None:
    gateway = start_gateway(100, "alice", "bob", "carol")
    for count in (1, 2):
        assert gateway.get("/")[0] == 200
        wait_until(lambda count=count: gateway.settlements() == count, "the charge")
        assert gateway.admissions() == count
    assert [gateway.used(100, client) for client in ("alice", "bob", "carol")] == [2 * CHARGE] * 3
