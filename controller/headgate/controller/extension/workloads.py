"""What runs of Envoy Gateway, read off the Deployments and DaemonSets that it makes for Gateways.

Envoy Gateway says no version of its own, but the images in its workloads do: Envoy's, and beside it Envoy Gateway's.
Read at the start and every `RECHECK_SECONDS`, by the leader, who alone writes statuses.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec
from headgate.compiler.envoy_gateway.envoys import Deployed, image_version
from headgate.compiler.envoy_gateway.sidecar import ENVOY_CONTAINER, PROXIES, Pod, PodMetadata
from headgate.compiler.resources.metadata import Name
from headgate.controller.sources.kubernetes.client import ApiError, ApiServer, UnreachableError
from headgate.runtime.logging import event_log

log = event_log("controller")

RECHECK_SECONDS: Final = 15.0
WORKLOADS: Final = ("deployments", "daemonsets")
SHUTDOWN_MANAGER: Final = "shutdown-manager"
"""The container beside Envoy that runs Envoy Gateway's image."""


class _WorkloadSpec(msgspec.Struct, frozen=True):
    template: Pod = Pod()


class Workload(msgspec.Struct, frozen=True):
    """What is read of a Deployment or a DaemonSet."""

    metadata: PodMetadata
    spec: _WorkloadSpec = _WorkloadSpec()

    @property
    def gateway(self) -> Name | None:
        """The Gateway, or the class of merged ones, whose Envoys it runs."""
        return Pod(metadata=self.metadata).gateway


class _Workloads(msgspec.Struct):
    items: list[Workload] = []


async def workloads(api: ApiServer, namespace: str) -> Sequence[tuple[str, Workload]]:
    """Those of Gateways, with their paths. Raises ApiError, UnreachableError, msgspec.MsgspecError."""
    found: list[tuple[str, Workload]] = []
    for resource in WORKLOADS:
        collection = f"/apis/apps/v1/namespaces/{namespace}/{resource}"
        body = await api.request("GET", collection, query={"labelSelector": PROXIES})
        items = msgspec.json.decode(body, type=_Workloads).items
        found += ((f"{collection}/{each.metadata.name}", each) for each in items)
    return found


def deployed(found: Sequence[Workload]) -> Iterator[tuple[Name, Deployed]]:
    """By Gateway, what its workload's images say."""
    for workload in found:
        if (gateway := workload.gateway) is not None:
            images = {each.name: each.image for each in workload.spec.template.spec.containers}
            envoy, own = (image_version(images.get(name)) for name in (ENVOY_CONTAINER, SHUTDOWN_MANAGER))
            yield gateway, Deployed(envoy, own)


class DeployedWatch:
    """`run` until it is cancelled; `on_news` is called when `deployed` is another."""

    def __init__(self, api: ApiServer, namespaces: Sequence[str], *, leading: Callable[[], bool]) -> None:
        self._api = api
        self._namespaces = tuple(namespaces)
        self._leading = leading
        self.deployed: Mapping[Name, Deployed] = {}
        self.on_news: Callable[[], None] = lambda: None
        self._error = ""

    async def run(self) -> None:
        """Looks again and again."""
        while True:
            if self._leading():
                await self._look()
            await asyncio.sleep(RECHECK_SECONDS)

    async def _look(self) -> None:
        try:
            found = [each for name in self._namespaces for _, each in await workloads(self._api, name)]
        except (ApiError, UnreachableError, msgspec.MsgspecError) as error:
            if str(error) != self._error:
                log.warning("versions_unknown", error=str(error))
            self._error = str(error)
            return
        self._error = ""
        now = dict(deployed(found))
        if now == self.deployed:
            return
        self.deployed = now
        for gateway, each in sorted(now.items()):
            log.info("deployed", gateway=str(gateway), envoy=each.envoy, envoy_gateway=each.envoy_gateway)
        self.on_news()
