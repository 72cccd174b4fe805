"""Reads the limits from a management server over xDS, as envoyproxy/ratelimit does: state of the world, over ADS.

One stream is asked for all `RateLimitConfig`; each is a domain. An answer is taken as a whole or not at all: it is
acknowledged when every domain of it can be served, else refused with what is wrong, and what was good stays in force,
as it does while the server cannot be reached. Streams are made again with growing, random pauses.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import grpc
import grpc.aio
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from headgate.limits.config import ConfigError, Domain, merge_domains, parse_domain
from headgate.limits.matching import Snapshot, build_snapshot
from headgate.pb import rate_limit_config_pb2
from headgate.runtime.logging import event_log

log = event_log("ratelimit")

TYPE_URL: Final = "type.googleapis.com/ratelimit.config.ratelimit.v3.RateLimitConfig"
METHOD: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
FIRST_SECONDS: Final = 60.0
"""How long a limiter that starts waits for its first limits."""
MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024
KEEPALIVE_SECONDS: Final = 30
"""A server that is gone without a word is noticed in about this time."""
_INVALID_ARGUMENT: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class XdsServer:
    """Which server is asked, and as whom. The paths are read for each connection, so that renewed files are used."""

    address: str
    node_id: str = "default"
    node_metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    headers: Sequence[tuple[str, str]] = ()
    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""
    """The name its certificate must have, where it is not that of the address."""
    merge_domains: bool = False
    message_bytes_max: int = MESSAGE_BYTES_MAX
    pause_seconds: float = 0.5
    pause_seconds_max: float = 30.0


class XdsSource:
    """The limits that one management server gives."""

    def __init__(self, server: XdsServer, *, on_error: Callable[[str], None] = lambda _: None) -> None:
        self._server = server
        self._on_error = on_error
        self._error = ""
        self._pause = server.pause_seconds
        self._snapshots = self._follow()

    async def first(self) -> Snapshot | None:
        """The limits; None where there were none to be had in `FIRST_SECONDS`."""
        waiting = asyncio.ensure_future(anext(self._snapshots))
        try:
            return await asyncio.wait_for(asyncio.shield(waiting), FIRST_SECONDS)
        except TimeoutError:
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await waiting
            return None

    async def watch(self, use: Callable[[Snapshot], None]) -> None:
        """Hands every change to `use`, until it is cancelled."""
        async for snapshot in self._snapshots:
            log.info("config_loaded", domains=len(snapshot.domains))
            use(snapshot)

    async def _follow(self) -> AsyncIterator[Snapshot]:
        while True:
            try:
                async with _channel(self._server) as channel:
                    async for snapshot in self._stream(channel):
                        yield snapshot
                self._failed(f"{self._server.address}: the server ended the stream")
            except asyncio.InvalidStateError:
                # So gRPC says that the stream ended between an answer and what we say to it.
                self._failed(f"{self._server.address}: the server ended the stream")
            except grpc.aio.AioRpcError as error:
                self._failed(f"{self._server.address}: {error.code().name}: {error.details()}")
            except OSError as error:
                self._failed(f"{self._server.address}: {error}")
            await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))
            self._pause = min(self._pause * 2, self._server.pause_seconds_max)

    async def _stream(self, channel: grpc.aio.Channel) -> AsyncIterator[Snapshot]:
        call = cast(
            "Any",
            channel.stream_stream(
                METHOD,
                request_serializer=discovery_pb2.DiscoveryRequest.SerializeToString,
                response_deserializer=discovery_pb2.DiscoveryResponse.FromString,
            )(metadata=tuple(self._server.headers)),
        )
        # No version: a server that started again counts from 1, and would take what it has for what we have.
        await call.write(discovery_pb2.DiscoveryRequest(node=_node(self._server), type_url=TYPE_URL))
        version = ""
        while (response := cast("discovery_pb2.DiscoveryResponse", await call.read())) is not grpc.aio.EOF:
            self._pause = self._server.pause_seconds
            answer = discovery_pb2.DiscoveryRequest(type_url=TYPE_URL, response_nonce=response.nonce)
            try:
                # In a thread: large limits take longer to read than a decision may wait.
                snapshot = await asyncio.to_thread(read_response, response, merge=self._server.merge_domains)
            except ConfigError as error:
                answer.error_detail.code = _INVALID_ARGUMENT
                answer.error_detail.message = str(error)
                answer.version_info = version
                self._failed(f"{self._server.address}: version {response.version_info!r}: {error}")
            else:
                version = answer.version_info = response.version_info
                self._error = ""
                yield snapshot
            await call.write(answer)

    def _failed(self, message: str) -> None:
        if message != self._error:
            self._error = message
            log.error("config_rejected", error=message, kept_last_good=True)
            self._on_error(message)


def read_response(response: discovery_pb2.DiscoveryResponse, *, merge: bool = False) -> Snapshot:
    """The limits of an answer; raises ConfigError, which names the resource and the field."""
    domains: list[Domain] = []
    for resource in response.resources:
        config = rate_limit_config_pb2.RateLimitConfig()
        try:
            if resource.type_url != TYPE_URL:
                raise ConfigError(f"expected {TYPE_URL}, found {resource.type_url}")
            config.ParseFromString(resource.value)
            domains.append(parse_domain(plain(config)))
        except DecodeError as error:
            raise ConfigError("a resource is no RateLimitConfig") from error
        except ConfigError as error:
            raise ConfigError(f"resource {config.name!r}: {error}") from error
    return build_snapshot(merge_domains(domains) if merge else domains)


def plain(config: rate_limit_config_pb2.RateLimitConfig) -> Mapping[str, object]:
    """The same as its YAML would be read."""
    return {"domain": config.domain, "descriptors": [_descriptor(each) for each in config.descriptors]}


def _descriptor(message: rate_limit_config_pb2.RateLimitDescriptor) -> dict[str, object]:
    fields: dict[str, object] = {
        "key": message.key,
        "value": message.value,
        "shadow_mode": message.shadow_mode,
        "detailed_metric": message.detailed_metric,
        "quota_mode": message.quota_mode,
        "descriptors": [_descriptor(each) for each in message.descriptors],
    }
    if message.HasField("rate_limit"):
        fields["rate_limit"] = _rate_limit(message.rate_limit)
    if message.HasField("metadata"):
        fields["metadata"] = json_format.MessageToDict(message.metadata)
    return fields


def _rate_limit(message: rate_limit_config_pb2.RateLimitPolicy) -> dict[str, object]:
    fields: dict[str, object] = {
        "name": message.name,
        "unlimited": message.unlimited,
        "replaces": [{"name": each.name} for each in message.replaces],
    }
    if message.unit or not message.unlimited:
        fields["unit"] = rate_limit_config_pb2.RateLimitUnit.Name(message.unit).lower()
        fields["requests_per_unit"] = message.requests_per_unit
    return fields


def _node(server: XdsServer) -> base_pb2.Node:
    node = base_pb2.Node(id=server.node_id)
    node.metadata.update(dict(server.node_metadata))
    return node


def _channel(server: XdsServer) -> grpc.aio.Channel:
    """Raises OSError where a file of it cannot be read."""
    options: list[tuple[str, str | int]] = [
        ("grpc.max_receive_message_length", server.message_bytes_max),
        ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
        ("grpc.enable_http_proxy", 0),
    ]
    if not server.tls:
        return grpc.aio.insecure_channel(server.address, options=options)
    if server.server_name:
        options.append(("grpc.ssl_target_name_override", server.server_name))
    ca, key, chain = (
        None if path is None else path.read_bytes() for path in (server.ca, server.key, server.certificate)
    )
    return grpc.aio.secure_channel(server.address, grpc.ssl_channel_credentials(ca, key, chain), options=options)
