"""The folder of one running gateway: its sockets, Envoy's bootstrap, the limits, files Envoy reads."""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from headgate.cli.start_error import StartError

SOCKET_PATH_BYTES_MAX: Final = 107
"""The kernel's bound on unix socket paths."""
_LONGEST_NAME: Final = "extproc-999.sock"


class StateDirectory:
    """A folder that only this process uses. A temporary one goes when it is closed, a given one stays."""

    def __init__(self, given: Path | None = None) -> None:
        """Makes and locks it. Raises StartError."""
        self._temporary = given is None
        try:
            self.path = (given or Path(tempfile.mkdtemp(prefix="headgate-"))).absolute()
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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
        self._remove_sockets()
        self.limits.mkdir(mode=0o700, exist_ok=True)

    @property
    def xds_socket(self) -> Path:
        return self.path / "xds.sock"

    @property
    def ratelimit_socket(self) -> Path:
        return self.path / "ratelimit.sock"

    def extproc_sockets(self, workers: int) -> tuple[Path, ...]:
        """One per processor."""
        return tuple(self.path / f"extproc-{index}.sock" for index in range(workers))

    @property
    def limits(self) -> Path:
        """What the rate limit service reads."""
        return self.path / "ratelimit"

    @property
    def files(self) -> Path:
        """Files that Envoy reads by path."""
        return self.path / "files"

    def close(self) -> None:
        """Removes sockets and credentials, and everything if it is temporary."""
        self._remove_sockets()
        shutil.rmtree(self.files, ignore_errors=True)
        if self._temporary:
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def _remove_sockets(self) -> None:
        for socket in self.path.glob("*.sock"):
            socket.unlink(missing_ok=True)
