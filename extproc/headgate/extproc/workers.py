"""One worker: the processor on its socket and, if asked for, its admin page. A supervisor starts one per core."""

import gc
from typing import Final

from headgate.extproc.admin import Admin
from headgate.extproc.metrics import Metrics
from headgate.extproc.server import Processor
from headgate.extproc.wire import SERVICE
from headgate.runtime.http2.health import Health
from headgate.runtime.http2.server import Server
from headgate.runtime.logging import event_log
from headgate.runtime.signals import stop_event

log: Final = event_log("extproc")


async def serve(*, address: str, admin_address: str, drain_seconds: float) -> None:
    """Serves until SIGTERM or SIGINT, then drains. Raises AddressInUseError."""
    stop = stop_event()
    metrics = Metrics()
    health = Health((SERVICE,))
    server = Server({**Processor(metrics).services(), **health.services()})
    admin = await Admin.start(admin_address, metrics) if admin_address else None
    try:
        port = await server.listen(address)
        # What is imported now lives as long as the process: take it out of every later collection.
        gc.collect()
        gc.freeze()
        bound = address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"
        log.info("serving", address=bound, admin_port=None if admin is None else admin.port)
        await stop.wait()
        health.shut_down()
        log.info("draining", address=bound, drain_seconds=drain_seconds)
        await server.stop(drain_seconds)
    finally:
        if admin is not None:
            await admin.close()
    log.info("stopped", address=bound)
