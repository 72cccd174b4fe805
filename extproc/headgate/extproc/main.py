"""Console script `headgate-extproc`: one process on one address. Run several for several cores, each on its own socket.

The only module here that reads arguments. Exit codes: 0 after a drain, 1 if it cannot listen, 2 for wrong arguments.
"""

import argparse
import asyncio
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headgate.contract.otel import CAPTURE_VARIABLE, captured_content
from headgate.runtime.admin_server import add_arguments as add_admin_arguments
from headgate.runtime.admin_server import admin_address
from headgate.runtime.logging import LogFormat, LogLevel, set_up_logging
from headgate.runtime.metrics_export import MetricsExportError
from headgate.runtime.metrics_export import add_arguments as add_metrics_arguments

if TYPE_CHECKING:
    from headgate.extproc.capture import CaptureSettings

DRAIN_SECONDS_DEFAULT = 10.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until SIGTERM or SIGINT; does not return."""
    options = parse_arguments(arguments)
    set_up_logging(options.log_level, options.log_format)
    sys.exit(run(options))


def run(options: argparse.Namespace) -> int:
    """The exit code of a whole life."""
    # Imported here so that `--help` and wrong arguments answer at once.
    from headgate.extproc.workers import serve
    from headgate.runtime.addresses import AddressInUseError

    try:
        capturing = _capturing(options.capture_rules, os.environ)
    except ValueError as error:
        print(f"headgate-extproc: --capture-rules: {error}", file=sys.stderr)
        return 1
    try:
        run_loop = importlib.import_module("uvloop").run  # 5 to 10 % less CPU per request, for 2 MB
    except ImportError:
        run_loop = asyncio.run
    try:
        run_loop(
            serve(
                options.address,
                drain_seconds=options.drain_seconds,
                admin_at=admin_address(options),
                capturing=capturing,
                variables_told=options.variables_told,
            )
        )
    except (AddressInUseError, MetricsExportError) as error:
        print(f"headgate-extproc: {error}", file=sys.stderr)
        return 1
    return 0


def _capturing(path: Path | None, environment: Mapping[str, str]) -> "CaptureSettings | None":
    """Raises ValueError for rules that cannot be read."""
    if not captured_content(environment).any:
        return None
    # Imported here: it is nothing that a processor needs otherwise.
    import yaml
    from headgate.extproc.capture import capture_settings
    from headgate.extproc.redaction import make_rules

    try:
        value: object = yaml.safe_load(path.read_text()) if path is not None else None
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    return capture_settings(environment, make_rules(value))


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Exits with 2 and a usage line if they are wrong."""
    parser = argparse.ArgumentParser(
        prog="headgate-extproc", description="Translates between LLM APIs for Envoy (ext_proc)."
    )
    parser.add_argument("--address", required=True, help="unix:/path, host:port or fd:N to serve gRPC on")
    add_admin_arguments(parser, "/metrics and /health")
    add_metrics_arguments(parser)
    parser.add_argument(
        "--drain-seconds", type=float, default=DRAIN_SECONDS_DEFAULT, help="how long running streams may take to end"
    )
    parser.add_argument("--log-level", type=LogLevel, choices=list(LogLevel), default=LogLevel.INFO)
    parser.add_argument("--log-format", type=LogFormat, choices=list(LogFormat), default=LogFormat.TEXT)
    parser.add_argument(
        "--capture-rules",
        type=Path,
        metavar="PATH",
        help=f"YAML file of what is taken out of captured content, where {CAPTURE_VARIABLE} asks for some",
    )
    return parser.parse_args(arguments)
