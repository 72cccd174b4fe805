"""Has Envoy Gateway's pods made again that are from before they needed the processor, or needed another one.

The leader writes an annotation into the pod template of their Deployment or DaemonSet, which rolls them like any other
change of it. At most once for each container that is wanted: where pods come without the processor all the same (the
webhook is not installed, or does not select them), that is logged and not tried again.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from headgate.compiler.envoy_gateway.sidecar import (
    POD_ANNOTATION,
    PROXIES,
    Pod,
    Processor,
)
from headgate.compiler.resources.metadata import Name
from headgate.controller.extension.workloads import Workload, workloads
from headgate.controller.sources.kubernetes.client import ApiError, ApiServer, UnreachableError
from headgate.controller.webhook.configuration import STRATEGIC
from headgate.runtime.logging import event_log
from headgate.runtime.pauses import wait_at_most

log = event_log("controller")

TEMPLATE_ANNOTATION: Final = "headgate.dev/processor-rollout"
RECHECK_SECONDS: Final = 15.0


class _Pods(msgspec.Struct):
    items: list[Pod] = []


def stale_gateways(pods: Sequence[Pod], wanted: Mapping[Name, Processor]) -> frozenset[Name]:
    """The Gateways with a pod that does not have the processor that they need."""
    found: set[Name] = set()
    for pod in pods:
        processor = wanted.get(pod.gateway) if pod.gateway is not None else None
        if processor is None or pod.gateway is None or pod.metadata.deletion_timestamp:
            continue
        if (pod.metadata.annotations or {}).get(POD_ANNOTATION) != processor.fingerprint:
            found.add(pod.gateway)
    return frozenset(found)


class PodRollout:
    """See the module; `run` until it is cancelled."""

    def __init__(self, api: ApiServer, namespaces: Sequence[str], *, may_write: Callable[[], bool]) -> None:
        self._api = api
        self._namespaces = tuple(namespaces)
        self._may_write = may_write
        self._wanted: Mapping[Name, Processor] = {}
        self._changed = asyncio.Event()
        self._told: set[tuple[Name, str]] = set()
        self.restarts = 0

    def offer(self, wanted: Mapping[Name, Processor]) -> None:
        """What the pods of each Gateway need."""
        if wanted != self._wanted:
            self._wanted = wanted
            self._changed.set()

    def recheck(self) -> None:
        """This replica may have become the leader."""
        self._changed.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await wait_at_most(self._changed, RECHECK_SECONDS)
            self._changed.clear()
            for namespace in self._namespaces if self._wanted else ():
                try:
                    await self._look(namespace)
                except (ApiError, UnreachableError, msgspec.MsgspecError) as error:
                    log.warning("rollout_failed", namespace=namespace, error=str(error))

    async def _look(self, namespace: str) -> None:
        if not self._may_write():
            return
        query = {"labelSelector": PROXIES}
        body = await self._api.request("GET", f"/api/v1/namespaces/{namespace}/pods", query=query)
        stale = stale_gateways(msgspec.json.decode(body, type=_Pods).items, self._wanted)
        for path, workload in await workloads(self._api, namespace) if stale else ():
            if (gateway := workload.gateway) is not None and gateway in stale:
                await self._restart(path, gateway, workload)

    async def _restart(self, path: str, gateway: Name, workload: Workload) -> None:
        fingerprint = self._wanted[gateway].fingerprint
        if (workload.spec.template.metadata.annotations or {}).get(TEMPLATE_ANNOTATION) == fingerprint:
            if (gateway, fingerprint) not in self._told:
                self._told.add((gateway, fingerprint))
                log.info("pods_without_processor", gateway=str(gateway), workload=workload.metadata.name)
            return
        if not self._may_write():
            return
        change = {"spec": {"template": {"metadata": {"annotations": {TEMPLATE_ANNOTATION: fingerprint}}}}}
        await self._api.request("PATCH", path, body=change, content_type=STRATEGIC)
        self.restarts += 1
        log.info("pods_restarted", gateway=str(gateway), workload=workload.metadata.name)
