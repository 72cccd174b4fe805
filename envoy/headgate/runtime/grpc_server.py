"""What our grpc.aio servers share: bounds, listening, and health.

    server, health = make_server(), Health()
    server.add_generic_rpc_handlers((health.handler(),))
    listen(server, "unix:/run/x.sock")

Health is `grpc.health.v1.Health`, for the empty service name and any name registered.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
from headgate.runtime.addresses import MESSAGE_BYTES_MAX, AddressInUseError

_OPTIONS: Final[Sequence[tuple[str, int]]] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", -1),
    # Envoy keeps its connections for as long as the server lives; idle or age limits would only cut streams.
    ("grpc.max_connection_idle_ms", 2**31 - 1),
    ("grpc.max_connection_age_ms", 2**31 - 1),
    # Two servers must never share a port by accident: the second one has to fail.
    ("grpc.so_reuseport", 0),
    # Streams of one Envoy connection; its own limit is per connection and the default is 100.
    ("grpc.max_concurrent_streams", 65_536),
)


class Health:
    """Answers `grpc.health.v1.Health`. Written out by hand: the messages are one string and one enum."""

    _SERVING: Final = b"\x08\x01"
    _NOT_SERVING: Final = b"\x08\x02"
    _SERVICE_UNKNOWN: Final = b"\x08\x03"

    def __init__(self, services: Sequence[str] = (), *, serving: bool = True) -> None:
        self._services = frozenset(("", *services))
        self._serving = serving
        self._over = False
        self._changed = asyncio.Event()

    def start(self) -> None:
        """From now on every service is SERVING."""
        self._tell(True)

    def shut_down(self) -> None:
        """From now on every service is NOT_SERVING."""
        self._over = True
        self._tell(False)

    def _tell(self, serving: bool) -> None:
        self._serving = serving
        self._changed.set()
        self._changed = asyncio.Event()

    def handler(self) -> grpc.GenericRpcHandler:
        """To be added to a server with `add_generic_rpc_handlers`."""
        return grpc.method_handlers_generic_handler(
            "grpc.health.v1.Health",
            {
                "Check": grpc.unary_unary_rpc_method_handler(self._check),
                "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
            },
        )

    def _status(self) -> bytes:
        return self._SERVING if self._serving else self._NOT_SERVING

    async def _check(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        if _service_name(request) not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return self._status()

    async def _watch(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> AsyncIterator[bytes]:
        del context
        if _service_name(request) not in self._services:
            yield self._SERVICE_UNKNOWN
            return
        while not self._over:
            changed = self._changed
            yield self._status()
            await changed.wait()
        yield self._status()


def _service_name(request: bytes) -> str:
    """`HealthCheckRequest.service`: field 1, length-delimited; names here are shorter than 128 bytes."""
    if len(request) >= 2 and request[0] == 0x0A and request[1] == len(request) - 2:
        return request[2:].decode(errors="replace")
    return "" if not request else "\N{REPLACEMENT CHARACTER}"


def make_server(extra_options: Sequence[tuple[str, int]] = ()) -> grpc.aio.Server:
    """A server with our bounds set; `extra_options` win over them."""
    return grpc.aio.server(options=[*_OPTIONS, *extra_options])


def listen(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
    """Binds `unix:/path` or `host:port` and returns the port (0 or more). A stale socket file is replaced.

    Without `credentials` there is no TLS. Raises `AddressInUseError`.
    """
    if address.startswith("unix:"):
        Path(address.removeprefix("unix:")).unlink(missing_ok=True)
    try:
        if credentials is not None:
            return server.add_secure_port(address, credentials)
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise AddressInUseError(f"cannot listen on {address}: it is in use or not ours to bind") from error
