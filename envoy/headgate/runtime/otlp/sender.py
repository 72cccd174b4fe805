"""Sends one signal in batches, again where that may help. What a receiver does not take is dropped and counted.

Bounds: what waits, what is in a batch, how long all tries of a batch may take.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Generic, TypeVar

from headgate.contract.otel import Batches, Destination, Signal
from headgate.runtime.logging import event_log
from headgate.runtime.otlp.transport import SendError, Transport, open_transport, send_patiently

log: Final = event_log("otlp")

WAITING_BYTES_MAX: Final = 67_108_864
Item = TypeVar("Item")


class Sender(Generic[Item]):
    """`encode` makes a request of items; it runs on a thread."""

    def __init__(
        self, destination: Destination, signal: Signal, encode: Callable[[Sequence[Item]], bytes], batches: Batches
    ) -> None:
        self._encode = encode
        self._batches = batches
        self._destination, self._signal = destination, signal
        self._transport: Transport | None = None  # opened for the first batch: a bad certificate costs data, no start
        self._waiting: deque[tuple[Item, int, int]] = deque()
        self._waiting_bytes = 0
        self.waiting = 0
        self._wanted = asyncio.Event()
        """A batch is full, or the end has come."""
        self._ended = asyncio.Event()
        self._task = asyncio.create_task(self._run())
        self.sent = 0
        self.dropped = 0

    def offer(self, item: Item, size: int = 0, count: int = 1) -> None:
        """Never waits. `size`: bytes that the item holds; `count`: spans or records that it is, more than one for what
        stays together."""
        full = self.waiting and self.waiting + count > self._batches.queue_max
        if full or self._waiting_bytes + size > WAITING_BYTES_MAX:
            self.dropped += count
            return
        self._waiting.append((item, size, count))
        self._waiting_bytes += size
        self.waiting += count
        if self.waiting >= self._batches.items:
            self._wanted.set()

    async def _run(self) -> None:
        ended = False
        while not ended:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), self._batches.seconds)
            self._wanted.clear()
            ended = self._ended.is_set()
            while self._waiting:
                await self._send_batch()

    def _take(self) -> tuple[list[Item], int]:
        """A batch, and how many it counts as: at least one item, and no more than a batch holds."""
        batch: list[Item] = []
        counted = 0
        while self._waiting and (not batch or counted + self._waiting[0][2] <= self._batches.items):
            item, size, count = self._waiting.popleft()
            batch.append(item)
            counted += count
            self._waiting_bytes -= size
        self.waiting -= counted
        return batch, counted

    async def _send_batch(self) -> None:
        batch, counted = self._take()
        try:
            if self._transport is None:
                self._transport = open_transport(self._destination, self._signal)
            message = await asyncio.to_thread(self._encode, batch)
            await send_patiently(self._transport, message, self._batches.timeout_seconds, self._ended)
        except (SendError, OSError) as error:
            self.dropped += counted
            log.warning("not_sent", items=counted, reason=str(error))
        except Exception:  # a batch that cannot be told must not end all others
            self.dropped += counted
            log.exception("not_encoded", items=counted)
        else:
            self.sent += counted

    async def close(self) -> None:
        """Sends what waits, each batch once."""
        self._ended.set()
        self._wanted.set()
        await self._task
        if self._transport is not None:
            await self._transport.close()
