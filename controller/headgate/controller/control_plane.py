"""The controller as a part of a process: the loop and its ADS server, on the running event loop.

Importing this module costs most of the start of `headgate run` (gRPC, protobuf), so it happens after Envoy was started.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import grpc
from headgate.controller.loop import Build, ControllerLoop, LoopObserver, LoopStatus, Unfit
from headgate.controller.metrics import ControllerMetrics
from headgate.controller.store import Refusal
from headgate.controller.watch import Fingerprint, fingerprint, merged, watch
from headgate.controller.xds.server import ADS_SERVICE, AdsServer
from headgate.controller.xds.snapshot import Snapshot
from headgate.runtime.envoy import XDS_CLUSTER
from headgate.runtime.grpc_server import Health, listen, make_server


class ControlPlane:
    """Starts serving at `start`; `build` is called in a thread."""

    def __init__(
        self,
        *,
        build: Callable[[], Build],
        observer: LoopObserver,
        state_directory: Path,
        metrics: ControllerMetrics | None = None,
        unfit: Unfit = lambda _: (),
    ) -> None:
        self._loop = ControllerLoop(
            build=build,
            publish=self._publish,
            observer=observer,
            state_directory=state_directory,
            static_clusters=frozenset({XDS_CLUSTER}),
            metrics=metrics,
            unfit=unfit,
        )
        self._ads = AdsServer(self._loop)
        self._server = make_server()
        self._health = Health((ADS_SERVICE,), serving=False)
        self._watching: asyncio.Task[None] | None = None
        self._seen: Fingerprint = frozenset()

    async def start(
        self, address: str, *, serving: bool = True, credentials: grpc.ServerCredentials | None = None
    ) -> int:
        """Serves ADS on `unix:/path` or `host:port`; returns the port. Raises AddressInUseError.

        Its gRPC health is SERVING now, or with `set_serving`.
        """
        self._ads.add_to(self._server)
        self._server.add_generic_rpc_handlers((self._health.handler(),))
        if serving:
            self.set_serving()
        port = listen(self._server, address, credentials)
        await self._server.start()
        return port

    def set_serving(self) -> None:
        """From now on there is something to serve."""
        self._health.start()

    async def build_first(self, paths: Sequence[Path] = ()) -> bool:
        """Builds and publishes; returns whether it could. `paths` are what `watch` will watch."""
        self._seen = await asyncio.to_thread(fingerprint, paths)
        return await self._loop.build_now()

    def watch(self, paths: Sequence[Path], *others: AsyncIterator[object]) -> None:
        """From now on changes of `paths`, and those that the others tell of, are built and published."""
        self.follow(merged(watch(paths, self._seen), *others))

    def follow(self, changes: AsyncIterator[object]) -> None:
        """From now on every change is built and published."""
        self._watching = asyncio.create_task(self._loop.run(changes))

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """What is wanted and Envoy refused."""
        return self._loop.refusals

    def status(self) -> LoopStatus:
        return self._loop.status()

    async def stop(self) -> None:
        """Stops watching and serving."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._server.stop(0)

    def _publish(self, snapshot: Snapshot) -> None:
        self._ads.publish(snapshot)
