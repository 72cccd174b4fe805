"""Objects from files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headgate.compiler.conditions import Diagnostic
from headgate.compiler.world import World


@dataclass(frozen=True, slots=True)
class Loaded:
    """What files say: the world of what is valid, and what is wrong with the rest."""

    world: World
    diagnostics: tuple[Diagnostic, ...]


def load(paths: Sequence[Path], *, environment: Mapping[str, str], previous: Loaded | None = None) -> Loaded:
    """Reads files and folders of YAML and JSON.

    With `previous`, what did not change is not parsed again, and an object that is broken now keeps its last good
    version.
    Raises nothing for what files hold or for files that cannot be read: these are diagnostics.
    """
    raise NotImplementedError
