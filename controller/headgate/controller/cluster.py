"""What the modes on a Kubernetes API share: the connection, what is read, who leads, and who writes statuses.

async with open_cluster(options) as cluster:
    await cluster.synced()
    cluster.view() … cluster.changes() … cluster.statuses.offer(…) … cluster.leading
"""

import argparse
import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from headgate.controller.credentials.cluster import ClusterCredentials
from headgate.controller.credentials.settings import settings
from headgate.controller.election import Election
from headgate.controller.events import EventRecorder
from headgate.controller.good_keeper import GoodKeeper
from headgate.controller.metrics import ControllerMetrics
from headgate.controller.sources.kubernetes.client import AccessError, ApiServer, connect
from headgate.controller.sources.kubernetes.discovery import Discovery
from headgate.controller.sources.kubernetes.source import KubernetesSource, Scope
from headgate.controller.sources.kubernetes.world import View
from headgate.controller.start_error import StartError
from headgate.controller.status_writer import StatusWriter
from headgate.runtime.logging import event_log
from headgate.runtime.metrics import Registry

log = event_log("controller")

NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
DEFAULT_NAMESPACE: Final = "headgate-system"


class Cluster:
    """See the module; made by `open_cluster`."""

    def __init__(self, api: ApiServer, options: argparse.Namespace, controller_name: str) -> None:
        self.api = api
        self.identity = identity()
        self.namespace = options.leader_election_namespace or own_namespace()
        self.source = KubernetesSource(api, Scope(namespaces=tuple(options.watch_namespaces), secrets=options.secrets))
        self.election: Election | None = None
        if options.leader_elect:
            self.election = Election(
                api,
                name=options.leader_election_id,
                namespace=self.namespace,
                identity=self.identity,
                on_change=self._led,
            )
        self.events = EventRecorder(
            api, reporter=controller_name, instance=self.identity, may_write=lambda: self.leading
        )
        self.statuses = StatusWriter(
            api,
            Discovery(api),
            self.source.world,
            controller_name=controller_name,
            may_write=lambda: self.leading,
            on_change=self.events.tell,
        )
        self.credentials = ClusterCredentials(
            api, settings(options.credential_endpoint, os.environ), may_write=lambda: self.leading
        )
        self.good = GoodKeeper(
            api,
            namespace=self.namespace,
            name=f"{options.leader_election_id}-last-good",
            may_write=lambda: self.leading,
        )
        self.on_leading: Callable[[], None] = lambda: None
        """Called when this replica begins to lead."""
        self.is_synced = False
        self.metrics = ControllerMetrics(Registry())
        self.metrics.numbers |= {
            "leading": lambda: int(self.leading),
            "status.writes": lambda: self.statuses.counts.writes,
            "status.failures": lambda: self.statuses.counts.failures,
        }
        self._timeout_seconds: float = options.cache_sync_timeout_seconds

    @property
    def leading(self) -> bool:
        """Whether this replica may write now."""
        return self.election is None or self.election.leading

    def view(self, *, beside_envoy_gateway: bool = False) -> View:
        """The world now; may be called from another thread."""
        return self.source.view(beside_envoy_gateway=beside_envoy_gateway)

    def changes(self) -> AsyncGenerator[None]:
        """Yields after every change of the world."""
        return self.source.changes()

    async def synced(self) -> None:
        """Waits until everything was read once. Raises StartError after `--cache-sync-timeout-seconds`."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self.source.synced()
        except TimeoutError:
            raise StartError(f"could not read all objects: {'; '.join(self.source.missing())}") from None
        self.is_synced = True

    def not_ready(self) -> str:
        """Why it is not ready; empty when it is."""
        return "" if self.is_synced else "not all objects were read yet"

    def status(self) -> Mapping[str, object]:
        """For `/status`."""
        return {
            "identity": self.identity,
            "leading": self.leading,
            "leader": self.election.holder if self.election is not None else self.identity,
            "synced": self.is_synced,
            "statuses": {
                "writes": self.statuses.counts.writes,
                "conflicts": self.statuses.counts.conflicts,
                "failures": self.statuses.counts.failures,
                "idle": self.statuses.idle,
            },
            "events": self.events.written,
            "tokens": self.credentials.writes,
            "watches": [
                {
                    "kind": each.collection.kind,
                    "namespace": each.collection.namespace,
                    "served": each.served,
                    "synced": each.synced.is_set(),
                    "lists": each.lists,
                    "watches": each.watches,
                    "events": each.events,
                    "error": each.error,
                }
                for each in self.source.states()
            ],
        }

    def _led(self, leading: bool) -> None:
        log.info("leading" if leading else "following", identity=self.identity)
        self.credentials.recheck()
        if leading:
            self.statuses.recheck()
            self.good.recheck()
            self.on_leading()


@asynccontextmanager
async def open_cluster(options: argparse.Namespace, *, controller_name: str) -> AsyncGenerator[Cluster]:
    """Connects, begins to read, and takes part in the election; ends all of it after. Raises StartError."""
    try:
        api = await connect(options.kubeconfig, options.kube_context)
    except AccessError as error:
        raise StartError(str(error)) from error
    cluster = Cluster(api, options, controller_name)
    parts = (cluster.statuses, cluster.events, cluster.good, cluster.election)
    tasks = [asyncio.create_task(each.run()) for each in parts if each]
    cluster.source.start()
    try:
        yield cluster
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await cluster.credentials.close()
        await cluster.source.stop()
        await api.close()


def own_namespace() -> str:
    """The namespace of this pod, else `POD_NAMESPACE`, else ours by default."""
    if name := os.environ.get("POD_NAMESPACE"):
        return name
    try:
        return NAMESPACE_FILE.read_text().strip()
    except OSError:
        return DEFAULT_NAMESPACE


def identity() -> str:
    """A name for this process that no other has: that of its pod, with the process' own start."""
    return f"{os.environ.get('POD_NAME') or socket.gethostname()}_{os.urandom(4).hex()}"
