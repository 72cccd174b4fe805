"""The real Envoy on our own ADS server, with hand-made snapshots."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.credential_injector.v3 import credential_injector_pb2 as _injector
from envoy.extensions.filters.http.router.v3 import router_pb2 as _router
from envoy.extensions.filters.http.upstream_codec.v3 import upstream_codec_pb2 as _codec
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as _manager
from envoy.extensions.http.injected_credentials.generic.v3 import generic_pb2 as _generic
from envoy.extensions.network.dns_resolver.cares.v3 import cares_dns_resolver_pb2 as _cares
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2 as _protocol_options
from google.protobuf import json_format
from google.protobuf.message import Message
from headgate.controller.xds.resource_types import CLUSTER, LISTENER, ROUTE, SECRET
from headgate.controller.xds.server import AdsServer, Patience
from headgate.controller.xds.session import Rejected
from headgate.controller.xds.snapshot import Snapshot, SnapshotTaker
from headgate.runtime.envoy import EnvoyAdmin, EnvoyOptions, envoy_child, find_envoy
from headgate.runtime.grpc_server import listen, make_server
from headgate.runtime.supervisor import Child, Supervisor

from support.waiting import BUSY_SECONDS

Json = Mapping[str, Any]

LINKED_IN = (_cares, _injector, _router, _codec, _manager, _generic, _protocol_options)
"""Imported so that JSON with their types can be parsed."""

_CLASSES: Mapping[str, type[Message]] = {
    CLUSTER: cluster_pb2.Cluster,
    LISTENER: listener_pb2.Listener,
    ROUTE: route_pb2.RouteConfiguration,
    SECRET: secret_pb2.Secret,
}
_NOTHING: Json = {}
_ADS: Json = {"ads": _NOTHING, "resource_api_version": "V3"}
_E = "type.googleapis.com/envoy.extensions."


def snapshot_of(resources: Mapping[str, tuple[Json, ...]], taker: SnapshotTaker | None = None) -> Snapshot:
    """A snapshot of resources given as JSON values by type URL."""
    return (taker or SnapshotTaker()).take(messages_of(resources))


def messages_of(resources: Mapping[str, tuple[Json, ...]]) -> Mapping[str, Mapping[str, Message]]:
    """Resources given as JSON values by type URL, as messages by name."""
    messages: dict[str, dict[str, Message]] = {}
    for type_url, each in resources.items():
        made = [json_format.ParseDict(dict(values), _CLASSES[type_url]()) for values in each]
        messages[type_url] = {getattr(message, "name"): message for message in made}  # noqa: B009
    return messages


def listener_json(name: str, port: int, route: str) -> Json:
    """An HTTP listener that takes its routes by RDS."""
    manager: Json = {
        "@type": _E + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "rds": {"route_config_name": route, "config_source": _ADS},
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": _E + "filters.http.router.v3.Router"}}
        ],
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def reply_route_json(name: str, text: str) -> Json:
    """A route configuration that answers everything with `text`."""
    reply = {"status": 200, "body": {"inline_string": text}}
    route = {"match": {"prefix": "/"}, "direct_response": reply}
    return {"name": name, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]}


def cluster_route_json(name: str, cluster: str) -> Json:
    """A route configuration that sends everything to `cluster`."""
    route = {"match": {"prefix": "/"}, "route": {"cluster": cluster}}
    return {"name": name, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]}


def cluster_json(
    name: str, port: int, *, secret: str = "", host: str = "127.0.0.1", resolver_port: int | None = None
) -> Json:
    """A cluster on `port` that injects the SDS secret `secret` and asks the DNS server on `resolver_port`, if given."""
    endpoint = {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}
    made: dict[str, Any] = {
        "name": name,
        "type": "STATIC" if resolver_port is None else "STRICT_DNS",
        "connect_timeout": "1s",
        "dns_lookup_family": "V4_ONLY",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if resolver_port is not None:
        resolver = {"socket_address": {"address": "127.0.0.1", "port_value": resolver_port, "protocol": "UDP"}}
        made["typed_dns_resolver_config"] = {
            "name": "envoy.network.dns_resolver.cares",
            "typed_config": {
                "@type": _E + "network.dns_resolver.cares.v3.CaresDnsResolverConfig",
                "resolvers": [resolver],
                "dns_resolver_options": {"no_default_search_domain": True},
            },
        }
    if secret:
        made["typed_extension_protocol_options"] = _injecting(secret)
    return made


def _injecting(secret: str) -> Json:
    credential: Json = {
        "@type": _E + "http.injected_credentials.generic.v3.Generic",
        "credential": {"name": secret, "sds_config": _ADS},
        "header": "x-api-key",
    }
    injector: Json = {
        "@type": _E + "filters.http.credential_injector.v3.CredentialInjector",
        "overwrite": True,
        "credential": {"name": "envoy.http.injected_credentials.generic", "typed_config": credential},
    }
    codec = {"@type": _E + "filters.http.upstream_codec.v3.UpstreamCodec"}
    return {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": _E + "upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http_protocol_options": {}},
            "http_filters": [
                {"name": "envoy.filters.http.credential_injector", "typed_config": injector},
                {"name": "envoy.filters.http.upstream_codec", "typed_config": codec},
            ],
        }
    }


def secret_json(name: str, value: str) -> Json:
    """A generic secret."""
    return {"name": name, "generic_secret": {"secret": {"inline_string": value}}}


class SlowDns(asyncio.DatagramProtocol):
    """A DNS server that answers every question with 127.0.0.1, late."""

    def __init__(self, delay_seconds: float) -> None:
        self._delay_seconds = delay_seconds
        self._transport: asyncio.DatagramTransport | None = None

    async def start(self) -> int:
        """Returns its port."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return self._transport.get_extra_info("sockname")[1]

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        question = data[12 : data.index(b"\0", 12) + 5]
        head = data[:2] + b"\x81\x80\0\x01\0\x01\0\0\0\0"
        answer = b"\xc0\x0c\0\x01\0\x01\0\0\x0e\x10\0\x04\x7f\0\0\x01"
        assert self._transport is not None
        asyncio.get_running_loop().call_later(
            self._delay_seconds, self._transport.sendto, head + question + answer, addr
        )


class RecordingObserver:
    """Keeps what the server reports and lets a test wait for it."""

    def __init__(self) -> None:
        self.nodes: list[str] = []
        self.applied_versions: list[str] = []
        self.rejections: list[Rejected] = []
        self._changed = asyncio.Event()

    def connected(self, node: str) -> None:
        self.nodes.append(node)
        self._changed.set()

    def disconnected(self, node: str) -> None:
        self.nodes.remove(node)
        self._changed.set()

    def applied(self, node: str, snapshot_version: str) -> None:
        self.applied_versions.append(snapshot_version)
        self._changed.set()

    def rejected(self, node: str, rejected: Rejected) -> None:
        self.rejections.append(rejected)
        self._changed.set()

    async def until(self, done: Callable[["RecordingObserver"], bool]) -> None:
        async with asyncio.timeout(BUSY_SECONDS):
            while not done(self):
                self._changed.clear()
                await self._changed.wait()


class AdsBench:
    """A server and an Envoy on it."""

    def __init__(self, ads: AdsServer, observer: RecordingObserver, envoy: Child, admin: EnvoyAdmin) -> None:
        self.ads = ads
        self.observer = observer
        self.envoy = envoy
        self.admin = admin

    async def apply(self, snapshot: Snapshot) -> None:
        """Publishes and waits until Envoy has acknowledged everything new in it."""
        self.ads.publish(snapshot)
        await self.observer.until(lambda seen: snapshot.version in seen.applied_versions)


@asynccontextmanager
async def ads_bench(directory: Path, *, patience: Patience | None = None) -> AsyncGenerator[AdsBench]:
    """Starts both, stops both."""
    options = EnvoyOptions(
        binary=find_envoy(), state_directory=directory, xds_socket=directory / "xds.sock", concurrency=1
    )
    admin, observer, supervisor = EnvoyAdmin(options.admin_socket), RecordingObserver(), Supervisor()
    ads = AdsServer(observer, patience=patience)
    server = make_server()
    ads.add_to(server)
    listen(server, f"unix:{options.xds_socket}")
    await server.start()
    envoy = supervisor.start(envoy_child(options))
    try:
        yield AdsBench(ads, observer, envoy, admin)
    finally:
        await supervisor.stop()
        await server.stop(0)
