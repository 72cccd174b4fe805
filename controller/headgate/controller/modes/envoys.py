"""Options of the modes that serve Envoys themselves: where they find the controller and what stands beside them."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from headgate.compiler.options import CONTROLLER_NAME, Mode, Options
from headgate.contract.attributes import ATTRIBUTES_DEFAULT, parse_attributes
from headgate.controller.loop import Build
from headgate.controller.modes.arguments import boolean
from headgate.controller.store import Refusal
from headgate.controller.xds.snapshot import Snapshot
from headgate.runtime.logging import event_log

log = event_log("controller")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Paths and sockets are as the Envoys see them."""
    group = parser.add_argument_group("Envoys (modes files and standalone)")
    add = group.add_argument
    add("--address", default="127.0.0.1:18000", help="unix:/path or host:port of delta ADS (default %(default)s)")
    add("--state-dir", type=Path, help="folder for the limits and for files that Envoys read")
    add("--listen-address", default="0.0.0.0", help="address of all listeners (default %(default)s)")
    add(
        "--gateway-address",
        action="append",
        default=[],
        help="IP or name under which clients reach the Envoys, for the status of Gateways; may be repeated",
    )
    add("--extproc-socket", action="append", default=[], help="a processor's unix socket; may be repeated")
    add("--ratelimit-socket", default="", help="the rate limit service's unix socket")
    add("--collector-socket", default="", help="the collector's unix socket")
    add(
        "--ratelimit-fail-closed",
        "--quotaRateLimitFailureModeDeny",
        type=boolean,
        nargs="?",
        const=True,
        default=False,
        metavar="BOOLEAN",
        help="all modes: without the rate limit service, what is limited is answered 500 instead of let through",
    )
    _add_header_attributes(add)
    add("--access-log", default="/dev/stdout", help="file for a line per request, empty for none")
    add(
        "--capture-content",
        action="store_true",
        help="chats go through the processors, which capture content as their own variables say",
    )
    add("--root-prefix", "--rootPrefix", default="/", help="path that all endpoints live under (default %(default)s)")


def _add_header_attributes(add: Callable[..., object]) -> None:
    add(
        "--request-header-attributes",
        "--requestHeaderAttributes",
        type=_attributes,
        default=(),
        metavar="HEADER:ATTRIBUTE,…",
        help="all modes: request headers that the three below tell, unless they call them something else",
    )
    add(
        "--metrics-request-header-attributes",
        "--metricsRequestHeaderAttributes",
        type=_attributes,
        default=(),
        metavar="HEADER:ATTRIBUTE,…",
        help="all modes, with a collector: request headers that it is told for metrics (its --metrics-attributes)",
    )
    add(
        "--log-request-header-attributes",
        "--logRequestHeaderAttributes",
        type=_attributes,
        default=None,
        metavar="HEADER:ATTRIBUTE,…",
        help="all modes: request headers that access logs and records tell (default, with a collector or beside Envoy "
        f"Gateway: {ATTRIBUTES_DEFAULT})",
    )
    add(
        "--span-request-header-attributes",
        "--spanRequestHeaderAttributes",
        type=_attributes,
        default=None,
        metavar="HEADER:ATTRIBUTE,…",
        help=f"request headers that spans tell, where an EnvoyProxy asks for some (default {ATTRIBUTES_DEFAULT})",
    )


def compiler_options(
    options: argparse.Namespace, mode: Mode, controller_name: str = CONTROLLER_NAME, *, secrets_directory: str
) -> Options:
    """What the compiler is told of the installation."""
    return Options(
        mode=mode,
        controller_name=controller_name,
        gateway_addresses=tuple(options.gateway_address),
        listen_address=options.listen_address,
        extproc_sockets=tuple(options.extproc_socket),
        ratelimit_socket=options.ratelimit_socket,
        ratelimit_failure_deny=options.ratelimit_fail_closed,
        collector_socket=options.collector_socket,
        header_attributes=header_attributes(options),
        secrets_directory=secrets_directory,
        access_log=options.access_log,
        span_attributes=_of_signal(options, options.span_request_header_attributes, ATTRIBUTES_DEFAULT),
        capture=options.capture_content,
        path_root=options.root_prefix,
    )


_Attributes: TypeAlias = tuple[tuple[str, str], ...]


def _attributes(text: str) -> _Attributes:
    return tuple(sorted(parse_attributes(text).items()))  # its error is a ValueError


def header_attributes(options: argparse.Namespace) -> _Attributes:
    """What is told of requests' headers: a collector reads it, and beside Envoy Gateway users' access logs (compat)."""
    collects = bool(options.collector_socket or options.collector_address)
    read = options.mode is Mode.ENVOY_GATEWAY or collects
    logs = _of_signal(options, options.log_request_header_attributes, ATTRIBUTES_DEFAULT if read else "")
    metrics = _of_signal(options, options.metrics_request_header_attributes, "") if collects else ()
    return tuple(sorted({*logs, *metrics}))  # a header may have another name in each


def _of_signal(options: argparse.Namespace, own: _Attributes | None, otherwise: str) -> _Attributes:
    said = _attributes(otherwise) if own is None else own
    return tuple(sorted({**dict(options.request_header_attributes), **dict(said)}.items()))


class LogObserver:
    """Tells the log what the loop does not tell by itself."""

    def built(self, build: Build, snapshot: Snapshot) -> None:
        del snapshot
        for problem in build.problems:
            log.warning("problem", problem=str(problem))

    def build_failed(self, error: Exception) -> None:
        log.exception("build_failed", error=str(error))

    def applied(self, snapshot: Snapshot, seconds: float) -> None: ...

    def refused(self, refusal: Refusal) -> None: ...
