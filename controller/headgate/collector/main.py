"""`headgate-collector`: receives Envoy's access log and keeps usage, until SIGTERM; then it writes what it has.

Exit codes: 0 ended as asked, 1 could not start (one line says why), 2 bad arguments.
"""

import argparse
import asyncio
import contextlib
import gc
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headgate.collector import wire
from headgate.collector.counters import Counts, declare_spans
from headgate.collector.metering import Metering
from headgate.collector.outlet import STEADY, Outlet, Pace
from headgate.collector.price_file import PriceFile
from headgate.collector.service import AccessLogService
from headgate.collector.settings import LEDGER_VARIABLE, OTLP
from headgate.collector.sinks.json_lines import JsonLines
from headgate.collector.sinks.sink import Sink
from headgate.collector.spool import Spool
from headgate.contract import otel, otel_unread
from headgate.contract.attributes import ATTRIBUTES_DEFAULT, AttributesError, attribute_pairs
from headgate.ledger.joining import Settings
from headgate.ledger.prices import PricesError
from headgate.observe.feed import Observation
from headgate.runtime import metrics_export, process_metrics, server_tls
from headgate.runtime.addresses import AddressInUseError
from headgate.runtime.admin_server import AdminServer, Page, Reply, admin_address, page
from headgate.runtime.admin_server import add_arguments as add_admin_arguments
from headgate.runtime.http2.health import Health
from headgate.runtime.http2.server import Server, Services
from headgate.runtime.logging import LogFormat, LogLevel, event_log, set_up_logging
from headgate.runtime.metrics import CONTENT_TYPE, SERIES_MAX, Registry
from headgate.runtime.metrics_export import MetricsExportError, exported, read_of
from headgate.runtime.signals import stop_event
from msgspec.structs import replace

if TYPE_CHECKING:
    from headgate.collector.spans import SpanService

log = event_log("collector")

SPOOL_BYTES_MAX: Final = 268_435_456
RECEIVER_RETRY_SECONDS_MAX: Final = 15.0
HANG_UP_SECONDS: Final = 1.0
"""For Envoys to send once more: their streams end behind that, or after this time in which they had nothing to say."""


class StartError(Exception):
    """Why the collector cannot start, in one line for the user."""


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="headgate-collector", description="Keeps usage from Envoy's access log.")
    add = parser.add_argument
    add("--address", default="127.0.0.1:9190", help="unix:/path, host:port or fd:N (default %(default)s)")
    add(
        "--store",
        default=os.environ.get(LEDGER_VARIABLE, ""),
        help="database for usage: a path (SQLite) or postgresql://user@host/name (default: HEADGATE_LEDGER, else none)",
    )
    add("--json-lines", default="", metavar="PATH", help="file for a line of JSON per request; `-` standard output")
    add("--otlp-logs", default="", metavar="URL", help="OTLP/HTTP endpoint (default: what OTEL_* variables say)")
    add("--prices", type=Path, help="YAML file of prices and teams; read again when it changes")
    add("--spool", type=Path, help="folder that holds records while the store is away; without it memory has to do")
    add("--spool-bytes-max", type=int, default=SPOOL_BYTES_MAX, help="beyond it records are dropped and counted")
    add(
        "--request-header-attributes",
        default=ATTRIBUTES_DEFAULT,
        metavar="HEADER:ATTRIBUTE,…",
        help="request headers that become labels (default %(default)s)",
    )
    add("--root-prefix", default="/", help="path that all endpoints live under (default %(default)s)")
    server_tls.add_arguments(parser)
    add(
        "--metrics-attributes",
        default="",
        metavar="NAME,…",
        help="labels of metrics beside the standard ones: client, team, or attributes of --request-header-attributes",
    )
    add("--metrics-series-max", type=int, default=SERIES_MAX, help="label sets of each metric (default %(default)s)")
    add("--spans", action="store_true", help="take Envoy's spans too, and send them where OTEL_* variables say")
    metrics_export.add_arguments(parser)
    add_admin_arguments(parser, "/healthcheck and /metrics")
    add("--observe", action="store_true", help="keep the last minutes and requests to be looked at: POST /observe")
    add("--drain-seconds", type=float, default=5.0, help="to write what was received (default %(default)s)")
    add("--log-level", type=LogLevel, choices=list(LogLevel), default=LogLevel.INFO)
    add("--log-format", type=LogFormat, choices=list(LogFormat), default=LogFormat.TEXT)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the collector; returns the exit code."""
    options = make_parser().parse_args(arguments)
    set_up_logging(options.log_level, options.log_format)
    try:
        asyncio.run(_run(options))
    except (StartError, MetricsExportError, AddressInUseError, server_tls.TlsError) as error:
        print(f"headgate-collector: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(options: argparse.Namespace) -> None:
    stop = stop_event()
    _tell(otel_unread.notes(os.environ), options)
    prices, settings = _settings(options)
    service = AccessLogService(settings, Counts())
    outlets = [_outlet(sink, service.counts, options) for sink in _sinks(options)]
    for outlet in outlets:
        service.subscribe(outlet.offer)
    registry = _registry(service, options)
    spans = _spans(registry, options)
    pages = {("GET", "/metrics"): page(registry.text, CONTENT_TYPE), ("GET", "/healthcheck"): _health(stop)}
    if options.observe:
        pages["POST", "/observe"] = _observed(service)
    admin = AdminServer(pages)
    lag = process_metrics.LoopLag(registry)
    async with exported(read_of(registry), "collector", told=options.variables_told):
        lag.start()
        watching = asyncio.create_task(_follow_prices(prices, service))
        try:
            await admin.open(admin_address(options))
            await _serve({**service.services(), **({} if spans is None else spans.services())}, service, stop, options)
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
            await asyncio.gather(*(outlet.close(options.drain_seconds) for outlet in outlets))
            if spans is not None:
                await spans.close()
            lag.stop()
            await admin.close()


def _registry(service: AccessLogService, options: argparse.Namespace) -> Registry:
    """All that the process tells, requests included."""
    registry = Registry(options.metrics_series_max)
    attributes = tuple(name.strip() for name in options.metrics_attributes.split(",") if name.strip())
    service.subscribe(Metering(registry, attributes).take)
    service.counts.declare(registry)
    process_metrics.declare(registry)
    return registry


def _spans(registry: Registry, options: argparse.Namespace) -> "SpanService | None":
    """What takes Envoy's spans, where it is asked to."""
    notes: list[str] = []
    destination = otel.destination(os.environ, otel.Signal.TRACES, notes) if options.spans else None
    if destination is None:
        return None
    # Imported here: messages of OpenTelemetry's for those who need them.
    from headgate.collector.spans import SpanService

    otel.batches(os.environ, otel.Signal.TRACES, notes)
    otel.attribute_limits(os.environ, otel.Signal.TRACES, notes)
    _tell(notes, options)
    found = SpanService(destination, os.environ)
    declare_spans(registry, found.counts)
    return found


def _observed(service: AccessLogService) -> Page:
    observation = Observation(lambda: sum(sink.dropped for sink in service.counts.sinks.values()))
    service.subscribe(observation.take)

    async def answer(body: bytes) -> Reply:
        try:
            return Reply(200, observation.answer(body).decode(), "application/json")
        except ValueError as error:
            return Reply(400, f"{error}\n")

    return answer


def _health(stop: asyncio.Event) -> Page:
    async def answer(_: bytes) -> Reply:
        return Reply(503, "ending\n") if stop.is_set() else Reply(200, "ok\n")

    return answer


async def _serve(
    services: Services, service: AccessLogService, stop: asyncio.Event, options: argparse.Namespace
) -> None:
    health = Health((wire.SERVICE,))
    server = Server({**services, **health.services()})
    tls = server_tls.open_tls(options)
    await server.listen(options.address, tls=None if tls is None else tls.context)
    renewing = None if tls is None else asyncio.create_task(tls.watch())
    gc.collect()
    gc.freeze()
    log.info("server_listening", address=options.address)
    await stop.wait()
    health.shut_down()
    service.end_streams()
    await server.stop(HANG_UP_SECONDS)
    if renewing is not None:
        renewing.cancel()
    log.info("server_stopped", address=options.address, records=service.counts.records)


def _settings(options: argparse.Namespace) -> tuple[PriceFile | None, Settings]:
    try:
        attributes = tuple(attribute_pairs(options.request_header_attributes))
        prices = None if options.prices is None else PriceFile(options.prices)
    except (AttributesError, PricesError) as error:
        raise StartError(str(error)) from None
    settings = Settings(attributes=attributes, root=options.root_prefix.rstrip("/"))
    return prices, settings if prices is None else replace(settings, prices=prices.table)


async def _follow_prices(prices: PriceFile | None, service: AccessLogService) -> None:
    if prices is None:
        return
    async for table in prices.changes():
        service.settings = replace(service.settings, prices=table)


def _sinks(options: argparse.Namespace) -> Iterator[Sink]:
    if options.json_lines:
        try:
            yield JsonLines(options.json_lines)
        except OSError as error:
            raise StartError(f"--json-lines: cannot write {options.json_lines}: {error.strerror}") from error
    if options.store:
        # Imported here: SQLAlchemy is most of the time to start.
        from headgate.collector.sinks.store import Store
        from headgate.collector.store.database import StoreError

        try:
            yield Store(options.store)
        except StoreError as error:
            raise StartError(f"--store: {error}") from error

    # Imported here: messages of OpenTelemetry's for those who need them.
    if options.otlp_logs or otel.log_destination(os.environ, []):
        from headgate.collector.sinks.otlp import open_logs

        try:
            logs, notes = open_logs(os.environ, options.otlp_logs)
        except OSError as error:
            raise StartError(f"OTLP: {error}") from error
        _tell(notes, options)
        if logs is not None:
            yield logs


def _tell(notes: Iterable[str], options: argparse.Namespace) -> None:
    metrics_export.tell(() if options.variables_told else notes)


SPOOLED: Final = frozenset({"store"})
"""Sinks that know a record again, and so may be offered it twice."""


def _outlet(sink: Sink, counts: Counts, options: argparse.Namespace) -> Outlet:
    spool = None
    if options.spool is not None and sink.name in SPOOLED:
        try:
            spool = Spool(options.spool / f"{sink.name}.jsonl", bytes_max=options.spool_bytes_max)
        except OSError as error:
            raise StartError(f"--spool: cannot write to {options.spool}: {error.strerror}") from error
    return Outlet(sink, counts.of(sink.name), spool, _pace(sink))


def _pace(sink: Sink) -> Pace:
    """A receiver's own, as variables say."""
    if sink.name != OTLP:
        return STEADY
    said = otel.batches(os.environ, otel.Signal.LOGS)
    return Pace(
        # a record is more than a log line: without a variable we keep what there is room for
        waiting_max=said.queue_max if os.environ.get("OTEL_BLRP_MAX_QUEUE_SIZE", "").strip() else STEADY.waiting_max,
        batch_max=said.items,
        gather_seconds=said.seconds,
        retry_seconds_max=RECEIVER_RETRY_SECONDS_MAX,
    )


if __name__ == "__main__":
    sys.exit(main())
