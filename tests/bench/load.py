"""The load generator: `python -m bench.load`, a process of its own. Reads a `Load` as JSON on stdin, prints a `Result`.

A closed loop over raw sockets and epoll: each connection sends its next request when its answer is complete. It costs
about 10 us per request, so on an otherwise idle core it is not what limits the rest.
"""

import json
import re
import select
import socket
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Final

SENT_AT: Final = re.compile(rb"t(\d{9,20})z")
MARK_BYTES_MAX: Final = 24
ERRORS_KEPT_MAX: Final = 5
POLL_SECONDS: Final = 0.1
PAUSED_POLL_SECONDS: Final = 0.001
DISCONNECTS_MAX: Final = 1000
"""More means that nothing serves: give up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What to send: a raw body to a path, over some connections, for some time."""

    host: str
    port: int
    path: str
    body: str
    headers: dict[str, str] = field(default_factory=dict[str, str])
    other_ports: list[int] = field(default_factory=list[int])
    """Where the same is sent at the same time, over as many connections each: what disturbs one disturbs the others."""
    connections: int = 1
    """To each port."""
    stagger_seconds: float = 0.0
    """Between opening one connection and the next: paced streams that begin together would queue behind each other."""
    seconds: float = 1.0
    pause_seconds: float = 0.0
    """Of each connection between an answer and its next request."""
    warmup_seconds: float = 0.0
    """At the start, not counted."""

    def request(self) -> bytes:
        body = self.body.encode()
        headers = {"host": f"{self.host}:{self.port}", "content-type": "application/json", **self.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self.path} HTTP/1.1\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body


@dataclass(slots=True, kw_only=True)
class Result:
    """What came back: latencies in microseconds, failures by what they were."""

    seconds: float = 0.0
    requests: int = 0
    chunks: int = 0
    failures: int = 0
    errors: list[str] = field(default_factory=list[str])
    latencies_us: list[float] = field(default_factory=list[float])
    first_chunk_us: list[float] = field(default_factory=list[float])
    chunk_latencies_us: list[float] = field(default_factory=list[float])
    by_port_us: list[list[float]] = field(default_factory=list[list[float]])
    """The chunks' latencies for `port` and each of `other_ports`, in that order, where there are others."""
    cpu_seconds: float = 0.0
    """Of this generator: to see that it was not what limited."""


class _Connection:
    __slots__ = (
        "_load",
        "_port",
        "chunked",
        "first_chunk_at",
        "head_end",
        "latencies_us",
        "length",
        "received",
        "scanned",
        "sent_at",
        "stream",
    )

    def __init__(self, load: Load, port: int, latencies_us: list[float]) -> None:
        self._load = load
        self._port = port
        self.latencies_us = latencies_us
        self.stream = self._connect()
        self._reset()

    def _connect(self) -> socket.socket:
        connection = socket.create_connection((self._load.host, self._port), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def reconnect(self) -> None:
        self.stream.close()
        self.stream = self._connect()
        self._reset()

    def _reset(self) -> None:
        self.received = bytearray()
        self.scanned = 0
        self.head_end = -1
        self.length = -1
        self.chunked = False
        self.first_chunk_at = 0.0
        self.sent_at = 0.0

    def send(self, request: bytes) -> None:
        self._reset()
        self.sent_at = time.perf_counter()
        self.stream.sendall(request)

    def receive(self) -> bool:
        """Reads what is there; True when the answer is complete. Raises ConnectionError when the peer has closed."""
        data = self.stream.recv(262144)
        if not data:
            raise ConnectionError("closed before the answer was complete")
        self.received += data
        if self.head_end < 0:
            self.head_end = self.received.find(b"\r\n\r\n")
            if self.head_end < 0:
                return False
            head = bytes(self.received[: self.head_end]).lower()
            self.chunked = b"\r\ntransfer-encoding: chunked" in head
            _, found, rest = head.partition(b"\r\ncontent-length:")
            self.length = int(rest.split(b"\r\n", 1)[0]) if found else 0
        if self.chunked:
            return self.received.endswith(b"\r\n0\r\n\r\n")
        return len(self.received) >= self.head_end + 4 + self.length

    def new_marks(self, now_ns: int) -> list[float]:
        """How long each text that was not seen before was under way, in microseconds."""
        found = [(now_ns - int(match[1])) / 1000 for match in SENT_AT.finditer(self.received, self.scanned)]
        if found:
            self.scanned = self.received.rfind(b"z") + 1
        else:
            self.scanned = max(self.scanned, len(self.received) - MARK_BYTES_MAX)
        return found


class _Loop:
    """Sends until the time is over; answers under way then are not counted."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._request = load.request()
        self._result = Result(seconds=load.seconds)
        self._counting = False
        self._disconnects = 0
        self._waiting: deque[tuple[float, _Connection]] = deque()
        """Connections in their pause, and until when."""
        self._poll = select.epoll()
        self._connections: dict[int, _Connection] = {}

    def run(self) -> Result:
        ports = (self._load.port, *self._load.other_ports)
        if self._load.other_ports:
            self._result.by_port_us = [[] for _ in ports]
        for _ in range(self._load.connections):
            for index, port in enumerate(ports):
                latencies = self._result.by_port_us[index] if self._load.other_ports else []
                self._open(_Connection(self._load, port, latencies))
                time.sleep(self._load.stagger_seconds)
        started = time.perf_counter() + self._load.warmup_seconds
        ends = started + self._load.seconds
        cpu_before = time.process_time()
        while (now := time.perf_counter()) < ends:
            if not self._counting and now >= started:
                self._counting, cpu_before = True, time.process_time()
            while self._waiting and self._waiting[0][0] <= now:
                self._waiting.popleft()[1].send(self._request)
            for number, _ in self._poll.poll(PAUSED_POLL_SECONDS if self._load.pause_seconds else POLL_SECONDS):
                self._receive(self._connections[number])
        self._result.cpu_seconds = time.process_time() - cpu_before
        for connection in self._connections.values():
            connection.stream.close()
        return self._result

    def _open(self, connection: _Connection) -> None:
        number = connection.stream.fileno()
        self._connections[number] = connection
        self._poll.register(number, select.EPOLLIN)
        connection.send(self._request)

    def _receive(self, connection: _Connection) -> None:
        try:
            complete = connection.receive()
        except OSError as error:
            self._disconnects += 1
            if self._disconnects > DISCONNECTS_MAX:
                raise
            self._fail(f"{type(error).__name__}: {error}")
            number = connection.stream.fileno()
            del self._connections[number]
            self._poll.unregister(number)
            connection.reconnect()
            self._open(connection)
            return
        if connection.chunked:
            self._count_chunks(connection)
        if complete:
            self._count(connection)
            if self._load.pause_seconds:
                self._waiting.append((time.perf_counter() + self._load.pause_seconds, connection))
            else:
                connection.send(self._request)

    def _fail(self, error: str) -> None:
        if self._counting:
            self._result.failures += 1
            if len(self._result.errors) < ERRORS_KEPT_MAX:
                self._result.errors.append(error)

    def _count(self, connection: _Connection) -> None:
        if not connection.received.startswith(b"HTTP/1.1 200"):
            self._fail(bytes(connection.received[:600]).decode(errors="replace"))
        elif self._counting:
            self._result.requests += 1
            self._result.latencies_us.append((time.perf_counter() - connection.sent_at) * 1e6)
            if connection.first_chunk_at:
                self._result.first_chunk_us.append((connection.first_chunk_at - connection.sent_at) * 1e6)

    def _count_chunks(self, connection: _Connection) -> None:
        found = connection.new_marks(time.monotonic_ns())
        if found and not connection.first_chunk_at:
            connection.first_chunk_at = time.perf_counter()
        if self._counting:
            self._result.chunks += len(found)
            self._result.chunk_latencies_us += found
            connection.latencies_us += found


def run(load: Load) -> Result:
    """Runs one load to its end; raises OSError where nothing serves."""
    return _Loop(load).run()


def main() -> None:
    json.dump(asdict(run(Load(**json.load(sys.stdin)))), sys.stdout)


if __name__ == "__main__":
    main()
