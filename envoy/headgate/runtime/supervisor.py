"""Child processes: started, their output logged, restarted when they die or hang, and never left behind.

Each child leads its own process group, so a Ctrl-C in the terminal reaches only us and we decide the order of stopping.
Where the system can (Linux), a child is killed by the kernel when we die without stopping it.
"""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Final

from headgate.runtime import die_with_parent
from headgate.runtime.logging import event_log
from headgate.runtime.process_metrics import cpu_seconds
from headgate.runtime.silence import ASK_SECONDS, Silence

log = event_log("supervisor")

BACKOFF_SECONDS_FIRST: Final = 0.1
BACKOFF_SECONDS_MAX: Final = 10.0
STEADY_SECONDS: Final = 20.0
"""A child that ran this long is healthy again: its next death starts from the first backoff."""
START_SECONDS_MAX: Final = 120.0
"""A child that has not answered yet, and may wait for others, hangs after this."""
HUNG_STOP_SECONDS: Final = 5.0
"""From SIGTERM to SIGKILL for a child that says nothing even before."""
_QUESTIONS_AT_END: Final = 3
_LINE_BYTES_MAX: Final = 64 * 1024
"""Longest line of output kept whole: protects us from a child that never ends its lines."""
_POLL_SECONDS: Final = 0.02
_STARTING_POLL_SECONDS: Final = 0.1

OutputLine = Callable[[str, str], None]
"""Takes (child's name, one line without its end)."""
Answers = Callable[[], Awaitable[bool]]
"""Asks a child something that each of its kind can answer at once; may take for ever, and raises nothing."""


def log_output(child: str, line: str) -> None:
    """The default for a child whose lines have no structure."""
    log.info("child_output", child=child, line=line)


def relay_output(child: str, line: str) -> None:
    """For our own servers, whose lines already are events in the format of this process."""
    del child
    with suppress(OSError):  # nobody reads any more, or the disk is full: what is read here must not stop for it
        sys.stderr.write(line + "\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """What to run. `command[0]` is a path."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] | None = None
    """None inherits ours."""
    on_line: OutputLine = log_output
    """Takes the lines of standard error, and of standard output unless that is inherited."""
    inherit_stdout: bool = False
    answers: Answers | None = None
    """Whether it lives; None where nobody can ask. One that hangs (`silence`) is killed, and started again."""
    stop_seconds: float = 15.0
    """From SIGTERM to SIGKILL."""
    descriptors: tuple[int, ...] = ()
    """Open files that it inherits, under the same numbers."""


class ChildStartError(Exception):
    """The program cannot be run at all; the message is one line for the user."""


def spawn(spec: ChildSpec) -> "subprocess.Popen[bytes]":
    """Starts the process. Call it on the main thread: the kernel ties the child's life to the thread that started it.

    Raises ChildStartError.
    """
    if not os.access(spec.command[0], os.X_OK):
        why = errno.EACCES if os.path.exists(spec.command[0]) else errno.ENOENT
        raise ChildStartError(f"cannot start {spec.name} ({spec.command[0]}): {os.strerror(why)}")
    try:
        return subprocess.Popen(
            (*_guard(), *spec.command),
            env=dict(spec.environment) if spec.environment is not None else None,
            stdin=subprocess.DEVNULL,
            stdout=None if spec.inherit_stdout else subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
            pass_fds=spec.descriptors,
        )
    except OSError as error:
        raise ChildStartError(f"cannot start {spec.name} ({spec.command[0]}): {error.strerror}") from error


def _guard() -> tuple[str, ...]:
    """What stands before a command so that it dies with us."""
    if sys.platform != "linux":
        return ()
    return (sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid()))


def backoff_seconds(deaths: int) -> float:
    """How long to wait before restart number `deaths` (from 1) in a row."""
    return min(BACKOFF_SECONDS_FIRST * 2 ** (deaths - 1), BACKOFF_SECONDS_MAX)


class Child:
    """A process that is kept running until `stop`."""

    def __init__(
        self, spec: ChildSpec, process: "subprocess.Popen[bytes]", died: Callable[["Child", int], bool]
    ) -> None:
        """`died` is told the exit code of every death that was not asked for; it says whether to start it again."""
        self.spec = spec
        self._died = died
        self.restarts = 0
        self._process = process
        self._started_at = time.monotonic()
        self._answered = self._hung = False
        """Of the process that runs now."""
        self._stopping = False
        self._stop_wanted = asyncio.Event()
        self._task = asyncio.create_task(self._keep_running())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL to the group after `stop_seconds`, sooner if it hangs. Returns when it is gone."""
        self._stopping = True
        self._stop_wanted.set()
        hangs = self._answered and await self._hangs()
        seconds = min(self.spec.stop_seconds, HUNG_STOP_SECONDS) if hangs else self.spec.stop_seconds
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(self._task)
        except TimeoutError:
            log.warning("child_killed", child=self.spec.name, pid=self.pid, waited_seconds=seconds, hung=hangs)
            self.kill()
            await self._task
        self.kill()

    def kill(self) -> None:
        """SIGKILL to the whole group, whatever is left of it."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            self._process.send_signal(number)

    async def _keep_running(self) -> None:
        deaths = 0
        while True:
            code = await self._run_once()
            if self._stopping or not self._died(self, code):
                return
            deaths = 1 if time.monotonic() - self._started_at > STEADY_SECONDS else deaths + 1
            log.warning(
                "child_hung" if self._hung else "child_died",
                child=self.spec.name,
                pid=self.pid,
                exit=exit_text(code),
                restart_in_seconds=backoff_seconds(deaths),
            )
            while not await self._restarted(backoff_seconds(deaths)):
                if self._stopping:
                    return
                deaths += 1

    async def _run_once(self) -> int:
        """Until the process has ended and its output is read."""
        readers = [
            asyncio.create_task(self._read(pipe)) for pipe in (self._process.stdout, self._process.stderr) if pipe
        ]
        watch = asyncio.create_task(self._kill_if_hung())
        code = await _exit_code(self._process)
        watch.cancel()
        # A grandchild may hold the pipe open: what it writes is not waited for.
        if readers:
            await asyncio.wait(readers, timeout=0.2)
        for reader in readers:
            reader.cancel()
        return code

    async def _kill_if_hung(self) -> None:
        """Asks until the process hangs, and kills it then."""
        self._answered = self._hung = False
        silence = Silence()
        while self.spec.answers is not None:
            asked_at = time.monotonic()
            answered = await self._lives()
            if self._stopping:  # it drains, and answers nobody who asks anew
                return
            if answered:
                if not self._answered:
                    log.debug("child_answers", child=self.spec.name, pid=self.pid)
                self._answered, silence = True, Silence()
            elif self._is_hung(silence):
                self._hung = True
                self.kill()
                return
            pause = ASK_SECONDS if self._answered else _STARTING_POLL_SECONDS
            await asyncio.sleep(asked_at + pause - time.monotonic())

    def _is_hung(self, silence: Silence) -> bool:
        """After one more question without an answer."""
        if not self._answered:
            return time.monotonic() - self._started_at > START_SECONDS_MAX
        return silence.unanswered(_cpu_seconds(self.pid))

    async def _hangs(self) -> bool:
        """Whether it leaves some questions unanswered, and computes nothing meanwhile."""
        before = _cpu_seconds(self.pid)
        for _ in range(_QUESTIONS_AT_END):
            if await self._lives():
                return False
        return _cpu_seconds(self.pid) == before

    async def _lives(self) -> bool:
        """Whether it answers within a question's time."""
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return self.spec.answers is None or await self.spec.answers()
        except TimeoutError:
            return False

    async def _restarted(self, wait_seconds: float) -> bool:
        """Waits, then starts the process again; False if it was told to stop or could not be started."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_seconds):
                await self._stop_wanted.wait()
        if self._stopping:
            return False
        try:
            self._process = spawn(self.spec)
        except ChildStartError as error:
            log.error("child_not_restarted", child=self.spec.name, error=str(error))
            return False
        self._started_at = time.monotonic()
        self.restarts += 1
        log.info("child_restarted", child=self.spec.name, pid=self.pid, restarts=self.restarts)
        return True

    async def _read(self, pipe: IO[bytes]) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_LINE_BYTES_MAX)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        try:
            async for line in _lines(reader):
                self.spec.on_line(self.spec.name, line)
        finally:
            transport.close()


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[str]:
    """Lines without their ends; one longer than the bound comes in pieces."""
    while True:
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                yield error.partial.decode(errors="replace")
            return
        except asyncio.LimitOverrunError as error:
            line = await reader.readexactly(error.consumed)
        yield line.decode(errors="replace").rstrip("\r\n")


class Supervisor:
    """All children of this process, by name."""

    def __init__(self, *, restarting: bool = True) -> None:
        """With `restarting` off, dead children stay dead until it is turned on: for the time of a start."""
        self.restarting = restarting
        self.first_death: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
        """Done with a child's name and exit code when the first one dies that was not asked to."""
        self._children: dict[str, Child] = {}

    def start(self, spec: ChildSpec) -> Child:
        """Starts a child. Raises ChildStartError."""
        assert spec.name not in self._children, f"{spec.name} is already running"
        child = Child(spec, spawn(spec), self._on_death)
        self._children[spec.name] = child
        log.debug("child_started", child=spec.name, pid=child.pid)
        return child

    def _on_death(self, child: Child, code: int) -> bool:
        if not self.first_death.done():
            self.first_death.set_result((child.spec.name, code))
        return self.restarting

    def __iter__(self) -> Iterator[Child]:
        return iter(tuple(self._children.values()))

    def get(self, name: str) -> Child | None:
        return self._children.get(name)

    async def stop(self, names: Sequence[str] | None = None) -> None:
        """Stops these children at the same time (all of them by default) and waits until they are gone."""
        chosen = [self._children.pop(name) for name in names or tuple(self._children) if name in self._children]
        await asyncio.gather(*(child.stop() for child in chosen))

    def kill(self) -> None:
        """At once and without waiting: for when stopping in order failed."""
        for child in self:
            child.kill()


async def _exit_code(process: "subprocess.Popen[bytes]") -> int:
    """Waits for the process without a thread where the system has pidfds, by polling elsewhere."""
    while process.poll() is None:
        await _until_exit_or_poll(process.pid)
    return process.returncode


async def _until_exit_or_poll(pid: int) -> None:
    if sys.platform != "linux":
        await asyncio.sleep(_POLL_SECONDS)
        return
    loop = asyncio.get_running_loop()
    exited = asyncio.Event()
    descriptor = os.pidfd_open(pid)
    loop.add_reader(descriptor, exited.set)
    try:
        await exited.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _cpu_seconds(pid: int) -> float | None:
    try:
        return cpu_seconds(pid)
    except OSError:  # it has ended, or there is no /proc
        return None


def exit_text(code: int) -> str:
    """How a process ended, for people."""
    return signal.Signals(-code).name if code < 0 else f"status {code}"
