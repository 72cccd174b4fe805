"""`headgate-controller` on a Kubernetes API, as a process."""

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from support.ports import LOOPBACK, free_port
from support.processes import Child
from support.waiting import wait_until


class Controller(Child):
    """A running controller; `directory` gets its output and its xDS socket."""

    def __init__(self, kubeconfig: Path, directory: Path, *arguments: str, name: str = "controller") -> None:
        self.xds = directory / f"{name}.sock"
        self._health = f"http://{LOOPBACK}:{(port := free_port())}"
        command = [sys.executable, "-m", "headgate.controller.main", "--kubeconfig", str(kubeconfig)]
        command += ["--address", f"unix:{self.xds}", "--health-address", f"{LOOPBACK}:{port}"]
        command += ["--listen-address", LOOPBACK, "--access-log", "", *arguments]
        super().__init__(command, directory=directory, name=name)

    def page(self, path: str) -> tuple[int, str]:
        """An answer of its health server; status 0 while it does not listen."""
        try:
            with urllib.request.urlopen(f"{self._health}/{path}", timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def status(self) -> dict[str, Any]:
        """What `/status` says; empty while it does not listen."""
        code, text = self.page("status")
        return json.loads(text) if code == 200 else {}

    def wait_ready(self) -> None:
        """Until it has read everything."""

        def ready() -> bool:
            self.require_alive()
            return self.page("readyz")[0] == 200

        wait_until(ready, f"{self.name} to be ready", progress=self.progress)

    def wait_status(self, **wanted: Any) -> dict[str, Any]:
        """The status once it says this."""

        def found() -> dict[str, Any] | None:
            self.require_alive()
            status = self.status()
            return status if status and all(status.get(name) == value for name, value in wanted.items()) else None

        return wait_until(found, f"{self.name} to say {wanted}", progress=self.progress)
