"""`--mode envoy-gateway`: the resources of a Kubernetes API, for the Envoys of an Envoy Gateway."""

import argparse
import asyncio

from headgate.compiler.options import CONTROLLER_NAME
from headgate.controller.cluster import open_cluster, serve_health
from headgate.runtime.logging import event_log

log = event_log("controller")


async def run(options: argparse.Namespace, stop: asyncio.Event) -> None:
    """Serves until `stop`."""
    async with (
        open_cluster(options, controller_name=CONTROLLER_NAME) as cluster,
        serve_health(options.health_address, ready=cluster.not_ready, status=cluster.status),
    ):
        await cluster.synced()
        await stop.wait()
