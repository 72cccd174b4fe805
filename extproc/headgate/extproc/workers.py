"""One worker: the processor on its socket and, if asked for, its admin page. A supervisor starts one per core."""

import argparse
import gc
from typing import Final

from headgate.extproc.metrics import Metrics
from headgate.extproc.server import Processor
from headgate.extproc.wire import SERVICE
from headgate.runtime.admin_server import AdminServer, page
from headgate.runtime.http2.health import Health
from headgate.runtime.http2.server import Server
from headgate.runtime.logging import event_log
from headgate.runtime.metrics import CONTENT_TYPE
from headgate.runtime.signals import stop_event

log: Final = event_log("extproc")


async def serve(options: argparse.Namespace) -> None:
    """Serves until SIGTERM or SIGINT, then drains. Raises AddressInUseError."""
    stop = stop_event()
    address, drain_seconds = options.address, options.drain_seconds
    metrics = Metrics()
    metrics.lag.start()
    health = Health((SERVICE,))
    server = Server({**Processor(metrics).services(), **health.services()})
    pages = {("GET", "/metrics"): page(metrics.text, CONTENT_TYPE), ("GET", "/health"): page(lambda: "OK\n")}
    admin = AdminServer(pages)
    try:
        admin_port = await admin.open(options)
        port = await server.listen(address)
        # What is imported now lives as long as the process: take it out of every later collection.
        gc.collect()
        gc.freeze()
        bound = address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"
        log.info("serving", address=bound, admin_port=admin_port)
        await stop.wait()
        health.shut_down()
        log.info("draining", address=bound, drain_seconds=drain_seconds)
        await server.stop(drain_seconds)
    finally:
        metrics.lag.stop()
        await admin.close()
    log.info("stopped", address=bound)
