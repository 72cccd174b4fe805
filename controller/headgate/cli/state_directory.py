"""The folder of one running gateway: its sockets, Envoy's bootstrap, the limits, files Envoy reads."""

import fcntl
import os
import shutil
import socket
import stat
import tempfile
import time
from pathlib import Path
from typing import Final

from headgate.cli.start_error import StartError

SOCKET_PATH_BYTES_MAX: Final = 107
"""The kernel's bound on unix socket paths."""
_LONGEST_NAME: Final = "extproc-999.admin.sock"
_BACKLOG: Final = 128
_PREFIX: Final = "headgate-"
_LOCK: Final = "lock"
_TEMPORARY_LOCK: Final = "lock-temporary"
"""Tells a folder of ours, which may go, from one that a user gave and that has a similar name."""
_STARTING_SECONDS: Final = 5.0
"""A folder younger than this may be one whose process is yet to lock it."""


class StateDirectory:
    """A folder that only this process uses. A temporary one goes when it is closed, a given one stays.

    A process that was killed could not close its own: the next one that makes a temporary folder removes it.
    """

    def __init__(self, given: Path | None = None) -> None:
        """Makes and locks it. Raises StartError."""
        self._temporary = given is None
        self._listening: list[socket.socket] = []
        if self._temporary:
            remove_stale(Path(tempfile.gettempdir()))
        try:
            self.path = (given or Path(tempfile.mkdtemp(prefix=_PREFIX))).absolute()
            name = _TEMPORARY_LOCK if self._temporary else _LOCK
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(f"cannot use {given} as state folder: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise StartError(f"another headgate uses the state folder {self.path}") from error
        if len(os.fsencode(self.path / _LONGEST_NAME)) > SOCKET_PATH_BYTES_MAX:
            self.close()
            raise StartError(f"the path of the state folder is too long for sockets: {self.path}")
        try:
            self._remove_sockets()
            self.limits.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            os.close(self._lock)
            raise StartError(f"cannot use {error.filename} in the state folder: {error.strerror}") from error

    @property
    def xds_socket(self) -> Path:
        return self.path / "xds.sock"

    @property
    def ratelimit_socket(self) -> Path:
        return self.path / "ratelimit.sock"

    @property
    def collector_socket(self) -> Path:
        return self.path / "collector.sock"

    @property
    def demo_socket(self) -> Path:
        return self.path / "demo.sock"

    @property
    def spool(self) -> Path:
        """What the collector holds for a store that is away."""
        return self.path / "spool"

    def admin_socket(self, child: str) -> Path:
        """Where a server of ours shows its metrics."""
        return self.path / f"{child}.admin.sock"

    def extproc_sockets(self, workers: int) -> tuple[Path, ...]:
        """One per processor."""
        return tuple(self.path / f"extproc-{index}.sock" for index in range(workers))

    @property
    def limits(self) -> Path:
        """What the rate limit service reads."""
        return self.path / "ratelimit"

    @property
    def scripts(self) -> Path:
        """The Lua that Envoy runs."""
        return self.path / "lua"

    @property
    def files(self) -> Path:
        """Files that Envoy reads by path."""
        return self.path / "files"

    def listen(self, path: Path) -> int:
        """A listening socket for a child to inherit: the file's number. It stays open until `close`."""
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(path))
        listening.listen(_BACKLOG)
        self._listening.append(listening)
        return listening.fileno()

    def close(self) -> None:
        """Removes sockets and credentials, and everything if it is temporary."""
        for listening in self._listening:
            listening.close()
        self._remove_sockets()
        shutil.rmtree(self.files, ignore_errors=True)
        if self._temporary:
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def _remove_sockets(self) -> None:
        for path in self.path.glob("*.sock"):
            path.unlink(missing_ok=True)


def remove_stale(parent: Path) -> None:
    """Removes the temporary folders of our user whose process is gone: their locks are free."""
    for path in parent.glob(f"{_PREFIX}*"):
        try:
            found = path.lstat()
            if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
                continue
            if time.time() - found.st_mtime < _STARTING_SECONDS:
                continue
            lock = os.open(path / _TEMPORARY_LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue  # in use
        finally:
            os.close(lock)
