"""The root folder of one container of a pod: this machine's, with the pod's volumes where the container has them.

`python -m support.pod_root VOLUMES COMMAND…`, in a mount namespace of its own, runs the command there; VOLUMES is a
JSON object of paths in the container to what is shown there. Only the folders on the way to those are made anew, of
what is in them; so nothing of the machine changes, and the command's process is the one that was started.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Set
from pathlib import Path

_PROGRAMS = tuple(sorted({Path(__file__).resolve().parents[2], Path(sys.prefix).resolve()}))
"""The checkout, and the environment that it is installed in."""


def enter(volumes: Mapping[str, str]) -> None:
    """Arranges the root and moves this process into it."""
    sources = {Path(path).parent.resolve() / Path(path).name: Path(source) for path, source in volumes.items()}
    targets = set(sources)
    root = Path(tempfile.mkdtemp(prefix="hg-root-"))
    _mount("--make-rprivate", "/")
    _mount("-t", "tmpfs", "tmpfs", str(root))
    _show(Path("/"), root, targets, {parent for target in targets for parent in target.parents})
    for target, source in sources.items():
        _bind(source, root / target.relative_to("/"))
    for ours in _PROGRAMS:
        if targets & set(ours.parents):
            _bind(ours, root / ours.relative_to("/"))
    os.chroot(root)
    os.chdir("/")


def _show(folder: Path, root: Path, targets: Set[Path], opened: Set[Path]) -> None:
    """What is in a folder, in its place below `root`: bound, but for what volumes take the place of."""
    for entry in folder.iterdir():
        inside = root / entry.relative_to("/")
        if entry in targets:
            continue
        if entry.is_symlink():
            inside.symlink_to(os.readlink(entry))
        elif entry in opened:
            inside.mkdir()
            _show(entry, root, targets, opened)
        elif entry.is_dir() or entry.is_file():
            _bind(entry, inside)


def _bind(source: Path, target: Path) -> None:
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    _mount("--rbind", str(source), str(target))


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    enter(json.loads(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
