"""`--mode files`: compiles files and serves them to any Envoy over delta ADS."""

import argparse
import asyncio
import os
from dataclasses import asdict
from pathlib import Path

from headgate.compiler.options import Mode
from headgate.controller.configuration import Configuration
from headgate.controller.control_plane import ControlPlane
from headgate.controller.credentials.keeping import Tokens
from headgate.controller.credentials.settings import settings
from headgate.controller.health import serve_health
from headgate.controller.loop import Build
from headgate.controller.metrics import ControllerMetrics
from headgate.controller.modes.arguments import health_address
from headgate.controller.modes.envoys import LogObserver, compiler_options
from headgate.controller.start_error import StartError
from headgate.controller.xds.snapshot import Snapshot
from headgate.runtime.logging import event_log
from headgate.runtime.metrics import Registry

log = event_log("controller")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The paths."""
    parser.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH", help="mode files: YAML files or folders; watched"
    )


async def run(options: argparse.Namespace, stop: asyncio.Event) -> None:
    """Serves until `stop`."""
    if not options.paths or options.state_dir is None:
        raise StartError("mode files needs a PATH and --state-dir")
    state: Path = options.state_dir.absolute()
    compiler = compiler_options(options, Mode.FILES, secrets_directory=str(state / "files"))
    configuration = Configuration(options.paths, compiler, os.environ)
    tokens = Tokens(settings(options.credential_endpoint, os.environ))
    metrics = ControllerMetrics(Registry())
    control_plane = ControlPlane(
        build=lambda: configuration.build(tokens.secrets),
        observer=_Observer(tokens),
        state_directory=state,
        metrics=metrics,
    )
    pages = serve_health(
        health_address(options),
        ready=lambda: "" if control_plane.status().published else "nothing is published yet",
        status=lambda: asdict(control_plane.status()),
        metrics=metrics,
    )
    try:
        await control_plane.start(options.address)
        async with pages:
            if not await control_plane.build_first(options.paths):
                raise StartError(control_plane.status().error)
            control_plane.watch(options.paths, tokens.changes())
            log.info("serving", address=options.address)
            await stop.wait()
    finally:
        await control_plane.stop()
        await tokens.close()


class _Observer(LogObserver):
    """Also has the credentials fetched that a build asks for."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def built(self, build: Build, snapshot: Snapshot) -> None:
        self._tokens.want(build.exchanges)
        super().built(build, snapshot)
