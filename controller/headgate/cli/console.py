"""What `headgate run` tells the person who started it: plain lines, or events when the log is JSON."""

import sys
from collections.abc import Sequence

from headgate.runtime.logging import LogFormat, event_log

log = event_log("run")


class Console:
    """Progress and readiness go to standard output, problems to standard error."""

    def __init__(self, log_format: LogFormat) -> None:
        self._json = log_format is LogFormat.JSON
        self._problems: frozenset[str] = frozenset()

    def progress(self, text: str) -> None:
        """What is being done."""
        if self._json:
            log.info("progress", text=text)
        else:
            print(text, flush=True)

    def ready(self, urls: Sequence[str], seconds: float) -> None:
        """Envoy serves the configuration."""
        if self._json and urls:
            log.info("ready", urls=urls, seconds=seconds)
        else:
            for url in urls:
                print(f"ready  {url}", flush=True)

    def problems(self, problems: Sequence[object]) -> None:
        """All that is wrong now; what was told before is not told again, what is gone is."""
        told, self._problems = self._problems, frozenset(map(str, problems))
        for problem in map(str, problems):
            if problem not in told:
                self.problem(problem)
        for gone in sorted(told - self._problems):
            if self._json:
                log.info("problem_solved", problem=gone)
            else:
                print(f"solved: {gone}", file=sys.stderr, flush=True)

    def problem(self, text: str) -> None:
        """One thing that is wrong."""
        if self._json:
            log.error("problem", problem=text)
        else:
            print(text, file=sys.stderr, flush=True)
