"""`headgate-controller`: compiles resources and serves what they say, until SIGTERM.

    files           YAML files, served to any Envoy over delta ADS
    standalone      the same resources from a Kubernetes API, served to any Envoy over delta ADS
    envoy-gateway   the same resources from a Kubernetes API, for the Envoys of an Envoy Gateway

For Envoys, processors and limiters that somebody else starts; `headgate run` is all of them in one. Exit codes: 0 ended
as asked, 1 could not start (one line says why), 2 bad arguments.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from headgate.compiler.options import Mode
from headgate.controller.credentials import settings
from headgate.controller.modes import arguments, envoys, upstream
from headgate.controller.modes import files as files_mode
from headgate.controller.start_error import StartError
from headgate.runtime.garbage import collect_rarely
from headgate.runtime.grpc_server import AddressInUseError
from headgate.runtime.logging import LogFormat, LogLevel, event_log, set_up_logging
from headgate.runtime.metrics_export import MetricsExportError
from headgate.runtime.signals import stop_event

log = event_log("controller")

MODES: Final = {
    Mode.FILES: "headgate.controller.modes.files",
    Mode.STANDALONE: "headgate.controller.modes.standalone",
    Mode.ENVOY_GATEWAY: "headgate.controller.modes.envoy_gateway",
}
"""Imported when they run: the Kubernetes client is half a second that files do not need."""


_MODES_HELP: Final = (
    "files: YAML, for any Envoy; standalone: a Kubernetes API, for any Envoy; envoy-gateway: the same, for the Envoys "
    "of an Envoy Gateway (default %(default)s)"
)


def make_parser() -> argparse.ArgumentParser:
    """The command line: options of all modes, so that a name means one thing everywhere."""
    told = "Compiles resources and serves what they say, to Envoys that somebody else starts."
    parser = argparse.ArgumentParser(prog="headgate-controller", description=told)
    add = parser.add_argument
    add("--mode", type=Mode, choices=list(Mode), default=Mode.FILES, help=_MODES_HELP)
    add("--log-level", "--logLevel", type=LogLevel, choices=list(LogLevel), default=LogLevel.INFO)
    add("--log-format", "--logFormat", type=LogFormat, choices=list(LogFormat), default=LogFormat.TEXT)
    files_mode.add_arguments(parser)
    settings.add_arguments(parser)
    envoys.add_arguments(parser)
    arguments.add_cluster_arguments(parser)
    upstream.add_arguments(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the controller; returns the exit code."""
    options = make_parser().parse_args(upstream.with_two_dashes(sys.argv[1:] if arguments is None else arguments))
    collect_rarely()
    set_up_logging(options.log_level, options.log_format)
    for option, why in upstream.notes(options):
        log.warning("option_ignored", option=option, why=why)
    try:
        asyncio.run(_live(options))
    except (StartError, AddressInUseError, MetricsExportError) as error:
        print(f"headgate-controller: {error}", file=sys.stderr)
        return 1
    return 0


async def _live(options: argparse.Namespace) -> None:
    await import_module(MODES[options.mode]).run(options, stop_event())


if __name__ == "__main__":
    sys.exit(main())
