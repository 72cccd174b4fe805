"""Serves `envoy.service.ext_proc.v3.ExternalProcessor`: a call per stream around an `Exchange`.

Runs on `headgate.runtime.http2`: a whole call is a few synchronous callbacks. Only a large prompt that must be counted
leaves the event loop; messages that come meanwhile wait their turn.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from headgate.extproc import wire
from headgate.extproc.events import CountPrompt
from headgate.extproc.exchange import Exchange
from headgate.extproc.metrics import ROUTER, UPSTREAM, Metrics
from headgate.extproc.prompts import PromptCounter
from headgate.extproc.session import SessionError
from headgate.extproc.tap import Tap
from headgate.llm.usage import TokenCount
from headgate.runtime.http2.frames import GrpcStatus
from headgate.runtime.http2.server import Call, RefusedCallError, Replies, Services
from headgate.runtime.logging import event_log

if TYPE_CHECKING:
    from headgate.extproc.capturer import Capturer

log: Final = event_log("extproc")


class Processor:
    """The service."""

    def __init__(self, metrics: Metrics, capturer: "Capturer | None" = None) -> None:
        self._metrics = metrics
        self._capturer = capturer
        self._counter = PromptCounter()
        self._counts: set[asyncio.Task[None]] = set()
        """Keeps tasks alive: the loop itself holds them weakly."""

    def services(self) -> Services:
        """To be merged into a server's services."""
        return {wire.PATH: self._open}

    def record(self, exchange: Exchange, tap: Tap | None) -> None:
        """A stream ended."""
        self._metrics.streams_open -= 1
        self._metrics.crashes.value += exchange.crashes
        report = exchange.report()
        if report is not None:
            self._metrics.record(report)
            if tap is not None and self._capturer is not None:
                self._capturer.offer(tap, report)

    def start_counting(self, call: "ProcessCall", work: CountPrompt) -> None:
        """Counts at once, or on a thread; `call.counted` follows either way."""
        if self._counter.count_at_once(work):
            call.counted(self._counter.count(work))
            return
        task = asyncio.ensure_future(self._count(call, work))
        self._counts.add(task)
        task.add_done_callback(self._counts.discard)

    async def _count(self, call: "ProcessCall", work: CountPrompt) -> None:
        self._metrics.prompts_waiting += 1
        try:
            counted = await self._counter.count_off_loop(work)
        finally:
            self._metrics.prompts_waiting -= 1
        call.counted(counted)

    def _open(self, replies: Replies, headers: Mapping[str, str]) -> Call:
        tap = None if self._capturer is None else Tap(time.time_ns())
        try:
            exchange = Exchange(headers, int(time.time()), tap, clock=time.monotonic)
        except SessionError as error:
            self._metrics.refused.value += 1
            log.error("stream_refused", reason=str(error))
            raise RefusedCallError(GrpcStatus.INVALID_ARGUMENT, str(error)) from error
        self._metrics.opened(UPSTREAM if exchange.is_attempt else ROUTER)
        return ProcessCall(exchange, replies, self, tap)


class ProcessCall:
    """One ext_proc stream."""

    __slots__ = ("_exchange", "_processor", "_replies", "_tap", "_waiting")

    def __init__(self, exchange: Exchange, replies: Replies, processor: Processor, tap: Tap | None) -> None:
        self._exchange = exchange
        self._replies = replies
        self._processor = processor
        self._tap = tap
        self._waiting: deque[bytes | None] | None = None
        """What came while a prompt is being counted, None for the client's end; None when nothing is."""

    def receive(self, message: bytes) -> None:
        if self._waiting is not None:
            self._waiting.append(message)
            return
        try:
            replies = self._exchange.receive(message)
        except wire.WireError as error:
            log.error("message_refused", reason=str(error))
            self._replies.end(GrpcStatus.INVALID_ARGUMENT, str(error))
            return
        for reply in replies:
            self._replies.send(reply)
        if self._exchange.pending_count is not None:
            self._waiting = deque()
            self._processor.start_counting(self, self._exchange.pending_count)

    def counted(self, count: TokenCount | None) -> None:
        """The prompt is counted: answer, then go on with what came meanwhile."""
        waiting, self._waiting = self._waiting, None
        for reply in self._exchange.counted(count):
            self._replies.send(reply)
        for message in waiting or ():
            if message is None:
                self.half_closed()
            else:
                self.receive(message)

    def half_closed(self) -> None:
        if self._waiting is None:
            self._replies.end()
        else:
            self._waiting.append(None)

    def closed(self) -> None:
        self._processor.record(self._exchange, self._tap)
