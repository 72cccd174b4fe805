"""What others ask the controller over HTTP: /healthz, /readyz, /status, /metrics, and /limits where there are any."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web
from headgate.controller.limits_page import LimitsPage
from headgate.controller.metrics import ControllerMetrics
from headgate.controller.start_error import StartError
from headgate.runtime import process_metrics
from headgate.runtime.logging import event_log
from headgate.runtime.metrics import CONTENT_TYPE, Registry
from headgate.runtime.metrics_export import exported, read_of

log = event_log("controller")


class HealthServer:
    """Serves between `start` and `close`. `ready` and `status` are called for each request."""

    def __init__(
        self,
        *,
        ready: Callable[[], str],
        status: Callable[[], Mapping[str, object]],
        limits: LimitsPage | None = None,
        metrics: Registry | None = None,
    ) -> None:
        self._ready = ready
        self._status = status
        self._limits = limits
        self._metrics = metrics or Registry()
        process_metrics.declare(self._metrics)
        self._lag = process_metrics.LoopLag(self._metrics)
        self._runner: web.AppRunner | None = None

    async def start(self, address: str) -> int:
        """Listens on `host:port`; returns the port. Raises OSError."""
        application = web.Application()
        application.router.add_get("/healthz", self._alive)
        application.router.add_get("/readyz", self._is_ready)
        application.router.add_get("/status", self._tell)
        application.router.add_get("/metrics", self._measured)
        if self._limits is not None:
            application.router.add_get("/limits", self._limits.handle)
        # A request that waits for other limits must not hold up the end.
        self._runner = web.AppRunner(application, shutdown_timeout=0.1, access_log=None, handle_signals=False)
        self._lag.start()
        await self._runner.setup()
        host, _, port = address.rpartition(":")
        site = web.TCPSite(self._runner, host.strip("[]") or None, int(port))
        await site.start()
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stops listening."""
        self._lag.stop()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _alive(self, request: web.Request) -> web.Response:
        del request
        return web.Response(text="ok\n")

    async def _is_ready(self, request: web.Request) -> web.Response:
        del request
        missing = self._ready()
        return web.Response(text=f"{missing or 'ok'}\n", status=503 if missing else 200)

    async def _tell(self, request: web.Request) -> web.Response:
        del request
        body = msgspec.json.encode(self._status(), enc_hook=str)
        return web.Response(body=body, content_type="application/json")

    async def _measured(self, request: web.Request) -> web.Response:
        del request
        return web.Response(body=self._metrics.text().encode(), headers={"content-type": CONTENT_TYPE})


@asynccontextmanager
async def serve_health(
    address: str,
    *,
    ready: Callable[[], str],
    status: Callable[[], Mapping[str, object]],
    limits: LimitsPage | None = None,
    metrics: ControllerMetrics,
) -> AsyncGenerator[None]:
    """Answers the pages of `HealthServer` on `host:port`; nothing where it is empty. Metrics go where variables say as
    well. Raises StartError and MetricsExportError."""
    server = HealthServer(ready=ready, status=status, limits=limits, metrics=metrics.registry)
    try:
        async with exported(read_of(metrics.registry), "controller"):
            if address:
                try:
                    port = await server.start(address)
                except (OSError, ValueError) as error:
                    raise StartError(f"cannot listen on {address}: {error}") from error
                log.info("health_listening", address=f"{address.rpartition(':')[0]}:{port}")
            yield
    finally:
        await server.close()
