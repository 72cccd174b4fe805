"""`--mode standalone`: the resources of a Kubernetes API, served to any Envoy over delta ADS.

Every replica serves; the leader writes statuses. Rate limit services read their limits from `/limits` of the health
address, or, beside this process, from `<state-dir>/ratelimit/headgate.yaml`.
"""

import argparse
import asyncio
import tempfile
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import grpc
from headgate.compiler.conditions import diagnostic_order
from headgate.compiler.last_good import Good, compile_settled
from headgate.compiler.options import Mode, Options
from headgate.compiler.resources.metadata import Key
from headgate.controller.certificates.installation import certificate_keeper
from headgate.controller.certificates.keeper import CertificateKeeper
from headgate.controller.certificates.xds_credentials import XdsCredentials
from headgate.controller.cluster import Cluster, open_cluster
from headgate.controller.control_plane import ControlPlane
from headgate.controller.health import serve_health
from headgate.controller.limits_page import LimitsPage
from headgate.controller.loop import Build
from headgate.controller.modes.arguments import health_address
from headgate.controller.modes.envoys import LogObserver, compiler_options
from headgate.controller.programmed import refused_objects
from headgate.controller.sources.kubernetes.gateway_api import BundleVersion
from headgate.controller.start_error import StartError
from headgate.controller.status import with_programmed
from headgate.controller.store import Refusal
from headgate.controller.watch import merged
from headgate.controller.xds.snapshot import Snapshot
from headgate.runtime.logging import event_log

log = event_log("controller")

PENDING_SECONDS: Final = 10.0
"""How long statuses wait for Envoy's answer, so that they are written once and not twice. After that, those that are
new say that there is none."""


async def run(options: argparse.Namespace, stop: asyncio.Event) -> None:
    """Serves until `stop`."""
    name: str = options.gateway_class_controller_name
    with tempfile.TemporaryDirectory(prefix="headgate-") as temporary:
        state: Path = (options.state_dir or Path(temporary)).absolute()
        async with open_cluster(options, controller_name=name) as cluster:
            compiler = compiler_options(options, Mode.STANDALONE, name, secrets_directory="")
            keeper = certificate_keeper(cluster, options) if options.xds_tls else None
            outlet = _Outlet(cluster, compiler, state, keeper)
            async with serve_health(
                health_address(options),
                ready=cluster.not_ready,
                status=outlet.status,
                limits=outlet.limits,
                metrics=cluster.metrics,
            ):
                await outlet.serve(options.address, stop)


class _Outlet:
    """From the world to Envoys and statuses; is the loop's observer."""

    def __init__(
        self, cluster: Cluster, options: Options, state: Path, keeper: CertificateKeeper | None = None
    ) -> None:
        """With a `keeper`, only Envoys with a certificate of ours are served."""
        self._cluster = cluster
        self._keeper = keeper
        self._options = options
        self._gateway_api = BundleVersion(cluster.api)
        self._log = LogObserver()
        self._control_plane = ControlPlane(
            build=self._build, observer=self, state_directory=state, metrics=cluster.metrics
        )
        self.limits = LimitsPage()
        self._last: Build | None = None
        self._good: Good = {}
        self._kept: Good = {}
        self._patience: asyncio.TimerHandle | None = None

    async def serve(self, address: str, stop: asyncio.Event) -> None:
        """Until `stop`. Envoys may connect at once, and are told something once everything was read."""
        renewing = asyncio.create_task(self._keeper.run()) if self._keeper is not None else None
        try:
            if self._keeper is not None and not await _unless_stopped(self._keeper.there(), stop):
                return
            await self._control_plane.start(address, serving=False, credentials=self._credentials())
            if not await _unless_stopped(self._cluster.synced(), stop):
                return
            self._options = replace(self._options, gateway_api=await self._gateway_api.read())
            self._good = await self._cluster.good.read()
            if not await self._control_plane.build_first():
                raise StartError(self._control_plane.status().error)
            self._control_plane.follow(merged(self._cluster.changes(), self._upgrades()))
            self._control_plane.set_serving()
            log.info("serving", address=address)
            await stop.wait()
        finally:
            if self._patience is not None:
                self._patience.cancel()
            if renewing is not None:
                renewing.cancel()
            await self._control_plane.stop()

    async def _upgrades(self) -> AsyncGenerator[None]:
        """Of Gateway API's definitions; the status of our classes says which there are."""
        async for version in self._gateway_api.changes():
            self._options = replace(self._options, gateway_api=version)
            yield

    def _credentials(self) -> grpc.ServerCredentials | None:
        if self._keeper is None:
            return None
        following = XdsCredentials(self._keeper.data)
        self._keeper.on_change(following.use)
        return following.credentials()

    def status(self) -> Mapping[str, object]:
        """For `/status`."""
        loop = self._control_plane.status()
        return {
            **self._cluster.status(),
            "wanted": loop.wanted,
            "published": loop.published,
            "accepted": loop.accepted,
            "refusals": loop.refusals,
            "error": loop.error,
            "nodes": loop.nodes,
            "problems": loop.problems,
        }

    def _build(self) -> Build:
        """Called in a thread."""
        view = self._cluster.view()
        settled = compile_settled(view.world, self._options, self._good)
        self._good, self._kept, compiled = settled.good, settled.kept, settled.compiled
        problems = {str(each): each for each in (*view.diagnostics, *compiled.diagnostics)}
        return Build(
            resources=compiled.resources,
            limits_text=compiled.limits,
            files=compiled.files,
            problems=tuple(sorted(problems.values(), key=diagnostic_order)),
            exchanges=compiled.exchanges,
            told=compiled.told,
        )

    # --- the loop's observer

    def built(self, build: Build, snapshot: Snapshot) -> None:
        new = self._last is None or build.problems != self._last.problems
        self._last = build
        self.limits.publish(build.limits_text)
        self._cluster.good.offer(self._kept)
        self._cluster.credentials.offer(build.exchanges)
        if new:
            self._log.built(build, snapshot)
        # once it is published: until Envoy has it, it is pending, and what statuses cost Envoy need not wait for
        asyncio.get_running_loop().call_soon(self._wait_for_envoy)

    def build_failed(self, error: Exception) -> None:
        self._log.build_failed(error)

    def applied(self, snapshot: Snapshot, seconds: float) -> None:
        self._tell()

    def refused(self, refusal: Refusal) -> None:
        self._tell()

    # --- statuses

    def _wait_for_envoy(self) -> None:
        if not self._pending():
            self._tell()
        elif self._patience is None:
            self._patience = asyncio.get_running_loop().call_later(PENDING_SECONDS, self._tell)

    def _pending(self) -> bool:
        status = self._control_plane.status()
        return bool(status.nodes) and status.accepted != status.published

    def _tell(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self._last is None:
            return
        statuses, writer = self._last.statuses, self._cluster.statuses
        refused = refused_objects(self._control_plane.refusals, statuses)
        pending = {each.key for each in statuses if not writer.shows(each)} if self._pending() else frozenset[Key]()
        writer.offer(with_programmed(statuses, pending=pending, refused=refused))


async def _unless_stopped(work: Coroutine[None, None, object], stop: asyncio.Event) -> bool:
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            return False
        task.result()
        return True
    finally:
        stopped.cancel()
        task.cancel()
        with suppress(asyncio.CancelledError, StartError):
            await task
