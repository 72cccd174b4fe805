"""Child processes: started in their own group, read through /proc, and never left behind.

CPU comes from /proc/<pid>/stat in ticks of 10 ms that the kernel scales to the exact run time, so a difference over
some seconds is good to a few parts in a thousand. Memory is resident (RSS) and proportional (PSS), in bytes.
"""

import os
import signal
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from support.waiting import BUSY_SECONDS, wait_until

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
WORK_SECONDS = 0.2
"""Of CPU time: less than that in a whole wait is idling."""


def _stat_fields(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat from `state` on; the command name before it may hold spaces and parentheses."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a live process."""
    fields = _stat_fields(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def resident_bytes(pid: int) -> int:
    """RSS."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


def proportional_bytes(pid: int) -> int:
    """PSS: shared pages are divided among the processes that share them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def command_line(pid: int) -> tuple[str, ...]:
    """Arguments of a live process; empty for one that is a zombie."""
    return tuple(
        part.decode(errors="replace") for part in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") if part
    )


def descendants(pid: int) -> tuple[int, ...]:
    """Live (not zombie) children, grandchildren… of `pid`, parents first."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                fields = _stat_fields(int(entry))
            except (FileNotFoundError, ProcessLookupError):
                continue
            if fields[0] != "Z":
                children.setdefault(int(fields[1]), []).append(int(entry))
    found: list[int] = []
    pending = [pid]
    while pending:
        below = children.get(pending.pop(0), [])
        found += below
        pending += below
    return tuple(found)


def alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        return _stat_fields(pid)[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def pin(pid: int, cpus: Collection[int]) -> None:
    """Has all threads of a process, and those that they start, run there alone."""
    for task in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(task), cpus)


class Child:
    """A child process in a group of its own, with its output in files.

    `close` asks politely, waits, then kills the group; it is safe to call twice.
    """

    def __init__(
        self, command: Sequence[str], *, directory: Path, name: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.stdout_path = directory / f"{name}.stdout"
        self.stderr_path = directory / f"{name}.stderr"
        with self.stdout_path.open("wb") as stdout, self.stderr_path.open("wb") as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=directory,
                env=None if environment is None else dict(environment),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdout(self) -> str:
        return self.stdout_path.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return self.stderr_path.read_text(errors="replace")

    def exit_code(self) -> int | None:
        """None while it runs; negative for a signal."""
        return self._process.poll()

    def progress(self) -> object:
        """Another value when it has worked since: used CPU time that counts, or written something."""
        if self.exit_code() is not None:
            return None
        return (
            int(cpu_seconds(self.pid) / WORK_SECONDS),
            self.stdout_path.stat().st_size,
            self.stderr_path.stat().st_size,
        )

    def require_alive(self) -> None:
        """Raises RuntimeError with the end of its output if the process has ended."""
        if (code := self.exit_code()) is not None:
            raise RuntimeError(f"{self.name} ended with {code}:\n{self.stdout[-2000:]}\n{self.stderr[-4000:]}")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout_seconds: float = BUSY_SECONDS) -> int:
        """The exit code; raises TimeoutError with the end of its output."""
        try:
            return self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} did not end in {timeout_seconds:g} s:\n{self.stderr[-4000:]}") from None

    def close(self, grace_seconds: float = 5.0) -> None:
        family = (self.pid, *descendants(self.pid)) if self.exit_code() is None else ()
        if family:
            self._process.terminate()
            try:
                self._process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(grace_seconds)
        for pid in family[1:]:
            _kill_quietly(pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _kill_quietly(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    wait_until(lambda: not alive(pid), f"process {pid} to die")


def started_server(
    command: Sequence[str], *, directory: Path, name: str, environment: Mapping[str, str] | None = None
) -> Child:
    """One of our servers as a child, once it listens. Nothing is left of one that does not."""
    child = Child(command, directory=directory, name=name, environment=environment)

    def listening() -> bool:
        child.require_alive()
        return "server_listening" in child.stderr

    try:
        wait_until(listening, f"the {name} to listen", progress=child.progress)
    except BaseException:
        child.close()
        raise
    return child


class CpuMeter:
    """CPU seconds that a set of processes uses between two moments.

    >>> meter = CpuMeter({"envoy": envoy.pid}); ...; meter.used()["envoy"]
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._start = {name: cpu_seconds(pid) for name, pid in self._pids.items()}

    def used(self) -> dict[str, float]:
        return {name: cpu_seconds(pid) - self._start[name] for name, pid in self._pids.items()}
