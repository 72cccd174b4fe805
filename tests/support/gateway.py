"""`headgate run`, started as users start it."""

import os
import re
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from support.processes import Child, command_line, descendants
from support.waiting import BUSY_SECONDS, wait_until

READY = re.compile(r'^(?:ready  |\{.*"event": ?"ready").*$', re.MULTILINE)
"""In text and in JSON; what is sent to the console stands between such lines, and has metrics that are called so."""
URL = re.compile(r"https?://[^\s\"',]+")
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "HEADGATE_TEST_ENVOY")
"""Environment that a gateway gets from the test run: provider keys of the developer must not leak into tests."""


class Gateway:
    """A running `headgate run`.

    `config` is YAML text (or several, by file name) put into a folder that the gateway watches; None runs it without.
    Waits until it says `ready` unless told not to; raises RuntimeError with its output when it ends before.
    """

    def __init__(
        self,
        config: str | Mapping[str, str] | None,
        directory: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        wait: bool = True,
        timeout_seconds: float = BUSY_SECONDS,
    ) -> None:
        self.config_path = directory / "config"
        self.state_path = directory / "state"
        command = [sys.executable, "-m", "headgate.cli.main", "run"]
        if config is not None:
            self.config_path.mkdir()
            for name, text in ({"gateway.yaml": config} if isinstance(config, str) else config).items():
                (self.config_path / name).write_text(text)
            command.append(str(self.config_path))
        command += ["--state-dir", str(self.state_path), "--admin-port", "0", *arguments]
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        self._started_at = time.monotonic()
        self.child = Child(
            command, directory=directory, name="gateway", environment={**inherited, **(environment or {})}
        )
        self.ready_seconds = 0.0
        if wait:
            try:
                self.wait_ready(timeout_seconds)
            except BaseException:
                self.close()
                raise

    def wait_ready(self, timeout_seconds: float = BUSY_SECONDS) -> None:
        def ready() -> bool:
            if self.urls:
                return True
            self.child.require_alive()
            return False

        wait_until(ready, "`headgate run` to be ready", timeout_seconds=timeout_seconds, progress=self.child.progress)
        self.ready_seconds = time.monotonic() - self._started_at

    @property
    def urls(self) -> tuple[str, ...]:
        """Base URLs of the listeners, without a slash at the end; empty until it is ready."""
        found = READY.search(self.child.stdout)
        return tuple(url.rstrip("/.") for url in URL.findall(self.child.stdout[found.start() :])) if found else ()

    @property
    def url(self) -> str:
        """The first listener's base URL."""
        return self.urls[0]

    @property
    def output(self) -> str:
        return self.child.stdout + self.child.stderr

    def write(self, text: str, name: str = "gateway.yaml") -> None:
        """Replaces a configuration file at once, as editors do."""
        new = self.config_path / f".{name}.new"
        new.write_text(text)
        new.rename(self.config_path / name)

    def wait_output(self, pattern: str) -> re.Match[str]:
        """The first match of a regular expression in what it prints."""

        def found() -> re.Match[str] | None:
            if match := re.search(pattern, self.output):
                return match
            self.child.require_alive()
            return None

        return wait_until(found, f"{pattern!r} in the gateway's output")

    def processes(self) -> dict[str, tuple[int, ...]]:
        """Live processes: `controller` (the command), `envoy`, `extproc`, `ratelimit`, `collector`, `demo`, `other`."""
        found: dict[str, list[int]] = {"controller": [self.child.pid]}
        for pid in descendants(self.child.pid):
            found.setdefault(_kind(command_line(pid)), []).append(pid)
        return {kind: tuple(pids) for kind, pids in found.items()}

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signals it and returns its exit code; raises AssertionError if it leaves a process behind."""
        family = descendants(self.child.pid)
        self.child.signal(number)
        code = self.child.wait()
        left = [pid for pid in family if _exists(pid)]
        assert not left, f"left running: {[command_line(pid) for pid in left]}"
        return code

    def close(self) -> None:
        self.child.close(grace_seconds=15)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and bool(command_line(pid))


def _kind(command: tuple[str, ...]) -> str:
    text = " ".join(command)
    for kind, sign in (
        ("envoy", r"(^|/)envoy "),
        ("extproc", r"headgate[.-]extproc"),
        ("ratelimit", r"headgate[.-]ratelimit"),
        ("collector", r"headgate[.-]collector"),
        ("demo", r"headgate\.cli\.demo"),
    ):
        if re.search(sign, text):
            return kind
    return "other"


def status_of(url: str) -> int:
    """The HTTP status of a GET; 0 where nothing listens."""
    try:
        with urllib.request.urlopen(url, timeout=BUSY_SECONDS) as response:
            return response.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except (urllib.error.URLError, ConnectionError):
        return 0
