"""`headgate-controller`: compiles files and serves them to Envoys over delta ADS, until SIGTERM.

For Envoys, processors and limiters that somebody else starts; `headgate run` is all of them in one. Exit codes: 0 ended
as asked, 1 could not start (one line says why), 2 bad arguments.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from headgate import lua
from headgate.compiler.options import Options
from headgate.controller.configuration import Configuration
from headgate.controller.control_plane import ControlPlane
from headgate.controller.loop import Build
from headgate.controller.store import Refusal
from headgate.controller.xds.snapshot import Snapshot
from headgate.runtime.garbage import collect_rarely
from headgate.runtime.grpc_server import AddressInUseError, stop_event
from headgate.runtime.logging import LogFormat, LogLevel, event_log, set_up_logging

log = event_log("controller")


class StartError(Exception):
    """Why the controller cannot start, in one line for the user."""


def make_parser() -> argparse.ArgumentParser:
    """The command line. Paths and sockets are as the Envoys see them."""
    parser = argparse.ArgumentParser(prog="headgate-controller", description="Headgate's control plane for any Envoy.")
    add = parser.add_argument
    add("paths", nargs="+", type=Path, metavar="PATH", help="YAML files or folders; watched")
    add("--address", default="127.0.0.1:18000", help="unix:/path or host:port of delta ADS (default %(default)s)")
    add("--state-dir", type=Path, required=True, help="folder for the limits and for files that Envoys read")
    add("--listen-address", default="0.0.0.0", help="address of all listeners (default %(default)s)")
    add("--extproc-socket", action="append", default=[], help="a processor's unix socket; may be repeated")
    add("--ratelimit-socket", default="", help="the rate limit service's unix socket")
    add("--lua-dir", default=str(lua.directory()), help="folder of the scripts (default %(default)s)")
    add("--access-log", default="/dev/stdout", help="file for a line per request, empty for none")
    add("--log-level", type=LogLevel, choices=list(LogLevel), default=LogLevel.INFO)
    add("--log-format", type=LogFormat, choices=list(LogFormat), default=LogFormat.TEXT)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the controller; returns the exit code."""
    options = make_parser().parse_args(arguments)
    collect_rarely()
    set_up_logging(options.log_level, options.log_format)
    try:
        asyncio.run(_live(options))
    except (StartError, AddressInUseError) as error:
        print(f"headgate-controller: {error}", file=sys.stderr)
        return 1
    return 0


class _LogObserver:
    """Tells the log what the loop does not tell by itself."""

    def built(self, build: Build, snapshot: Snapshot) -> None:
        del snapshot
        for problem in build.problems:
            log.warning("problem", problem=str(problem))

    def build_failed(self, error: Exception) -> None:
        log.exception("build_failed", error=str(error))

    def applied(self, snapshot: Snapshot, seconds: float) -> None: ...

    def refused(self, refusal: Refusal) -> None: ...


async def _live(options: argparse.Namespace) -> None:
    stop = stop_event()
    state: Path = options.state_dir.absolute()
    compiler_options = Options(
        listen_address=options.listen_address,
        extproc_sockets=tuple(options.extproc_socket),
        ratelimit_socket=options.ratelimit_socket,
        lua_directory=options.lua_dir,
        secrets_directory=str(state / "files"),
        access_log=options.access_log,
    )
    configuration = Configuration(options.paths, compiler_options, os.environ)
    control_plane = ControlPlane(build=configuration.build, observer=_LogObserver(), state_directory=state)
    try:
        await control_plane.start(options.address)
        if not await control_plane.build_first(options.paths):
            raise StartError(control_plane.status().error)
        control_plane.watch(options.paths)
        log.info("serving", address=options.address)
        await stop.wait()
    finally:
        await control_plane.stop()


if __name__ == "__main__":
    sys.exit(main())
