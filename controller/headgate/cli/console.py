"""What `headgate run` tells the person who started it: plain lines, or one JSON object a line like the log.

It is told whatever the log's level is: progress and readiness on standard output, problems on standard error. What
cannot be written (`| head`, a full disk) is dropped: the gateway serves on.
"""

import fcntl
import os
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, TextIO

from headgate.runtime.logging import LogFormat, LogLevel, json_line

STREAMS: Final = (1, 2)
"""Standard output and standard error."""


def append_to_files() -> None:
    """Has what is told go to the end of a file that a shell's `>` opened: Envoy opens it again for its access log."""
    for stream in STREAMS:
        with suppress(OSError):
            if stat.S_ISREG(os.fstat(stream).st_mode):
                fcntl.fcntl(stream, fcntl.F_SETFL, fcntl.fcntl(stream, fcntl.F_GETFL) | os.O_APPEND)


class Console:
    """See the module."""

    def __init__(self, log_format: LogFormat) -> None:
        self._json = log_format is LogFormat.JSON
        self._problems: frozenset[str] = frozenset()

    def progress(self, text: str) -> None:
        """What is being done."""
        self._say(text, LogLevel.INFO, "progress", text=text)

    def ready(self, urls: Sequence[str], seconds: float) -> None:
        """Envoy serves the configuration on these URLs."""
        for url in urls:
            self._say(f"ready  {url}", LogLevel.INFO, "ready", url=url, seconds=seconds)

    def welcome(self, text: str) -> None:
        """How to call it; for people only."""
        if not self._json:
            _write(text, sys.stdout)

    def problems(self, problems: Sequence[object]) -> None:
        """All that is wrong now; what was told before is not told again, what is gone is."""
        told, self._problems = self._problems, frozenset(map(str, problems))
        for problem in map(str, problems):
            if problem not in told:
                self.problem(problem)
        for gone in sorted(told - self._problems):
            self._say(f"solved: {gone}", LogLevel.INFO, "problem_solved", problem=gone)

    def problem(self, text: str) -> None:
        """One thing that is wrong."""
        self._say(text, LogLevel.ERROR, "problem", problem=text)

    def failed(self, error: Exception) -> None:
        """Why it cannot start."""
        self.problem(f"headgate: {error}")

    def _say(self, line: str, level: LogLevel, event: str, **fields: object) -> None:
        told = json_line("run", level, event, fields) if self._json else line
        _write(told, sys.stderr if level is LogLevel.ERROR else sys.stdout)


def _write(line: str, stream: TextIO) -> None:
    with suppress(OSError):
        print(line, file=stream, flush=True)
