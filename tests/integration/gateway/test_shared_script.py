"""A script that stands once in a virtual host, run by the short one in its cluster, on the real Envoy."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from headgate import lua
from support.envoy import EnvoyProcess
from support.ports import LOOPBACK, free_port

TYPES = "type.googleapis.com/envoy.extensions"
NAME = "headgate.lua/upstream"


def _script(said: str) -> str:
    body = f"calls = calls + 1\nh:headers():replace('x-said', '{said}' .. calls)"
    return f"local calls = 0\nfunction envoy_on_request(h)\n{body}\nend"


def _listener(port: int, host: dict[str, Any]) -> dict[str, Any]:
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"}}
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "route_config": {"virtual_hosts": [{"name": "host", "domains": ["*"], **host}]},
        "http_filters": [router],
    }
    name = "envoy.filters.network.http_connection_manager"
    return {
        "name": str(port),
        "address": {"socket_address": {"address": LOOPBACK, "port_value": port}},
        "filter_chains": [{"filters": [{"name": name, "typed_config": manager}]}],
    }


def _bootstrap(port: int, known: dict[str, str]) -> dict[str, Any]:
    """Requests pass the script; what it said comes back from a second listener."""
    other = free_port()
    said = {"header": {"key": "said", "value": "%REQ(x-said)%"}}
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200}, "response_headers_to_add": [said]}
    code = {"inline_string": lua.by_virtual_host("upstream")}
    script = {
        "@type": f"{TYPES}.filters.http.lua.v3.Lua",
        "default_source_code": code,
        "shared_vm_id": "headgate-upstream",
    }
    codec = {"@type": f"{TYPES}.filters.http.upstream_codec.v3.UpstreamCodec"}
    filters = [
        {"name": NAME, "typed_config": script},
        {"name": "envoy.filters.http.upstream_codec", "typed_config": codec},
    ]
    options: dict[str, Any] = {
        "@type": f"{TYPES}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http_protocol_options": {}},
        "http_filters": filters,
    }
    address = {"socket_address": {"address": LOOPBACK, "port_value": other}}
    cluster: dict[str, Any] = {
        "name": "back",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "back",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    }
    first = {
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "back"}}],
        "metadata": {"filter_metadata": {NAME: known}},
    }
    listeners = [_listener(port, first), _listener(other, {"routes": [answer]})]
    return {"static_resources": {"listeners": listeners, "clusters": [cluster]}}


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({lua.version("upstream"): _script("wanted"), "0": _script("other")}, ["wanted1", "wanted2"]),
        ({"0": _script("other")}, ["other1", "other2"]),
        ({}, []),
    ],
    ids=["its own", "another version's", "none"],
)
def test_a_cluster_runs_the_script_of_its_virtual_host(
    known: dict[str, str], said: list[str], start_envoy: Callable[..., EnvoyProcess]
) -> None:
    port = free_port()
    start_envoy(_bootstrap(port, known))
    answers = [httpx.get(f"http://{LOOPBACK}:{port}/") for _ in range(2)]
    assert [each.headers["said"] for each in answers if each.status_code == 200] == said
    assert {each.status_code for each in answers} == ({200} if said else {503})
