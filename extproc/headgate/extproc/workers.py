"""One worker: the processor on its socket and, if asked for, its admin page. A supervisor starts one per core."""

import gc

from headgate.extproc.admin import Admin
from headgate.extproc.metrics import Metrics
from headgate.extproc.server import Processor
from headgate.extproc.wire import SERVICE
from headgate.runtime.grpc_server import make_server, serve_until_signal


async def serve(*, address: str, admin_address: str, drain_seconds: float) -> None:
    """Serves until SIGTERM or SIGINT, then drains. AddressInUseError from the runtime."""
    metrics = Metrics()
    server = make_server()
    server.add_generic_rpc_handlers((Processor(metrics).handler(),))
    admin = await Admin.start(admin_address, metrics) if admin_address else None
    # What is imported now lives as long as the process: take it out of every later collection.
    gc.collect()
    gc.freeze()
    try:
        await serve_until_signal(server, address=address, drain_seconds=drain_seconds, services=(SERVICE,))
    finally:
        if admin is not None:
            await admin.close()
