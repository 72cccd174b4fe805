"""Prometheus' own tool, which loads rules and tests them: of Debian's package `prometheus`, and nothing else of that.

`python -m support.promtool` (from `tests/`) unpacks it into the cache: installed, the package would start a server.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

VARIABLE = "HEADGATE_TEST_PROMTOOL"
KEPT = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "headgate" / "promtool"


class PromtoolMissingError(Exception):
    """There is none; the text says how to get it."""


def find_promtool() -> str:
    """What `HEADGATE_TEST_PROMTOOL` names, the one in PATH, or the one that was unpacked."""
    found = os.environ.get(VARIABLE) or shutil.which("promtool") or (str(KEPT) if KEPT.exists() else None)
    if found is None:
        raise PromtoolMissingError(
            "no promtool to load the rules with: `cd tests && python -m support.promtool` takes it from Debian's "
            f"package `prometheus`; or install Prometheus; or set {VARIABLE} to the binary of one"
        )
    return found


def promtool(*arguments: str, directory: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs it; does not look at the exit code."""
    return subprocess.run([find_promtool(), *arguments], capture_output=True, text=True, cwd=directory, check=False)


def unpack() -> Path:
    """Downloads Debian's package and keeps the tool of it."""
    with tempfile.TemporaryDirectory() as directory:
        _run(["apt-get", "download", "-qq", "prometheus"], directory)
        (package,) = Path(directory).glob("prometheus_*.deb")
        _run(["dpkg-deb", "-x", str(package), "unpacked"], directory)
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(str(Path(directory) / "unpacked" / "usr" / "bin" / "promtool"), KEPT)
    return KEPT


def _run(command: Sequence[str], directory: str) -> None:
    subprocess.run(command, cwd=directory, check=True)


if __name__ == "__main__":
    try:
        print(find_promtool())
    except PromtoolMissingError:
        print(unpack())
    sys.exit(0)
