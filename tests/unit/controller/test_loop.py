import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from headgate.contract.secret import Secret
from headgate.controller.loop import Build, ControllerLoop
from headgate.controller.store import Refusal
from headgate.controller.xds.resource_types import CLUSTER
from headgate.controller.xds.session import Rejected
from headgate.controller.xds.snapshot import Snapshot


class Recorder:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.builds: list[Build] = []
        self.errors: list[str] = []
        self.applied_versions: list[str] = []
        self.refusals: list[Refusal] = []

    def built(self, build: Build, snapshot: Snapshot) -> None:
        self.builds.append(build)

    def build_failed(self, error: Exception) -> None:
        self.errors.append(str(error))

    def applied(self, snapshot: Snapshot, seconds: float) -> None:
        self.applied_versions.append(snapshot.version)

    def refused(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)


class Bench:
    """A loop whose sources are the attribute `now`."""

    def __init__(self, directory: Path) -> None:
        self.now: Build | Exception = Build(resources={})
        self.builds = 0
        self.published: list[Snapshot] = []
        self.recorder = Recorder()
        self.loop = ControllerLoop(
            build=self.build, publish=self.published.append, observer=self.recorder, state_directory=directory
        )

    def build(self) -> Build:
        self.builds += 1
        if isinstance(self.now, Exception):
            raise self.now
        return self.now


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def clusters(*names: str) -> Build:
    return Build(resources={CLUSTER: {name: Cluster(name=name) for name in names}})


async def test_the_same_configuration_is_published_once(bench: Bench) -> None:
    bench.now = clusters("a")
    assert await bench.loop.build_now()
    bench.now = clusters("a")
    assert await bench.loop.build_now()
    assert len(bench.published) == 1
    bench.now = clusters("a", "b")
    await bench.loop.build_now()
    assert [list(each.resources[CLUSTER]) for each in bench.published] == [["a"], ["a", "b"]]


async def test_what_cannot_be_written_is_a_build_that_fails(bench: Bench) -> None:
    bench.now = clusters("a")
    await bench.loop.build_now()
    in_the_way = bench.loop.limits_path.parent
    in_the_way.touch()
    bench.now = replace(clusters("a", "b"), limits_text="domain: x")
    assert not await bench.loop.build_now()
    assert (len(bench.published), len(bench.recorder.errors)) == (1, 1)
    in_the_way.unlink()
    assert await bench.loop.build_now()
    assert len(bench.published) == 2


async def test_a_build_that_fails_leaves_everything_as_it_is(bench: Bench) -> None:
    bench.now = clusters("a")
    await bench.loop.build_now()
    bench.now = ValueError("cannot read x.yaml")
    assert not await bench.loop.build_now()
    assert bench.recorder.errors == ["cannot read x.yaml"]
    assert len(bench.published) == 1
    assert bench.loop.status().error == "cannot read x.yaml"
    bench.now = clusters("a")
    await bench.loop.build_now()
    assert bench.loop.status().error == ""


async def test_who_gives_up_a_build_waits_for_what_it_writes(tmp_path: Path) -> None:
    """Else the folder that is removed next would be there again."""
    building, go_on = threading.Event(), threading.Event()

    def build() -> Build:
        building.set()
        go_on.wait()
        (tmp_path / "written").touch()
        return clusters("a")

    loop = ControllerLoop(build=build, publish=lambda _: None, observer=Recorder(), state_directory=tmp_path)
    task = asyncio.create_task(loop.build_now())
    await asyncio.to_thread(building.wait)
    task.cancel()
    done, _ = await asyncio.wait((task,), timeout=0.05)
    go_on.set()
    assert not done
    await asyncio.wait((task,))
    assert task.cancelled()
    assert (tmp_path / "written").exists()


async def test_changes_that_nobody_follows_any_more_are_told(bench: Bench) -> None:
    async def changes() -> AsyncIterator[None]:
        yield None
        raise OSError("no more watches")

    await bench.loop.run(changes())
    assert bench.builds == 1
    assert "no more watches" in bench.loop.status().error


async def test_limits_and_files_are_there_before_the_snapshot(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []

    def publish(_: Snapshot) -> None:
        seen.append((loop.limits_path.read_text(), (loop.files_directory / "aws").read_text()))

    build = Build(resources={}, limits_text="domain: headgate\n", files={"aws": Secret("key")})
    loop = ControllerLoop(build=lambda: build, publish=publish, observer=Recorder(), state_directory=tmp_path)
    await loop.build_now()
    assert seen == [("domain: headgate\n", "key")]
    assert (loop.files_directory / "aws").stat().st_mode & 0o777 == 0o600


async def test_limits_and_files_that_are_no_longer_wanted_go(bench: Bench) -> None:
    files = {"one": Secret("1"), "deep/two": Secret("2")}
    bench.now = Build(resources={}, limits_text="domain: headgate\n", files=files)
    await bench.loop.build_now()
    bench.now = Build(resources=clusters("a").resources, files={"one": Secret("1")})
    await bench.loop.build_now()
    assert not bench.loop.limits_path.exists()
    assert (bench.loop.files_directory / "deep" / "two").exists(), "Envoy may still read it"
    bench.loop.applied("envoy", bench.published[-1].version)
    assert [path.name for path in bench.loop.files_directory.rglob("*") if path.is_file()] == ["one"]


async def test_a_burst_of_changes_is_one_build(bench: Bench) -> None:
    async def changes() -> AsyncIterator[None]:
        for _ in range(20):
            yield None

    await bench.loop.run(changes())
    assert bench.builds == 1


async def test_a_change_during_a_build_causes_one_more(bench: Bench) -> None:
    started, seen = asyncio.Event(), asyncio.Queue[None]()
    running = asyncio.get_running_loop()

    def build() -> Build:
        bench.builds += 1
        running.call_soon_threadsafe(started.set)
        if bench.builds == 1:
            asyncio.run_coroutine_threadsafe(seen.put(None), running).result()
        return clusters(str(bench.builds))

    async def changes() -> AsyncIterator[None]:
        yield None
        await seen.get()
        yield None

    loop = ControllerLoop(
        build=build, publish=bench.published.append, observer=bench.recorder, state_directory=Path("unused")
    )
    await loop.run(changes())
    assert bench.builds == 2
    assert [list(each.resources[CLUSTER]) for each in bench.published] == [["1"], ["2"]]


async def test_a_refusal_is_reported_once_and_withheld(bench: Bench) -> None:
    bench.now = clusters("a", "bad")
    await bench.loop.build_now()
    bad = bench.published[0].resources[CLUSTER]["bad"]
    rejected = Rejected(type_url=CLUSTER, versions={"bad": bad.version}, message="Envoy's words", snapshot_version="x")
    bench.loop.connected("envoy")
    bench.loop.rejected("envoy", rejected)
    assert list(bench.published[1].resources[CLUSTER]) == ["a"]
    (refusal,) = bench.recorder.refusals
    assert str(refusal) == "Envoy refused Cluster bad: Envoy's words"
    bench.loop.applied("envoy", bench.published[1].version)
    status = bench.loop.status()
    assert status.accepted == status.published != status.wanted
    assert status.refusals == ("Envoy refused Cluster bad: Envoy's words",)
    assert status.nodes == ("envoy",)
