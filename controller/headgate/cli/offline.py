"""What the commands share that look at a configuration without running it."""

import argparse
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from headgate import lua
from headgate.compiler.compile import Compiled, compile_world
from headgate.compiler.conditions import Diagnostic, Severity, diagnostic_order
from headgate.compiler.options import Options
from headgate.controller.sources.files import load

RUN_DIRECTORY = "/run/headgate"
"""Stands for the state directory of a running gateway."""


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


def look(paths: Iterable[Path]) -> Looked:
    """Loads and compiles as `headgate run` would."""
    loaded = load(tuple(paths), environment=os.environ)
    options = Options(
        extproc_sockets=(f"{RUN_DIRECTORY}/extproc-0.sock",),
        ratelimit_socket=f"{RUN_DIRECTORY}/ratelimit.sock",
        lua_directory=str(lua.directory()),
        secrets_directory=f"{RUN_DIRECTORY}/files",
        offline=True,
    )
    compiled = compile_world(loaded.world, options)
    found = {str(each): each for each in (*loaded.diagnostics, *compiled.diagnostics)}
    return Looked(compiled, tuple(sorted(found.values(), key=diagnostic_order)))


def print_diagnostics(diagnostics: Iterable[Diagnostic]) -> None:
    """To standard error, one line each."""
    for diagnostic in diagnostics:
        print(diagnostic, file=sys.stderr)
