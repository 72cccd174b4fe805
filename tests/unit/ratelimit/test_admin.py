"""The admin port's HTTP: pages, and what it refuses."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from headgate.ratelimit.admin import BODY_BYTES_MAX, AdminServer, Reply


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
    ],
)
async def test_answers(port: int, request_bytes: bytes, status: str, body: str) -> None:
    assert await ask(port, request_bytes) == (f"HTTP/1.1 {status}", body)
