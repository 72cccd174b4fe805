import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from headgate.runtime.supervisor import BACKOFF_SECONDS_MAX, ChildSpec, ChildStartError, Supervisor, backoff_seconds
from support.waiting import BUSY_SECONDS

PRINTER = "import sys, time; print('out', flush=True); print('err', file=sys.stderr, flush=True); time.sleep(60)"
SLEEPER = "import time; print('up', flush=True); time.sleep(60)"
BUSY = """
import signal, sys, time
def keep(*_):
    time.sleep(0.5)
    print("kept", flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, keep)
print("up", flush=True)
while True:
    pass
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


class Lines:
    """Collects a child's lines and lets a test wait for them."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._changed = asyncio.Event()

    def __call__(self, child: str, line: str) -> None:
        self.seen.append(line)
        self._changed.set()

    async def until(self, done: Callable[[list[str]], bool]) -> None:
        async with asyncio.timeout(BUSY_SECONDS):
            while not done(self.seen):
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    made = Supervisor()
    yield made
    await made.stop()


def python(code: str, lines: Lines, **options: float) -> ChildSpec:
    return ChildSpec(name="child", command=(sys.executable, "-c", code), on_line=lines, **options)  # pyright: ignore[reportArgumentType]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_output_of_both_streams_is_taken_line_by_line(supervisor: Supervisor) -> None:
    lines = Lines()
    supervisor.start(python(PRINTER, lines))
    await lines.until(lambda seen: {"out", "err"} <= set(seen))


async def test_a_killed_child_is_started_again(supervisor: Supervisor) -> None:
    lines = Lines()
    child = supervisor.start(python(SLEEPER, lines))
    await lines.until(lambda seen: len(seen) == 1)
    first = child.pid
    os.kill(first, signal.SIGKILL)
    await lines.until(lambda seen: len(seen) == 2)
    assert child.pid != first
    assert child.restarts == 1
    assert await supervisor.first_death == ("child", -signal.SIGKILL)


async def test_during_a_start_a_dead_child_stays_dead() -> None:
    supervisor = Supervisor(restarting=False)
    child = supervisor.start(python("raise SystemExit(3)", Lines()))
    assert await supervisor.first_death == ("child", 3)
    await supervisor.stop()
    assert (child.running, child.restarts) == (False, 0)


async def test_stop_ends_the_child_and_does_not_restart_it(supervisor: Supervisor) -> None:
    lines = Lines()
    child = supervisor.start(python(SLEEPER, lines))
    await lines.until(lambda seen: len(seen) == 1)
    await supervisor.stop(["child"])
    assert not alive(child.pid)
    assert child.restarts == 0
    assert supervisor.get("child") is None


async def test_a_child_that_ignores_sigterm_is_killed(supervisor: Supervisor) -> None:
    lines = Lines()
    child = supervisor.start(python(STUBBORN, lines, stop_seconds=0.1))
    await lines.until(lambda seen: len(seen) == 1)
    await supervisor.stop()
    assert not alive(child.pid)


def silenced(spec: ChildSpec, monkeypatch: pytest.MonkeyPatch) -> ChildSpec:
    """One that answers once; a child that hangs at the end has little time."""
    monkeypatch.setattr("headgate.runtime.supervisor.ASK_SECONDS", 0.2)
    monkeypatch.setattr("headgate.runtime.supervisor.HUNG_STOP_SECONDS", 0.1)
    answered = asyncio.Event()

    async def answers() -> bool:
        if answered.is_set():
            await asyncio.Event().wait()
        answered.set()
        return True

    return replace(spec, answers=answers)


async def test_a_child_that_is_silent_but_busy_has_its_time_at_the_end(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = Lines()
    supervisor.start(silenced(python(BUSY, lines), monkeypatch))
    await lines.until(lambda seen: seen == ["up"])
    await supervisor.stop()
    assert lines.seen == ["up", "kept"]


async def test_a_child_that_hangs_has_little_time_at_the_end(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = Lines()
    child = supervisor.start(silenced(python(STUBBORN, lines, stop_seconds=10 * BUSY_SECONDS), monkeypatch))
    await lines.until(lambda seen: seen == ["up"])
    async with asyncio.timeout(BUSY_SECONDS):
        await supervisor.stop()
    assert not alive(child.pid)


async def test_what_a_child_started_dies_with_it(supervisor: Supervisor) -> None:
    lines = Lines()
    start = f"p = subprocess.Popen([sys.executable, '-c', {SLEEPER!r}])"
    code = f"import subprocess, sys; {start}; print(p.pid, flush=True); p.wait()"
    supervisor.start(python(code, lines))
    await lines.until(lambda seen: len(seen) == 2)
    grandchild = next(int(line) for line in lines.seen if line != "up")
    await supervisor.stop()
    await asyncio.to_thread(wait_gone, grandchild)


def wait_gone(pid: int) -> None:
    """A killed orphan is reaped by init in its own time; a zombie counts as gone."""
    from support.waiting import wait_until

    def gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    wait_until(gone, f"process {pid} to be gone")


async def test_a_program_that_is_not_there_is_one_clear_error(supervisor: Supervisor) -> None:
    with pytest.raises(ChildStartError, match=r"cannot start child \(/no/such\): No such file or directory"):
        supervisor.start(ChildSpec(name="child", command=("/no/such",)))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_children_die_when_the_supervisor_is_killed() -> None:
    code = f"""
import asyncio, sys
from headgate.runtime.supervisor import ChildSpec, Supervisor
async def main():
    spec = ChildSpec(name="child", command=(sys.executable, "-c", {SLEEPER!r}))
    print(Supervisor().start(spec).pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_gone(child)


def test_a_very_long_line_comes_in_pieces_and_nothing_is_lost() -> None:
    async def run() -> None:
        lines, supervisor = Lines(), Supervisor()
        code = "import time; print('x' * 200_000, flush=True); print('end', flush=True); time.sleep(60)"
        supervisor.start(python(code, lines))
        await lines.until(lambda seen: "end" in seen)
        await supervisor.stop()
        assert "".join(lines.seen) == "x" * 200_000 + "end"

    asyncio.run(run())


def test_backoff_grows_to_its_bound() -> None:
    assert [backoff_seconds(n) for n in (1, 2, 3)] == [0.1, 0.2, 0.4]
    assert backoff_seconds(50) == BACKOFF_SECONDS_MAX
