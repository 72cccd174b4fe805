"""Between the stream of records and one sink: a bounded queue, batches, and what happens while the sink is away."""

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from headgate.collector.counters import SinkCounts
from headgate.collector.sinks.sink import RefusedError, Sink, SinkError
from headgate.collector.spool import Spool
from headgate.ledger.record import UsageRecord
from headgate.runtime.logging import event_log

log = event_log("collector")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How one sink is written to."""

    waiting_max: int = 50_000
    """Records that wait in memory: about 100 MB."""
    batch_max: int = 1_000
    gather_seconds: float = 0.2
    """How long a batch gathers after its first record: a write costs as much as twenty records."""
    retry_seconds: float = 1.0
    retry_seconds_max: float = 1.0
    """A sink that is away is asked again after the first, then ever more rarely up to the second."""


STEADY: Final = Pace()


class Outlet:
    """Writes to one sink, in order. With a spool nothing is lost while the sink is away, up to the spool's size."""

    def __init__(self, sink: Sink, counts: SinkCounts, spool: Spool | None = None, pace: Pace = STEADY) -> None:
        self._sink = sink
        self._pace = pace
        self._failed = 0
        self._counts = counts
        self._spool = spool
        self._waiting: deque[UsageRecord] = deque()
        self._news = asyncio.Event()
        self._closing = False
        self._away = False
        if spool is not None and not spool.empty:
            self._news.set()
        self._task = asyncio.create_task(self._run())

    def offer(self, records: Sequence[UsageRecord]) -> None:
        """Takes them at once, or drops and counts what there is no room for."""
        room = self._pace.waiting_max - len(self._waiting)
        if len(records) > room:
            self._keep(records[room:])
            records = records[:room]
        self._waiting.extend(records)
        self._counts.waiting = len(self._waiting)
        self._news.set()

    async def close(self, seconds: float) -> None:
        """Writes what waits, in that time; the rest goes into the spool, or is dropped."""
        self._closing = True
        self._news.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._task), seconds)
        if not self._task.done():
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._keep(tuple(self._waiting))
        self._waiting.clear()
        self._counts.waiting = 0
        await self._sink.close()
        if self._spool is not None:
            self._spool.close()

    async def _run(self) -> None:
        while True:
            await self._wait()
            if self._spool is not None and not await self._replayed(self._spool):
                self._spool_waiting()
            while self._waiting and not self._away:
                await self._write_next()
            if self._closing and (self._away or not self._waiting):
                return

    async def _wait(self) -> None:
        """For records, or while the sink is away for the next try."""
        if self._away:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    while not self._closing:
                        self._news.clear()
                        await self._news.wait()
            self._away = self._closing
        else:
            await self._news.wait()
            if not self._closing and len(self._waiting) < self._pace.batch_max:
                await self._gather()
        self._news.clear()

    async def _gather(self) -> None:
        """Until a batch is full, or its time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pace.gather_seconds):
                while not self._closing and len(self._waiting) < self._pace.batch_max:
                    self._news.clear()
                    await self._news.wait()

    def _pause(self) -> float:
        """Doubled with each failure in a row; not quite the same for all who lost the same server."""
        first, most = self._pace.retry_seconds, self._pace.retry_seconds_max
        pause = min(first * 2 ** min(self._failed - 1, 10), most)
        return pause if most == first else pause * random.uniform(0.5, 1.0)

    async def _write_next(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(self._pace.batch_max, len(self._waiting)))]
        try:
            written = await self._written(batch)
        except asyncio.CancelledError:
            self._waiting.extendleft(reversed(batch))  # the end came first: `close` keeps them
            raise
        if written:
            self._counts.waiting = len(self._waiting)
            return
        if self._spool is None:
            self._waiting.extendleft(reversed(batch))
        else:
            self._keep(batch)

    async def _replayed(self, spool: Spool) -> bool:
        """False when the sink is away. What cannot be read now stays, and keeps nothing else from being written."""
        try:
            return await self._replay(spool)
        except OSError as error:
            self._tell_failed(error)
            return True

    async def _replay(self, spool: Spool) -> bool:
        """Whether all that was spooled is written. Raises OSError."""
        while not spool.empty:
            records, length = spool.peek(self._pace.batch_max)
            if records and not await self._written(records):
                return False
            spool.pop(length)
        return True

    async def _written(self, records: Sequence[UsageRecord]) -> bool:
        try:
            await self._sink.write(records)
        except SinkError as error:
            self._failed += 1
            self._counts.failures += 1
            log.warning("sink_failed", sink=self._sink.name, records=len(records), error=str(error))
            self._away = True
            return False
        except RefusedError as error:
            self._counts.dropped += len(records)
            log.error("records_refused", sink=self._sink.name, records=len(records), error=str(error))
            return True
        except Exception as error:  # a bug in a sink must not stop the others, nor this one for ever
            self._failed += 1
            self._counts.failures += 1
            log.exception("sink_crashed", sink=self._sink.name, error=str(error))
            self._away = True
            return False
        self._failed = 0
        self._counts.written += len(records)
        return True

    def _spool_waiting(self) -> None:
        """While the sink is away memory stays small."""
        self._keep(tuple(self._waiting))
        self._waiting.clear()
        self._counts.waiting = 0

    def _keep(self, records: Sequence[UsageRecord]) -> None:
        if not records:
            return
        taken = 0
        if self._spool is not None:
            try:
                taken = self._spool.append(records)
            except OSError as error:
                self._tell_failed(error)
        self._counts.spooled += taken
        if taken < len(records):
            self._counts.dropped += len(records) - taken
            log.error("records_dropped", sink=self._sink.name, records=len(records) - taken)

    def _tell_failed(self, error: OSError) -> None:
        log.error("spool_failed", sink=self._sink.name, error=str(error.strerror))
