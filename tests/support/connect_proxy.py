"""A forward proxy: HTTP CONNECT and nothing else. It alone knows where names lead."""

import contextlib
import socket
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from support.ports import LOOPBACK

HEAD_BYTES_MAX = 65_536


class ConnectProxy:
    """Listens on loopback, in threads of its own. Every name leads to `names[name]`, a host; the port is the request's.

    `asked` are the targets of all requests, in order; to names in `refused` it opens no tunnel.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self.asked: list[str] = []
        self.refused: set[str] = set()
        self._names = names
        self._ends: set[socket.socket] = set()
        self._listening = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def close(self) -> None:
        """Refuses connections from now on, and breaks those that there are."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for end in tuple(self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                data = client.recv(HEAD_BYTES_MAX - len(head))
                if not data:
                    return
                head += data
            line, _, _ = head.partition(b"\r\n")
            method, target, _ = line.decode().split(" ")
            self.asked.append(target if method == "CONNECT" else line.decode())
            name, _, port = target.rpartition(":")
            if method != "CONNECT" or name in self.refused:
                client.sendall(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
                return
            with socket.create_connection((self._names.get(name, name), int(port))) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self._tunnel(client, server)

    def _tunnel(self, client: socket.socket, server: socket.socket) -> None:
        ends = {client, server}
        self._ends |= ends
        back = threading.Thread(target=_copy, args=(server, client), daemon=True)
        back.start()
        _copy(client, server)
        back.join()
        self._ends -= ends


def _copy(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            to.sendall(data)
    for end in (source, to):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
