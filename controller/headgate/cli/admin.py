"""`--admin-port`: what the running gateway says about itself over HTTP, on the loopback interface.

`/healthz` this process lives; `/readyz` Envoy serves the configuration; `/status` everything as JSON; `/metrics`
the metrics of Envoy and of all our processes in Prometheus' text format; with `--observe` a page at `/`.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web
from headgate.cli.joined_metrics import joined
from headgate.controller.loop import LoopStatus
from headgate.observe.page import ObservePage, guard
from headgate.runtime import process_metrics
from headgate.runtime.envoy import EnvoyAdmin, EnvoyAdminError
from headgate.runtime.local_http import UnansweredError, ask
from headgate.runtime.metrics import CONTENT_TYPE, Description, Kind, Registry
from headgate.runtime.supervisor import Supervisor

METRICS_SECONDS_MAX: Final = 5.0
METRICS_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of the metrics of one of our processes."""


class AdminServer:
    """Answers from what it is given; keeps nothing."""

    def __init__(
        self,
        *,
        ready: Callable[[], bool],
        status: Callable[[], LoopStatus],
        children: Supervisor,
        envoy: EnvoyAdmin,
        metrics: Registry,
        sockets: Callable[[str], Path],
        page: ObservePage | None = None,
    ) -> None:
        """`sockets`: where a child of that name shows its metrics."""
        self._ready = ready
        self._status = status
        self._children = children
        self._envoy = envoy
        self._sockets = sockets
        self._own = metrics
        declare(metrics, ready, lambda: {child.spec.name: child.restarts for child in children})
        process_metrics.declare(metrics)
        self._lag = process_metrics.LoopLag(metrics)
        app = web.Application(middlewares=[guard])
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/status", self._show_status)
        app.router.add_get("/metrics", self._metrics)
        if page is not None:
            page.add_to(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port. Raises OSError."""
        self._lag.start()
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        return self._runner.addresses[0][1]

    async def stop(self) -> None:
        self._lag.stop()
        await self._runner.cleanup()

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        ready = self._ready() and await self._envoy.is_live()
        return web.Response(text="ready\n" if ready else "not ready\n", status=200 if ready else 503)

    async def _show_status(self, request: web.Request) -> web.Response:
        status = {"ready": self._ready(), **asdict(self._status()), "children": child_states(self._children)}
        return web.Response(body=msgspec.json.encode(status, enc_hook=str), content_type="application/json")

    async def _metrics(self, request: web.Request) -> web.Response:
        names = [child.spec.name for child in self._children if self._sockets(child.spec.name).exists()]
        asked = (_measured(self._sockets(name)) for name in names)
        envoy, *others = await asyncio.gather(_measured_envoy(self._envoy), *asked)
        pages = {"run": self._own.text(), **dict(zip(names, others, strict=True))}
        # Envoy's as they are: none of ours is called like them, and there may be many
        return web.Response(body=(joined(pages) + envoy).encode(), headers={"content-type": CONTENT_TYPE})


async def _measured_envoy(envoy: EnvoyAdmin) -> str:
    try:
        return await envoy.request("/stats/prometheus")
    except EnvoyAdminError:
        return ""


async def _measured(socket: Path) -> str:
    """The metrics of one of our processes; nothing where it does not tell, as one that is just starting again."""
    try:
        answer = await ask(socket, "/metrics", seconds=METRICS_SECONDS_MAX, bytes_max=METRICS_BYTES_MAX)
    except UnansweredError:
        return ""
    return answer.body.decode() if answer.status == 200 else ""


def declare(registry: Registry, ready: Callable[[], bool], restarts: Callable[[], Mapping[str, int]]) -> None:
    """What `headgate run` tells of itself; the controller in it tells the rest."""
    live = Description(name="headgate.ready", kind=Kind.GAUGE, help="Whether Envoy serves the configuration.")
    registry.observed(live, lambda: {(): int(ready())})
    again = Description(
        name="headgate.child.restarts", kind=Kind.COUNTER, help="Restarts of child processes.", labels=("child",)
    )
    registry.observed(again, lambda: {(name,): count for name, count in restarts().items()})


def child_states(children: Supervisor) -> Mapping[str, Mapping[str, object]]:
    """Of each child by name."""
    return {
        child.spec.name: {"pid": child.pid, "running": child.running, "restarts": child.restarts} for child in children
    }
