"""From files to what the outlets need: load, compile."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from headgate.compiler.conditions import diagnostic_order
from headgate.compiler.last_good import Good, compile_settled
from headgate.compiler.options import Options
from headgate.compiler.resources import core
from headgate.compiler.resources.metadata import Name
from headgate.controller.loop import Build
from headgate.controller.sources.files import Loaded, load


class Configuration:
    """The configuration in some files; remembers what was good, so that a broken change costs only itself."""

    def __init__(self, paths: Sequence[Path], options: Options, environment: Mapping[str, str]) -> None:
        self._paths = tuple(paths)
        self._options = options
        self._environment = environment
        self._loaded: Loaded | None = None
        self._good: Good = {}

    def build(self, tokens: Mapping[Name, core.Secret] | None = None) -> Build:
        """Blocks while it reads and compiles. `tokens` are Secrets that no file holds: what exchanges have given."""
        self._loaded = load(self._paths, environment=self._environment, previous=self._loaded)
        world = self._loaded.world
        if tokens:
            world = replace(world, secrets=dict(sorted({**world.secrets, **tokens}.items())))
        settled = compile_settled(world, self._options, self._good)
        self._good, compiled = settled.good, settled.compiled
        problems = {str(each): each for each in (*self._loaded.diagnostics, *compiled.diagnostics)}
        return Build(
            resources=compiled.resources,
            limits_text=compiled.limits,
            files=compiled.files,
            problems=tuple(sorted(problems.values(), key=diagnostic_order)),
            exchanges=compiled.exchanges,
            told=compiled.told,
            program=compiled.program,
        )
