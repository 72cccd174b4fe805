"""Gateways: listeners, the routes attached to them, and for which hostnames."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from headgate.compiler import ir
from headgate.compiler.resolve import policies
from headgate.compiler.resolve.routes import CLOSED, Attachment, ai_rules, http_rules
from headgate.compiler.resolve.scope import Scope, grant_remedy, granted
from headgate.compiler.resources import ai_gateway, gateway_api
from headgate.compiler.resources.metadata import Name

CONFIG_ANNOTATION = "aigateway.envoyproxy.io/gateway-config"
Route = ai_gateway.AIGatewayRoute | gateway_api.HTTPRoute


def _certificates(
    scope: Scope, gateway: gateway_api.Gateway, index: int, listener: gateway_api.Listener
) -> tuple[ir.Certificate, ...]:
    """The certificates of an HTTPS listener; those that cannot be had are reported and left out."""
    found: list[ir.Certificate] = []
    refs = listener.tls.certificate_refs if listener.tls is not None else ()
    for number, ref in enumerate(refs):
        field = f"spec.listeners[{index}].tls.certificateRefs[{number}]"
        name = Name(ref.namespace or gateway.metadata.namespace, ref.name)
        if not granted(scope, gateway, "", "Secret", name):
            message = f"may not refer to Secret {name} in another namespace"
            remedy = grant_remedy(gateway, "", "Secret", name)
            scope.report.error(gateway, field, message, remedy=remedy, reason="RefNotPermitted")
            continue
        secret = scope.world.secrets.get(name)
        chain = secret.value("tls.crt") if secret is not None else None
        key = secret.value("tls.key") if secret is not None else None
        if chain is None or key is None:
            message = f"there is no Secret {name} with tls.crt and tls.key"
            scope.report.error(gateway, field, message, reason="InvalidCertificateRef")
            continue
        found.append(ir.Certificate(name=f"certificate/{name}", chain=chain.reveal(), key=key))
    return tuple(found)


def _allowed(scope: Scope, gateway: gateway_api.Gateway, listener: gateway_api.Listener, route: Route) -> bool:
    """Whether the listener takes routes of that kind from that namespace."""
    allowed = listener.allowed_routes
    kinds = {(kind.group, kind.kind) for kind in allowed.kinds}
    # compat: an AI route is an HTTPRoute to whoever wrote the listener
    if kinds and not kinds & {(route.group, route.kind), (gateway_api.GROUP, "HTTPRoute")}:
        return False
    namespaces = allowed.namespaces
    match namespaces.from_:
        case "All":
            return True
        case "Same":
            return route.metadata.namespace == gateway.metadata.namespace
        case "Selector":
            labels = scope.world.namespace_labels(route.metadata.namespace)
            return namespaces.selector is not None and namespaces.selector.selects(labels)


def intersection(listener: str, route: str) -> str | None:
    """The hostname that both take (`*` for any); None where there is none. Gateway API: `*.a.b` takes `x.y.a.b`."""
    if listener in ("", "*") or listener == route:
        return route or "*"
    if route in ("", "*"):
        return listener
    if listener.startswith("*.") and route.endswith(listener[1:]):
        return route
    if route.startswith("*.") and listener.endswith(route[1:]):
        return listener
    return None


def _hostnames(listener: gateway_api.Listener, route: Route) -> list[str]:
    wanted = route.spec.hostnames or ("",)
    found = (intersection(listener.hostname, hostname) for hostname in wanted)
    return [hostname for hostname in found if hostname is not None]


def _refers(parent: gateway_api.ParentReference, route: Route, gateway: Name, listener: gateway_api.Listener) -> bool:
    return (
        parent.kind == "Gateway"
        and parent.group == gateway_api.GROUP
        and Name(parent.namespace or route.metadata.namespace, parent.name) == gateway
        and parent.section_name in ("", listener.name)
        and parent.port in (None, listener.port)
    )


def _specificity(hostname: str) -> tuple[int, int]:
    """Sort key: exact names before wildcards, longer before shorter, `*` last."""
    return (0 if not hostname.startswith("*") else 1, -len(hostname))


def _covers(wide: str, narrow: str) -> bool:
    return wide == "*" or (wide.startswith("*.") and narrow.endswith(wide[1:]))


def _hosts(rules: Mapping[str, list[ir.Rule]]) -> tuple[ir.VirtualHost, ...]:
    """Virtual hosts by hostname; each also has, after its own, the rules of the wider hostnames that cover it."""
    ordered = sorted(rules, key=lambda hostname: (_specificity(hostname), hostname))
    result: list[ir.VirtualHost] = []
    for hostname in ordered:
        wider = [other for other in ordered if other != hostname and _covers(other, hostname)]
        inherited = tuple(rule for other in wider for rule in rules[other])
        result.append(ir.VirtualHost(hostname=hostname, rules=tuple(rules[hostname]), inherited=inherited))
    return tuple(result)


def _config(scope: Scope, gateway: gateway_api.Gateway) -> ai_gateway.GatewayConfig | None:
    name = gateway.metadata.annotations.get(CONFIG_ANNOTATION, "")
    if not name:
        return None
    found = scope.world.gateway_configs.get(Name(gateway.metadata.namespace, name))
    if found is None:
        field = f"metadata.annotations[{CONFIG_ANNOTATION}]"
        scope.report.error(gateway, field, f"there is no GatewayConfig {name} in this namespace")
    return found


def _routes(scope: Scope) -> Iterator[Route]:
    """The routes that are ours to serve."""
    yield from scope.world.ai_gateway_routes.values()
    if not scope.options.envoy_gateway:
        yield from scope.world.http_routes.values()


def _attached(
    scope: Scope, gateway: gateway_api.Gateway, listener: gateway_api.Listener, config: ai_gateway.GatewayConfig | None
) -> dict[str, list[ir.Rule]]:
    """The rules of every route on a listener, by hostname."""
    place = Attachment(gateway.name, listener.name, config)
    found: defaultdict[str, list[ir.Rule]] = defaultdict(list)
    for route in _routes(scope):
        if not any(_refers(parent, route, gateway.name, listener) for parent in route.spec.parent_refs):
            continue
        if not _allowed(scope, gateway, listener, route):
            continue
        hostnames = _hostnames(listener, route)
        if not hostnames:
            continue
        rules = scope.memory.rules(
            route, (gateway.name, listener.name), scope.report, partial(_rules, scope, route, place)
        )
        for hostname in hostnames:
            found[hostname].extend(rules)
    return found


def _rules(scope: Scope, route: Route, place: Attachment) -> Iterator[ir.Rule]:
    if isinstance(route, ai_gateway.AIGatewayRoute):
        return ai_rules(scope, route, place)
    return http_rules(scope, route, place)


def _closed(hosts: tuple[ir.VirtualHost, ...]) -> tuple[ir.VirtualHost, ...]:
    """The same hosts with every rule shut: the listener's own policy cannot be enforced."""

    def shut(rules: tuple[ir.Rule, ...]) -> tuple[ir.Rule, ...]:
        return tuple(replace(rule, ai=False, direct=CLOSED) for rule in rules)

    return tuple(replace(host, rules=shut(host.rules), inherited=shut(host.inherited)) for host in hosts)


def _listener(
    scope: Scope, gateway: gateway_api.Gateway, index: int, listener: gateway_api.Listener
) -> ir.Listener | None:
    tls = listener.protocol == "HTTPS"
    if listener.protocol not in ("HTTP", "HTTPS"):
        field = f"spec.listeners[{index}].protocol"
        scope.report.error(gateway, field, f"{listener.protocol} is not supported", remedy="HTTP or HTTPS")
        return None
    certificates = _certificates(scope, gateway, index, listener) if tls else ()
    if tls and not certificates:
        field = f"spec.listeners[{index}].tls.certificateRefs"
        scope.report.error(gateway, field, "an HTTPS listener needs a certificate", reason="InvalidCertificateRef")
        return None
    config = _config(scope, gateway)
    hosts = _hosts(_attached(scope, gateway, listener, config))
    targets = policies.gateway_targets(gateway.name, listener.name)
    security = next((scope.security[target] for target in targets if target in scope.security), None)
    auth = policies.auth(scope, security) if security is not None else None
    if (security is not None and auth is None) or any(target in scope.broken for target in targets):
        hosts = _closed(hosts)
    traffic = next((scope.client[target] for target in targets if target in scope.client), None)
    return ir.Listener(
        name=f"{gateway.name}/{listener.name}",
        hostname=listener.hostname or "*",
        certificates=certificates,
        hosts=hosts,
        auth=auth,
        traffic=policies.client_traffic(traffic),
    )


def _listeners(scope: Scope) -> Iterator[tuple[gateway_api.Gateway, int, gateway_api.Listener, ir.Listener]]:
    for gateway in scope.world.gateways.values():
        _check_class(scope, gateway)
        for index, listener in enumerate(gateway.spec.listeners):
            resolved = _listener(scope, gateway, index, listener)
            if resolved is not None:
                yield gateway, index, listener, resolved


def _check_class(scope: Scope, gateway: gateway_api.Gateway) -> None:
    classes = scope.world.gateway_classes
    if Name("", gateway.spec.gateway_class_name) not in classes:
        known = ", ".join(name.name for name in classes)
        message = f"there is no GatewayClass {gateway.spec.gateway_class_name}; the Gateway is served all the same"
        scope.report.warning(gateway, "spec.gatewayClassName", message, remedy=f"one of {known}" if known else "")


def _merged(listeners: list[ir.Listener]) -> tuple[ir.Listener, ...]:
    """Plain listeners of one port share one filter chain: their hosts are told apart by name, the rest by the first."""
    if len(listeners) < 2:
        return tuple(listeners)
    rules: defaultdict[str, dict[ir.Rule, None]] = defaultdict(dict)
    for listener in listeners:
        for host in listener.hosts:
            rules[host.hostname].update(dict.fromkeys(host.rules))
    return (replace(listeners[0], hostname="*", hosts=_hosts({name: list(found) for name, found in rules.items()})),)


def _check_parents(scope: Scope) -> None:
    """Every route is told where it attaches to nothing."""
    for route in _routes(scope):
        if not route.spec.parent_refs:
            scope.report.warning(route, "spec.parentRefs", "the route is attached to no Gateway, so it serves nothing")
        for index, parent in enumerate(route.spec.parent_refs):
            _check_parent(scope, route, f"spec.parentRefs[{index}]", parent)


def _check_parent(scope: Scope, route: Route, field: str, parent: gateway_api.ParentReference) -> None:
    name = Name(parent.namespace or route.metadata.namespace, parent.name)
    gateway = scope.world.gateways.get(name)
    if gateway is None:
        known = ", ".join(str(other) for other in scope.world.gateways)
        remedy = f"one of {known}" if known else ""
        scope.report.error(route, field, f"there is no Gateway {name}", remedy=remedy, reason="NoMatchingParent")
        return
    listeners = [entry for entry in gateway.spec.listeners if _refers(parent, route, name, entry)]
    if not listeners:
        known = ", ".join(entry.name for entry in gateway.spec.listeners)
        message = f"Gateway {name} has no listener {parent.section_name or parent.port}"
        scope.report.error(route, field, message, remedy=f"one of {known}", reason="NoMatchingParent")
    elif not (allowed := [entry for entry in listeners if _allowed(scope, gateway, entry, route)]):
        message = f"no listener of Gateway {name} takes this route"
        remedy = "allowedRoutes of the listener must allow its kind and namespace"
        scope.report.error(route, field, message, remedy=remedy, reason="NotAllowedByListeners")
    elif not any(_hostnames(entry, route) for entry in allowed):
        message = f"the route and Gateway {name} have no hostname in common"
        scope.report.error(route, field, message, reason="NoMatchingListenerHostname")


def _rules_of_gateways(scope: Scope) -> ir.Program:
    """Beside Envoy Gateway, where each Gateway has Envoys of its own: a port for every listener, and only its rules."""
    ports: list[ir.Port] = []
    for gateway in scope.world.gateways.values():
        config = _config(scope, gateway)
        for listener in gateway.spec.listeners:
            if listener.protocol not in ("HTTP", "HTTPS"):
                continue
            hosts = _hosts(_attached(scope, gateway, listener, config))
            found = ir.Listener(
                name=f"{gateway.name}/{listener.name}", hostname=listener.hostname or "*", certificates=(), hosts=hosts
            )
            ports.append(ir.Port(number=listener.port, tls=listener.protocol == "HTTPS", listeners=(found,)))
    return ir.Program(ports=tuple(ports))


def program(scope: Scope) -> ir.Program:
    """All ports of all Gateways. Gateways share ports; a port cannot speak HTTP and HTTPS at once: the first wins."""
    if scope.options.envoy_gateway:
        found = _rules_of_gateways(scope)
        _check_parents(scope)
        return found
    ports: dict[int, list[ir.Listener]] = {}
    tls: dict[int, bool] = {}
    for gateway, index, listener, resolved in _listeners(scope):
        secure = listener.protocol == "HTTPS"
        if tls.setdefault(listener.port, secure) != secure:
            message = f"port {listener.port} is already used by a listener of another protocol"
            scope.report.error(gateway, f"spec.listeners[{index}].port", message, reason="ProtocolConflict")
            continue
        ports.setdefault(listener.port, []).append(resolved)
    _check_parents(scope)
    return ir.Program(
        ports=tuple(
            ir.Port(
                number=number,
                tls=tls[number],
                listeners=tuple(ports[number]) if tls[number] else _merged(ports[number]),
            )
            for number in sorted(ports)
        )
    )
