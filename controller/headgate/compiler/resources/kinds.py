"""The kinds that are read, one row each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from headgate.compiler.resources import (
    ai_gateway,
    backend_tls,
    client_traffic,
    core,
    envoy_gateway,
    gateway_api,
    headgate,
    limit_policy,
    policies,
    quota,
    security_policy,
)
from headgate.compiler.resources.metadata import Resource


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind. `served` are the versions read; `world` is the attribute of `World` that holds its objects."""

    group: str
    name: str
    served: tuple[str, ...]
    type: type[Resource]
    world: str
    namespaced: bool = True


_GATEWAY: Final = gateway_api.GROUP
_ENVOY: Final = envoy_gateway.GROUP
_AI: Final = ai_gateway.GROUP

KINDS: Final = (
    Kind(_GATEWAY, "GatewayClass", ("v1", "v1beta1"), gateway_api.GatewayClass, "gateway_classes", namespaced=False),
    Kind(_GATEWAY, "Gateway", ("v1", "v1beta1"), gateway_api.Gateway, "gateways"),
    Kind(_GATEWAY, "HTTPRoute", ("v1", "v1beta1"), gateway_api.HTTPRoute, "http_routes"),
    Kind(_GATEWAY, "ReferenceGrant", ("v1", "v1beta1"), gateway_api.ReferenceGrant, "reference_grants"),
    Kind(_GATEWAY, "BackendTLSPolicy", ("v1", "v1alpha3"), backend_tls.BackendTLSPolicy, "backend_tls_policies"),
    Kind(_ENVOY, "Backend", ("v1alpha1",), envoy_gateway.Backend, "backends"),
    Kind(_ENVOY, "BackendTrafficPolicy", ("v1alpha1",), policies.BackendTrafficPolicy, "backend_traffic_policies"),
    Kind(_ENVOY, "SecurityPolicy", ("v1alpha1",), security_policy.SecurityPolicy, "security_policies"),
    Kind(_ENVOY, "ClientTrafficPolicy", ("v1alpha1",), client_traffic.ClientTrafficPolicy, "client_traffic_policies"),
    Kind(_ENVOY, "HTTPRouteFilter", ("v1alpha1",), envoy_gateway.HTTPRouteFilter, "http_route_filters"),
    Kind(_ENVOY, "EnvoyProxy", ("v1alpha1",), envoy_gateway.EnvoyProxy, "envoy_proxies"),
    Kind(_AI, "AIGatewayRoute", ("v1beta1", "v1alpha1"), ai_gateway.AIGatewayRoute, "ai_gateway_routes"),
    Kind(_AI, "AIServiceBackend", ("v1beta1", "v1alpha1"), ai_gateway.AIServiceBackend, "ai_service_backends"),
    Kind(
        _AI,
        "BackendSecurityPolicy",
        ("v1beta1", "v1alpha1"),
        ai_gateway.BackendSecurityPolicy,
        "backend_security_policies",
    ),
    Kind(_AI, "GatewayConfig", ("v1beta1", "v1alpha1"), ai_gateway.GatewayConfig, "gateway_configs"),
    Kind(_AI, "QuotaPolicy", ("v1alpha1",), quota.QuotaPolicy, "quota_policies"),
    Kind(headgate.GROUP, "TranslationPolicy", ("v1alpha1",), headgate.TranslationPolicy, "translation_policies"),
    Kind(headgate.GROUP, "LimitPolicy", ("v1alpha1",), limit_policy.LimitPolicy, "limit_policies"),
    Kind("", "Secret", ("v1",), core.Secret, "secrets"),
    Kind("", "ConfigMap", ("v1",), core.ConfigMap, "config_maps"),
    Kind("", "Namespace", ("v1",), core.Namespace, "namespaces", namespaced=False),
)

ENVOY_GATEWAYS: Final = frozenset(
    {
        (_GATEWAY, "GatewayClass"),
        (_GATEWAY, "Gateway"),
        (_GATEWAY, "HTTPRoute"),
        (_ENVOY, "BackendTrafficPolicy"),
        (_ENVOY, "SecurityPolicy"),
        (_ENVOY, "ClientTrafficPolicy"),
        (_ENVOY, "HTTPRouteFilter"),
        (_ENVOY, "EnvoyProxy"),
    }
)
"""Kinds that Envoy Gateway serves and reports on, where there is one: what we do not serve of them, it does."""

NOT_SUPPORTED: Final[Mapping[tuple[str, str], str]] = {
    (_AI, "MCPRoute"): "MCP is not served yet",
    (_GATEWAY, "GRPCRoute"): "gRPC is not routed",
    (_GATEWAY, "TCPRoute"): "TCP is not routed",
    (_GATEWAY, "TLSRoute"): "TLS is not passed through",
    (_GATEWAY, "UDPRoute"): "UDP is not routed",
    (_GATEWAY, "ListenerSet"): "put the listeners into the Gateway",
    (_ENVOY, "EnvoyPatchPolicy"): "the configuration of Envoy cannot be patched",
    (_ENVOY, "EnvoyExtensionPolicy"): "Envoy is not extended by users",
    ("inference.networking.k8s.io", "InferencePool"): "use a Backend",
    ("inference.networking.k8s.io", "InferenceObjective"): "use a Backend",
}
"""Kinds that manifests of other gateways hold and that are left out, with what to do instead."""

BY_NAME: Final[Mapping[tuple[str, str], Kind]] = {(kind.group, kind.name): kind for kind in KINDS}

_ROUTE_POLICIES: Final = ("SecurityPolicy", "BackendTrafficPolicy", "LimitPolicy")
POLICIES: Final[Mapping[str, tuple[str, ...]]] = {
    "Gateway": (*_ROUTE_POLICIES, "ClientTrafficPolicy"),
    "HTTPRoute": _ROUTE_POLICIES,
    "AIGatewayRoute": _ROUTE_POLICIES,
    "AIServiceBackend": ("BackendSecurityPolicy", "QuotaPolicy", "TranslationPolicy", "LimitPolicy"),
    "Backend": ("BackendTLSPolicy",),
}
"""Kinds that policies in their namespace may target, and which: without them they are open, or asked in the clear."""

DEPRECATED: Final[Mapping[str, str]] = {
    "aigateway.envoyproxy.io/v1alpha1": (
        "aigateway.envoyproxy.io/v1alpha1 is deprecated; use aigateway.envoyproxy.io/v1beta1 instead"
    )
}
"""Versions that are still read, by `group/version`, with the warning that the API server gives too."""
