"""The admin port's HTTP: pages, and what it refuses."""

import argparse
import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from headgate.runtime import admin_server
from headgate.runtime.addresses import AddressInUseError
from headgate.runtime.admin_server import (
    BODY_BYTES_MAX,
    AdminAddress,
    AdminServer,
    Reply,
    add_arguments,
    admin_address,
    page,
)
from support.waiting import BUSY_SECONDS


async def echo(body: bytes) -> Reply:
    return Reply(200, f"<{body.decode()}>")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = AdminServer({("GET", "/page"): echo, ("POST", "/page"): echo})
    yield await server.start("127.0.0.1", 0)
    await server.close()


async def ask(port: int, request: bytes) -> tuple[str, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    writer.write_eof()
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert f"content-length: {len(body.encode())}" in head
    return head.split("\r\n")[0], body


@pytest.mark.parametrize(
    ("request_bytes", "status", "body"),
    [
        (b"GET /page HTTP/1.1\r\n\r\n", "200 OK", "<>"),
        (b"GET /page?x=1 HTTP/1.1\r\nHost: a\r\n\r\n", "200 OK", "<>"),
        (b"POST /page HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi", "200 OK", "<hi>"),
        (
            b"POST /page HTTP/1.1\r\norigin: http://a\r\ncontent-length: 2\r\n\r\nhi",
            "403 Forbidden",
            "not for web pages\n",
        ),
        (b"GET /page HTTP/1.1\r\nOrigin: http://a\r\n\r\n", "200 OK", "<>"),
        (b"PUT /page HTTP/1.1\r\n\r\n", "405 Method Not Allowed", "no such method here\n"),
        (b"GET /other HTTP/1.1\r\n\r\n", "404 Not Found", "no such page\n"),
        (b"nonsense\r\n\r\n", "400 Bad Request", "not an HTTP request\n"),
        (b"GET /page HTTP/1.1\r\n", "400 Bad Request", "not an HTTP request\n"),
        (b"GET /" + b"x" * 20_000, "400 Bad Request", "not an HTTP request\n"),
        (b"POST /page HTTP/1.1\r\ncontent-length: x\r\n\r\n", "400 Bad Request", "content-length is not a number\n"),
        (b"POST /page HTTP/1.1\r\ncontent-length: 9\r\n\r\nhi", "400 Bad Request", "the body ended early\n"),
        (
            f"POST /page HTTP/1.1\r\ncontent-length: {BODY_BYTES_MAX + 1}\r\n\r\n".encode(),
            "413 Content Too Large",
            f"more than {BODY_BYTES_MAX} bytes\n",
        ),
        (
            b"POST /page HTTP/1.1\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n",
            "413 Content Too Large",
            f"more than {BODY_BYTES_MAX} bytes\n",
        ),
        (
            b"POST /page HTTP/1.1\r\ncontent-length: 1\r\n\r\n\xff",
            "500 Internal Server Error",
            "this page failed; the log says why\n",
        ),
    ],
)
async def test_answers(port: int, request_bytes: bytes, status: str, body: str) -> None:
    assert await ask(port, request_bytes) == (f"HTTP/1.1 {status}", body)


async def test_that_it_is_there_is_a_page_of_every_server(port: int) -> None:
    assert await ask(port, b"GET /healthz HTTP/1.1\r\n\r\n") == ("HTTP/1.1 200 OK", "ok\n")


async def test_head_has_no_body(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"HEAD /page HTTP/1.1\r\n\r\n")
    answer = (await reader.read()).decode()
    writer.close()
    assert answer.startswith("HTTP/1.1 200 OK\r\n")
    assert "content-length: 2\r\n" in answer
    assert answer.endswith("\r\n\r\n")


async def test_a_socket_serves_the_same_pages(short_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser, "/page")
    server = AdminServer({("GET", "/page"): page(lambda: "hello")})
    path = short_path / "admin.sock"
    assert await server.open(admin_address(parser.parse_args(["--admin-socket", str(path)]))) is None
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"GET /page HTTP/1.1\r\n\r\n")
    assert (await reader.read()).endswith(b"hello")
    writer.close()
    with pytest.raises(AddressInUseError):
        await server.open(AdminAddress(socket=str(short_path / "missing" / "admin.sock")))
    await server.close()


async def test_who_does_not_take_its_answer_is_let_go(monkeypatch: pytest.MonkeyPatch, short_path: Path) -> None:
    monkeypatch.setattr(admin_server, "CLIENT_SECONDS", 0.1)
    server = AdminServer({("GET", "/page"): page(lambda: "x" * 16_000_000)})
    await server.open(AdminAddress(socket=str(short_path / "admin.sock")))
    before = asyncio.all_tasks()
    reader, writer = await asyncio.open_unix_connection(str(short_path / "admin.sock"), limit=1024)
    writer.write(b"GET /page HTTP/1.1\r\n\r\n")
    await reader.readexactly(1)
    _, waiting = await asyncio.wait(asyncio.all_tasks() - before, timeout=BUSY_SECONDS)
    assert not waiting
    writer.close()
    await server.close()


async def test_a_port_that_is_none_is_told() -> None:
    with pytest.raises(AddressInUseError, match="99999"):
        await AdminServer({}).open(AdminAddress(port=99_999))
