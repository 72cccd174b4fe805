"""Which modules are compiled where the wheel is built with its hook: pyproject.toml says it."""

import tomllib
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def compiled_modules() -> Sequence[str]:
    """Their names."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    paths = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["modules"]
    return [".".join(Path(path).with_suffix("").parts[1:]) for path in paths]
