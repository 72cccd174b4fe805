"""Certificates that are replaced while they are served."""

import os
import socket
import ssl
import threading
from pathlib import Path

import pytest
from headgate.runtime.server_tls import ServerTls, TlsFiles
from support.tls import server_tls


def handshake(server: ServerTls, directory: Path, shown: str, trusted: str) -> str:
    """The name in the server's certificate, as a client sees it that shows `shown`; raises OSError where refused."""
    ours, theirs = socket.socketpair()
    served: list[bytes] = []

    def serve() -> None:
        try:
            with server.context.wrap_socket(theirs, server_side=True) as connection:
                connection.sendall(b"x")
                served.append(connection.recv(1))
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    context = ssl.create_default_context(cafile=str(directory / f"{trusted}.crt"))
    context.load_cert_chain(directory / f"{shown}.crt", directory / f"{shown}.key")
    try:
        with context.wrap_socket(ours, server_hostname=trusted) as connection:
            if connection.recv(1) != b"x":
                raise ConnectionError("refused")
            connection.sendall(b"y")
            return trusted
    finally:
        thread.join(5)


@pytest.fixture
def served(tmp_path: Path) -> tuple[ServerTls, Path]:
    for name in ("one", "two", "old", "new"):
        server_tls(tmp_path, name)
    for name, source in (("server", "one"), ("ca", "old")):
        for ending in ("crt", "key"):
            (tmp_path / f"{name}.{ending}").write_bytes((tmp_path / f"{source}.{ending}").read_bytes())
    files = TlsFiles(certificate=tmp_path / "server.crt", key=tmp_path / "server.key", client_ca=tmp_path / "ca.crt")
    return ServerTls(files), tmp_path


def replace(directory: Path, name: str, source: str) -> None:
    for ending in ("crt", "key"):
        path = directory / f"{name}.{ending}"
        path.write_bytes((directory / f"{source}.{ending}").read_bytes())
        os.utime(path, ns=(1, 1))


def test_a_new_certificate_is_shown(served: tuple[ServerTls, Path]) -> None:
    server, directory = served
    assert handshake(server, directory, "old", "one")
    assert not server.load(), "nothing has changed"
    replace(directory, "server", "two")
    assert server.load()
    assert handshake(server, directory, "old", "two")


def test_who_is_trusted_no_more_is_refused(served: tuple[ServerTls, Path]) -> None:
    server, directory = served
    replace(directory, "ca", "new")
    assert server.load()
    assert handshake(server, directory, "new", "one")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(server, directory, "old", "one")


def test_files_that_cannot_be_read_leave_what_was(served: tuple[ServerTls, Path]) -> None:
    server, directory = served
    (directory / "ca.crt").write_text("nonsense")
    os.utime(directory / "ca.crt", ns=(1, 1))
    with pytest.raises(ssl.SSLError):
        server.load()
    assert handshake(server, directory, "old", "one")
