"""Files that tell who used what."""

import os
from pathlib import Path


def make_private(path: Path) -> None:
    """Makes a file that is missing, and its folder, for us alone; one that is there stays as its owner wants it.

    Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
