"""Reads the limits from a YAML file, or every `*.yaml` and `*.yml` of a folder, and again when one changes.

A file that is broken keeps its last good content and costs only itself; what was wrong is reported with file and line.
A change is a new identity, size or time of a file (links are followed, so a swapped Kubernetes ConfigMap is one), seen
by asking for them every `POLL_SECONDS`: some 20 microseconds each, where a watcher would need a thread and still miss
mounts that do not notify. A domain belongs to the first file, by name, that defines it; a second one is an error.
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headgate.limits.config import ConfigError, Domain, merge_domains
from headgate.limits.config_text import parse_text
from headgate.limits.matching import Snapshot, build_snapshot
from headgate.runtime.logging import event_log

log = event_log("ratelimit")

POLL_SECONDS: Final = 0.05
FILE_BYTES_MAX: Final = 64 * 1024 * 1024
_SUFFIXES: Final = (".yaml", ".yml")

_Identity = tuple[int, int, int]


@dataclass(slots=True)
class _File:
    identity: _Identity | None
    domains: tuple[Domain, ...] | None
    """The last good content; None where there never was one."""


class ConfigSource:
    """The limits below one path. Errors are logged and handed to `on_error`; a later `load` may heal them."""

    def __init__(self, path: Path, *, on_error: Callable[[str], None] = lambda _: None, merge: bool = False) -> None:
        self._path = path
        self._merge_domains = merge
        self._on_error = on_error
        self._files: dict[Path, _File] = {}
        self._identities: dict[Path, _Identity] = {}
        self._loaded = False

    @property
    def usable(self) -> bool:
        """Whether there is anything to serve: a good file, or a folder without files."""
        return any(file.domains is not None for file in self._files.values()) or (
            not self._files and self._path.is_dir()
        )

    def changed(self) -> bool:
        """Whether any file has changed since the last `load`."""
        return not self._loaded or self._look() != self._identities

    def load(self) -> Snapshot | None:
        """The limits, if any file has changed since the last call, else None. Blocks while it reads."""
        identities = self._look()
        if self._loaded and identities == self._identities:
            return None
        self._loaded, self._identities = True, identities
        if not identities and not self._path.is_dir():
            # A file that is being replaced may be away for a moment: what was read from it stays in force.
            self._error(f"{self._path}: there is no such file or folder")
            return None
        for gone in self._files.keys() - identities.keys():
            del self._files[gone]
        for path, identity in identities.items():
            self._read(path, identity)
        return build_snapshot(self._merge().values())

    def _merge(self) -> dict[str, Domain]:
        domains: dict[str, Domain] = {}
        owners: dict[str, Path] = {}
        for path in sorted(self._files):
            for domain in self._files[path].domains or ():
                if self._merge_domains and domain.name in domains:
                    try:
                        (domains[domain.name],) = merge_domains((domains[domain.name], domain))
                    except ConfigError as error:
                        self._error(f"{path}: {error}")
                elif domain.name in domains:
                    self._error(f"{path}: domain {domain.name!r} is defined already in {owners[domain.name]}")
                else:
                    domains[domain.name], owners[domain.name] = domain, path
        return domains

    def _look(self) -> dict[Path, _Identity]:
        paths = [self._path]
        try:
            if self._path.is_dir():
                paths = [Path(entry.path) for entry in os.scandir(self._path) if entry.name.endswith(_SUFFIXES)]
        except OSError:
            return {}
        identities: dict[Path, _Identity] = {}
        for path in paths:
            try:
                status = path.stat()
            except OSError:
                continue
            identities[path] = (status.st_ino, status.st_size, status.st_mtime_ns)
        return identities

    def _read(self, path: Path, identity: _Identity) -> None:
        file = self._files.get(path)
        if file is not None and file.identity == identity:
            return
        if file is None:
            file = self._files[path] = _File(identity, None)
        file.identity = identity
        try:
            if identity[1] > FILE_BYTES_MAX:
                raise ConfigError(f"{path}: larger than {FILE_BYTES_MAX} bytes")
            file.domains = parse_text(path.read_text(encoding="utf-8"), file=str(path))
        except (ConfigError, OSError, UnicodeDecodeError) as error:
            where = "" if isinstance(error, ConfigError) else f"{path}: "
            self._error(f"{where}{error}", kept_last_good=file.domains is not None)

    def _error(self, message: str, *, kept_last_good: bool = True) -> None:
        log.error("config_rejected", error=message, kept_last_good=kept_last_good)
        self._on_error(message)

    async def first(self) -> Snapshot | None:
        """The limits; None where nothing can be read."""
        snapshot = self.load()
        return snapshot if self.usable else None

    async def watch(self, use: Callable[[Snapshot], None]) -> None:
        """Hands every usable change to `use`, until it is cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if not self.changed():
                continue
            # In a thread: a large file takes longer to read than a decision may wait.
            snapshot = await asyncio.to_thread(self.load)
            if snapshot is not None:
                log.info("config_loaded", domains=len(snapshot.domains))
                use(snapshot)
