"""Takes OTLP messages of any signal to a receiver: by HTTP as protobuf, or by gRPC.

https://opentelemetry.io/docs/specs/otlp/
"""

import ssl
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final, Protocol, cast

from headgate.contract import otel
from headgate.contract.otel import Exporter, Signal

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


class SendError(Exception):
    """A receiver did not take a message; one line for the log."""

    def __init__(self, text: str, *, again: bool = True) -> None:
        super().__init__(text)
        self.again = again
        """The same message may be taken another time."""


class Transport(Protocol):
    """To one receiver. Needs a running event loop."""

    async def send(self, message: bytes) -> None:
        """Raises SendError."""
        ...

    async def close(self) -> None: ...


def open_transport(exporter: Exporter, signal: Signal) -> Transport:
    """Of the protocol that it says; connects when there is something to send. Raises OSError for certificates that
    cannot be read."""
    return _Grpc(exporter, signal) if exporter.protocol is otel.Protocol.GRPC else _Http(exporter)


class _Http:
    def __init__(self, exporter: Exporter) -> None:
        # Imported here: an HTTP client for those who need it.
        import aiohttp

        self._errors = (aiohttp.ClientError, TimeoutError, OSError)
        self._url = exporter.url
        headers = {name: value.reveal() for name, value in exporter.headers}
        self._session = aiohttp.ClientSession(
            headers={**headers, "content-type": "application/x-protobuf", "host": exporter.authority},
            timeout=aiohttp.ClientTimeout(total=exporter.timeout_seconds),
            connector=aiohttp.TCPConnector(ssl=_context(exporter) if exporter.tls else False),
        )

    async def send(self, message: bytes) -> None:
        try:
            async with self._session.post(self._url, data=message) as response:
                status = response.status
        except self._errors as error:
            raise SendError(f"{self._url}: {error or 'no answer in time'}") from error
        if status >= 300:
            raise SendError(f"{self._url} answered {status}", again=status in STATUSES_AGAIN)

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
        if exporter.tls:
            credentials = grpc.ssl_channel_credentials(
                *(_read(path) for path in (exporter.ca_file, exporter.key_file, exporter.certificate_file))
            )
            self._channel = grpc.aio.secure_channel(self._target, credentials)
        else:
            self._channel = grpc.aio.insecure_channel(self._target)
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
    context = ssl.create_default_context(cafile=exporter.ca_file or None)
    if exporter.certificate_file:
        context.load_cert_chain(exporter.certificate_file, exporter.key_file or None)
    return context
