"""What `headgate run` does when clients fill Envoy's memory."""

import socket
from collections.abc import Callable
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import pytest
from support.gateway import Gateway
from support.ports import free_port
from support.prometheus import Page
from support.waiting import BUSY_SECONDS, wait_until

pytestmark = pytest.mark.envoy

Run = Callable[..., Gateway]
MEMORY_BYTES = 256 << 20
BODY_BYTES = 45_000_000
CHAT = "/v1/chat/completions"
HEAD = (
    f"POST {CHAT} HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\ncontent-length: {BODY_BYTES}\r\n\r\n"
)


@pytest.fixture
def gateway(run_gateway: Run) -> Gateway:
    port = free_port()
    return run_gateway(None, "--port", str(port), "--envoy-memory", "256Mi", "--admin-port", str(free_port()))


def _metrics(gateway: Gateway) -> Page:
    (admin,) = gateway.wait_output(r"admin +(http://\S+)").groups()
    return Page(httpx.get(f"{admin}/metrics", timeout=BUSY_SECONDS).text)


def _ask(gateway: Gateway) -> httpx.Response:
    body = {"model": "demo", "messages": [{"role": "user", "content": "Hello!"}]}
    return httpx.post(f"{gateway.url}{CHAT}", json=body, timeout=BUSY_SECONDS)


def _unfinished(url: str) -> socket.socket | None:
    """A client that has sent all of a large body but its end; None where it was cut before."""
    where = urlsplit(url)
    client = socket.create_connection((where.hostname, where.port), timeout=BUSY_SECONDS)
    try:
        client.sendall(HEAD.encode() + b"x" * (BODY_BYTES - 1))
    except ConnectionError:
        client.close()
        return None
    return client


def test_unfinished_bodies_fill_no_more_than_may_be(gateway: Gateway) -> None:
    cut = 0
    with ExitStack() as clients:
        while not cut:
            client = _unfinished(gateway.url)
            cut += client is None
            if client is not None:
                clients.enter_context(client)
            # (it is looked at four times a second, and a client on this machine is fast)
            assert _metrics(gateway).sum("envoy_server_memory_allocated") < MEMORY_BYTES + BODY_BYTES
        refused = wait_until(lambda: found if (found := _ask(gateway)).is_error else None, "others to be refused")
        error = refused.json()["error"]
        assert (refused.status_code, error["type"]) == (503, "server_error"), refused.text
        assert "no memory for more requests" in error["message"]
    wait_until(lambda: _ask(gateway).status_code == 200, "all to be served when the memory is free again")
