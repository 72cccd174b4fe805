"""Which files of a folder are read."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SUFFIXES: Final = (".yaml", ".yml", ".json")


def walk(folder: Path) -> Iterator[Path]:
    """Those with a suffix of `SUFFIXES`, with those of its folders. Hidden ones are skipped, links are followed."""
    visited: set[str] = set()
    for directory, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(directory)
        folders[:] = [] if real in visited else sorted(name for name in folders if not name.startswith("."))
        if real in visited:
            continue
        visited.add(real)
        for name in sorted(files):
            if name.endswith(SUFFIXES) and not name.startswith("."):
                yield Path(directory, name)
