import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path

from headgate.controller.files import write_atomically
from headgate.controller.watch import fingerprint, watch


async def next_change(changes: AsyncIterator[None]) -> None:
    async with asyncio.timeout(10):
        await anext(changes)


async def started(paths: list[Path], touched: Path) -> AsyncGenerator[None]:
    """A watch that has seen its first change, so that it is known to run."""
    changes = watch(paths, fingerprint(paths))
    write_atomically(touched, "first")
    await next_change(changes)
    return changes


async def test_a_replaced_file_is_a_change(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("1")
    async with aclosing(await started([path], path)) as changes:
        write_atomically(path, "2")
        await next_change(changes)


async def test_a_new_file_in_a_folder_is_a_change(tmp_path: Path) -> None:
    async with aclosing(await started([tmp_path], tmp_path / "a.yaml")) as changes:
        deep = tmp_path / "deep"
        deep.mkdir()
        (deep / "b.yaml").write_text("1")
        await next_change(changes)


async def test_a_swapped_mount_is_a_change(tmp_path: Path) -> None:
    """Kubernetes mounts a ConfigMap as links through `..data`, and swaps that link."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.yaml").write_text(name)
    (tmp_path / "..data").symlink_to("one")
    path = tmp_path / "a.yaml"
    path.symlink_to("..data/a.yaml")
    async with aclosing(watch([path], fingerprint([path]))) as changes:
        waiting = asyncio.ensure_future(next_change(changes))
        await asyncio.sleep(0)
        (tmp_path / "new").symlink_to("two")
        os.replace(tmp_path / "new", tmp_path / "..data")
        await waiting


async def test_what_changed_before_the_watch_started_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("1")
    before = fingerprint([tmp_path])
    path.write_text("22")
    async with aclosing(watch([tmp_path], before)) as changes:
        await next_change(changes)


def test_writing_the_same_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.yaml"
    assert write_atomically(path, "1")
    before = fingerprint([tmp_path])
    assert not write_atomically(path, "1")
    assert fingerprint([tmp_path]) == before
    assert write_atomically(path, "2")
    assert [each.name for each in path.parent.iterdir()] == ["a.yaml"]
