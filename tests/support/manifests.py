"""Resources for `headgate run`, written short, and the examples of `manifests/examples` with other addresses.

Every function returns documents as plain values, in the kinds and versions that users write; `text` makes the file.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from headgate.cli import providers
from headgate.contract.headers import MODEL

from support.ports import LOOPBACK
from support.providers import Provider

Document: TypeAlias = dict[str, Any]

EXAMPLES = Path(__file__).parents[2] / "manifests" / "examples"
AI = "aigateway.envoyproxy.io"
ENVOY_GATEWAY = "gateway.envoyproxy.io"
GATEWAY_API = "gateway.networking.k8s.io"
GATEWAY = "gateway"


def text(documents: Iterable[Document]) -> str:
    """The documents as one YAML file."""
    return yaml.safe_dump_all(documents, sort_keys=False)


def document(version: str, kind: str, name: str, spec: Mapping[str, Any] | None = None, **more: Any) -> Document:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name},
        **({"spec": dict(spec)} if spec is not None else {}),
        **more,
    }


def gateway(*listeners: Mapping[str, Any], name: str = GATEWAY) -> list[Document]:
    """A class and a Gateway; a listener is its `port` and what else it has."""
    controller = {"controllerName": f"{ENVOY_GATEWAY}/gatewayclass-controller"}
    listed = [{"name": f"listener{n}", "protocol": "HTTP", **each} for n, each in enumerate(listeners)]
    return [
        document(f"{GATEWAY_API}/v1", "GatewayClass", "headgate", controller),
        document(f"{GATEWAY_API}/v1", "Gateway", name, {"gatewayClassName": "headgate", "listeners": listed}),
    ]


def target(kind: str, name: str) -> Document:
    """A policy's `targetRefs` to one resource."""
    groups = {"Gateway": GATEWAY_API, "HTTPRoute": GATEWAY_API, "AIServiceBackend": AI, "AIGatewayRoute": AI}
    return {"targetRefs": [{"group": groups[kind], "kind": kind, "name": name}]}


def secret(name: str, **values: str) -> Document:
    return document("v1", "Secret", name, stringData=values)


_CREDENTIALS = {
    "OpenAI": ("APIKey", "apiKey"),
    "AzureOpenAI": ("AzureAPIKey", "azureAPIKey"),
    "Anthropic": ("AnthropicAPIKey", "anthropicAPIKey"),
    "Gemini": ("APIKey", "apiKey"),
    "Cohere": ("APIKey", "apiKey"),
}


def endpoint(name: str, port: int, **spec: Any) -> Document:
    """A Backend on the loopback interface."""
    endpoints = [{"ip": {"address": LOOPBACK, "port": port}}]
    return document(f"{ENVOY_GATEWAY}/v1alpha1", "Backend", name, {"endpoints": endpoints, **spec})


def backend(
    name: str,
    port: int,
    schema: str = "OpenAI",
    *,
    key: str = "",
    schema_fields: Mapping[str, str] | None = None,
    **spec: Any,
) -> list[Document]:
    """An AIServiceBackend of that name with its Backend and, with a key, its credential."""
    where = {"group": ENVOY_GATEWAY, "kind": "Backend", "name": name}
    service = {"schema": {"name": schema, **(schema_fields or {})}, "backendRef": where, **spec}
    found = [endpoint(name, port), document(f"{AI}/v1beta1", "AIServiceBackend", name, service)]
    if key:
        kind, field = _CREDENTIALS[schema]
        policy = {**target("AIServiceBackend", name), "type": kind, field: {"secretRef": {"name": name}}}
        found += [secret(name, apiKey=key), document(f"{AI}/v1beta1", "BackendSecurityPolicy", name, policy)]
    return found


def ref(name: str, **more: Any) -> Document:
    """A rule's backendRef."""
    return {"name": name, **more}


def rule(model: str, *backends: Document, headers: Mapping[str, str] | None = None, **more: Any) -> Document:
    """A rule for one model; the empty model matches all requests."""
    wanted = [{"name": MODEL, "value": model}] if model else []
    wanted += [{"name": name, "value": value} for name, value in (headers or {}).items()]
    matches = {"matches": [{"headers": wanted}]} if wanted else {}
    return {**matches, "backendRefs": list(backends), **more}


def route(name: str, rules: Sequence[Document], *, parent: Mapping[str, str] | None = None, **more: Any) -> Document:
    """An AIGatewayRoute on the Gateway."""
    parents = [dict(parent or {"name": GATEWAY})]
    return document(f"{AI}/v1beta1", "AIGatewayRoute", name, {"parentRefs": parents, "rules": list(rules), **more})


def costs(**expressions: str) -> dict[str, Any]:
    """`llmRequestCosts`: by metadata key, a type (`TotalToken`) or, where it is none, CEL."""
    types = ("InputToken", "CachedInputToken", "CacheCreationInputToken", "OutputToken", "TotalToken", "ReasoningToken")
    return {
        "llmRequestCosts": [
            {"metadataKey": key, **({"type": value} if value in types else {"type": "CEL", "cel": value})}
            for key, value in expressions.items()
        ]
    }


def token_limit(key: str, tokens: int, *selectors: Document, unit: str = "Hour") -> Document:
    """A rule of `rateLimit.global` that checks at the request and charges the cost of that key when it is over."""
    return {
        **({"clientSelectors": [{"headers": list(selectors)}]} if selectors else {}),
        "limit": {"requests": tokens, "unit": unit},
        "cost": {
            "request": {"from": "Number", "number": 0},
            "response": {"from": "Metadata", "metadata": {"namespace": "io.envoy.ai_gateway", "key": key}},
        },
    }


def limits(name: str, route_name: str, *rules: Document) -> Document:
    """A BackendTrafficPolicy with global limits."""
    spec = {**target("HTTPRoute", route_name), "rateLimit": {"type": "Global", "global": {"rules": list(rules)}}}
    return document(f"{ENVOY_GATEWAY}/v1alpha1", "BackendTrafficPolicy", name, spec)


def traffic(name: str, route_name: str, **spec: Any) -> Document:
    """A BackendTrafficPolicy."""
    return document(
        f"{ENVOY_GATEWAY}/v1alpha1", "BackendTrafficPolicy", name, {**target("HTTPRoute", route_name), **spec}
    )


def api_keys(name: str, at: Document, clients: Mapping[str, str], **more: Any) -> list[Document]:
    """A SecurityPolicy that asks for a key in `authorization` or `x-api-key`, with the Secret of (client, key)."""
    auth = {
        "credentialRefs": [{"name": name}],
        "extractFrom": [{"headers": ["authorization", "x-api-key"]}],
        "sanitize": True,
        **more,
    }
    return [
        secret(name, **clients),
        document(f"{ENVOY_GATEWAY}/v1alpha1", "SecurityPolicy", name, {**at, "apiKeyAuth": auth}),
    ]


def example(name: str, *, port: int, providers: Mapping[str, int]) -> str:
    """An example as it is, but for the port that it listens on and where its Backends (by name) are, without TLS.

    The host that a backend is called by stays.
    """
    found: list[Document] = []
    for each in yaml.safe_load_all((EXAMPLES / f"{name}.yaml").read_text()):
        match each["kind"]:
            case "BackendTLSPolicy":
                continue
            case "Gateway":
                for listener in each["spec"]["listeners"]:
                    assert listener["port"] == 8080
                    listener["port"] = port
            case "Backend":
                (where,) = each["spec"].pop("endpoints")
                each["spec"].pop("tls", None)
                address = {"address": LOOPBACK, "port": providers[each["metadata"]["name"]]}
                each["spec"]["endpoints"] = [{"hostname": where["fqdn"]["hostname"], "ip": address}]
            case _:
                pass
        found.append(each)
    return text(found)


def openai_gateway(port: int, provider: Provider, model: str = "demo") -> str:
    """A Gateway with one OpenAI backend, for `model` alone, as YAML: what `headgate run` makes of the environment."""
    found = providers.find({"OPENAI_API_KEY": provider.key, "OPENAI_BASE_URL": f"{provider.url}/v1"})
    made = providers.manifests(found, port=port).replace("${OPENAI_API_KEY}", provider.key)
    match = f"matches: [{{headers: [{{name: x-ai-eg-model, value: {model}}}]}}]"
    return made.replace("  - backendRefs", f"  - {match}\n    backendRefs")
