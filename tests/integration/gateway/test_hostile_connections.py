"""What a connection may not do, below requests: each is ended, and the gateway serves on."""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest
from support.http2_frames import CONTINUATION, END_HEADERS, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, frame
from support.stage import Stage
from support.waiting import BUSY_SECONDS

pytestmark = pytest.mark.envoy

MAX_CONCURRENT_STREAMS = 3
REQUEST = b"\x83\x86\x84\x41\x01a"
"""POST http://a/ by HPACK's static table."""
FRAMES_MAX = 50_000
"""Far more than is let pass."""


@pytest.fixture
def connection(stage: Stage) -> Iterator[socket.socket]:
    where = urlsplit(stage.url)
    with closing(socket.create_connection((where.hostname, where.port), timeout=BUSY_SECONDS)) as made:
        yield made


def _ended_under(connection: socket.socket, flood: Iterator[bytes]) -> bool:
    """Whether the other side ends the connection; its answers are not read before all of the flood is sent."""
    connection.sendall(PREFACE + frame(SETTINGS))
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
        yield frame(HEADERS, END_HEADERS, stream, REQUEST) + frame(RST_STREAM, 0, stream, (8).to_bytes(4))


def _continuations() -> Iterator[bytes]:
    yield frame(HEADERS, 0, 1, REQUEST)
    for _ in range(FRAMES_MAX):
        yield frame(CONTINUATION, 0, 1)


def _pings() -> Iterator[bytes]:
    for _ in range(FRAMES_MAX):
        yield frame(PING, 0, 0, b"8 bytes.") * 8


def _settings() -> Iterator[bytes]:
    for _ in range(FRAMES_MAX):
        yield frame(SETTINGS) * 8


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
    connection.sendall(PREFACE + frame(SETTINGS))
    reader = connection.makefile("rb")
    head = reader.read(9)
    assert head[3] == SETTINGS
    payload = reader.read(int.from_bytes(head[:3]))
    said = {
        int.from_bytes(payload[at : at + 2]): int.from_bytes(payload[at + 2 : at + 6])
        for at in range(0, len(payload), 6)
    }
    assert said[MAX_CONCURRENT_STREAMS] == 100
