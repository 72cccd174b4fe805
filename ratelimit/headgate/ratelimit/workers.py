"""Several processes behind one address: each is a whole service with the same arguments, and accepts from one socket.

We open the address and hold it, so who connects while a process is started again is served by another. What the
processes share is in Redis: counters in memory are one process's own, and so a memory of each would let in several
times what is allowed. The admin port is ours, and answers for all (`worker_pages`): each has a socket for it, in a
folder that nobody else can read.
"""

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from headgate.ratelimit.worker_pages import Worker, WorkerPages
from headgate.runtime.addresses import AddressInUseError
from headgate.runtime.admin_server import AdminServer, admin_address
from headgate.runtime.answering import by_http
from headgate.runtime.http2.server import BACKLOG
from headgate.runtime.logging import event_log
from headgate.runtime.metrics_export import exported, read_of
from headgate.runtime.signals import stop_event
from headgate.runtime.supervisor import ChildSpec, ChildStartError, Supervisor, exit_text, relay_output

log = event_log("ratelimit")

WORKERS_MAX = 64


def problem_of(options: argparse.Namespace) -> str:
    """Why there cannot be several processes; empty where there can."""
    if not 1 <= options.workers <= WORKERS_MAX:
        return f"--workers: expected 1 to {WORKERS_MAX}, found {options.workers}"
    if options.workers > 1 and not options.redis_url:
        return "--workers: counters in memory are of one process; several need a Redis to share them (--redis-url)"
    return ""


async def run_workers(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Runs them until SIGTERM or SIGINT, then lets them drain. `arguments` are as they were given: what is said in
    variables stays there, for others cannot read those.

    One that dies once all have listened is started again; one that dies before ends it: raises ChildStartError. Raises
    AddressInUseError.
    """
    stop = stop_event()
    pages = WorkerPages(stop, read_only=options.admin_read_only)
    admin = AdminServer(pages.pages())
    with closing(listening(options.address)) as listener, _Signs() as signs, _folder() as folder:
        supervisor = Supervisor(restarting=False)
        try:
            async with exported(read_of(pages.registry), "limiter", told=options.variables_told):
                await admin.open(admin_address(options))
                for index in range(options.workers):
                    own = _Own(listener=listener.fileno(), signs=signs.descriptor, admin=folder / f"{index}.sock")
                    child = supervisor.start(_spec(options, arguments, index, own))
                    pages.workers.append(Worker(child, own.admin))
                await _started(supervisor, signs, options.workers, stop)
                if not stop.is_set():
                    log.info("workers_started", address=options.address, workers=options.workers)
                await stop.wait()
        finally:
            await supervisor.stop()
            await admin.close()


@contextmanager
def _folder() -> Generator[Path]:
    """Where the workers' sockets are."""
    try:
        folder = TemporaryDirectory(prefix="headgate-ratelimit-")
    except OSError as error:
        raise ChildStartError(f"workers need a folder for their sockets: {error}") from error
    with folder as path:
        yield Path(path)


class _Signs:
    """A pipe on which workers say that they listen: a byte each. Both ends stay open, for those started again."""

    def __init__(self) -> None:
        self._end, self.descriptor = os.pipe()
        self._pipe = os.fdopen(os.dup(self._end), "rb", buffering=0)

    async def wait_for(self, count: int) -> None:
        """Until so many have been given. To be called once."""
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), self._pipe)
        try:
            await reader.readexactly(count)
        finally:
            transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        os.close(self._end)
        os.close(self.descriptor)


async def _started(supervisor: Supervisor, signs: _Signs, count: int, stop: asyncio.Event) -> None:
    """Until all listen, or `stop`; from then on those that die are started again. Raises ChildStartError when one dies
    before."""
    death = supervisor.first_death
    listening_all, stopped = asyncio.create_task(signs.wait_for(count)), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((listening_all, stopped, death), return_when=asyncio.FIRST_COMPLETED)
        if death.done() and not stop.is_set():
            name, code = death.result()
            raise ChildStartError(f"{name} ended before all workers listened: {exit_text(code)}")
        supervisor.restarting = True
    finally:
        listening_all.cancel()
        stopped.cancel()
        await asyncio.wait((listening_all, stopped))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Own:
    """What a worker is given: the descriptors of the address and of the signs, and where to show its pages."""

    listener: int
    signs: int
    admin: Path


def _spec(options: argparse.Namespace, arguments: Sequence[str], index: int, own: _Own) -> ChildSpec:
    # what stands last counts
    told = ["--workers", "1", "--address", f"fd:{own.listener}", "--ready-descriptor", str(own.signs)]
    told += ["--admin-socket", str(own.admin), "--variables-told"]
    return ChildSpec(
        name=f"worker-{index}",
        command=(sys.executable, "-m", "headgate.ratelimit.main", *arguments, *told),
        on_line=relay_output,
        answers=by_http(own.admin),
        stop_seconds=options.drain_seconds + 5,
        descriptors=(own.listener, own.signs),
    )


def listening(address: str) -> socket.socket:
    """A socket on `unix:/path` or `host:port` that processes can be started with. Raises AddressInUseError."""
    try:
        if address.startswith("unix:"):
            path = Path(address.removeprefix("unix:"))
            path.unlink(missing_ok=True)
            made = socket.socket(socket.AF_UNIX)
            made.bind(str(path))
        else:
            host, _, port = address.rpartition(":")
            host = host.strip("[]")
            made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((host, int(port)))
        made.listen(BACKLOG)
    except (OSError, ValueError, OverflowError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise AddressInUseError(f"cannot listen on {address}: {reason}") from error
    made.setblocking(False)
    return made
