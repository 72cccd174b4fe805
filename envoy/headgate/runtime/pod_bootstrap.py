"""The bootstrap of an Envoy in a pod of its own: xDS over mutual TLS, metrics and readiness on a port.

What it shares with `headgate run` comes from `envoy.bootstrap`. The admin interface stays a unix socket, of which the
port shows some pages. Keys and authorities are files that Envoy watches: a renewed certificate needs no restart.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from headgate.runtime.envoy import NODE_CLUSTER, XDS_CLUSTER, EnvoyOptions, bootstrap
from headgate.runtime.overload import heap_monitor, overload_manager

Json = Mapping[str, object]

RUN_DIRECTORY: Final = Path("/run/headgate")
CONFIGURATION_DIRECTORY: Final = "/etc/headgate/envoy"
METRICS_PORT: Final = 19001
_ADMIN_CLUSTER: Final = "headgate-admin"
_PAGES: Final = (("/ready", "/ready"), ("/stats/prometheus", "/stats/prometheus"), ("/healthz", "/hot_restart_version"))
"""(path, page of the admin interface). The last is one that is always there: it tells that Envoy does not hang."""
_TYPE: Final = "type.googleapis.com/envoy"


def pod_bootstrap(host: str, port: int) -> Json:
    """`host` is the controller's name; Envoy is told its own with `--service-node`, and what `pod_heap` says."""
    options = EnvoyOptions(
        binary=Path("envoy"), state_directory=RUN_DIRECTORY, xds_socket=RUN_DIRECTORY / "xds.sock", node_id=""
    )
    made = dict(bootstrap(options))
    admin = {"pipe": {"path": str(options.admin_socket)}}
    clusters = [_xds_cluster(host, port), _cluster(_ADMIN_CLUSTER, "STATIC", admin)]
    made["node"] = {"cluster": NODE_CLUSTER}
    made["overload_manager"] = overload_manager()  # with the monitor that `pod_heap` adds
    made["static_resources"] = {"clusters": clusters, "listeners": [_pages()]}
    return made


def pod_heap(bytes_max: str) -> Json:
    """The rest of the bootstrap, for `--config-yaml`, which is merged with it: only a pod knows its memory."""
    return {"overload_manager": {"resource_monitors": [heap_monitor(bytes_max)]}}


def _cluster(name: str, type_: str, address: Json) -> Json:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {
        "name": name,
        "type": type_,
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }


def _xds_cluster(host: str, port: int) -> Json:
    options = f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {"http2_protocol_options": {"connection_keepalive": {"interval": "30s", "timeout": "5s"}}}
    tls: Json = {
        "@type": f"{_TYPE}.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": host,
        "common_tls_context": {
            # The default maximum is 1.2.
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "alpn_protocols": ["h2"],
            "tls_certificate_sds_secret_configs": [_file("certificate")],
            "validation_context_sds_secret_config": _file("authorities"),
        },
    }
    return {
        **_cluster(XDS_CLUSTER, "STRICT_DNS", {"socket_address": {"address": host, "port_value": port}}),
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": options, "explicit_http_config": http2}
        },
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
    }


def _file(name: str) -> Json:
    source = {"path": f"{CONFIGURATION_DIRECTORY}/{name}.json"}
    return {"name": name, "sds_config": {"path_config_source": source, "resource_api_version": "V3"}}


def _pages() -> Json:
    """A listener that shows some pages of the admin interface, and none that could change anything. Who asks whether
    Envoy lives is answered however much it has to do: no answer would be the end of all that it serves."""
    routes = [
        {"match": {"path": path}, "route": {"cluster": _ADMIN_CLUSTER, "prefix_rewrite": shown}}
        for path, shown in _PAGES
    ]
    router = {"@type": f"{_TYPE}.extensions.filters.http.router.v3.Router"}
    manager = {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "pages",
        "route_config": {"virtual_hosts": [{"name": "pages", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    return {
        "name": "headgate-pages",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": METRICS_PORT}},
        "bypass_overload_manager": True,
        "ignore_global_conn_limit": True,
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
