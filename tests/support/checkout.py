"""An older state of this repository, whose programs an upgrade starts from."""

import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ROOMS = ("protos", "extproc", "ratelimit", "controller", "envoy")


def older_checkout(directory: Path, commits: int, *paths: str) -> Path:
    """What it was so many commits ago, below `directory`: the rooms, or `paths`; skips where the history is shorter."""
    log = _git("rev-list", "--first-parent", f"--max-count={commits + 1}", "HEAD").decode().split()
    if len(log) <= commits:
        pytest.skip(f"needs the last {commits} commits: `git fetch --unshallow`, or a clone with its history")
    checkout = directory / "older"
    checkout.mkdir()
    archive = _git("archive", log[-1], *(paths or [f"{room}/headgate" for room in ROOMS]))
    subprocess.run(["tar", "-x", "-C", str(checkout)], input=archive, check=True)
    return checkout


def importing(checkout: Path | None) -> str:
    """Statements that let a program import its modules from there in place of here."""
    if checkout is None:
        return ""
    here = [str(REPOSITORY / room) for room in ROOMS]
    there = [str(checkout / room) for room in ROOMS]
    return f"import sys; sys.path[:] = {there} + [each for each in sys.path if each not in {here}]; "


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True)
    if done.returncode:
        pytest.skip(f"needs the repository's history: {done.stderr.decode().strip()}")
    return done.stdout
