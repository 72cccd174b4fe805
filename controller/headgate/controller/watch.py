"""Tells when files changed. Says nothing about what: the loader reads them again and compares.

A look at all files tells. The system's notices make it come at once; where they do not come (a change behind a link, a
folder that was removed and made anew, a mount of another machine's) it comes within half a second. A single file is
noticed through its folder, because editors and mounts replace files instead of writing into them.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

from headgate.controller.sources.folders import walk
from headgate.runtime.logging import event_log
from headgate.runtime.pauses import wait_at_most

log = event_log("controller")

_STEP_MILLISECONDS: Final = 5
_DEBOUNCE_MILLISECONDS: Final = 50
_LOOK_SECONDS: Final = 0.5
"""Between two looks; the first comes sooner, for what changed while notices were being asked for."""
_FIRST_LOOK_SECONDS: Final = 0.2
_LOOK_SHARE_MAX: Final = 0.02
"""Of a processor, for looks: at many files they are made less often."""

Fingerprint = frozenset[tuple[str, int, int, int]]
"""(path, inode, size, time of the last change in ns) of every file that would be read."""


def fingerprint(paths: Iterable[Path]) -> Fingerprint:
    """What the files look like from outside; what cannot be read is left out."""
    found: set[tuple[str, int, int, int]] = set()
    for root in paths:
        for path in walk(root) if root.is_dir() else (root,):
            try:
                status = path.stat()
            except OSError:
                continue
            # Not the time of the content: tools that copy files set it.
            found.add((str(path), status.st_ino, status.st_size, status.st_ctime_ns))
    return frozenset(found)


async def watch(paths: Sequence[Path], since: Fingerprint) -> AsyncGenerator[None]:
    """Yields whenever something below `paths` may have changed, also if it did between `since` and now."""
    noticed = asyncio.Event()
    folders = {path for path in paths if path.is_dir()}
    listening = [
        asyncio.create_task(_listen(folders, noticed, recursive=True)),
        asyncio.create_task(_listen(_around(set(paths) - folders), noticed, recursive=False)),
    ]
    pause_seconds, seen = _FIRST_LOOK_SECONDS, since
    try:
        while True:
            await wait_at_most(noticed, pause_seconds)
            noticed.clear()
            before = seen
            seen, cpu_seconds = await asyncio.to_thread(_look, paths)
            pause_seconds = max(_LOOK_SECONDS, cpu_seconds / _LOOK_SHARE_MAX)
            if seen != before:
                yield None
    finally:
        for task in listening:
            task.cancel()


def _look(paths: Sequence[Path]) -> tuple[Fingerprint, float]:
    """And what it cost. Not how long it took: a busy machine must not make looks seldom."""
    before = time.thread_time()
    return fingerprint(paths), time.thread_time() - before


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


async def _listen(folders: Collection[Path], noticed: asyncio.Event, *, recursive: bool) -> None:
    """Sets `noticed` at the system's notices of changes in `folders`, as long as it gives any."""
    # Imported here: it costs as much as the rest of the start, and nothing is watched before the gateway is ready.
    from watchfiles import awatch  # pyright: ignore[reportUnknownVariableType] (names types of an optional package)

    if not folders:
        return
    try:
        async for _ in awatch(
            *sorted(folders),
            watch_filter=None,
            step=_STEP_MILLISECONDS,
            debounce=_DEBOUNCE_MILLISECONDS,
            recursive=recursive,
        ):
            noticed.set()
    except OSError as error:
        log.warning("watch_by_looking", error=str(error))


def _around(files: Iterable[Path]) -> frozenset[Path]:
    """The folders of files, as named and as they really are: a link's target may change in place."""
    return frozenset(path.parent for file in files for path in (file.absolute(), file.resolve()))
