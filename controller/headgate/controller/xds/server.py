"""Serves delta ADS to any number of Envoys.

Each stream is a `DeltaSession` with a reader, a writer and the timers of its holds. What happens on streams goes to an
`AdsObserver`; what to serve comes from `publish`.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2
from headgate.controller.xds.session import Action, Applied, DeltaSession, Hold, HoldReason, Rejected, Send
from headgate.controller.xds.snapshot import Snapshot
from headgate.controller.xds.wire import decode_request, encode_response, node_id
from headgate.runtime.logging import event_log

log = event_log("xds")

WARMING_SECONDS: Final = 1.0
"""How long listeners and routes wait for clusters to warm (to resolve their names)."""
REMOVAL_SECONDS: Final = 5.0
"""How long requests that were routed before a change may still want the clusters it removes (retries, slow filters)."""
ADS_SERVICE: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"

_Context = grpc.aio.ServicerContext[discovery_pb2.DeltaDiscoveryRequest, discovery_pb2.DeltaDiscoveryResponse]


class AdsObserver(Protocol):
    """Told what Envoys do. Called on the event loop; must not block."""

    def connected(self, node: str) -> None: ...
    def disconnected(self, node: str) -> None: ...
    def applied(self, node: str, snapshot_version: str) -> None: ...
    def rejected(self, node: str, rejected: Rejected) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the holds of a session last."""

    warming_seconds: float = WARMING_SECONDS
    removal_seconds: float = REMOVAL_SECONDS


class AdsServer:
    """The servicer; add it to a grpc.aio server with `add_to`."""

    def __init__(self, observer: AdsObserver, *, patience: Patience | None = None) -> None:
        self._observer = observer
        self._patience = patience or Patience()
        self._snapshot: Snapshot | None = None
        self._streams: set[_Stream] = set()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Registers the service."""
        method = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString,
            response_serializer=discovery_pb2.DeltaDiscoveryResponse.SerializeToString,
        )
        handler = grpc.method_handlers_generic_handler(ADS_SERVICE, {"DeltaAggregatedResources": method})
        server.add_generic_rpc_handlers((handler,))

    def publish(self, snapshot: Snapshot) -> None:
        """Serves `snapshot` from now on, on every stream."""
        self._snapshot = snapshot
        for stream in tuple(self._streams):
            stream.publish(snapshot)

    async def _stream(self, request_iterator: object, context: _Context) -> None:
        """One Envoy, until it goes."""
        del request_iterator
        stream = _Stream(DeltaSession(self._snapshot), self._observer, self._patience)
        self._streams.add(stream)
        try:
            await stream.run(context)
        finally:
            self._streams.discard(stream)
            stream.close()


class _Stream:
    """The shell of one session."""

    def __init__(self, session: DeltaSession, observer: AdsObserver, patience: Patience) -> None:
        self._session = session
        self._observer = observer
        self._patience = patience
        self._node = ""
        # Bounded by the protocol: the session sends a resource again only after it changed or was asked for.
        self._outgoing: asyncio.Queue[Send] = asyncio.Queue()
        self._timers: set[asyncio.Task[None]] = set()

    async def run(
        self,
        context: grpc.aio.ServicerContext[discovery_pb2.DeltaDiscoveryRequest, discovery_pb2.DeltaDiscoveryResponse],
    ) -> None:
        writer = asyncio.create_task(self._write(context))
        self._timers.add(writer)
        while (message := await context.read()) is not grpc.aio.EOF:
            assert isinstance(message, discovery_pb2.DeltaDiscoveryRequest)
            if node_id(message) and not self._node:
                self._node = node_id(message)
                self._observer.connected(self._node)
            self._act(self._session.receive(decode_request(message)))

    def publish(self, snapshot: Snapshot) -> None:
        self._act(self._session.publish(snapshot))

    def close(self) -> None:
        for task in self._timers:
            task.cancel()
        if self._node:
            self._observer.disconnected(self._node)

    def _act(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Send():
                    self._outgoing.put_nowait(action)
                case Hold():
                    self._start(self._wait(action))
                case Applied():
                    self._observer.applied(self._node, action.snapshot_version)
                case Rejected():
                    self._observer.rejected(self._node, action)

    def _start(self, waiting: Awaitable[None]) -> None:
        task = asyncio.ensure_future(waiting)
        self._timers.add(task)
        task.add_done_callback(self._timers.discard)

    async def _write(
        self,
        context: grpc.aio.ServicerContext[discovery_pb2.DeltaDiscoveryRequest, discovery_pb2.DeltaDiscoveryResponse],
    ) -> None:
        while True:
            send = await self._outgoing.get()
            log.debug(
                "xds_sent",
                type=send.type_url.rpartition(".")[2],
                resources=len(send.resources),
                removed=len(send.removed),
                nonce=send.nonce,
            )
            await context.write(encode_response(send))

    async def _wait(self, hold: Hold) -> None:
        match hold.reason:
            case HoldReason.WARMING:
                await asyncio.sleep(self._patience.warming_seconds)
            case HoldReason.REMOVAL:
                await asyncio.sleep(self._patience.removal_seconds)
        self._act(self._session.release(hold.ticket))
