"""`headgate-ratelimit`: serves Envoy's rate limit service until SIGTERM, then drains and exits 0.

Exit codes: 0 ended as asked, 1 could not start (one line says why), 2 bad arguments.
"""

import argparse
import asyncio
import contextlib
import gc
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from headgate.limits.matching import Snapshot
from headgate.ratelimit import reflection, wire
from headgate.ratelimit.answers import LIMIT_HEADERS
from headgate.ratelimit.config_source import ConfigSource
from headgate.ratelimit.environment import VariableError, arguments_from
from headgate.ratelimit.metrics import NEAR_LIMIT_RATIO
from headgate.ratelimit.pages import Pages, PageSettings
from headgate.ratelimit.service import OpenCall, RateLimitService
from headgate.ratelimit.settings import REDIS_VARIABLE
from headgate.ratelimit.statsd import StatsdSink, flush_to
from headgate.ratelimit.storages import Storage
from headgate.ratelimit.storages.memory import KEYS_MAX, MemoryStorage
from headgate.ratelimit.workers import problem_of, run_workers
from headgate.runtime import process_metrics, server_tls
from headgate.runtime.addresses import AddressInUseError
from headgate.runtime.admin_server import AdminAddress, AdminServer, admin_address
from headgate.runtime.admin_server import add_arguments as add_admin_arguments
from headgate.runtime.http2.health import Health
from headgate.runtime.http2.server import Server
from headgate.runtime.logging import LogFormat, LogLevel, event_log, set_up_logging
from headgate.runtime.metrics import Read, Reading, Registry
from headgate.runtime.metrics_export import MetricsExportError, exported
from headgate.runtime.metrics_export import add_arguments as add_metrics_arguments
from headgate.runtime.signals import stop_event
from headgate.runtime.supervisor import ChildStartError

if TYPE_CHECKING:
    from headgate.ratelimit.tracing import Tracer

log = event_log("ratelimit")


FROM_ENVIRONMENT = "--from-environment"
"""First on the command line: envoyproxy/ratelimit's variables are read; what follows wins over them."""


class StartError(Exception):
    """Why the service cannot start, in one line for the user."""


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="headgate-ratelimit", description="Envoy's rate limit service.")
    parser.epilog = f"{FROM_ENVIRONMENT}, as the first argument, reads envoyproxy/ratelimit's environment variables."
    add = parser.add_argument
    add("--address", default="127.0.0.1:8081", help="unix:/path, host:port or fd:N (default %(default)s)")
    server_tls.add_arguments(parser)
    add("--tls-client-name", default="", help="a name that clients' certificates must have, besides")
    add("--workers", type=int, default=1, help="processes behind the address; they share a Redis")
    add("--ready-descriptor", type=int, default=-1, help=argparse.SUPPRESS)  # of `workers`
    add("--drain-seconds", type=float, default=5.0)
    add("--log-level", type=LogLevel, choices=list(LogLevel), default=LogLevel.INFO)
    add("--log-format", type=LogFormat, choices=list(LogFormat), default=LogFormat.TEXT)
    _add_limits_arguments(parser)
    _add_xds_arguments(parser)
    _add_counters_arguments(parser)
    _add_answers_arguments(parser)
    add_admin_arguments(parser, "/healthcheck, /metrics, /limits, /rlconfig and /json")
    add_metrics_arguments(parser)
    _add_telling_arguments(parser)
    _add_tracing_arguments(parser)
    return parser


def _add_limits_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("limits").add_argument
    add(
        "--config",
        required=True,
        help="YAML file, or folder of them, or a controller's /limits (http://…), or a management server that serves "
        "RateLimitConfig over ADS (xds://host:port, or xds+tls://); watched",
    )
    add("--merge-domains", action="store_true", help="domains of one name in several files are one")
    add("--start-without-config", action="store_true", help="serve, and limit nothing, until there are limits")
    add("--shadow-mode", action="store_true", help="all limits count and report, and none refuses")
    add("--quota-mode", action="store_true", help="limits refuse a request only where all of it are over")


def _add_counters_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("counters").add_argument
    add(
        "--redis-url",
        default=os.environ.get(REDIS_VARIABLE, ""),
        help="redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// (default: HEADGATE_REDIS_URL, else "
        "memory is used)",
    )
    add("--redis-timeout-seconds", type=float, default=2.0, help="per call (default %(default)s)")
    add("--redis-per-second-url", default="", help="another Redis, for limits per second; as --redis-url")
    add("--redis-per-second-timeout-seconds", type=float, default=0.0, help="0: as the other's")
    add("--redis-gather-seconds", type=float, default=0.0, help="how long a busy service waits for company; 0: 1 ms")
    add("--redis-batch-ops-max", type=int, default=0, help="counters in one round trip; 0: 1024")
    add("--local-cache-bytes", type=int, default=0, help="remember counters in Redis that are used up; 0: none")
    add("--ttl-jitter-seconds", type=int, default=300, help="most added to a counter's life in Redis")
    add("--memory-keys-max", type=int, default=KEYS_MAX, help="counters held in memory at most")
    add("--key-prefix", default="", help="put before every counter's key")


def _add_answers_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("answers").add_argument
    add("--limit-headers", action="store_true", help="send x-ratelimit-* (Envoy can do it by itself)")
    add("--limit-header-names", type=_header_names, default=LIMIT_HEADERS, metavar="LIMIT,REMAINING,RESET")
    add("--response-metadata", action="store_true", help="answers' metadata tells what was asked")


def _add_telling_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("health and metrics").add_argument
    add("--health-without-storage", action="store_true", help="healthy whatever the storage is")
    add("--health-needs-config", action="store_true", help="not healthy without any limits")
    add("--admin-read-only", action="store_true", help="only /healthcheck and /metrics: for open ports")
    add("--near-limit-ratio", type=float, default=NEAR_LIMIT_RATIO, help="from where hits are near")
    add("--statsd", default="", metavar="HOST:PORT", help="send counters there; udp://HOST:PORT for UDP")
    add("--statsd-interval-seconds", type=float, default=10.0)
    add("--statsd-tag", action="append", default=[], metavar="NAME=VALUE")


def _header_names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in text.split(","))
    if len(names) != 3 or not all(names):
        raise argparse.ArgumentTypeError("expected three names of headers, with commas between")
    return names


def _add_xds_arguments(parser: argparse.ArgumentParser) -> None:
    xds = parser.add_argument_group("limits over xDS")
    xds.add_argument("--xds-node-id", default="default")
    xds.add_argument("--xds-node-metadata", action="append", default=[], metavar="NAME=VALUE")
    xds.add_argument("--xds-header", action="append", default=[], metavar="NAME=VALUE", help="sent with the stream")
    xds.add_argument("--xds-ca", type=Path, default=None, help="whom to trust; without it, whom the system trusts")
    xds.add_argument("--xds-certificate", type=Path, default=None)
    xds.add_argument("--xds-key", type=Path, default=None)
    xds.add_argument("--xds-server-name", default="", help="the name in the server's certificate")
    xds.add_argument("--xds-message-bytes-max", type=int, default=64 * 1024 * 1024)
    xds.add_argument("--xds-pause-seconds", type=float, default=0.5, help="before the first try to connect again")
    xds.add_argument("--xds-pause-seconds-max", type=float, default=30.0)


def _add_tracing_arguments(parser: argparse.ArgumentParser) -> None:
    tracing = parser.add_argument_group("the service's own spans")
    tracing.add_argument("--tracing", action="store_true", help="send them to where OTEL_EXPORTER_OTLP_* say")
    tracing.add_argument("--tracing-protocol", choices=("http", "grpc"), default="", help="else as OTEL_* say")
    tracing.add_argument("--tracing-service-name", default="", help="else as OTEL_* say")
    tracing.add_argument("--tracing-service-namespace", default="")
    tracing.add_argument("--tracing-service-instance-id", default="", help="else made up")
    tracing.add_argument("--tracing-sampling-rate", type=float, default=1.0, help="of calls that say nothing of it")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the service; returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        options = make_parser().parse_args(_read_variables(given))
    except VariableError as error:
        print(f"headgate-ratelimit: {error}", file=sys.stderr)
        return 1
    set_up_logging(options.log_level, options.log_format)
    if problem := problem_of(options):
        print(f"headgate-ratelimit: {problem}", file=sys.stderr)
        return 1
    try:
        # uvloop saves about a tenth of a decision's CPU (tests/bench/limits.py).
        with asyncio.Runner(loop_factory=_new_event_loop()) as runner:
            runner.run(_run(options) if options.workers == 1 else run_workers(options, given))
    except (StartError, AddressInUseError, ChildStartError, MetricsExportError, server_tls.TlsError) as error:
        print(f"headgate-ratelimit: {error}", file=sys.stderr)
        return 1
    return 0


def _read_variables(given: Sequence[str]) -> Sequence[str]:
    """The command line with what variables say, where it asks for them. Raises VariableError."""
    return [*arguments_from(os.environ), *given[1:]] if given[:1] == [FROM_ENVIRONMENT] else given


def _new_event_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


async def _run(options: argparse.Namespace) -> None:
    stop = stop_event()
    storage = _open_storage(options)
    service = _open_service(storage, options)
    source = _open_source(options, service.config_rejected)
    if not options.start_without_config and not await _took_first(source, service, stop, options.config):
        await storage.close()
        return
    registry = Registry()
    process_metrics.declare(registry)
    lag = process_metrics.LoopLag(registry)
    lag.start()
    page_settings = PageSettings(
        process_metrics=registry.text,
        health_needs_storage=not options.health_without_storage,
        health_needs_config=options.health_needs_config,
    )
    admin = AdminServer(Pages(service, stop, page_settings).pages(read_only=options.admin_read_only))
    try:
        async with (
            following(source, service.use, stop),
            _counted_to(options, service),
            _traced(options) as tracer,
            exported(_all_of(service, registry), "limiter", told=options.variables_told),
        ):
            if tracer is not None:
                service.figures.append(tracer.counts)
            # A worker shows its pages to who started it, whatever address those of all have.
            is_worker = options.ready_descriptor >= 0
            await admin.open(AdminAddress(socket=options.admin_socket) if is_worker else admin_address(options))
            await _serve(service, stop, options, open_call=None if tracer is None else tracer.open)
    finally:
        lag.stop()
        await admin.close()
        await storage.close()


def _all_of(service: RateLimitService, registry: Registry) -> Read:
    """What the service counts, and the process."""

    async def read() -> AsyncIterator[Reading]:
        async for reading in service.readings():
            yield reading
        for reading in registry.read():
            yield reading

    return read


def _open_service(storage: Storage, options: argparse.Namespace) -> RateLimitService:
    return RateLimitService(
        storage,
        key_prefix=options.key_prefix,
        limit_headers=options.limit_header_names if options.limit_headers else (),
        near_limit_ratio=options.near_limit_ratio,
        shadow_mode=options.shadow_mode,
        quota_mode=options.quota_mode,
        response_metadata=options.response_metadata,
    )


async def _took_first(source: "Source", service: RateLimitService, stop: asyncio.Event, config: str) -> bool:
    """Has the first limits used; False where `stop` comes before there are any. Raises StartError."""
    asked, stopped = asyncio.ensure_future(source.first()), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((asked, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            return False
        snapshot = asked.result()
    finally:
        asked.cancel()
        stopped.cancel()
    if snapshot is None:
        raise StartError(f"no limits can be read from {config}")
    service.use(snapshot)
    return True


@contextlib.asynccontextmanager
async def following(source: "Source", use: Callable[[Snapshot], None], stop: asyncio.Event) -> AsyncGenerator[None]:
    """Has the limits followed meanwhile. Should that fail, `stop` is set and the failure raised at the end: a service
    that goes on with limits which nobody follows looks well and is not; one that ends is started again."""
    watching = asyncio.create_task(source.watch(use))
    watching.add_done_callback(lambda _: stop.set())
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


@contextlib.asynccontextmanager
async def _counted_to(options: argparse.Namespace, service: RateLimitService) -> AsyncGenerator[None]:
    """Has the counters sent to a statsd meanwhile, if there is one."""
    if not options.statsd:
        yield
        return
    host, _, port = options.statsd.removeprefix("udp://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise StartError(f"--statsd: expected HOST:PORT, found {options.statsd!r}")
    sink = StatsdSink(
        host=host.strip("[]"),
        port=int(port),
        over_udp=options.statsd.startswith("udp://"),
        interval_seconds=options.statsd_interval_seconds,
        tags=dict(map(_pair, options.statsd_tag)),
    )
    ended = asyncio.Event()
    sending = asyncio.create_task(flush_to(sink, lambda: dict(service.metrics.statsd_counters()), ended))
    try:
        yield
    finally:
        ended.set()
        await sending


@contextlib.asynccontextmanager
async def _traced(options: argparse.Namespace) -> "AsyncGenerator[Tracer | None]":
    """What tells of calls meanwhile, if anything does."""
    if not options.tracing:
        yield None
        return
    # Imported here: nobody pays for what is off.
    from headgate.ratelimit.tracing import Tracer, TracingOptions, tracing_settings

    asked = TracingOptions(
        protocol=options.tracing_protocol,
        service_name=options.tracing_service_name,
        service_namespace=options.tracing_service_namespace,
        service_instance=options.tracing_service_instance_id,
        rate=options.tracing_sampling_rate,
    )
    settings, notes = tracing_settings(asked, os.environ)
    for note in notes:
        log.warning("tracing_setting", note=note)
    if settings is None:
        log.warning("tracing_off", reason="OTEL_* say that spans go nowhere, or not where to")
        yield None
        return
    tracer = Tracer(settings)
    try:
        yield tracer
    finally:
        await tracer.close()


def _is_named(name: str, transport: asyncio.Transport) -> bool:
    return server_tls.names(transport.get_extra_info("peercert"), name)


async def _serve(
    service: RateLimitService, stop: asyncio.Event, options: argparse.Namespace, *, open_call: OpenCall | None
) -> None:
    health = Health((wire.SERVICE,))
    server = Server({**service.services(open_call), **health.services(), **reflection.services((wire.SERVICE,))})
    tls = server_tls.open_tls(options)
    if options.tls_client_name and options.tls_client_ca is None:
        raise StartError("--tls-client-name needs --tls-client-ca: nobody shows a certificate otherwise")
    admits = partial(_is_named, options.tls_client_name) if options.tls_client_name else None
    await server.listen(options.address, tls=None if tls is None else tls.context, admits=admits)
    renewing = None if tls is None else asyncio.create_task(tls.watch())
    # What is imported now lives as long as the process: take it out of every later collection.
    gc.collect()
    gc.freeze()
    log.info("server_listening", address=options.address)
    if options.ready_descriptor >= 0:
        os.write(options.ready_descriptor, b".")
    await stop.wait()
    health.shut_down()
    log.info("server_draining", address=options.address, drain_seconds=options.drain_seconds)
    await server.stop(options.drain_seconds)
    if renewing is not None:
        renewing.cancel()
    log.info("server_stopped", address=options.address)


class Source(Protocol):
    """Where limits come from."""

    async def first(self) -> Snapshot | None:
        """The first of them; None where there are none to be had."""
        ...

    async def watch(self, use: Callable[[Snapshot], None]) -> None:
        """Hands every change to `use`, until it is cancelled."""
        ...


def _open_source(options: argparse.Namespace, on_error: Callable[[str], None]) -> Source:
    config: str = options.config
    # Imported here: files need neither an HTTP client nor gRPC.
    if config.startswith(("http://", "https://")):
        from headgate.ratelimit.config_url import UrlSource

        return UrlSource(config, on_error=on_error)
    scheme, separator, address = config.partition("://")
    if separator and scheme in ("xds", "xds+tls"):
        from headgate.ratelimit.config_xds import XdsServer, XdsSource

        server = XdsServer(
            address=address,
            node_id=options.xds_node_id,
            node_metadata=dict(map(_pair, options.xds_node_metadata)),
            headers=tuple(map(_pair, options.xds_header)),
            tls=scheme == "xds+tls",
            ca=options.xds_ca,
            certificate=options.xds_certificate,
            key=options.xds_key,
            server_name=options.xds_server_name,
            merge_domains=options.merge_domains,
            message_bytes_max=options.xds_message_bytes_max,
            pause_seconds=options.xds_pause_seconds,
            pause_seconds_max=options.xds_pause_seconds_max,
        )
        return XdsSource(server, on_error=on_error)
    return ConfigSource(Path(config), on_error=on_error, merge=options.merge_domains)


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise StartError(f"expected NAME=VALUE, found {text!r}")
    return name, value


def _open_storage(options: argparse.Namespace) -> Storage:
    if not options.redis_url:
        return MemoryStorage(keys_max=options.memory_keys_max)
    # Imported here: half of the time to start would otherwise be spent on a client that is not used.
    from headgate.ratelimit.storages.redis.storage import RedisStorage

    try:
        return RedisStorage(
            options.redis_url,
            timeout_seconds=options.redis_timeout_seconds,
            ttl_jitter_seconds=options.ttl_jitter_seconds,
            gather_seconds=options.redis_gather_seconds,
            batch_ops_max=options.redis_batch_ops_max,
            per_second_url=options.redis_per_second_url,
            per_second_timeout_seconds=options.redis_per_second_timeout_seconds,
            local_cache_bytes=options.local_cache_bytes,
        )
    except (ValueError, OSError) as error:
        raise StartError(f"--redis-url: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
