"""The processor as users run it: `headgate-extproc` in a process of its own."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from support.checkout import importing
from support.processes import Child
from support.waiting import wait_until


class ProcessorProcess:
    """A running worker on a unix socket below `directory`."""

    def __init__(
        self,
        directory: Path,
        *,
        arguments: Sequence[str] = (),
        options: Sequence[str] = (),
        name: str = "extproc",
        checkout: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`arguments` in place of our own: they must name the socket, and log JSON. `checkout` has other modules.

        `environment` is added to ours.
        """
        self.socket_path = directory / f"{name}.sock"
        command = [sys.executable, "-c", f"{importing(checkout)}from headgate.extproc.main import main; main()"]
        command += [*(arguments or ("--address", f"unix:{self.socket_path}", "--log-format", "json")), *options]
        own = {**os.environ, **(environment or {})}
        self.child = Child(command, directory=directory, name=name, environment=own)
        try:
            wait_until(self._serving, "the processor to serve", progress=self.child.progress)
        except BaseException:
            self.close()
            raise

    def _serving(self) -> bool:
        self.child.require_alive()
        return '"event":"serving"' in self.child.stderr

    @property
    def log(self) -> str:
        return self.child.stderr

    def close(self) -> None:
        self.child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
