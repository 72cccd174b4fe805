"""Serves `envoy.service.ext_proc.v3.ExternalProcessor`: a call per stream around an `Exchange`.

Runs on `headgate.runtime.http2`: a whole call is a few synchronous callbacks. Only a large prompt that must be counted
leaves the event loop; messages that come meanwhile wait their turn.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from typing import Final

from headgate.extproc import wire
from headgate.extproc.events import CountPrompt
from headgate.extproc.exchange import Exchange
from headgate.extproc.metrics import Metrics
from headgate.extproc.prompts import count_inline, count_off_loop, count_prompt
from headgate.extproc.session import SessionError
from headgate.runtime.http2.frames import GrpcStatus
from headgate.runtime.http2.server import Call, RefusedCallError, Replies, Services
from headgate.runtime.logging import event_log

log: Final = event_log("extproc")


class Processor:
    """The service."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._counts: set[asyncio.Task[None]] = set()

    def services(self) -> Services:
        """To be merged into a server's services."""
        return {wire.PATH: self._open}

    def _open(self, replies: Replies, headers: Mapping[str, str]) -> Call:
        try:
            exchange = Exchange(headers, int(time.time()))
        except SessionError as error:
            log.error("stream_refused", reason=str(error))
            raise RefusedCallError(GrpcStatus.INVALID_ARGUMENT, str(error)) from error
        self._metrics.streams_open += 1
        return ProcessCall(exchange, replies, self._metrics, self._counts)


class ProcessCall:
    """One ext_proc stream."""

    __slots__ = ("_counts", "_exchange", "_metrics", "_replies", "_started", "_waiting")

    def __init__(self, exchange: Exchange, replies: Replies, metrics: Metrics, counts: set[asyncio.Task[None]]) -> None:
        self._exchange = exchange
        self._replies = replies
        self._metrics = metrics
        self._counts = counts
        self._started = time.monotonic()
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
        work = self._exchange.pending_count
        if work is None:
            return
        if count_inline(work):
            self._counted(count_prompt(work))
            return
        self._waiting = deque()
        task = asyncio.ensure_future(self._count(work))
        self._counts.add(task)
        task.add_done_callback(self._counts.discard)

    def half_closed(self) -> None:
        if self._waiting is None:
            self._replies.end()
        else:
            self._waiting.append(None)

    def closed(self) -> None:
        self._metrics.streams_open -= 1
        report = self._exchange.report()
        if report is not None:
            self._metrics.record(report, time.monotonic() - self._started)

    async def _count(self, work: CountPrompt) -> None:
        tokens = await count_off_loop(work)
        waiting, self._waiting = self._waiting, None
        self._counted(tokens)
        for message in waiting or ():
            if message is None:
                self.half_closed()
            else:
                self.receive(message)

    def _counted(self, tokens: int | None) -> None:
        for reply in self._exchange.counted(tokens):
            self._replies.send(reply)
