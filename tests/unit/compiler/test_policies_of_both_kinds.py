"""What a policy asks does something on AI routes and on plain ones, whatever it is."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from headgate.compiler.compile import Compiled, compile_world
from headgate.compiler.options import Options
from headgate.compiler.resources.policies import BackendTrafficPolicySpec
from headgate.compiler.resources.policy import MergedPolicySpec
from headgate.compiler.resources.security_policy import SecurityPolicySpec
from headgate.controller.sources.files import load
from msgspec import structs
from support import manifests
from support.manifests import ENVOY_GATEWAY, GATEWAY_API, Document, document

OPTIONS: Final = Options(extproc_sockets=("/processor.sock",), ratelimit_socket="/limiter.sock")
_LIMITED: Final = {"rules": [{"limit": {"requests": 1, "unit": "Hour"}}]}
_CLAIM: Final = {"principal": {"clientCIDRs": ["192.0.2.0/24"]}, "action": "Deny"}
TRAFFIC: Final[Mapping[str, Any]] = {
    "rateLimit": {"type": "Global", "global": _LIMITED},
    "rateLimit of an Envoy": {"type": "Local", "local": _LIMITED},
    "retry": {"numRetries": 4},
    "timeout": {"http": {"requestTimeout": "7s", "streamIdleTimeout": "8s"}, "tcp": {"connectTimeout": "9s"}},
    "circuitBreaker": {"maxConnections": 7},
    "healthCheck": {"active": {"type": "TCP", "tcp": {}}},
    "tcpKeepalive": {"probes": 7},
    "dns": {"dnsRefreshRate": "7s"},
    "loadBalancer": {"type": "Random"},
    "loadBalancer by client": {"type": "ConsistentHash", "consistentHash": {"type": "SourceIP"}},
    "faultInjection": {"abort": {"httpStatus": 418}},
    "httpUpgrade": [{"type": "spdy/3.1"}],
    "compressor": [{"type": "Gzip", "gzip": {}}],
    "compression": [{"type": "Brotli"}],
    "responseOverride": [{"match": {"statusCodes": [{"value": 418}]}, "response": {"statusCode": 200}}],
}
SECURITY: Final[Mapping[str, Any]] = {
    "apiKeyAuth": {"credentialRefs": [{"name": "keys"}], "extractFrom": [{"headers": ["x-api-key"]}]},
    "jwt": {"providers": [{"name": "own", "issuer": "i", "remoteJWKS": {"uri": "https://keys.test/jwks"}}]},
    "cors": {"allowOrigins": ["https://app.test"]},
    "basicAuth": {"users": {"name": "users"}},
    "extAuth": {"http": {"backendRefs": [{"group": ENVOY_GATEWAY, "kind": "Backend", "name": "many"}]}},
    "authorization": {"defaultAction": "Allow", "rules": [_CLAIM]},
}
KINDS: Final = (
    ("BackendTrafficPolicy", BackendTrafficPolicySpec, TRAFFIC),
    ("SecurityPolicy", SecurityPolicySpec, SECURITY),
)
PLAIN: Final = frozenset(("httpUpgrade",))
"""What has a meaning for plain routes alone."""
CASES: Final = [
    (kind, name, ai) for kind, _, specs in KINDS for name in specs for ai in (True, False) if not (ai and name in PLAIN)
]


def _documents(ai: bool) -> Iterator[Document]:
    yield from manifests.gateway({"port": 8080})
    addresses = [{"fqdn": {"hostname": f"{name}.test", "port": 80}} for name in ("one", "two")]
    for name in ("many", "other"):
        yield document(f"{ENVOY_GATEWAY}/v1alpha1", "Backend", name, {"endpoints": addresses})
        place = {"group": ENVOY_GATEWAY, "kind": "Backend", "name": name}
        spec = {"schema": {"name": "OpenAI"}, "backendRef": place}
        yield document("aigateway.envoyproxy.io/v1beta1", "AIServiceBackend", name, spec)
    yield manifests.secret("keys", ann="hg-ann")
    yield manifests.secret("users", **{".htpasswd": "ann:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M="})
    if ai:
        yield manifests.route("r", [manifests.rule("m", manifests.ref("many"), manifests.ref("other"))])
        return
    references = [{"group": ENVOY_GATEWAY, "kind": "Backend", "name": name} for name in ("many", "other")]
    spec = {"parentRefs": [{"name": manifests.GATEWAY}], "rules": [{"backendRefs": references}]}
    yield document(f"{GATEWAY_API}/v1", "HTTPRoute", "r", spec)


def _compiled(folder: Path, *documents: Document) -> Compiled:
    path = folder / "all.yaml"
    path.write_text(manifests.text(documents))
    loaded = load([path], environment={})
    assert list(loaded.diagnostics) == []
    compiled = compile_world(loaded.world, OPTIONS)
    assert list(compiled.diagnostics) == []
    return compiled


def _served(compiled: Compiled, *, listeners: bool) -> dict[str, bytes]:
    """All of Envoy's configuration; without listeners where their filters do nothing unless a route says so."""
    return {
        f"{url} {name}": message.SerializeToString(deterministic=True)
        for url, found in compiled.resources.items()
        for name, message in found.items()
        if listeners or not url.endswith("Listener")
    }


@pytest.mark.parametrize("of_gateway", [True, False], ids=["of the Gateway", "of the route"])
@pytest.mark.parametrize(("kind", "name", "ai"), CASES)
def test_what_a_policy_asks_is_served(tmp_path: Path, kind: str, name: str, of_gateway: bool, ai: bool) -> None:
    documents = list(_documents(ai))
    value = dict(TRAFFIC | SECURITY)[name]
    at_route = manifests.target("AIGatewayRoute" if ai else "HTTPRoute", "r")
    spec = {**(manifests.target("Gateway", manifests.GATEWAY) if of_gateway else at_route)}
    policy = document(f"{ENVOY_GATEWAY}/v1alpha1", kind, "p", {**spec, name.partition(" ")[0]: value})
    by_listener = of_gateway and kind == "SecurityPolicy"
    without, served = _compiled(tmp_path, *documents), _compiled(tmp_path, *documents, policy)
    assert _served(served, listeners=by_listener) != _served(without, listeners=by_listener)


@pytest.mark.parametrize(("kind", "spec", "given"), KINDS)
def test_no_field_is_left_out_here(kind: str, spec: type[MergedPolicySpec], given: Mapping[str, Any]) -> None:
    del kind
    shared = {field.name for field in structs.fields(MergedPolicySpec)}
    fields = {field.encode_name for field in structs.fields(spec) if field.name not in shared}
    assert {name.partition(" ")[0] for name in given} == fields
