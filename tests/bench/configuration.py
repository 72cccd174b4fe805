"""Configurations of the benchmarks: a bare Envoy, the gateway's scenarios, and a thousand routes."""

import json
from collections.abc import Iterator
from typing import Any

from support.static_envoy import Config, bootstrap, cluster, listener, routed, tcp

GATEWAY_API = "gateway.networking.k8s.io"
AI_GATEWAY = "aigateway.envoyproxy.io/v1beta1"
ENVOY_GATEWAY = "gateway.envoyproxy.io/v1alpha1"
KEY = "sk-bench"
TOKENS_PER_HOUR = 1_000_000_000
"""Never reached: what is measured is counting, not refusing."""


def bare_envoy(backend_port: int) -> Config:
    """Bootstrap of an Envoy that forwards, as lean as it gets."""
    return bootstrap(
        [listener("bare", tcp(), routed("backend", timeout="0s"))],
        [cluster("backend", tcp(backend_port), connect_timeout="5s")],
    )


def documents(*values: dict[str, Any]) -> str:
    """JSON documents as a YAML stream: YAML is a superset, and JSON is quick to write."""
    return "".join(f"---\n{json.dumps(value)}\n" for value in values)


def _object(version: str, kind: str, name: str, spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    head = {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "default"}}
    return {**head, "spec": spec, **more}


def gateway_class() -> dict[str, Any]:
    controller = {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"}
    head = {"apiVersion": f"{GATEWAY_API}/v1", "kind": "GatewayClass", "metadata": {"name": "headgate"}}
    return {**head, "spec": controller}


def gateway(name: str, port: int) -> dict[str, Any]:
    listeners = [{"name": "http", "protocol": "HTTP", "port": port}]
    return _object(f"{GATEWAY_API}/v1", "Gateway", name, {"gatewayClassName": "headgate", "listeners": listeners})


def unlogged_gateway(name: str, port: int) -> list[dict[str, Any]]:
    """One that writes no line of a request."""
    result = gateway(name, port)
    reference = {"group": ENVOY_GATEWAY.partition("/")[0], "kind": "EnvoyProxy", "name": name}
    result["spec"]["infrastructure"] = {"parametersRef": reference}
    return [result, _object(ENVOY_GATEWAY, "EnvoyProxy", name, {"telemetry": {"accessLog": {"disable": True}}})]


def backend(name: str, schema: str, port: int) -> list[dict[str, Any]]:
    """A provider on this machine with a key of its own."""
    kind, field = ("AnthropicAPIKey", "anthropicAPIKey") if schema == "Anthropic" else ("APIKey", "apiKey")
    target = {"group": "aigateway.envoyproxy.io", "kind": "AIServiceBackend", "name": name}
    reference = {"group": "gateway.envoyproxy.io", "kind": "Backend", "name": name}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "default"}}
    return [
        _object(ENVOY_GATEWAY, "Backend", name, {"endpoints": [{"ip": {"address": "127.0.0.1", "port": port}}]}),
        _object(AI_GATEWAY, "AIServiceBackend", name, {"schema": {"name": schema}, "backendRef": reference}),
        _object(
            AI_GATEWAY,
            "BackendSecurityPolicy",
            name,
            {"type": kind, "targetRefs": [target], field: {"secretRef": {"name": name}}},
        ),
        {**secret, "stringData": {"apiKey": KEY}},
    ]


def model_rule(model: str, *references: dict[str, Any]) -> dict[str, Any]:
    """A rule of an AIGatewayRoute for one model."""
    header = {"type": "Exact", "name": "x-ai-eg-model", "value": model}
    return {"matches": [{"headers": [header]}], "backendRefs": list(references)}


def ai_route(name: str, gateway_name: str, *rules: dict[str, Any], **spec: Any) -> dict[str, Any]:
    parent = {"name": gateway_name, "kind": "Gateway", "group": GATEWAY_API}
    return _object(AI_GATEWAY, "AIGatewayRoute", name, {"parentRefs": [parent], "rules": list(rules), **spec})


def token_limit(name: str, route: str) -> dict[str, Any]:
    """Total tokens per hour, for each value of `x-user-id`."""
    user = {"headers": [{"name": "x-user-id", "type": "Distinct"}]}
    cost = {
        "request": {"from": "Number", "number": 0},
        "response": {"from": "Metadata", "metadata": {"namespace": "io.envoy.ai_gateway", "key": "llm_total_token"}},
    }
    rule = {"clientSelectors": [user], "limit": {"requests": TOKENS_PER_HOUR, "unit": "Hour"}, "cost": cost}
    target = {"group": GATEWAY_API, "kind": "HTTPRoute", "name": route}
    limit = {"type": "Global", "global": {"rules": [rule]}}
    return _object(ENVOY_GATEWAY, "BackendTrafficPolicy", name, {"targetRefs": [target], "rateLimit": limit})


TOTAL_TOKENS = {"metadataKey": "llm_total_token", "type": "TotalToken"}


def many_routes(count: int, gateway_port: int, backend_port: int) -> Iterator[dict[str, Any]]:
    """`count` AIGatewayRoutes with three backends each (two of priority 0, a fallback), on one Gateway.

    There are fewer backends than references to them, as in real installations: one per provider and region.
    """
    yield gateway_class()
    yield gateway("many", gateway_port)
    for number in range(30):
        yield from backend(f"provider-{number}", "OpenAI", backend_port)
    for number in range(count):
        yield many_route(number)


def many_route(number: int, *, model_sent: str = "") -> dict[str, Any]:
    """One of them; `model_sent` is what its first backend is asked for."""
    references: list[dict[str, Any]] = [
        {"name": f"provider-{(number + offset) % 30}", "weight": 2 - offset % 2, "priority": offset // 2}
        for offset in range(3)
    ]
    for reference in references:
        reference["modelNameOverride"] = model_sent or f"model-{number}-upstream"
    return ai_route(f"route-{number}", "many", model_rule(f"model-{number}", *references))
