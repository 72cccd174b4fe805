"""One worker: the processor on its socket and, if asked for, its admin page. A supervisor starts one per core."""

import gc
from typing import TYPE_CHECKING, Final

from headgate.extproc.metrics import Metrics
from headgate.extproc.server import Processor
from headgate.extproc.wire import SERVICE
from headgate.runtime.admin_server import AdminAddress, AdminServer, page
from headgate.runtime.freed_memory import keep_freed_memory
from headgate.runtime.http2.health import Health
from headgate.runtime.http2.server import Server
from headgate.runtime.logging import event_log
from headgate.runtime.metrics import CONTENT_TYPE
from headgate.runtime.metrics_export import exported, read_of
from headgate.runtime.signals import stop_event

if TYPE_CHECKING:
    from headgate.extproc.capture import CaptureSettings

log: Final = event_log("extproc")


async def serve(
    address: str,
    *,
    drain_seconds: float,
    admin_at: AdminAddress,
    capturing: "CaptureSettings | None" = None,
    variables_told: bool = False,
) -> None:
    """Serves until SIGTERM or SIGINT, then drains. Raises AddressInUseError and MetricsExportError."""
    keep_freed_memory()
    stop = stop_event()
    metrics = Metrics()
    metrics.lag.start()
    health = Health((SERVICE,))
    capturer = None
    if capturing is not None:
        from headgate.extproc.capturer import Capturer  # an HTTP client, for those who need it

        capturer = Capturer(capturing)
    server = Server({**Processor(metrics, capturer).services(), **health.services()})
    pages = {("GET", "/metrics"): page(metrics.text, CONTENT_TYPE), ("GET", "/health"): page(lambda: "OK\n")}
    admin = AdminServer(pages)
    try:
        async with exported(read_of(metrics.registry), "processor", told=variables_told):
            admin_port = await admin.open(admin_at)
            port = await server.listen(address)
            # What is imported now lives as long as the process: take it out of every later collection.
            gc.collect()
            gc.freeze()
            bound = address if address.startswith(("unix:", "fd:")) else f"{address.rpartition(':')[0]}:{port}"
            log.info("serving", address=bound, admin_port=admin_port)
            await stop.wait()
            health.shut_down()
            log.info("draining", address=bound, drain_seconds=drain_seconds)
            await server.stop(drain_seconds)
    finally:
        metrics.lag.stop()
        if capturer is not None:
            await capturer.close()
        await admin.close()
    log.info("stopped", address=bound)
