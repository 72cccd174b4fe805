"""From a change of files to what the real Envoy serves, with the loop in between."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from headgate.cli import providers
from headgate.controller.control_plane import ControlPlane
from headgate.controller.loop import Build
from headgate.controller.store import Refusal
from headgate.controller.xds.resource_types import CLUSTER, LISTENER, ROUTE
from headgate.controller.xds.snapshot import Snapshot
from headgate.runtime.envoy import EnvoyAdmin, EnvoyOptions, envoy_child, find_envoy
from headgate.runtime.supervisor import Supervisor
from support.ads import cluster_json, cluster_route_json, listener_json, messages_of, reply_route_json
from support.ports import free_port
from support.processes import Child
from support.prometheus import Page
from support.waiting import BUSY_SECONDS, wait_until

pytestmark = pytest.mark.envoy

Resources = Mapping[str, tuple[Mapping[str, Any], ...]]


class Bench:
    """A control plane whose sources are the attribute `now`, and an Envoy on it."""

    def __init__(self, directory: Path) -> None:
        self.now: Resources = {}
        self.refusals: list[str] = []
        self.control_plane = ControlPlane(build=self._build, observer=self, state_directory=directory)
        self._changed = asyncio.Event()
        self._applied = ""

    async def use(self, resources: Resources) -> None:
        """Builds, and waits until Envoy has taken what it takes of it."""
        self.now = resources
        await self.control_plane.build_first(())
        async with asyncio.timeout(BUSY_SECONDS):
            while self._applied == "" or self._applied != self.control_plane.status().published:
                self._changed.clear()
                await self._changed.wait()

    def _build(self) -> Build:
        return Build(resources=messages_of(self.now))

    def built(self, build: Build, snapshot: Snapshot) -> None: ...

    def build_failed(self, error: Exception) -> None:
        raise error

    def applied(self, snapshot: Snapshot, seconds: float) -> None:
        self._applied = snapshot.version
        self._changed.set()

    def refused(self, refusal: Refusal) -> None:
        self.refusals.append(str(refusal))
        self._changed.set()


@pytest.fixture
async def bench(short_path: Path) -> AsyncIterator[Bench]:
    made, supervisor = Bench(short_path), Supervisor()
    xds = short_path / "xds.sock"
    options = EnvoyOptions(binary=find_envoy(), state_directory=short_path, xds_socket=xds, concurrency=1)
    supervisor.start(envoy_child(options))
    await made.control_plane.start(f"unix:{xds}")
    yield made
    await supervisor.stop()
    await made.control_plane.stop()


async def fetch(port: int) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        asyncio.timeout(BUSY_SECONDS),
        session.get(f"http://127.0.0.1:{port}/") as response,
    ):
        return response.status, await response.text()


async def test_what_envoy_refuses_is_kept_as_it_was_and_the_rest_changes(bench: Bench) -> None:
    first, second = free_port(), free_port()
    listeners = (listener_json("a", first, "ra"), listener_json("b", second, "rb"))
    good = cluster_json("good", 1)
    await bench.use({LISTENER: listeners, ROUTE: (reply_route_json("ra", "a1"), reply_route_json("rb", "b1"))})
    bad = cluster_json("bad", 1, host="not-an-address")
    broken = {
        LISTENER: listeners,
        ROUTE: (cluster_route_json("ra", "bad"), reply_route_json("rb", "b2")),
        CLUSTER: (good, bad),
    }
    await bench.use(broken)
    assert len(bench.refusals) == 1
    assert bench.refusals[0].startswith("Envoy refused Cluster bad: Error adding/updating cluster(s) bad: malformed")
    assert await fetch(first) == (200, "a1"), "the route to the refused cluster stays as it was"
    assert await fetch(second) == (200, "b2")
    status = bench.control_plane.status()
    assert status.accepted == status.published != status.wanted
    assert status.refusals == tuple(bench.refusals)
    # What is still broken is not offered again with the next change; what is mended is.
    await bench.use({**broken, ROUTE: (cluster_route_json("ra", "bad"), reply_route_json("rb", "b3"))})
    assert (await fetch(second), len(bench.refusals)) == ((200, "b3"), 1)
    await bench.use({**broken, ROUTE: (reply_route_json("ra", "a4"), reply_route_json("rb", "b4")), CLUSTER: (good,)})
    assert await fetch(first) == (200, "a4")
    assert bench.control_plane.status().refusals == ()


async def test_of_a_first_configuration_all_but_the_refused_is_served(bench: Bench) -> None:
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listeners = (listener_json("good", port, "r"), listener_json("bad", taken.getsockname()[1], "r"))
        await bench.use({LISTENER: listeners, ROUTE: (reply_route_json("r", "served"),)})
    assert await fetch(port) == (200, "served")
    assert "Address already in use" in bench.refusals[0]


async def test_of_many_route_configurations_only_the_broken_is_withheld(bench: Bench) -> None:
    """Envoy refuses an update of several with words that name none of them."""
    ports = {name: free_port() for name in ("ra", "rb", "rc")}
    listeners = tuple(listener_json(f"l{name}", port, name) for name, port in ports.items())
    broken = reply_route_json("rb", "b1")
    broken["virtual_hosts"][0]["routes"][0]["match"] = {"safe_regex": {"regex": "("}}
    await bench.use({LISTENER: listeners, ROUTE: (reply_route_json("ra", "a1"), broken, reply_route_json("rc", "c1"))})
    assert await fetch(ports["ra"]) == (200, "a1")
    assert await fetch(ports["rc"]) == (200, "c1")
    (refusal,) = bench.refusals
    assert refusal.startswith("Envoy refused RouteConfiguration rb: ")
    mended = reply_route_json("rb", "b2")
    await bench.use({LISTENER: listeners, ROUTE: (reply_route_json("ra", "a2"), mended, reply_route_json("rc", "c2"))})
    assert [await fetch(port) for port in ports.values()] == [(200, "a2"), (200, "b2"), (200, "c2")]


async def test_a_restarted_controller_sends_an_envoy_nothing_it_has(short_path: Path) -> None:
    port, supervisor = free_port(), Supervisor()
    xds = short_path / "xds.sock"
    options = EnvoyOptions(binary=find_envoy(), state_directory=short_path, xds_socket=xds, concurrency=1)
    admin = EnvoyAdmin(options.admin_socket)
    supervisor.start(envoy_child(options))
    resources = {
        LISTENER: (listener_json("l", port, "r"),),
        ROUTE: (reply_route_json("r", "one"),),
        CLUSTER: (cluster_json("c", 1),),
    }
    changed = "^(cluster_manager.cluster_(added|modified)|listener_manager.listener_(added|modified))$"
    counts: list[Mapping[str, int]] = []
    try:
        for _ in range(2):
            bench = Bench(short_path)
            await bench.control_plane.start(f"unix:{xds}")
            await bench.use(resources)
            counts.append(await admin.stats(changed))
            assert await fetch(port) == (200, "one")
            await bench.control_plane.stop()
            assert await fetch(port) == (200, "one"), "an Envoy without a controller goes on"
        assert counts[0] == counts[1]
        bench = Bench(short_path)
        await bench.control_plane.start(f"unix:{xds}")
        await bench.use({**resources, ROUTE: (reply_route_json("r", "two"),)})
        assert await fetch(port) == (200, "two")
        assert await admin.stats(changed) == counts[0]
        await bench.control_plane.stop()
    finally:
        await supervisor.stop()


def test_headgate_controller_serves_an_envoy_that_somebody_else_started(short_path: Path) -> None:
    port = free_port()
    config = short_path / "config"
    config.mkdir()
    text = providers.manifests(providers.Found((), ()), port=port, demo_socket=short_path / "demo.sock")
    (config / "gateway.yaml").write_text(text)
    command = [
        sys.executable,
        "-m",
        "headgate.controller.main",
        str(config),
        "--address",
        f"unix:{short_path}/xds.sock",
    ]
    command += ["--state-dir", str(short_path / "state"), "--listen-address", "127.0.0.1", "--access-log", ""]
    health = free_port()
    command += ["--extproc-socket", str(short_path / "extproc.sock"), "--health-address", f"127.0.0.1:{health}"]
    options = EnvoyOptions(
        binary=find_envoy(), state_directory=short_path, xds_socket=short_path / "xds.sock", concurrency=1
    )
    with Child(command, directory=short_path, name="controller") as controller:
        with Child(envoy_child(options).command, directory=short_path, name="envoy") as envoy:

            def listening() -> bool:
                controller.require_alive()
                envoy.require_alive()
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", port)) == 0

            wait_until(listening, "the listener")
            moved = free_port()
            (config / "gateway.yaml").write_text(text.replace(f"port: {port}", f"port: {moved}"))
            port = moved
            wait_until(listening, "the moved listener")
            page = Page(httpx.get(f"http://127.0.0.1:{health}/metrics", timeout=10).text)
            assert page.sum("headgate_controller_build_duration_seconds_count") >= 2
            assert page.sum("headgate_controller_envoys") == 1
            assert httpx.get(f"http://127.0.0.1:{health}/readyz", timeout=10).status_code == 200
            assert httpx.get(f"http://127.0.0.1:{health}/status", timeout=10).json()["error"] == ""
        controller.signal(signal.SIGTERM)
        assert controller.wait() == 0


def test_headgate_controller_says_why_it_cannot_start(short_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", "headgate.controller.main", str(short_path), "--address", address]
        command += ["--state-dir", str(short_path / "state"), "--health-address", ""]
        with Child(command, directory=short_path, name="controller") as controller:
            assert controller.wait() == 1
            lines = controller.stderr.splitlines()
    assert lines[-1] == f"headgate-controller: cannot listen on {address}: it is in use or not ours to bind"
