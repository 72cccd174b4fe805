"""The webhook as a part of the controller: what is wanted, the server, its certificate, and what the leader writes."""

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import msgspec
from headgate.compiler.envoy_gateway.rules import Rules
from headgate.compiler.envoy_gateway.sidecar import Pod, Processor, Sidecar, injection, wanted_processors
from headgate.compiler.resources.metadata import Name
from headgate.compiler.world import World
from headgate.controller.certificates.keeper import CertificateKeeper
from headgate.controller.cluster import Cluster
from headgate.controller.sources.kubernetes.client import ApiError, ApiServer, UnreachableError
from headgate.controller.start_error import StartError
from headgate.controller.webhook.configuration import WebhookConfiguration
from headgate.controller.webhook.rollout import PodRollout
from headgate.controller.webhook.server import WebhookServer
from headgate.runtime.logging import event_log

log = event_log("controller")

NATIVE_SIDECARS: Final = (1, 33)
"""The first Kubernetes where they are stable."""


class _Version(msgspec.Struct):
    major: str = ""
    minor: str = ""


class PodWebhook:
    """See the module. `offer` what is wanted; `run` until it is cancelled."""

    def __init__(self, cluster: Cluster, options: argparse.Namespace, keeper: CertificateKeeper) -> None:
        self._api = cluster.api
        self._address: str = options.webhook_address
        self._sidecar = _sidecar(options)
        self._keeper = keeper
        self._wanted: Mapping[Name, Processor] | None = None
        self._server = WebhookServer(self._decide)
        name = options.webhook_configuration or f"headgate-pods.{cluster.namespace}"
        self._configuration = WebhookConfiguration(cluster.api, name, may_write=lambda: cluster.leading)
        self._rollout = PodRollout(cluster.api, options.proxy_namespaces, may_write=lambda: cluster.leading)

    async def prepare(self) -> None:
        """Asks what the cluster can do. Raises StartError."""
        try:
            native = await has_native_sidecars(self._api)
        except (ApiError, UnreachableError) as error:
            raise StartError(f"the Kubernetes API does not say its version: {error}") from error
        self._sidecar = replace(self._sidecar, native=native)

    def offer(self, world: World, rules: Rules) -> None:
        """What there is now."""
        self._wanted = wanted_processors(world, rules, self._sidecar)
        self._rollout.offer(self._wanted)

    def recheck(self) -> None:
        """This replica may have become the leader."""
        self._configuration.recheck()
        self._rollout.recheck()

    def not_ready(self) -> str:
        """Why it is not ready; empty when it is."""
        return "" if self._server.listening else "the webhook has no certificate yet"

    def status(self) -> Mapping[str, object]:
        """For `/status`."""
        expires = self._keeper.expires_at()
        return {
            "listening": self._server.listening,
            "certificate_expires": expires.isoformat() if expires is not None else "",
            "answers": self._server.answers,
            "injections": self._server.injections,
            "restarts": self._rollout.restarts,
            "gateways": sorted(str(name) for name in self._wanted or () if name.namespace),
        }

    async def run(self) -> None:
        """Until it is cancelled. Raises StartError where it cannot listen."""
        leader = [asyncio.create_task(each.run()) for each in (self._configuration, self._rollout)]
        try:
            await self._keeper.there()
            self._keeper.on_change(self._server.use)
            self._keeper.on_change(self._configuration.use)
            try:
                port = await self._server.start(self._address)
            except (OSError, ValueError) as error:
                raise StartError(f"cannot listen on {self._address}: {error}") from error
            log.info("webhook_listening", port=port)
            await asyncio.gather(*leader)
        finally:
            for task in leader:
                task.cancel()
            await asyncio.gather(*leader, return_exceptions=True)
            await self._server.close()

    def _decide(self, pod: Pod) -> Sequence[Mapping[str, object]]:
        processor = self._wanted.get(pod.gateway) if self._wanted and pod.gateway is not None else None
        if processor is None:
            return ()
        patch = injection(pod, processor)
        log.info("pod_reviewed", gateway=str(pod.gateway), operations=len(patch))
        return patch


async def has_native_sidecars(api: ApiServer) -> bool:
    """Whether init containers may keep running. Raises ApiError, UnreachableError."""
    version = msgspec.json.decode(await api.request("GET", "/version"), type=_Version)
    numbers = [int("".join(filter(str.isdigit, text)) or 0) for text in (version.major, version.minor)]
    return tuple(numbers) >= NATIVE_SIDECARS


def _sidecar(options: argparse.Namespace) -> Sidecar:
    return Sidecar(
        image=options.extproc_image,
        image_pull_policy=options.extproc_image_pull_policy,
        image_pull_secrets=options.extproc_image_pull_secrets,
        log_level=str(options.extproc_log_level),
        log_format=str(options.extproc_log_format),
        environment=options.extproc_env,
    )
