"""Tells when files changed. Says nothing about what: the loader reads them again and compares.

A single file is watched through its folder, because editors and mounts replace files instead of writing into them.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Final

from headgate.runtime.logging import event_log

log = event_log("controller")

_STEP_MILLISECONDS: Final = 5
_DEBOUNCE_MILLISECONDS: Final = 50
_SETTLE_SECONDS: Final = 0.2
"""How long a watch may take to start; after that what was missed meanwhile is looked for once."""

Fingerprint = frozenset[tuple[str, int, int, int]]
"""(path, inode, size, modification time in ns) of every file."""


def fingerprint(paths: Iterable[Path]) -> Fingerprint:
    """What the files look like from outside; what cannot be read is left out."""
    found: set[tuple[str, int, int, int]] = set()
    for root in paths:
        for path in (root, *(root.rglob("*") if root.is_dir() else ())):
            try:
                status = path.stat()
            except OSError:
                continue
            found.add((str(path), status.st_ino, status.st_size, status.st_mtime_ns))
    return frozenset(found)


async def watch(paths: Sequence[Path], since: Fingerprint) -> AsyncGenerator[None]:
    """Yields whenever something below `paths` may have changed, also if it did between `since` and now.

    Falls back to polling where the system has no more watches to give.
    """
    # Imported here: it costs as much as the rest of the start, and nothing is watched before the gateway is ready.
    from watchfiles import awatch  # pyright: ignore[reportUnknownVariableType] (names types of an optional package)

    changed = asyncio.Event()
    folders, files = _split(paths)

    def concerns(_: object, name: str) -> bool:
        path = Path(name)
        # A mount swaps a link beside the file (`..data`), so in a file's folder links matter too.
        return any(map(path.is_relative_to, folders)) or path in files or path.is_symlink()

    async def collect(force_polling: bool) -> None:
        async for _ in awatch(
            *sorted(folders | {path.parent for path in files}),
            watch_filter=concerns,
            step=_STEP_MILLISECONDS,
            debounce=_DEBOUNCE_MILLISECONDS,
            force_polling=force_polling,
            recursive=bool(folders),
        ):
            changed.set()

    async def collect_somehow() -> None:
        try:
            await collect(force_polling=False)
        except OSError as error:
            log.warning("watch_by_polling", error=str(error))
            await collect(force_polling=True)

    async def look_for_missed() -> None:
        await asyncio.sleep(_SETTLE_SECONDS)
        if await asyncio.to_thread(fingerprint, paths) != since:
            changed.set()

    tasks = [asyncio.create_task(collect_somehow()), asyncio.create_task(look_for_missed())]
    try:
        while True:
            await changed.wait()
            changed.clear()
            yield None
    finally:
        for task in tasks:
            task.cancel()


async def merged(*sources: AsyncIterator[object]) -> AsyncGenerator[None]:
    """Yields when any of the sources has; several that come together may be one. Ends when all have, or one fails."""
    changed = asyncio.Event()

    async def collect(source: AsyncIterator[object]) -> None:
        async for _ in source:
            changed.set()

    async def collect_all() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for source in sources:
                    group.create_task(collect(source))
        finally:
            changed.set()

    collecting = asyncio.create_task(collect_all())
    try:
        while True:
            await changed.wait()
            if collecting.done():
                collecting.result()
                return
            changed.clear()
            yield None
    finally:
        collecting.cancel()
        await asyncio.gather(collecting, return_exceptions=True)


def _split(paths: Iterable[Path]) -> tuple[frozenset[Path], frozenset[Path]]:
    """Folders and files, each as named and as it really is (a link's target may change in place)."""
    named = {each for path in paths for each in (path.absolute(), path.resolve())}
    folders = frozenset(path for path in named if path.is_dir())
    return folders, frozenset(named - folders)
