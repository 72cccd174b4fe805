"""`--admin-port`: what the running gateway says about itself over HTTP, on the loopback interface.

`/healthz` this process lives; `/readyz` Envoy serves the configuration; `/status` everything as JSON; `/metrics`
Envoy's metrics and ours in Prometheus' text format.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict

import msgspec
from aiohttp import web
from headgate.controller.loop import LoopStatus
from headgate.runtime.envoy import EnvoyAdmin, EnvoyAdminError
from headgate.runtime.supervisor import Supervisor


class AdminServer:
    """Answers from what it is given; keeps nothing."""

    def __init__(
        self,
        *,
        ready: Callable[[], bool],
        status: Callable[[], LoopStatus],
        children: Supervisor,
        envoy: EnvoyAdmin,
    ) -> None:
        self._ready = ready
        self._status = status
        self._children = children
        self._envoy = envoy
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/status", self._show_status)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port. Raises OSError."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        return self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        ready = self._ready() and await self._envoy.is_live()
        return web.Response(text="ready\n" if ready else "not ready\n", status=200 if ready else 503)

    async def _show_status(self, request: web.Request) -> web.Response:
        status = {"ready": self._ready(), **asdict(self._status()), "children": self._child_states()}
        return web.Response(body=msgspec.json.encode(status, enc_hook=str), content_type="application/json")

    async def _metrics(self, request: web.Request) -> web.Response:
        try:
            envoy = await self._envoy.request("/stats/prometheus")
        except EnvoyAdminError:
            envoy = ""
        return web.Response(text=_own_metrics(self._ready(), self._status(), self._child_states()) + envoy)

    def _child_states(self) -> Mapping[str, Mapping[str, object]]:
        return {
            child.spec.name: {"pid": child.pid, "running": child.running, "restarts": child.restarts}
            for child in self._children
        }


def _own_metrics(ready: bool, status: LoopStatus, children: Mapping[str, Mapping[str, object]]) -> str:
    values = [
        ("headgate_ready", "gauge", "Whether Envoy serves the configuration.", {"": int(ready)}),
        ("headgate_problems", "gauge", "Diagnostics of the configuration.", {"": len(status.problems)}),
        ("headgate_refusals", "gauge", "Resources that Envoy refuses.", {"": len(status.refusals)}),
        (
            "headgate_child_restarts_total",
            "counter",
            "Restarts of child processes.",
            {f'{{child="{name}"}}': state["restarts"] for name, state in children.items()},
        ),
    ]
    lines: list[str] = []
    for name, kind, text, series in values:
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        lines += [f"{name}{labels} {value}" for labels, value in series.items()]
    return "\n".join(lines) + "\n"
