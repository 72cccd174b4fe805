"""Sends one signal in batches, by HTTP or by gRPC. What a receiver does not take is dropped and counted.

Bounds: what waits, what is in a batch, how long a receiver may take.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

import aiohttp
from headgate.contract.otel import Batches, Exporter, Protocol, Signal
from headgate.runtime.logging import event_log

log: Final = event_log("otlp")

WAITING_MAX: Final = 2048
WAITING_BYTES_MAX: Final = 67_108_864
SERVICES: Final = {
    Signal.TRACES: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    Signal.LOGS: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
Item = TypeVar("Item")


class Sender(Generic[Item]):
    """`encode` makes a request of items; it runs on a thread."""

    def __init__(
        self, exporter: Exporter, signal: Signal, encode: Callable[[Sequence[Item]], bytes], batches: Batches
    ) -> None:
        self._encode = encode
        self._batches = batches
        self._send = _Grpc(exporter, signal) if exporter.protocol is Protocol.GRPC else _Http(exporter)
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
            await self._send(await asyncio.to_thread(self._encode, batch))
        except SendError as error:
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
        await self._send.close()


class SendError(Exception):
    """A receiver did not take a batch."""


def _context(exporter: Exporter) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=exporter.ca_file or None)
    if exporter.certificate_file and exporter.key_file:
        context.load_cert_chain(exporter.certificate_file, exporter.key_file)
    return context


class _Http:
    def __init__(self, exporter: Exporter) -> None:
        self._url = exporter.url
        self._headers = {name: value.reveal() for name, value in exporter.headers}
        self._headers |= {"content-type": "application/x-protobuf"}
        self._timeout = aiohttp.ClientTimeout(total=exporter.timeout_seconds)
        self._tls = _context(exporter) if exporter.tls else True
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, data: bytes) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout, headers=self._headers)
        try:
            async with self._session.post(self._url, data=data, ssl=self._tls) as response:
                if response.status >= 300:
                    raise SendError(f"{self._url} answered {response.status}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise SendError(f"{self._url}: {error or 'no answer in time'}") from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def _bytes(data: bytes) -> bytes:
    return data


class _Grpc:
    def __init__(self, exporter: Exporter, signal: Signal) -> None:
        self._exporter = exporter
        self._path = SERVICES[signal]
        self._metadata = tuple((name, value.reveal()) for name, value in exporter.headers)
        self._channel: Any = None
        self._call: Any = None

    async def __call__(self, data: bytes) -> None:
        import grpc  # for those who need it

        if self._channel is None:
            address = self._exporter.addresses[0]
            target = f"{address.host}:{address.port}"
            if self._exporter.tls:
                authority = None
                if self._exporter.ca_file:
                    with open(self._exporter.ca_file, "rb") as file:  # noqa: ASYNC230  # once, and small
                        authority = file.read()
                self._channel = grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(authority))
            else:
                self._channel = grpc.aio.insecure_channel(target)
            self._call = self._channel.unary_unary(self._path, request_serializer=_bytes, response_deserializer=_bytes)
        try:
            await self._call(data, metadata=self._metadata, timeout=self._exporter.timeout_seconds)
        except grpc.aio.AioRpcError as error:
            raise SendError(f"{self._exporter.authority}: {error.code().name}") from error

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()
