"""What a connection may not do, below requests: each is ended, and the gateway serves on."""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest
from support.stage import Stage
from support.waiting import BUSY_SECONDS

pytestmark = pytest.mark.envoy

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, RST_STREAM, SETTINGS, PING, CONTINUATION = 1, 3, 4, 6, 9
END_HEADERS = 4
MAX_CONCURRENT_STREAMS = 3
REQUEST = b"\x83\x86\x84\x41\x01a"
"""POST http://a/ by HPACK's static table."""
FRAMES_MAX = 50_000
"""Far more than is let pass."""


def _frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


@pytest.fixture
def connection(stage: Stage) -> Iterator[socket.socket]:
    where = urlsplit(stage.url)
    with closing(socket.create_connection((where.hostname, where.port), timeout=BUSY_SECONDS)) as made:
        yield made


def _ended_under(connection: socket.socket, flood: Iterator[bytes]) -> bool:
    """Whether the other side ends the connection; its answers are not read before all of the flood is sent."""
    connection.sendall(PREFACE + _frame(SETTINGS))
    try:
        for part in flood:
            connection.sendall(part)
        while connection.recv(65536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def _resets() -> Iterator[bytes]:
    for stream in range(1, 2 * FRAMES_MAX, 2):
        yield _frame(HEADERS, END_HEADERS, stream, REQUEST) + _frame(RST_STREAM, 0, stream, (8).to_bytes(4))


def _continuations() -> Iterator[bytes]:
    yield _frame(HEADERS, 0, 1, REQUEST)
    for _ in range(FRAMES_MAX):
        yield _frame(CONTINUATION, 0, 1)


def _pings() -> Iterator[bytes]:
    for _ in range(FRAMES_MAX):
        yield _frame(PING, 0, 0, b"8 bytes.") * 8


def _settings() -> Iterator[bytes]:
    for _ in range(FRAMES_MAX):
        yield _frame(SETTINGS) * 8


@pytest.mark.parametrize("flood", [_resets, _continuations, _pings, _settings])
def test_a_flood_of_frames_ends_its_connection(
    stage: Stage, connection: socket.socket, flood: Callable[[], Iterator[bytes]]
) -> None:
    """Rapid reset is CVE-2023-44487, endless continuations CVE-2024-27919."""
    assert _ended_under(connection, flood())
    assert stage.chat("gpt").status_code == 200


def test_a_head_that_never_ends_is_answered_408(connection: socket.socket) -> None:
    connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nx-slow")
    answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"request header timeout" in answer, "not that of the body, which is longer"


def test_a_connection_brings_only_so_many_streams(connection: socket.socket) -> None:
    connection.sendall(PREFACE + _frame(SETTINGS))
    reader = connection.makefile("rb")
    head = reader.read(9)
    assert head[3] == SETTINGS
    payload = reader.read(int.from_bytes(head[:3]))
    said = {
        int.from_bytes(payload[at : at + 2]): int.from_bytes(payload[at + 2 : at + 6])
        for at in range(0, len(payload), 6)
    }
    assert said[MAX_CONCURRENT_STREAMS] == 100
