"""A provider that answers exactly the bytes that a test says, heads included."""

import socketserver
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from types import TracebackType
from typing import Self

from support.ports import LOOPBACK


@dataclass(frozen=True, slots=True)
class RawRequest:
    """As it came."""

    head: bytes
    body: bytes

    @property
    def path(self) -> bytes:
        return self.head.split(b" ", 2)[1]


RawReply = bytes | Sequence[bytes]
"""A piece, or pieces that are sent one by one."""


class RawProvider:
    """Speaks HTTP/1.1 as far as to read requests; `reply` says what is answered, after which the connection is kept
    unless an answer says `connection: close`."""

    def __init__(self, reply: Callable[[RawRequest], RawReply]) -> None:
        self.reply = reply
        self.requests: list[RawRequest] = []
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while (request := _read(self.rfile)) is not None:
                    outer.requests.append(request)
                    found = outer.reply(request)
                    for piece in (found,) if isinstance(found, bytes) else found:
                        self.wfile.write(piece)
                        self.wfile.flush()
                    if b"connection: close" in (found if isinstance(found, bytes) else b"".join(found)):
                        return

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # the other side has left

        self._server = Server((LOOPBACK, 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _read(source: BufferedIOBase) -> RawRequest | None:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = source.readline()
        if not line:
            return None
        head += line
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        body = b""
        while size := int(source.readline().split(b";")[0], 16):
            body += source.read(size)
            source.readline()
        while source.readline() != b"\r\n":
            pass
        return RawRequest(head, body)
    length = lower.partition(b"content-length: ")[2].split(b"\r\n")[0]
    return RawRequest(head, source.read(int(length or 0)))
