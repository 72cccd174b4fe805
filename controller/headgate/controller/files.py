"""Files that other processes read: written beside their place, then renamed, so that nobody sees half of one."""

import os
import tempfile
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from headgate.contract.secret import Secret

_PRIVATE = 0o600


def write_atomically(path: Path, content: str | Secret) -> bool:
    """Makes `path` hold `content`, readable by us only; False if it does already. Makes missing folders."""
    data = (content.reveal() if isinstance(content, Secret) else content).encode()
    with suppress(OSError):
        if path.read_bytes() == data:
            return False
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".new")
    try:
        os.fchmod(descriptor, _PRIVATE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    return True


def add_files(directory: Path, contents: Mapping[str, Secret]) -> tuple[str, ...]:
    """Makes `directory` hold these files (by relative name); returns those that changed. Others are left: something
    may still read them until Envoy has taken the change.
    """
    return tuple(name for name, content in contents.items() if write_atomically(directory / name, content))


def keep_files(directory: Path, names: Collection[str]) -> tuple[str, ...]:
    """Removes all files below `directory` but these (by relative name); returns those that went."""
    found = {str(path.relative_to(directory)): path for path in directory.rglob("*") if path.is_file()}
    gone = tuple(sorted(found.keys() - set(names)))
    for name in gone:
        found[name].unlink(missing_ok=True)
    return gone
