"""Serves `envoy.service.ext_proc.v3.ExternalProcessor` over grpc.aio: a coroutine per stream around an `Exchange`.

Streams share nothing. Messages stay bytes until `wire` reads them; constant replies were serialised at import.
"""

import time
from typing import Any, Final

import grpc
import grpc.aio
from headgate.extproc import wire
from headgate.extproc.exchange import Exchange
from headgate.extproc.metrics import Metrics
from headgate.extproc.prompts import count_inline, count_off_loop, count_prompt
from headgate.extproc.session import SessionError
from headgate.runtime.logging import event_log

log: Final = event_log("extproc")

Context = grpc.aio.ServicerContext[bytes, bytes]


class Processor:
    """The servicer."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def handler(self) -> grpc.GenericRpcHandler:
        """To be added to a server with `add_generic_rpc_handlers`."""
        return grpc.method_handlers_generic_handler(
            wire.SERVICE, {wire.METHOD: grpc.stream_stream_rpc_method_handler(self._process)}
        )

    async def _process(self, _requests: object, context: Context) -> None:
        started = time.monotonic()
        exchange = await self._open(context)
        self._metrics.streams_open += 1
        try:
            await self._run(exchange, context)
        finally:
            self._metrics.streams_open -= 1
            report = exchange.report()
            if report is not None:
                self._metrics.record(report, time.monotonic() - started)

    async def _open(self, context: Context) -> Exchange:
        metadata = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
        try:
            return Exchange(metadata, int(time.time()))
        except SessionError as error:
            log.error("stream_refused", reason=str(error))
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

    async def _run(self, exchange: Exchange, context: Context) -> None:
        read, write = context.read, context.write
        while True:
            message: Any = await read()
            if message is grpc.aio.EOF:
                return
            try:
                replies = exchange.receive(message)
            except wire.WireError as error:
                log.error("message_refused", reason=str(error))
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            work = exchange.pending_count
            if work is not None:
                tokens = count_prompt(work) if count_inline(work) else await count_off_loop(work)
                replies = exchange.counted(tokens)
            for reply in replies:
                await write(reply)
