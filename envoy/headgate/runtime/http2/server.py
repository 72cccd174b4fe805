"""asyncio around `connection`: listens, hands calls to services, drains.

A service is a mapping of paths (`/package.Service/Method`) to functions that open a call. Everything of a call runs
synchronously inside the read that brought it, so all replies of one read leave in one write. Replies that come later
leave in one write per turn of the event loop.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol, cast

from headgate.runtime.addresses import MESSAGE_BYTES_MAX, AddressInUseError
from headgate.runtime.http2.connection import Connection, ConnectionFailedError, HalfClosed, Message, Opened
from headgate.runtime.http2.frames import GrpcStatus
from headgate.runtime.logging import event_log

log: Final = event_log("runtime")

BACKLOG: Final = 1024


class Call(Protocol):
    """One gRPC call, as the service sees it. Exceptions end it with INTERNAL and a trace in the log."""

    def receive(self, message: bytes) -> None: ...

    def half_closed(self) -> None:
        """The client has said everything."""
        ...

    def closed(self) -> None:
        """The call is over, whoever ended it; called once."""
        ...


class Replies:
    """Where a call's answers go. Usable from the event loop only; after the end everything is ignored."""

    __slots__ = ("_connection", "_link", "_stream_id")

    def __init__(self, link: "_Link", connection: Connection, stream_id: int) -> None:
        self._link = link
        self._connection = connection
        self._stream_id = stream_id

    def send(self, message: bytes) -> None:
        self._connection.send_message(self._stream_id, message)
        if not self._link.reading:
            self._link.wrote()

    def answer(self, message: bytes) -> None:
        """The only message of the call, and its end: what `send` and `end` would do, for less."""
        self._connection.send_answer(self._stream_id, message)
        self._link.ended(self._stream_id)

    def end(self, status: GrpcStatus = GrpcStatus.OK, message: str = "") -> None:
        self._connection.send_end(self._stream_id, status, message)
        self._link.ended(self._stream_id)


class RefusedCallError(Exception):
    """Raised by a service function that will not open the call."""

    def __init__(self, status: GrpcStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


Admits = Callable[[asyncio.Transport], bool]
"""Whether a connection that was just made may stay."""

OpenCall = Callable[[Replies, Mapping[str, str]], Call]
Services = Mapping[str, OpenCall]


class _Link(asyncio.Protocol):
    """One connection's socket."""

    def __init__(
        self, services: Services, links: "set[_Link]", call_ended: Callable[[], None], admits: "Admits | None" = None
    ) -> None:
        self._services = services
        self._links = links
        self._call_ended = call_ended
        self._admits = admits
        self._connection = Connection(message_bytes_max=MESSAGE_BYTES_MAX)
        self._calls: dict[int, Call] = {}
        self._transport: asyncio.Transport | None = None
        self.reading = False
        """What is queued meanwhile leaves when the read is done."""
        self._flush_scheduled = False

    @property
    def calls_open(self) -> int:
        return len(self._calls)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        if self._admits is not None and not self._admits(self._transport):
            log.warning("client_refused", peer=str(transport.get_extra_info("peername")))
            self._transport.abort()
            return
        connected = transport.get_extra_info("socket")
        if connected is not None and connected.family in (socket.AF_INET, socket.AF_INET6):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._links.add(self)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self.reading = True
        try:
            for event in self._connection.receive(data):
                if type(event) is Message:  # first: most events are
                    self._step(event.stream_id, event.data)
                elif type(event) is Opened:
                    self._open(event)
                elif type(event) is HalfClosed:
                    self._step(event.stream_id, None)
                else:
                    self.ended(event.stream_id)
        except ConnectionFailedError as failure:
            log.warning("connection_failed", reason=str(failure))
            self.close()
            return
        finally:
            self.reading = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        self._links.discard(self)
        for stream_id in tuple(self._calls):
            self.ended(stream_id)

    def pause_writing(self) -> None:
        # A peer that asks and does not read: hear it again when it does, or its answers would pile up here.
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def drain(self) -> None:
        self._connection.drain()
        self._flush()

    def close(self) -> None:
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def wrote(self) -> None:
        """Something was queued; inside a read it leaves when the read is done, else when this turn of the loop is."""
        if not self.reading and not self._flush_scheduled:
            self._flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def ended(self, stream_id: int) -> None:
        call = self._calls.pop(stream_id, None)
        if call is not None:
            call.closed()
            self._call_ended()
        self.wrote()

    def _open(self, event: Opened) -> None:
        stream_id = event.stream_id
        path = event.headers.get(":path", "")
        service = self._services.get(path)
        if service is None:
            self._connection.send_end(stream_id, GrpcStatus.UNIMPLEMENTED, f"unknown method {path}")
            return
        replies = Replies(self, self._connection, stream_id)
        try:
            self._calls[stream_id] = service(replies, event.headers)
        except RefusedCallError as refusal:
            self._connection.send_end(stream_id, refusal.status, str(refusal))
        except Exception:  # the server's boundary
            log.exception("call_failed", path=path)
            self._connection.send_end(stream_id, GrpcStatus.INTERNAL, "internal error")

    def _step(self, stream_id: int, message: bytes | None) -> None:
        """A message, or None for the client's end."""
        call = self._calls.get(stream_id)
        if call is None:
            return
        try:
            if message is not None:
                call.receive(message)
            else:
                call.half_closed()
        except Exception:  # the server's boundary: a bug must cost one call only
            log.exception("call_failed")
            self._connection.send_end(stream_id, GrpcStatus.INTERNAL, "internal error")
            self.ended(stream_id)

    def _flush(self) -> None:
        self._flush_scheduled = False
        output = self._connection.take_output()
        if output and self._transport is not None:
            self._transport.write(output)


class Server:
    """A listening gRPC server."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._idle: asyncio.Event | None = None
        """Only while draining: set when the last call ends."""

    async def listen(self, address: str, *, tls: ssl.SSLContext | None = None, admits: Admits | None = None) -> int:
        """Binds `unix:/path` or `host:port`; returns the port (0 for a socket file). A stale socket file is replaced.

        `fd:N` is a listening socket that we were started with: who calls while we restart is waited for.

        Raises AddressInUseError.
        """
        loop = asyncio.get_running_loop()

        def make() -> _Link:
            return _Link(self._services, self._links, self._call_ended, admits)

        try:
            if address.startswith("fd:"):
                inherited = socket.socket(fileno=int(address.removeprefix("fd:")))
                self._server = await loop.create_server(make, sock=inherited, backlog=BACKLOG, ssl=tls)
                return 0
            if address.startswith("unix:"):
                path = address.removeprefix("unix:")
                _remove_stale(path)
                self._server = await loop.create_unix_server(make, path, backlog=BACKLOG, ssl=tls)
                return 0
            host, _, port = address.rpartition(":")
            self._server = await loop.create_server(make, host.strip("[]") or None, int(port), backlog=BACKLOG, ssl=tls)
            return self._server.sockets[0].getsockname()[1]
        except (OSError, ValueError, OverflowError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or str(error)
            raise AddressInUseError(f"cannot listen on {address}: {reason}") from error

    @property
    def calls_open(self) -> int:
        return sum(link.calls_open for link in self._links)

    def _call_ended(self) -> None:
        if self._idle is not None and not self.calls_open:
            self._idle.set()

    async def stop(self, drain_seconds: float) -> None:
        """Stops listening, tells peers, lets running calls end for `drain_seconds`, then cuts them."""
        if self._server is not None:
            self._server.close()
        for link in tuple(self._links):
            link.drain()
        self._idle = asyncio.Event()
        self._call_ended()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), drain_seconds)
        for link in tuple(self._links):
            link.close()


def _remove_stale(path: str) -> None:
    Path(path).unlink(missing_ok=True)
