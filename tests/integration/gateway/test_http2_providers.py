"""Providers that speak HTTP/2, played by an Envoy that tells what it was asked with."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from headgate.contract.headers import LOSSES
from support import manifests
from support.envoy import EnvoyProcess
from support.manifests import Document, backend, document, ref, route, rule
from support.ports import LOOPBACK
from support.stage import Stage
from support.tls import server_tls
from support.waiting import wait_until

pytestmark = pytest.mark.envoy

NAME = "localhost"
TYPES = "type.googleapis.com/envoy.extensions"
HTTP2 = "gateway.envoyproxy.io/h2c"
TRAILER = "x-told"
SPOOFED = (LOSSES, "x-ai-eg-model", "x-headgate-cost-1")
LOGGED = " ".join(f"{name}=%TRAILER({name})%" for name in (TRAILER, *SPOOFED))


def _filter(kind: str, values: dict[str, Any]) -> dict[str, Any]:
    return {"name": kind, "typed_config": {"@type": f"{TYPES}.filters.http.{kind}", **values}}


def _listener(name: str, **chain: Any) -> dict[str, Any]:
    echoed = [
        {"header": {"key": "x-told-scheme", "value": "%REQ(:SCHEME)%"}},
        {"header": {"key": "x-told-protocol", "value": "%PROTOCOL%"}},
    ]
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "{}"}}}
    limit = {"stat_prefix": name, "enable_mode": "RESPONSE", "limit_kbps": 1_000_000, "enable_response_trailers": True}
    trailers = [{"append": {"header": {"key": key, "value": "told"}}} for key in (TRAILER, *SPOOFED)]
    manager: dict[str, Any] = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {
            "response_headers_to_add": echoed,
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}],
        },
        "http_filters": [
            _filter("header_mutation.v3.HeaderMutation", {"mutations": {"response_trailers_mutations": trailers}}),
            _filter("bandwidth_limit.v3.BandwidthLimit", limit),
            _filter("router.v3.Router", {}),
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {
        "name": name,
        "address": {"socket_address": {"address": LOOPBACK, "port_value": 0}},
        "filter_chains": [{"filters": filters, **chain}],
    }


def _tls(certificate: Path, key: Path) -> dict[str, Any]:
    context = {
        "@type": f"{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificates": [
                {"certificate_chain": {"filename": str(certificate)}, "private_key": {"filename": str(key)}}
            ],
        },
    }
    return {"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context}}


def _documents(port: int, ports: dict[str, int], certificate: str, log: Path) -> list[Document]:
    ca = {"kind": "ConfigMap", "name": "ca", "group": ""}
    secured = backend("secured", 0)
    where: Document = {"fqdn": {"hostname": NAME, "port": ports["secured"]}}
    secured[0]["spec"] = {"endpoints": [where], "appProtocols": [HTTP2], "tls": {"caCertificateRefs": [ca]}}
    plain = backend("plain", ports["plain"])
    plain[0]["spec"]["appProtocols"] = [HTTP2]
    setting: Document = {
        "format": {"type": "Text", "text": f"{LOGGED}\n"},
        "sinks": [{"type": "File", "file": {"path": str(log)}}],
    }
    logged = manifests.gateway({"port": port})
    logged[1]["spec"]["infrastructure"] = {
        "parametersRef": {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "logged"}
    }
    telemetry: Document = {"telemetry": {"accessLog": {"settings": [setting]}}}
    return [
        *logged,
        document("gateway.envoyproxy.io/v1alpha1", "EnvoyProxy", "logged", telemetry),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}, "data": {"ca.crt": certificate}},
        *secured,
        *plain,
        route("models", [rule(name, ref(name)) for name in ports]),
    ]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "requests"


@pytest.fixture(scope="module")
def stage(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    files = tmp_path_factory.mktemp("certificates")
    _, certificate = server_tls(files, NAME)
    listeners = [_listener("plain"), _listener("secured", **_tls(files / f"{NAME}.crt", files / f"{NAME}.key"))]
    provider = EnvoyProcess({"static_resources": {"listeners": listeners}}, tmp_path_factory.mktemp("provider"))
    with provider, Stage() as stage:
        ports = provider.listeners()
        yield stage.run(_documents(stage.port, ports, certificate, log))


@pytest.mark.parametrize(("model", "scheme"), [("plain", "http"), ("secured", "https")])
def test_a_provider_is_told_the_scheme_it_is_reached_by(stage: Stage, model: str, scheme: str) -> None:
    """Whatever the client's is: servers of HTTP/2 may refuse what does not fit their connection (RFC 9113, 8.3.1)."""
    told = stage.chat(model).headers
    assert (told["x-told-protocol"], told["x-told-scheme"]) == ("HTTP/2", scheme)


def test_no_trailer_of_a_provider_bears_a_name_of_the_gateway(stage: Stage, log: Path) -> None:
    assert stage.chat("plain").status_code == 200
    lines = wait_until(lambda: log.read_text().splitlines() if log.exists() else [], "the access log")
    assert lines[-1].split() == [f"{TRAILER}=told", *(f"{name}=-" for name in SPOOFED)]
