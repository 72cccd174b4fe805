"""Takes OTLP messages of any signal to a receiver, by HTTP (protobuf or JSON) or gRPC, and to standard output.

https://opentelemetry.io/docs/specs/otlp/
"""

import asyncio
import contextlib
import gzip
import os
import random
import ssl
from collections.abc import Awaitable, Callable, Generator, Mapping
from types import MappingProxyType
from typing import Final, Protocol, cast

from headgate.contract import otel
from headgate.contract.otel import Destination, Exporter, Signal
from headgate.runtime.otlp.json_form import as_json

METHODS: Final[Mapping[Signal, str]] = MappingProxyType(
    {
        Signal.TRACES: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal.METRICS: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal.LOGS: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    }
)
STATUSES_AGAIN: Final = frozenset({408, 429, 502, 503, 504})
CODES_AGAIN: Final = frozenset(
    {"CANCELLED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}
)
"""After these the same message may be taken another time."""
BACKOFF_SECONDS_FIRST: Final = 1.0
BACKOFF_SECONDS_MAX: Final = 15.0
_COMPRESSION: Final = 6
_STDOUT: Final = 1


class SendError(Exception):
    """A receiver did not take a message; one line for the log."""

    def __init__(self, text: str, *, again: bool = True, after_seconds: float = 0.0) -> None:
        super().__init__(text)
        self.again = again
        """The same message may be taken another time."""
        self.after_seconds = after_seconds
        """Not before, as the receiver asks."""


class Transport(Protocol):
    """To one receiver. Needs a running event loop."""

    async def send(self, message: bytes) -> None:
        """Raises SendError."""
        ...

    async def close(self) -> None: ...


def open_transport(destination: Destination, signal: Signal) -> Transport:
    """Connects when there is something to send. Raises OSError for certificates that cannot be read."""
    exporter = destination.receiver
    if exporter is None:
        return _Console(signal)
    receiver = _Grpc(exporter, signal) if exporter.protocol is otel.Protocol.GRPC else _Http(exporter, signal)
    return _Both(_Console(signal), receiver) if destination.console else receiver


async def send_patiently(transport: Transport, message: bytes, seconds: float, ended: asyncio.Event) -> None:
    """Offers a message again where that may help, ever more rarely, for so long; once only when `ended`.

    Raises the last SendError.
    """
    loop = asyncio.get_running_loop()
    until, wait = loop.time() + seconds, BACKOFF_SECONDS_FIRST
    while True:
        try:
            async with asyncio.timeout_at(until):
                return await transport.send(message)
        except TimeoutError:
            raise SendError(f"not sent within {seconds:g} s") from None
        except SendError as error:
            # some receivers come back together: those who ask them should not
            pause = max(wait * random.uniform(0.5, 1.5), error.after_seconds)
            if not error.again or ended.is_set() or loop.time() + pause >= until:
                raise
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), pause)
        wait = min(wait * 2, BACKOFF_SECONDS_MAX)


class _Console:
    """A line of JSON for each message."""

    def __init__(self, signal: Signal) -> None:
        self._signal = signal

    async def send(self, message: bytes) -> None:
        try:
            await asyncio.to_thread(self._write, message)
        except OSError as error:
            raise SendError(f"standard output: {error.strerror}", again=False) from error

    def _write(self, message: bytes) -> None:
        left = memoryview(as_json(message, self._signal) + b"\n")
        while left:
            left = left[os.write(_STDOUT, left) :]

    async def close(self) -> None:
        """Others write there too."""


class _Both:
    """Standard output and a receiver: what the receiver is offered again is not written again."""

    def __init__(self, console: _Console, receiver: Transport) -> None:
        self._console, self._receiver = console, receiver
        self._written = b""

    async def send(self, message: bytes) -> None:
        if message != self._written:
            await self._console.send(message)
            self._written = message
        await self._receiver.send(message)

    async def close(self) -> None:
        await self._receiver.close()


class _Http:
    def __init__(self, exporter: Exporter, signal: Signal) -> None:
        # Imported here: an HTTP client for those who need it.
        import aiohttp

        self._errors = (aiohttp.ClientError, TimeoutError, OSError)
        self._url = exporter.url
        self._signal = signal if exporter.protocol is otel.Protocol.JSON else None
        self._compressed = exporter.compressed
        content = {"content-type": "application/json" if self._signal else "application/x-protobuf"}
        if self._compressed:
            content["content-encoding"] = "gzip"
        headers = {name: value.reveal() for name, value in exporter.headers}
        self._session = aiohttp.ClientSession(
            headers={**headers, **content, "host": exporter.authority},
            timeout=aiohttp.ClientTimeout(total=exporter.timeout_seconds),
            connector=aiohttp.TCPConnector(ssl=_context(exporter) if exporter.tls else False),
        )

    async def send(self, message: bytes) -> None:
        data = await asyncio.to_thread(self._encoded, message) if self._signal or self._compressed else message
        try:
            async with self._session.post(self._url, data=data, allow_redirects=False) as response:
                status, after = response.status, response.headers.get("retry-after", "")
        except self._errors as error:
            raise SendError(f"{self._url}: {error or 'no answer in time'}") from error
        if status >= 300:
            seconds = float(after) if after.isascii() and after.isdecimal() else 0.0
            again = status in STATUSES_AGAIN
            raise SendError(f"{self._url} answered {status}", again=again, after_seconds=seconds)

    def _encoded(self, message: bytes) -> bytes:
        data = message if self._signal is None else as_json(message, self._signal)
        return gzip.compress(data, _COMPRESSION) if self._compressed else data

    async def close(self) -> None:
        await self._session.close()


class _Grpc:
    def __init__(self, exporter: Exporter, signal: Signal) -> None:
        # Imported here: gRPC for those who need it.
        import grpc

        self._errors = grpc.aio.AioRpcError
        self._target = exporter.target
        self._seconds = exporter.timeout_seconds
        self._metadata = tuple((name, value.reveal()) for name, value in exporter.headers)
        compression = grpc.Compression.Gzip if exporter.compressed else None
        if exporter.tls:
            credentials = grpc.ssl_channel_credentials(
                *(_read(path) for path in (exporter.ca_file, exporter.key_file, exporter.certificate_file))
            )
            self._channel = grpc.aio.secure_channel(self._target, credentials, compression=compression)
        else:
            self._channel = grpc.aio.insecure_channel(self._target, compression=compression)
        self._call = cast("Callable[..., Awaitable[bytes]]", self._channel.unary_unary(METHODS[signal]))

    async def send(self, message: bytes) -> None:
        try:
            await self._call(message, metadata=self._metadata, timeout=self._seconds)
        except self._errors as error:
            code = error.code().name
            raise SendError(
                f"{self._target}: {code} {error.details() or ''}".rstrip(), again=code in CODES_AGAIN
            ) from error

    async def close(self) -> None:
        await self._channel.close()


def _read(path: str) -> bytes | None:
    if not path:
        return None
    with open(path, "rb") as file:
        return file.read()


def _context(exporter: Exporter) -> ssl.SSLContext:
    with _naming(exporter.ca_file):
        context = ssl.create_default_context(cafile=exporter.ca_file or None)
    if exporter.certificate_file:
        with _naming(exporter.certificate_file, exporter.key_file):
            context.load_cert_chain(exporter.certificate_file, exporter.key_file or None)
    return context


@contextlib.contextmanager
def _naming(*paths: str) -> Generator[None]:
    """Says of which files an error of the TLS library is, which does not."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{' or '.join(filter(None, paths))}: {error.strerror or error}") from error
