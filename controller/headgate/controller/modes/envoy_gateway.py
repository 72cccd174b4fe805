"""`--mode envoy-gateway`: the resources of a Kubernetes API, for the Envoys of an Envoy Gateway.

change → a quiet moment → compile ──► hooks are answered from it, limits are served (every replica)
                                 ├──► HTTPRoutes and filters are written (leader)
                                 ├──► statuses (leader), with whether Envoy Gateway calls us
                                 └──► which pods need the processor: webhook (every replica), rollouts (leader)
"""

import argparse
import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata as packages
from typing import Final

import grpc.aio
from headgate.compiler.compile import Compiled
from headgate.compiler.conditions import Diagnostic, ObjectStatus, diagnostic_order
from headgate.compiler.envoy_gateway.envoys import envoy_problems
from headgate.compiler.envoy_gateway.names import INPUTS, PREFIX
from headgate.compiler.envoy_gateway.objects import Objects, wanted_objects
from headgate.compiler.envoy_gateway.rules import Rules, known_rules
from headgate.compiler.envoy_gateway.sidecar import SOCKET
from headgate.compiler.last_good import Good, compile_settled
from headgate.compiler.options import CONTROLLER_NAME, Mode, Options
from headgate.compiler.resources.metadata import Name
from headgate.compiler.world import World
from headgate.controller.certificates.installation import certificate_keeper
from headgate.controller.cluster import Cluster, open_cluster
from headgate.controller.extension.hooked import with_hooks, with_problems
from headgate.controller.extension.object_writer import ObjectWriter
from headgate.controller.extension.peers import Peers
from headgate.controller.extension.server import SERVICE, ExtensionServer, MeteredObserver, Served
from headgate.controller.extension.workloads import DeployedWatch
from headgate.controller.health import serve_health
from headgate.controller.limits_page import LimitsPage
from headgate.controller.loop import quiet_changes
from headgate.controller.modes.arguments import health_address
from headgate.controller.modes.envoys import header_attributes
from headgate.controller.sources.kubernetes.discovery import Discovery
from headgate.controller.webhook.pods import PodWebhook
from headgate.runtime.grpc_server import Health, listen, make_server
from headgate.runtime.logging import event_log

log = event_log("controller")

RECHECK_SECONDS: Final = 10.0
"""How often statuses look at whether Envoy Gateway has called."""
DRAIN_SECONDS: Final = 2.0


async def run(options: argparse.Namespace, stop: asyncio.Event) -> None:
    """Serves until `stop`."""
    async with open_cluster(options, controller_name=CONTROLLER_NAME) as cluster:
        keeper = certificate_keeper(cluster, options) if options.webhook_address else None
        webhook = PodWebhook(cluster, options, keeper) if keeper is not None else None
        if webhook is not None:
            await webhook.prepare()
        work = tuple(part.run for part in (keeper, webhook) if part is not None)
        peers = Peers(
            cluster.api,
            namespace=cluster.namespace,
            service=options.service_name,
            identity=cluster.identity,
            leading=lambda: cluster.leading,
        )
        deployed = DeployedWatch(cluster.api, options.proxy_namespaces, leading=lambda: cluster.leading)
        outlet = _Outlet(cluster, compiler_options(options), deployed, peers, webhook, (deployed.run, peers.run, *work))
        async with serve_health(
            health_address(options),
            ready=outlet.not_ready,
            status=outlet.status,
            limits=outlet.limits,
            metrics=cluster.metrics,
        ):
            await outlet.serve(options.extension_address, options.extension_message_bytes_max, stop)


def compiler_options(options: argparse.Namespace) -> Options:
    """What the compiler is told: sockets as in the pods that the webhook makes, scripts within the configuration."""
    return Options(
        mode=Mode.ENVOY_GATEWAY,
        extproc_sockets=tuple(options.extproc_socket) or (SOCKET,),
        path_root=options.root_prefix,
        access_log="",
        ratelimit_address=options.ratelimit_address,
        ratelimit_failure_deny=options.ratelimit_fail_closed,
        collector_address=options.collector_address,
        header_attributes=header_attributes(options),
        capture=options.capture_content,
    )


@dataclass(frozen=True, slots=True)
class _Build:
    world: World
    compiled: Compiled
    rules: Rules
    objects: Objects
    problems: tuple[Diagnostic, ...]
    kept: Good


class _Outlet:
    """From the world to hooks, objects and statuses."""

    def __init__(
        self,
        cluster: Cluster,
        options: Options,
        deployed: DeployedWatch,
        peers: Peers,
        webhook: PodWebhook | None = None,
        beside: Sequence[Callable[[], Coroutine[None, None, None]]] = (),
    ) -> None:
        """`beside` runs for as long as we serve."""
        self._cluster = cluster
        self._webhook = webhook
        self._deployed = deployed
        self._peers = peers
        self._beside = beside
        self._options = options
        self._version = packages.version("headgate")
        self._hooks = ExtensionServer(options, MeteredObserver(cluster.metrics))
        self._writer = ObjectWriter(cluster.api, Discovery(cluster.api), may_write=lambda: cluster.leading)
        self.limits = LimitsPage()
        self._last: _Build | None = None
        self._good: Good = {}
        self._error = ""
        cluster.on_leading = self._leading
        cluster.metrics.statuses = lambda: () if self._last is None else self._last.compiled.statuses
        cluster.metrics.numbers["problems"] = lambda: 0 if self._last is None else len(self._last.problems)
        self._hooks.on_news = deployed.on_news = peers.on_news = self._tell

    async def serve(self, address: str, message_bytes_max: int, stop: asyncio.Event) -> None:
        """Until `stop`. Calls are refused, and health is NOT_SERVING, until everything was read once."""
        health = Health((SERVICE,), serving=False)
        server = make_server((("grpc.max_receive_message_length", message_bytes_max),))
        self._hooks.add_to(server)
        server.add_generic_rpc_handlers((health.handler(),))
        port = listen(server, address)
        await server.start()
        log.info("extension_listening", port=port)
        parts = (self._follow(health), self._writer.run(), self._remind(), *(each() for each in self._beside))
        work = [asyncio.create_task(each) for each in parts]
        stopped = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait((stopped, *work), return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()
        finally:
            health.shut_down()
            for task in (stopped, *work):
                task.cancel()
            await asyncio.gather(stopped, *work, return_exceptions=True)
            await _stop(server)

    def not_ready(self) -> str:
        """Why it is not ready; empty when it is."""
        compiled = "" if self._last is not None else "nothing was compiled yet"
        return self._cluster.not_ready() or compiled or (self._webhook.not_ready() if self._webhook is not None else "")

    def status(self) -> Mapping[str, object]:
        """For `/status`."""
        liveness = self._hooks.liveness
        return {
            **self._cluster.status(),
            "error": self._error,
            "hooks": {
                "last_call": liveness.last_call,
                "gateways": {name: state.value for name, state in liveness.states(time.time()).items()},
                "heard": tuple(map(asdict, liveness.heard)),
            },
            "deployed": {str(gateway): asdict(each) for gateway, each in self._deployed.deployed.items()},
            "webhook": self._webhook.status() if self._webhook is not None else None,
            "objects": {"writes": self._writer.counts.writes, "failures": self._writer.counts.failures},
            "problems": tuple(map(str, self._last.problems)) if self._last is not None else (),
        }

    def _leading(self) -> None:
        self._writer.recheck()
        if self._webhook is not None:
            self._webhook.recheck()

    async def _follow(self, health: Health) -> None:
        await self._cluster.synced()
        self._good = await self._cluster.good.read()
        await self._rebuild()
        health.start()
        log.info("serving")
        async for _ in quiet_changes(self._cluster.changes()):
            await self._rebuild()

    async def _rebuild(self) -> None:
        started = time.monotonic()
        try:
            build = await asyncio.to_thread(self._build)
        except Exception as error:  # what was compiled before stays in force
            self._error = str(error)
            self._cluster.metrics.built(time.monotonic() - started, failed=True)
            log.exception("build_failed", error=str(error))
            return
        self._cluster.metrics.built(time.monotonic() - started)
        self._error = ""
        if self._last is None or build.problems != self._last.problems:
            for problem in build.problems:
                log.warning("problem", problem=str(problem))
        self._last = build
        self.limits.publish(build.compiled.limits)
        self._hooks.serve(Served(build.rules, build.objects.inputs))
        self._writer.offer(build.world, build.objects.wanted)
        if self._webhook is not None:
            self._webhook.offer(build.world, build.rules)
        self._cluster.credentials.offer(build.compiled.exchanges)
        self._cluster.good.offer(build.kept)
        self._tell()
        log.debug("built", build_seconds=time.monotonic() - started)

    def _build(self) -> _Build:
        """Called in a thread."""
        view = self._cluster.view(beside_envoy_gateway=True)
        settled = compile_settled(view.world, self._options, self._good)
        self._good, world, compiled = settled.good, settled.world, settled.compiled
        last = self._last
        rules = known_rules(compiled.program, last.rules if last is not None else None, world)
        before = last.objects if last is not None else None
        objects = wanted_objects(compiled.scope, rules, build=self._version, previous=before)
        problems = {str(each): each for each in (*view.diagnostics, *compiled.diagnostics)}
        ordered: Sequence[Diagnostic] = sorted(problems.values(), key=diagnostic_order)
        return _Build(world, compiled, rules, objects, tuple(ordered), settled.kept)

    async def _remind(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            self._tell()

    def _tell(self) -> None:
        if self._last is not None:
            liveness, elsewhere = self._hooks.liveness, self._peers.heard
            states = liveness.states(time.time(), elsewhere)
            alone = self._cluster.election is None or self._peers.complete
            statuses = with_hooks(
                self._last.compiled.statuses,
                self._last.world,
                states,
                alone=alone,
                shown=partial(self._shown, self._last),
            )
            envoys = envoy_problems(self._last.world, self._last.rules, self._deployed.deployed)
            self._cluster.statuses.offer(with_problems(statuses, (*envoys, *liveness.problems(elsewhere))))

    def _shown(self, build: _Build, status: ObjectStatus) -> Mapping[str, object]:
        """The status that a route has, if Envoy Gateway has read what we would write of it; else nothing."""
        name = Name(status.key.namespace, status.key.name)
        there = build.world.http_routes.get(name)
        written = there.metadata.annotations.get(f"{PREFIX}{INPUTS}") if there is not None else None
        seen = self._cluster.source.world.seen(status.key) if written == build.objects.inputs.get(str(name)) else None
        return seen.decoded() if seen is not None and seen.uid == status.uid else {}


async def _stop(server: grpc.aio.Server) -> None:
    await server.stop(DRAIN_SECONDS)
