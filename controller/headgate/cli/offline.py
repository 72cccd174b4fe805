"""What the commands share that look at a configuration without running it."""

import argparse
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from headgate.compiler.compile import Compiled, compile_world
from headgate.compiler.conditions import Diagnostic, Severity, diagnostic_order
from headgate.compiler.options import Options
from headgate.compiler.resources.metadata import Key
from headgate.compiler.world import World, make_world
from headgate.controller.sources.files import load

RUN_DIRECTORY = "/run/headgate"
"""Stands for the state directory of a running gateway."""


def offline_options() -> Options:
    """Of `headgate run`, as far as they matter."""
    return Options(
        extproc_sockets=(f"{RUN_DIRECTORY}/extproc-0.sock",),
        ratelimit_socket=f"{RUN_DIRECTORY}/ratelimit.sock",
        lua_directory=f"{RUN_DIRECTORY}/lua",
        secrets_directory=f"{RUN_DIRECTORY}/files",
        offline=True,
    )


@dataclass(frozen=True, slots=True)
class Configuration:
    """Objects from somewhere, and what was found when they were read."""

    world: World
    diagnostics: tuple[Diagnostic, ...] = ()
    options: Options = field(default_factory=offline_options)


@dataclass(frozen=True, slots=True)
class Looked:
    """A configuration as it would be served."""

    compiled: Compiled
    diagnostics: tuple[Diagnostic, ...]

    @property
    def broken(self) -> bool:
        return any(diagnostic.severity is Severity.ERROR for diagnostic in self.diagnostics)


def add_paths(parser: argparse.ArgumentParser) -> None:
    """The PATH arguments."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a YAML or JSON file, or a folder of them")


def load_files(paths: Iterable[Path], *, beside: bool = False) -> Configuration:
    """What files hold; `beside` as objects beside Envoy Gateway."""
    loaded = load(tuple(paths), environment=os.environ, beside=beside)
    return Configuration(loaded.world, loaded.diagnostics)


def compiled(configuration: Configuration) -> Looked:
    """Compiles as a running gateway would."""
    found = compile_world(configuration.world, configuration.options)
    every = {str(each): each for each in (*configuration.diagnostics, *found.diagnostics)}
    return Looked(found, tuple(sorted(every.values(), key=diagnostic_order)))


def look(paths: Iterable[Path]) -> Looked:
    """Loads and compiles as `headgate run` would."""
    return compiled(load_files(paths))


def overlaid(below: Configuration, above: Configuration) -> Configuration:
    """What there is once the objects `above` are applied: each takes the place of the one of its name."""
    replaced: set[Key] = {resource.key for resource in above.world.objects()} | set(above.world.rejected)
    world = make_world(
        [*(each for each in below.world.objects() if each.key not in replaced), *above.world.objects()],
        [
            *(each for key, each in below.world.rejected.items() if key not in replaced),
            *above.world.rejected.values(),
        ],
        diagnostics=[
            *(each for key, found in below.world.diagnostics.items() if key not in replaced for each in found),
            *(each for found in above.world.diagnostics.values() for each in found),
        ],
    )
    kept = tuple(each for each in below.diagnostics if each.key not in replaced)
    return Configuration(world, (*kept, *above.diagnostics), below.options)


def print_diagnostics(diagnostics: Iterable[Diagnostic]) -> None:
    """To standard error, one line each."""
    for diagnostic in diagnostics:
        print(diagnostic, file=sys.stderr)
