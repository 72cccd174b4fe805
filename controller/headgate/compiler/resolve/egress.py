"""The forward proxy that the backends of AI routes are reached through.

compat: it is one for each route, whatever Gateway a request came by: the first of its Gateways whose GatewayConfig
names one says which. Nothing goes around a proxy that cannot be used.
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import replace

from headgate.compiler import ir
from headgate.compiler.resolve.scope import Scope
from headgate.compiler.resources import ai_gateway
from headgate.compiler.resources.metadata import Name

FIELD = "spec.forwardProxy.address"
UNUSABLE = "The proxy that this gateway reaches providers through is not configured rightly; its operator must mend it."


def check_proxy(scope: Scope, config: ai_gateway.GatewayConfig) -> None:
    """Tells the author of an address that Envoy would refuse."""
    proxy = config.spec.forward_proxy
    if proxy is not None and _endpoint(proxy.address) is None:
        message = f"{proxy.address} is no IP address with a port; Envoy connects to a proxy by nothing else"
        scope.report.error(config, FIELD, message, remedy="like 10.0.0.9:3128, or [2001:db8::9]:3128")


def by_proxy(
    scope: Scope, route: ai_gateway.AIGatewayRoute, backends: tuple[ir.Backend, ...]
) -> tuple[tuple[ir.Backend, ...], str]:
    """The backends of a rule as they are reached; where that is none of them, what clients are told."""
    addresses = dict(_addresses(scope, route))
    if not addresses:
        return backends, ""
    config, address = next(iter(addresses.items()))
    if len(set(addresses.values())) > 1:
        message = f"its Gateways have other forward proxies; that of GatewayConfig {config} is taken for all"
        scope.report.warning(route, "spec.parentRefs", message, remedy="an AIGatewayRoute for each Gateway")
    if (proxy := _endpoint(address)) is None:
        message = f"no backend is asked: the forward proxy of GatewayConfig {config} is not valid"
        scope.report.warning(route, "spec.parentRefs", message)
        return (), UNUSABLE
    # a socket is of Envoy's own machine
    return tuple(b if any(e.is_socket for e in b.endpoints) else replace(b, proxy=proxy) for b in backends), ""


def _addresses(scope: Scope, route: ai_gateway.AIGatewayRoute) -> Iterator[tuple[Name, str]]:
    """The proxies' by GatewayConfig, of the route's Gateways in its own order."""
    for parent in scope.attachments.parents[route.key]:
        name = scope.configs.get(parent.gateway)
        found = scope.world.gateway_configs.get(name) if name is not None else None
        if found is not None and found.spec.forward_proxy is not None:
            yield found.name, found.spec.forward_proxy.address


def _endpoint(address: str) -> ir.Endpoint | None:
    host, _, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        version = ipaddress.ip_address(bare).version
    except ValueError:
        return None
    bracketed = bare != host
    if bracketed is not (version == 6) or not (port.isascii() and port.isdigit()) or not 0 < int(port) <= 65535:
        return None
    return ir.Endpoint(bare, int(port))
