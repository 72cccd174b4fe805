import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from headgate.controller.files import write_atomically
from headgate.controller.watch import fingerprint, watch
from support.waiting import BUSY_SECONDS


async def next_change(changes: AsyncIterator[None]) -> None:
    async with asyncio.timeout(BUSY_SECONDS):
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


@pytest.mark.parametrize("named", ["config", "config/a.yaml"])
async def test_changes_in_a_folder_that_was_made_anew_are_seen(tmp_path: Path, named: str) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    async with aclosing(await started([tmp_path / named], folder / "a.yaml")) as changes:
        shutil.rmtree(folder)
        await next_change(changes)
        for text in ("1", "22"):
            write_atomically(folder / "a.yaml", text)
            await next_change(changes)


async def test_a_link_to_another_folder_is_a_change_and_so_are_those_behind_it(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_atomically(tmp_path / name / "a.yaml", name)
    current = tmp_path / "current"
    current.symlink_to("one")
    async with aclosing(await started([current], tmp_path / "one" / "a.yaml")) as changes:
        (tmp_path / "new").symlink_to("two")
        os.replace(tmp_path / "new", current)
        await next_change(changes)
        write_atomically(tmp_path / "two" / "a.yaml", "changed")
        await next_change(changes)


@pytest.mark.parametrize("linked", ["elsewhere", "elsewhere/a.yaml"])
async def test_a_change_behind_a_link_in_a_folder_is_seen(tmp_path: Path, linked: str) -> None:
    folder, changed = tmp_path / "config", tmp_path / "elsewhere" / "a.yaml"
    write_atomically(changed, "1")
    async with aclosing(await started([folder], folder / "b.yaml")) as changes:
        (folder / Path(linked).name).symlink_to(tmp_path / linked)
        await next_change(changes)
        changed.write_text("22")
        await next_change(changes)


async def test_what_nobody_reads_is_no_change(tmp_path: Path) -> None:
    async with aclosing(await started([tmp_path], tmp_path / "a.yaml")) as changes:
        (tmp_path / ".a.yaml.swp").write_text("an editor's")
        (tmp_path / "README").write_text("a person's")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(changes), 0.3)


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
