"""Starts, supervises and stops everything that `headgate run` consists of.

    Envoy ─ADS─ control plane (this process) ─ files
      ├─ processors (only routes that translate use them)
      └─ rate limit service (only routes with limits use it)

Order of the start: Envoy first, because it starts while we import; then the configuration; then the servers which that
configuration needs; the others after `ready`. Order of the end: requests, Envoy, servers, control plane, state folder.
"""

import asyncio
import os
import resource
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headgate.cli.console import Console
from headgate.cli.plan import Plan, header_attributes, make_plan, record_attributes
from headgate.cli.ports import unusable
from headgate.cli.run_options import RunOptions
from headgate.cli.servers import COLLECTOR, RATELIMIT, HeaderAttributes, HeldOutput, Server, demo_child, servers
from headgate.cli.start_error import StartError
from headgate.cli.state_directory import StateDirectory
from headgate.cli.unchecked import tell_unchecked
from headgate.contract.otel import Batches, batches
from headgate.runtime.answering import by_grpc
from headgate.runtime.envoy import EnvoyAdmin, EnvoyAdminError, EnvoyMissingError, EnvoyOptions, envoy_child, find_envoy
from headgate.runtime.logging import event_log
from headgate.runtime.metrics import Registry
from headgate.runtime.metrics_export import MetricsExportError, exported, read_of
from headgate.runtime.overload import connections_max
from headgate.runtime.standstill import Standstill
from headgate.runtime.supervisor import Child, ChildSpec, ChildStartError, Supervisor, exit_text

if TYPE_CHECKING:
    from headgate.cli.admin import AdminServer
    from headgate.cli.listeners import Address
    from headgate.cli.observing import Observed
    from headgate.controller.control_plane import ControlPlane
    from headgate.controller.credentials.keeping import Tokens
    from headgate.controller.loop import Build
    from headgate.controller.store import Refusal
    from headgate.controller.xds.session import Rejected
    from headgate.controller.xds.snapshot import Snapshot
    from headgate.observe.page import ObservePage

log = event_log("run")

STILL_SECONDS_MAX: Final = 60.0
"""How long a start may wait while nothing computes (`Standstill`); Envoy waits a while for names it cannot resolve."""
READY_SECONDS_MAX: Final = 600.0
"""How long everything may take to come up, however slow the machine is."""
CLIENTS_MIN: Final = 5_000
"""Fewer that may be connected at once are told."""
STARTING_TOLD_SECONDS: Final = 10.0
"""How often a start that takes long tells what it waits for."""
FLUSH_SECONDS: Final = 0.5
"""How long Envoy keeps spans for the collector, which gathers them as variables say."""
COLLECTOR_SECONDS_MAX: Final = 20.0
"""For a collector that has just been started, to be there: what Envoy has sent waits in its socket until then."""
SPANS_SECONDS: Final = 0.6
"""For Envoy to send the collector the spans of the last requests, which it does not count."""
_POLL_SECONDS: Final = 0.01

Planner = Callable[[RunOptions, StateDirectory, Mapping[str, str]], Plan]


class Gateway:
    """One life of the gateway; `run` is its whole story. It is the `LoopObserver` of its control plane."""

    def __init__(self, options: RunOptions, *, environment: Mapping[str, str], planner: Planner = make_plan) -> None:
        self._options = options
        self._environment = environment
        self._planner = planner
        self._console = Console(options.log_format)
        self._supervisor = Supervisor(restarting=False)
        self._output = HeldOutput()
        self._state = StateDirectory(options.state_directory)
        self._metrics = Registry()
        self._control_plane: ControlPlane | None = None
        self._tokens: Tokens | None = None
        self._admin: AdminServer | None = None
        self._observed: Observed | None = None
        self._built: Build | None = None
        """The newest build."""
        self._servers: Sequence[Server] = ()
        self._addresses: Mapping[str, Address] = {}
        """What the newest build listens on, by the listener's name."""
        self._own: set[tuple[str, int]] = set()
        """The hosts and ports where Envoy was ever told to listen."""
        self._accepted: Snapshot | None = None
        self._first_applied = asyncio.Event()
        self._awaited = "the configuration to be compiled"
        """What a start waits for."""
        self._ready = False
        self._told_ready: set[str] = set()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> int:
        """Until a signal. Raises StartError; leaves nothing behind either way."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` wants it
            loop.add_signal_handler(signal.SIGHUP, self._on_signal)
        try:
            async with exported(read_of(self._metrics), "run", told=True):
                await self._live()
        except MetricsExportError as error:
            raise StartError(str(error)) from error
        finally:
            await self._supervisor.stop()
            if self._admin is not None:
                await self._admin.stop()
            if self._control_plane is not None:
                await self._control_plane.stop()
            if self._tokens is not None:
                await self._tokens.close()
            self._state.close()
        return 0

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def _live(self) -> None:
        started_at = time.monotonic()
        try:
            plan = self._planner(self._options, self._state, self._environment)
            envoy = EnvoyAdmin(self._start_envoy())
        except OSError as error:
            raise StartError(f"cannot write into {self._state.path}: {error.strerror}") from error
        for line in plan.told:
            self._console.progress(line)
        if not await self._unless_stopped(self._unless_a_child_dies(self._come_up(plan, envoy))):
            return
        self._ready = self._supervisor.restarting = True
        urls = [address.url for address in self._served()]
        self._told_ready.update(urls)
        self._console.ready(urls, time.monotonic() - started_at)
        self._output.release()
        if plan.welcome is not None and urls:
            self._console.welcome(plan.welcome(urls[0]))
        self._start_the_rest(plan)
        unchecked = asyncio.create_task(tell_unchecked(envoy, self._limited))
        await self._stop.wait()
        unchecked.cancel()
        self._ready = False
        await self._drain(envoy)

    # --- start

    def _start_envoy(self) -> Path:
        """Returns the socket of its admin interface."""
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        clients = connections_max(files)
        if clients < CLIENTS_MIN:
            self._console.progress(f"no more than {clients} connections at once: a process may open {files} files here")
        try:
            options = EnvoyOptions(
                binary=find_envoy(self._options.envoy),
                state_directory=self._state.path,
                xds_socket=self._state.xds_socket,
                concurrency=self._options.concurrency,
                log_level=self._options.log_level,
                heap_bytes_max=self._options.envoy_heap_bytes,
                connections_max=clients,
                span_batches=_span_batches(self._options, self._environment),
            )
        except EnvoyMissingError as error:
            raise StartError(str(error)) from error
        self._start(envoy_child(options))
        return options.admin_socket

    def _start(self, spec: ChildSpec) -> Child:
        try:
            return self._supervisor.start(self._output.hold(spec))
        except ChildStartError as error:
            raise StartError(str(error)) from error

    async def _come_up(self, plan: Plan, envoy: EnvoyAdmin) -> None:
        """Everything until Envoy serves the configuration."""
        # Imported here: it is most of the time to start, during which Envoy starts too.
        from headgate.controller.control_plane import ControlPlane
        from headgate.controller.credentials.keeping import Tokens
        from headgate.controller.credentials.settings import settings
        from headgate.controller.metrics import ControllerMetrics

        self._tokens = tokens = Tokens(settings(self._options.credential_endpoints, self._environment))
        self._control_plane = ControlPlane(
            build=lambda: plan.build(tokens.secrets),
            observer=self,
            state_directory=self._state.path,
            metrics=ControllerMetrics(self._metrics),
            unfit=self._on_ports_of_others,
        )
        await self._control_plane.start(f"unix:{self._state.xds_socket}")
        if plan.demo_socket is not None:
            self._start(demo_child(plan.demo_socket))
        if not await self._control_plane.build_first(plan.watched):
            raise StartError(self._control_plane.status().error)
        if self._options.admin_port is not None:  # now that Envoy has something to do
            await self._start_admin(plan, envoy, self._options.admin_port)
        await self._serving(plan, envoy)

    async def _start_admin(self, plan: Plan, envoy: EnvoyAdmin, port: int) -> None:
        await asyncio.to_thread(import_module, "headgate.cli.admin")  # 0.2 s, in which Envoy asks for its configuration
        from headgate.cli.admin import AdminServer

        assert self._control_plane is not None
        page = self._make_page(plan) if self._options.observe else None
        self._admin = AdminServer(
            ready=lambda: self._ready,
            status=self._control_plane.status,
            children=self._supervisor,
            envoy=envoy,
            metrics=self._metrics,
            sockets=self._state.admin_socket,
            page=page,
        )
        host = "127.0.0.1"
        try:
            bound = await self._admin.start(host, port)
        except OSError as error:
            raise StartError(unusable([(host, port)]) or f"cannot listen on {host}:{port}: {error}") from error
        self._console.progress(f"admin  http://{host}:{bound}")
        if page is not None:
            self._console.progress(f"look   http://{host}:{bound}/")

    def _make_page(self, plan: Plan) -> "ObservePage":
        from headgate.cli.admin import child_states
        from headgate.cli.observing import Observed, Parts
        from headgate.observe.page import ObservePage

        assert self._control_plane is not None
        self._observed = Observed(
            Parts(
                collector=self._state.admin_socket("collector"),
                ratelimit=self._state.admin_socket(RATELIMIT),
                status=self._control_plane.status,
                ready=lambda: self._ready,
                urls=lambda: [address.url for address in self._served()],
                children=lambda: child_states(self._supervisor),
                example_model=plan.example_model,
            )
        )
        if self._built is not None:
            self._observed.built(self._built)
        return ObservePage(self._observed)

    async def _serving(self, plan: Plan, envoy: EnvoyAdmin) -> None:
        self._awaited = "Envoy to take the configuration"
        await self._first_applied.wait()
        await self._until("Envoy to be ready", envoy.is_live)
        if not self._served():
            raise StartError("nothing can be served: Envoy refused every listener")
        for address in self._served():
            await self._until(
                f"Envoy to listen on {address.url}",
                lambda address=address: _accepts(address.reachable_host, address.port),
            )
        if (socket := plan.demo_socket) is not None:
            await self._until("the demo provider", lambda: _accepts_unix(socket))
        for server in self._servers:
            if server.spec.name != COLLECTOR and self._supervisor.get(server.spec.name) is not None:
                await self._until(f"{server.spec.name} to answer", by_grpc(server.socket))

    async def _until(self, awaited: str, done: Callable[[], Awaitable[bool]]) -> None:
        self._awaited = awaited
        await _until(done)

    async def _unless_a_child_dies(self, start: Coroutine[None, None, None]) -> None:
        """Runs the start; a child that dies meanwhile ends it, or that nothing moves any more."""
        task = asyncio.create_task(start)
        death = self._supervisor.first_death
        started_at = time.monotonic()
        standstill = Standstill(started_at)
        try:
            while not (task.done() or death.done()):
                await asyncio.wait((task, death), timeout=STARTING_TOLD_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if not (task.done() or death.done()):
                    self._tell_start(standstill, time.monotonic() - started_at)
            if task.done():
                task.result()
            else:
                child, code = death.result()
                raise StartError(_last_words(child, self._output.last_line(child), code))
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _tell_start(self, standstill: Standstill, seconds: float) -> None:
        """That it still starts; raises StartError where waiting longer is of no use."""
        still = standstill.seconds(time.monotonic(), (os.getpid(), *(child.pid for child in self._supervisor)))
        if still >= STILL_SECONDS_MAX or seconds >= READY_SECONDS_MAX:
            raise StartError(f"not started in {seconds:.0f} s: it waited for {self._awaited}")
        self._console.progress(f"still starting after {seconds:.0f} s: waiting for {self._awaited}")

    async def _unless_stopped(self, work: Awaitable[None]) -> bool:
        """Does `work`, but gives it up when a signal comes; returns whether it was done."""
        task = asyncio.ensure_future(work)
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if task.done():
            task.result()
            return True
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return False

    def _start_the_rest(self, plan: Plan) -> None:
        """What the configuration does not need now, and the watch on it."""
        for server in self._servers:
            if self._supervisor.get(server.spec.name) is None:
                self._supervisor.start(self._output.hold(server.spec))
        assert self._control_plane is not None
        if plan.watched:
            others = () if self._tokens is None else (self._tokens.changes(),)
            self._control_plane.watch(plan.watched, *others)

    # --- end

    async def _drain(self, envoy: EnvoyAdmin) -> None:
        """Lets requests end, and be told of; a second signal cuts it short."""
        log.info("draining", drain_seconds=self._options.drain_seconds)
        try:
            self._tell_awaited(await envoy.requests_active())
        except EnvoyAdminError as error:  # it will say nothing more
            log.warning("envoy_not_drained", error=str(error))
        else:
            draining = asyncio.create_task(self._let_requests_end(envoy))
            hurried = asyncio.create_task(self._hurry.wait())
            await asyncio.wait((draining, hurried), return_when=asyncio.FIRST_COMPLETED)
            for task in (draining, hurried):
                task.cancel()
        await self._supervisor.stop(["envoy"])

    def _tell_awaited(self, active: int) -> None:
        seconds = self._options.drain_seconds
        if active and seconds:
            requests = "1 request under way has" if active == 1 else f"{active} requests under way have"
            self._console.progress(f"{requests} {seconds:g} s to end; a second signal ends at once")

    async def _let_requests_end(self, envoy: EnvoyAdmin) -> None:
        await envoy.drain(self._options.drain_seconds)
        await envoy.flush()
        if self._options.collects_spans:
            await asyncio.sleep(SPANS_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(COLLECTOR_SECONDS_MAX):
                await self._collector_reads()

    async def _collector_reads(self) -> None:
        """Until a collector that is only starting takes what Envoy has sent: who calls is answered in turn."""
        for server in self._servers:
            if server.spec.name == COLLECTOR:
                await _until(by_grpc(server.socket))

    # --- what the control plane tells (LoopObserver)

    def built(self, build: "Build", snapshot: "Snapshot") -> None:
        """Before the first publication: are the ports free, and which servers does it need."""
        from headgate.cli.listeners import addresses, refers_to_cluster

        assert self._tokens is not None
        self._built = build
        self._tokens.want(build.exchanges)
        self._console.problems(build.problems)
        if self._observed is not None:
            self._observed.built(build)
        self._addresses = addresses(build.resources)
        if self._servers:
            return
        if not self._addresses:
            raise StartError("nothing can be served: no Gateway has a listener with a valid route")
        if (reason := unusable([(each.host, each.port) for each in self._addresses.values()])) is not None:
            raise StartError(reason)
        attributes = HeaderAttributes(
            records=record_attributes(self._options, self._environment),
            metrics=header_attributes(self._options, self._environment, "METRICS"),
        )
        self._servers = servers(self._options, self._state, attributes)
        for server in self._servers:
            # A Redis that was asked for is tried at once, even if nothing is limited yet.
            if refers_to_cluster(snapshot, server.cluster) or (
                server.spec.name == RATELIMIT and self._options.redis_url
            ):
                self._start(server.spec)

    def _on_ports_of_others(self, snapshot: "Snapshot") -> "Iterator[Rejected]":
        """Listeners that come to a port in use. Envoy would share it, and each take a part of the other's clients."""
        from headgate.controller.xds.resource_types import LISTENER
        from headgate.controller.xds.session import Rejected

        for name, address in self._addresses.items():
            where = address.host, address.port
            reason = unusable([where]) if where not in self._own else None
            if reason is None:
                self._own.add(where)
                continue
            versions = {name: snapshot.resources[LISTENER][name].version}
            yield Rejected(type_url=LISTENER, versions=versions, message=reason, snapshot_version=snapshot.version)

    def build_failed(self, error: Exception) -> None:
        """The configuration in force stays."""
        if isinstance(error, OSError):  # no room for what Envoy and the limiter read
            log.error("build_failed", error=str(error))
        else:
            log.exception("build_failed", error=str(error))

    def applied(self, snapshot: "Snapshot", seconds: float) -> None:
        """Envoy has acknowledged."""
        self._accepted = snapshot
        self._first_applied.set()
        if self._ready:
            self._console.progress(f"changed, live after {seconds:.2f} s")
            urls = [address.url for address in self._served() if address.url not in self._told_ready]
            self._told_ready.update(urls)
            self._console.ready(urls, seconds)

    def refused(self, refusal: "Refusal") -> None:
        """Envoy refused something that the compiler let through."""
        self._console.problem(str(refusal))

    def _limited(self) -> bool:
        """Whether Envoy asks the rate limit service of anything."""
        from headgate.cli.listeners import refers_to_cluster
        from headgate.compiler.lower.clusters import RATELIMIT_CLUSTER

        return self._accepted is not None and refers_to_cluster(self._accepted, RATELIMIT_CLUSTER)

    def _served(self) -> "Sequence[Address]":
        """Addresses of the listeners that Envoy accepted."""
        from headgate.controller.xds.resource_types import LISTENER

        if self._accepted is None:
            return ()
        names = self._accepted.resources[LISTENER]
        return sorted(address for name, address in self._addresses.items() if name in names)


def _span_batches(options: RunOptions, environment: Mapping[str, str]) -> Batches:
    """How Envoy gathers spans: for a receiver as variables say, for the collector no longer than it keeps entries."""
    said = batches(environment)
    return replace(said, seconds=min(said.seconds, FLUSH_SECONDS)) if options.collects_spans else said


def _last_words(child: str, line: str, code: int) -> str:
    """Our own servers end with a line for the user; anything else needs to be told whose words these are."""
    if not line:
        return f"{child} ended: {exit_text(code)}"
    return f"{child} ended: {line}" if child == "envoy" else line


async def _until(done: Callable[[], Awaitable[bool]]) -> None:
    # What is waited for is in other processes; the caller bounds it.
    while not await done():  # noqa: ASYNC110
        await asyncio.sleep(_POLL_SECONDS)


async def _accepts(host: str, port: int) -> bool:
    return await _opens(asyncio.open_connection(host, port))


async def _accepts_unix(socket: Path) -> bool:
    return await _opens(asyncio.open_unix_connection(str(socket)))


async def _opens(connecting: Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> bool:
    try:
        _, writer = await connecting
    except OSError:
        return False
    writer.close()
    return True
