"""`headgate-ratelimit`: serves Envoy's rate limit service until SIGTERM, then drains and exits 0.

Exit codes: 0 ended as asked, 1 could not start (one line says why), 2 bad arguments.
"""

import argparse
import asyncio
import contextlib
import gc
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headgate.limits.matching import Snapshot
from headgate.ratelimit import wire
from headgate.ratelimit.admin import AdminServer
from headgate.ratelimit.config_source import ConfigSource
from headgate.ratelimit.environment import VariableError, arguments_from
from headgate.ratelimit.pages import make_pages
from headgate.ratelimit.service import RateLimitService
from headgate.ratelimit.storages import Storage
from headgate.ratelimit.storages.memory import KEYS_MAX, MemoryStorage
from headgate.runtime.addresses import AddressInUseError
from headgate.runtime.http2.health import Health
from headgate.runtime.http2.server import Server
from headgate.runtime.logging import LogFormat, LogLevel, event_log, set_up_logging
from headgate.runtime.signals import stop_event

if TYPE_CHECKING:
    from headgate.ratelimit.config_url import UrlSource

log = event_log("ratelimit")


FROM_ENVIRONMENT = "--from-environment"
"""First on the command line: envoyproxy/ratelimit's variables are read; what follows wins over them."""


class StartError(Exception):
    """Why the service cannot start, in one line for the user."""


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="headgate-ratelimit", description="Envoy's rate limit service.")
    parser.epilog = f"{FROM_ENVIRONMENT}, as the first argument, reads envoyproxy/ratelimit's environment variables."
    parser.add_argument("--address", default="127.0.0.1:8081", help="unix:/path or host:port (default %(default)s)")
    parser.add_argument(
        "--config", required=True, help="YAML file, or folder of them, or a controller's /limits (http://…); watched"
    )
    parser.add_argument(
        "--redis-url",
        default="",
        help="redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://; without it memory is used",
    )
    parser.add_argument("--redis-timeout-seconds", type=float, default=0.5, help="per call (default %(default)s)")
    parser.add_argument(
        "--redis-per-second-url", default="", help="another Redis, for limits per second; as --redis-url"
    )
    parser.add_argument("--redis-per-second-timeout-seconds", type=float, default=0.0, help="0: as the other's")
    parser.add_argument(
        "--redis-gather-seconds", type=float, default=0.0, help="how long a busy service waits for company; 0: 1 ms"
    )
    parser.add_argument("--redis-batch-ops-max", type=int, default=0, help="counters in one round trip; 0: 1024")
    parser.add_argument("--ttl-jitter-seconds", type=int, default=300, help="most added to a counter's life in Redis")
    parser.add_argument("--memory-keys-max", type=int, default=KEYS_MAX, help="counters held in memory at most")
    parser.add_argument("--key-prefix", default="", help="put before every counter's key")
    parser.add_argument("--limit-headers", action="store_true", help="send x-ratelimit-* (Envoy can do it by itself)")
    parser.add_argument("--admin-host", default="127.0.0.1")
    parser.add_argument("--admin-port", type=int, default=None, help="health, metrics and the limits; off by default")
    parser.add_argument("--drain-seconds", type=float, default=5.0)
    parser.add_argument("--log-level", type=LogLevel, choices=list(LogLevel), default=LogLevel.INFO)
    parser.add_argument("--log-format", type=LogFormat, choices=list(LogFormat), default=LogFormat.TEXT)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the service; returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == [FROM_ENVIRONMENT]:
        try:
            given = [*arguments_from(os.environ), *given[1:]]
        except VariableError as error:
            print(f"headgate-ratelimit: {error}", file=sys.stderr)
            return 1
    options = make_parser().parse_args(given)
    set_up_logging(options.log_level, options.log_format)
    try:
        # uvloop saves about a tenth of a decision's CPU (tests/bench/limits.py).
        with asyncio.Runner(loop_factory=_new_event_loop()) as runner:
            runner.run(_run(options))
    except (StartError, AddressInUseError) as error:
        print(f"headgate-ratelimit: {error}", file=sys.stderr)
        return 1
    return 0


def _new_event_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


async def _run(options: argparse.Namespace) -> None:
    stop = stop_event()
    storage = _open_storage(options)
    service = RateLimitService(storage, key_prefix=options.key_prefix, limit_headers=options.limit_headers)
    source, snapshot = await _open_source(options.config, service.config_rejected)
    if snapshot is None:
        raise StartError(f"no limits can be read from {options.config}")
    service.use(snapshot)
    admin = AdminServer(make_pages(service, stop))
    watching = asyncio.create_task(source.watch(service.use))
    try:
        if options.admin_port is not None:
            await _start_admin(admin, options.admin_host, options.admin_port)
        await _serve(service, stop, options)
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        await admin.close()
        await storage.close()


async def _serve(service: RateLimitService, stop: asyncio.Event, options: argparse.Namespace) -> None:
    health = Health((wire.SERVICE,))
    server = Server({**service.services(), **health.services()})
    await server.listen(options.address)
    # What is imported now lives as long as the process: take it out of every later collection.
    gc.collect()
    gc.freeze()
    log.info("server_listening", address=options.address)
    await stop.wait()
    health.shut_down()
    log.info("server_draining", address=options.address, drain_seconds=options.drain_seconds)
    await server.stop(options.drain_seconds)
    log.info("server_stopped", address=options.address)


async def _open_source(
    config: str, on_error: Callable[[str], None]
) -> "tuple[ConfigSource | UrlSource, Snapshot | None]":
    """Where limits come from, and the first of them; None where there are none to be had."""
    if not config.startswith(("http://", "https://")):
        source = ConfigSource(Path(config), on_error=on_error)
        snapshot = source.load()
        return source, snapshot if source.usable else None
    # Imported here: files need no HTTP client.
    from headgate.ratelimit.config_url import UrlSource

    remote = UrlSource(config, on_error=on_error)
    return remote, await remote.first()


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
        )
    except (ValueError, OSError) as error:
        raise StartError(f"--redis-url: {error}") from error


async def _start_admin(admin: AdminServer, host: str, port: int) -> None:
    try:
        await admin.start(host, port)
    except OSError as error:
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
