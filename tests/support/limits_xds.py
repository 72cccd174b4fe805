"""A small management server for limits: SotW ADS, one stream at a time, which says what clients answered."""

import queue
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, cast

import grpc
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2, json_format
from headgate.pb import rate_limit_config_pb2
from headgate.ratelimit.config_xds import TYPE_URL

from support.ports import LOOPBACK

_END = object()


class LimitsServer:
    """Serves what `publish` gives; `requests` holds what was asked, in order."""

    def __init__(self, *, port: int = 0, credentials: grpc.ServerCredentials | None = None) -> None:
        self.requests: queue.Queue[discovery_pb2.DiscoveryRequest] = queue.Queue()
        self._answers: queue.Queue[object] = queue.Queue()
        self._last: discovery_pb2.DiscoveryResponse | None = None
        self._version = 0
        self._server = grpc.server(ThreadPoolExecutor(8))
        handler = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=discovery_pb2.DiscoveryRequest.FromString,
            response_serializer=discovery_pb2.DiscoveryResponse.SerializeToString,
        )
        service = "envoy.service.discovery.v3.AggregatedDiscoveryService"
        handlers = grpc.method_handlers_generic_handler(service, {"StreamAggregatedResources": handler})
        self._server.add_generic_rpc_handlers((handlers,))
        address = f"{LOOPBACK}:{port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        self._server.start()

    def publish(self, *configs: Mapping[str, Any]) -> str:
        """Sends these, each a RateLimitConfig as JSON; returns the version."""
        self._version += 1
        response = discovery_pb2.DiscoveryResponse(
            version_info=str(self._version), nonce=f"n{self._version}", type_url=TYPE_URL
        )
        for config in configs:
            message = json_format.ParseDict(dict(config), rate_limit_config_pb2.RateLimitConfig())
            response.resources.append(any_pb2.Any(type_url=TYPE_URL, value=message.SerializeToString()))
        self._last = response
        self._answers.put(response)
        return response.version_info

    def send(self, response: discovery_pb2.DiscoveryResponse) -> None:
        self._answers.put(response)

    def request(self) -> discovery_pb2.DiscoveryRequest:
        """The next that a client sends."""
        return self.requests.get(timeout=15)

    def end_stream(self) -> None:
        self._answers.put(_END)

    def _stream(
        self, requests: Iterator[discovery_pb2.DiscoveryRequest], context: grpc.ServicerContext
    ) -> Iterator[discovery_pb2.DiscoveryResponse]:
        first = next(requests)
        self.requests.put(first)
        context.add_callback(lambda: self._answers.put(_END))
        reader = ThreadPoolExecutor(1)
        reader.submit(self._read, requests)
        reader.shutdown(wait=False)
        self._answers = queue.Queue()
        if self._last is not None:
            yield self._last
        while (answer := self._answers.get()) is not _END:
            yield cast("discovery_pb2.DiscoveryResponse", answer)

    def _read(self, requests: Iterator[discovery_pb2.DiscoveryRequest]) -> None:
        try:
            for request in requests:
                self.requests.put(request)
        except grpc.RpcError:
            return

    def close(self) -> None:
        self._answers.put(_END)
        self._server.stop(None).wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def config(domain: str, amount: int, **policy: Any) -> Mapping[str, Any]:
    """One limit per value of `client`."""
    limit = {"unit": "HOUR", "requests_per_unit": amount, **policy}
    return {"name": domain, "domain": domain, "descriptors": [{"key": "client", "rate_limit": limit}]}
