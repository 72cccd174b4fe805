"""`make bench-control`: the controller on a real Kubernetes API with 1,000 AIGatewayRoutes of three backends each.

The API server (with etcd), Envoy and the controller share this machine's cores: times include all three. The API
server is that of `make cluster`, built if need be.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from cluster.tools import ToolsError, ensure_tools
from headgate.runtime.envoy import EnvoyOptions, envoy_child, find_envoy
from support.controller import Controller
from support.kube import TOOLS_VARIABLE, Kube, KubeProcess, Object, install_crds, read_crds
from support.ports import free_port
from support.processes import Child, cpu_seconds, resident_bytes
from support.waiting import wait_until

from bench import configuration as config
from bench import report
from bench.control_plane import ask, chat_body
from bench.measure import start_backend

CHANGES: Final = 20
CHANGED: Final = 500
CONCURRENCY: Final = 16
POLL_SECONDS: Final = 0.002
OURS: Final = Path(__file__).parents[2] / "manifests" / "crds"
UPSTREAMS_CLASS: Final = ("--gateway-class-controller-name", "gateway.envoyproxy.io/gatewayclass-controller")
"""Our benchmarks' GatewayClass is written for Envoy Gateway."""


def main() -> int:
    """Prints Markdown; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.cluster_control", description="See tests/bench/README.md.")
    parser.add_argument("--routes", type=int, default=1_000)
    options = parser.parse_args()
    try:
        tools = ensure_tools()
    except ToolsError as error:
        print(error, file=sys.stderr)
        return 1
    os.environ[TOOLS_VARIABLE] = str(tools.directory)
    with tempfile.TemporaryDirectory(prefix="hg-") as directory:
        here = Path(directory)
        (here / "api").mkdir()
        with KubeProcess(here / "api", controllers=("gc", "namespace")) as server:
            lines = asyncio.run(_measure(server, tools.crds, here, options.routes))
    print("# Headgate's controller on a Kubernetes API, measured")
    print(report.pairs(report.conditions()))
    print(report.pairs(lines))
    return 0


async def _measure(server: KubeProcess, crds: Path, directory: Path, routes: int) -> dict[str, str]:
    backend, backend_port = start_backend(directory)
    port = free_port()
    objects = list(config.many_routes(routes, port, backend_port))
    lines: dict[str, str] = {}
    with backend:
        async with Kube(server.access) as kube:
            await install_crds(kube, read_crds(crds, OURS))
            await kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "headgate-system"}})
            lines["objects"] = f"{len(objects)} ({routes} AIGatewayRoutes x 3 backends)"
            lines["creating them"] = f"{await _create(kube, objects):.1f} s"
            lines |= await _run(server, kube, directory, port, routes)
    return lines


async def _create(kube: Kube, objects: Sequence[Object]) -> float:
    gate = asyncio.Semaphore(CONCURRENCY)

    async def create(item: Object) -> None:
        async with gate:
            await kube.create(item)

    started = time.monotonic()
    await asyncio.gather(*map(create, objects))
    return time.monotonic() - started


async def _run(server: KubeProcess, kube: Kube, directory: Path, port: int, routes: int) -> dict[str, str]:
    def start(name: str) -> Controller:
        arguments = ("--mode", "standalone", "--gateway-address", "127.0.0.1", *UPSTREAMS_CLASS)
        return Controller(server.access.kubeconfig, directory, *arguments, name=name)

    lines: dict[str, str] = {}
    started = time.monotonic()
    with start("first") as controller:
        await _ready(controller)
        lines["from start to the first snapshot"] = f"{time.monotonic() - started:.2f} s"
        lines["of it, CPU"] = f"{cpu_seconds(controller.pid):.2f} s"
        written = await asyncio.to_thread(_statuses_written, controller)
        lines["from start until all statuses were written"] = f"{time.monotonic() - started:.1f} s ({written} writes)"
    started = time.monotonic()
    with start("second") as controller, _envoy(directory, controller) as envoy:
        await _ready(controller)
        await asyncio.to_thread(_served, port, routes // 2, envoy)
        lines["restarted, until Envoy serves"] = f"{time.monotonic() - started:.2f} s"
        await asyncio.to_thread(controller.wait_status, leading=True)
        lines["memory of the controller (RSS)"] = f"{resident_bytes(controller.pid) / 2**20:.0f} MiB"
        before, cpu = controller.status()["statuses"]["writes"], cpu_seconds(controller.pid)
        changes = [await _change(kube, port, number, envoy) for number in range(CHANGES)]
        cpu = (cpu_seconds(controller.pid) - cpu) / CHANGES
        lines["from the apply of one change to Envoy serving it"] = (
            f"{statistics.median(changes):.3f} s median, {max(changes):.3f} s worst of {CHANGES}"
        )
        lines["CPU of the controller for one change"] = f"{cpu:.2f} s"
        await asyncio.sleep(2.0)
        after = controller.status()["statuses"]["writes"]
        lines["statuses written by the restarted controller"] = (
            f"{before} before, {after - before} for {CHANGES} changes"
        )
        lines["memory after the changes (RSS)"] = f"{resident_bytes(controller.pid) / 2**20:.0f} MiB"
    return lines


def _envoy(directory: Path, controller: Controller) -> Child:
    options = EnvoyOptions(binary=find_envoy(), state_directory=directory, xds_socket=controller.xds, concurrency=1)
    return Child(envoy_child(options).command, directory=directory, name="envoy")


async def _ready(controller: Controller) -> None:
    def published() -> dict[str, Any] | None:
        controller.require_alive()
        status = controller.status()
        return status if status.get("published") else None

    await asyncio.to_thread(wait_until, published, "a snapshot", timeout_seconds=120.0)


def _statuses_written(controller: Controller) -> int:
    """How many, once nothing more is to be written."""

    def idle() -> int:
        controller.require_alive()
        status = controller.status()
        return status["statuses"]["writes"] if status["leading"] and status["statuses"]["idle"] else 0

    return wait_until(idle, "all statuses to be written", timeout_seconds=300.0)


def _served(port: int, number: int, envoy: Child) -> None:
    _wait(port, f"model-{number}", envoy)


async def _change(kube: Kube, port: int, number: int, envoy: Child) -> float:
    """Gives a route a new model name, and waits until that is served."""
    route = config.many_route(CHANGED)
    model = f"changed-{number}"
    route["spec"]["rules"][0]["matches"][0]["headers"][0]["value"] = model
    started = time.monotonic()
    applying = asyncio.create_task(kube.apply(route))
    await asyncio.to_thread(_wait, port, model, envoy)
    took = time.monotonic() - started
    await applying
    return took


def _wait(port: int, model: str, envoy: Child) -> None:
    body = chat_body(model)
    deadline = time.monotonic() + 60
    while ask(port, body) != 200:
        envoy.require_alive()
        if time.monotonic() > deadline:
            raise TimeoutError(f"{model} was not served in 60 s")
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
