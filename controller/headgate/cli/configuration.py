"""From files to what the outlets need: load, compile."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from headgate import lua
from headgate.cli.run_options import RunOptions
from headgate.cli.state_directory import StateDirectory
from headgate.compiler.compile import compile_world
from headgate.compiler.conditions import Condition, diagnostic_order
from headgate.compiler.options import Options
from headgate.controller.loop import Build
from headgate.controller.sources.files import Loaded, load


class Configuration:
    """The configuration of one running gateway; remembers what was good, so that a broken change costs only itself."""

    def __init__(
        self, paths: tuple[Path, ...], options: RunOptions, state: StateDirectory, environment: Mapping[str, str]
    ) -> None:
        self._paths = paths
        self._environment = environment
        self._options = Options(
            listen_address=options.listen_address,
            extproc_sockets=tuple(map(str, state.extproc_sockets(options.workers))),
            ratelimit_socket=str(state.ratelimit_socket),
            lua_directory=str(lua.directory()),
            secrets_directory=str(state.files),
            access_log=options.access_log,
        )
        self._loaded: Loaded | None = None

    def build(self) -> Build:
        """Blocks while it reads and compiles."""
        self._loaded = load(self._paths, environment=self._environment, previous=self._loaded)
        compiled = compile_world(self._loaded.world, self._options)
        problems = {str(each): each for each in (*self._loaded.diagnostics, *compiled.diagnostics)}
        return Build(
            resources=compiled.resources,
            limits_text=compiled.limits,
            files=compiled.files,
            problems=tuple(sorted(problems.values(), key=diagnostic_order)),
            status={"conditions": [_condition(each) for each in compiled.conditions]},
        )


def _condition(condition: Condition) -> Mapping[str, object]:
    return {**asdict(condition), "key": str(condition.key)}
