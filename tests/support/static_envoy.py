"""An Envoy's bootstrap of static resources, written short: for what is tested or measured without our compiler.

Names and shapes are those of Envoy's API as JSON; whatever is passed by name goes into the message as it is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from support.ports import LOOPBACK

Config: TypeAlias = dict[str, Any]

EXTENSIONS = "type.googleapis.com/envoy.extensions."
HTTP_MANAGER = "envoy.filters.network.http_connection_manager"


def extension(name: str, message: str, **fields: Any) -> Config:
    """An extension's name and its configuration; `message` is its type below `envoy.extensions`."""
    return {"name": name, "typed_config": {"@type": EXTENSIONS + message, **fields}}


ROUTER = extension("envoy.filters.http.router", "filters.http.router.v3.Router")
UPSTREAM_CODEC = extension("envoy.filters.http.upstream_codec", "filters.http.upstream_codec.v3.UpstreamCodec")


def tcp(port: int = 0) -> Config:
    """An address on the loopback interface; of listeners, Envoy chooses port 0 itself."""
    return {"socket_address": {"address": LOOPBACK, "port_value": port}}


def pipe(path: Path | str) -> Config:
    return {"pipe": {"path": str(path)}}


def routed(cluster: str, **action: Any) -> Config:
    """A route that takes everything to a cluster."""
    return {"match": {"prefix": "/"}, "route": {"cluster": cluster, **action}}


def listener(
    name: str, address: Config, route: Config, *filters: Config, host: Config | None = None, **manager: Any
) -> Config:
    """One chain whose HTTP connection manager has the filters and then the router, and one host with one route."""
    everywhere = {"name": "all", "domains": ["*"], "routes": [route], **(host or {})}
    configured = extension(
        HTTP_MANAGER,
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        route_config={"virtual_hosts": [everywhere]},
        http_filters=[*filters, ROUTER],
        **manager,
    )
    return {"name": name, "address": address, "filter_chains": [{"filters": [configured]}]}


def cluster(name: str, address: Config, *filters: Config, http2: bool = False, **more: Any) -> Config:
    """A cluster of one endpoint; its upstream filters, where there are any, end with the codec."""
    protocol = "http2_protocol_options" if http2 else "http_protocol_options"
    options: Config = {
        "@type": EXTENSIONS + "upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {protocol: {}},
        **({"http_filters": [*filters, UPSTREAM_CODEC]} if filters else {}),
    }
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        **more,
    }


def bootstrap(listeners: Sequence[Config], clusters: Sequence[Config], **more: Any) -> Config:
    return {"static_resources": {"listeners": list(listeners), "clusters": list(clusters)}, **more}
