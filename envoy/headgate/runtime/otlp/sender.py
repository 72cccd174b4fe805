"""Sends one signal in batches. What a receiver does not take is dropped and counted.

Bounds: what waits, what is in a batch, how long a receiver may take.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Generic, TypeVar

from headgate.contract.otel import Batches, Exporter, Signal
from headgate.runtime.logging import event_log
from headgate.runtime.otlp.transport import SendError, Transport, open_transport

log: Final = event_log("otlp")

WAITING_MAX: Final = 2048
WAITING_BYTES_MAX: Final = 67_108_864
Item = TypeVar("Item")


class Sender(Generic[Item]):
    """`encode` makes a request of items; it runs on a thread."""

    def __init__(
        self, exporter: Exporter, signal: Signal, encode: Callable[[Sequence[Item]], bytes], batches: Batches
    ) -> None:
        self._encode = encode
        self._batches = batches
        self._exporter, self._signal = exporter, signal
        self._transport: Transport | None = None  # opened for the first batch: a bad certificate costs data, no start
        self._waiting: deque[tuple[Item, int]] = deque()
        self._waiting_bytes = 0
        self._full = asyncio.Event()
        self._ending = False
        self._task = asyncio.create_task(self._run())
        self.sent = 0
        self.dropped = 0

    def offer(self, item: Item, size: int = 0) -> None:
        """Never waits. `size`: bytes that the item holds."""
        if len(self._waiting) >= WAITING_MAX or self._waiting_bytes + size > WAITING_BYTES_MAX:
            self.dropped += 1
            return
        self._waiting.append((item, size))
        self._waiting_bytes += size
        if len(self._waiting) >= self._batches.spans:
            self._full.set()

    async def _run(self) -> None:
        while not self._ending:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), self._batches.seconds)
            self._full.clear()
            while self._waiting:
                await self._send_batch()

    async def _send_batch(self) -> None:
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._batches.spans))]
        self._waiting_bytes -= sum(size for _, size in taken)
        batch = [item for item, _ in taken]
        try:
            if self._transport is None:
                self._transport = open_transport(self._exporter, self._signal)
            await self._transport.send(await asyncio.to_thread(self._encode, batch))
        except (SendError, OSError) as error:
            self.dropped += len(batch)
            log.warning("not_sent", items=len(batch), reason=str(error))
        except Exception:  # a batch that cannot be told must not end all others
            self.dropped += len(batch)
            log.exception("not_encoded", items=len(batch))
        else:
            self.sent += len(batch)

    async def close(self) -> None:
        """Sends what waits."""
        self._ending = True
        self._full.set()
        await self._task
        if self._transport is not None:
            await self._transport.close()
