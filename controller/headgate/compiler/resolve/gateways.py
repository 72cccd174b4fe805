"""Gateways: listeners, the routes attached to them, and for which hostnames."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

from headgate.compiler import ir
from headgate.compiler.clients import NO_POLICY
from headgate.compiler.resolve import policies
from headgate.compiler.resolve.attachment import ROUTE_KINDS, Route
from headgate.compiler.resolve.backends import check_backends
from headgate.compiler.resolve.capturing import check_capture
from headgate.compiler.resolve.client_traffic import client_policy, received, together
from headgate.compiler.resolve.egress import check_proxy
from headgate.compiler.resolve.leaving import check_leaving
from headgate.compiler.resolve.limit_policies import check_limit_policies
from headgate.compiler.resolve.merging import in_force
from headgate.compiler.resolve.pem import pair_problem
from headgate.compiler.resolve.quotas import check_quotas
from headgate.compiler.resolve.routes import Attachment, ai_rules, closed, http_rules
from headgate.compiler.resolve.scope import CONFIG_ANNOTATION, Scope, grant_remedy, granted, similar
from headgate.compiler.resolve.telemetry import check_proxies, telemetry
from headgate.compiler.resources import ai_gateway, gateway_api
from headgate.compiler.resources.metadata import Name


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
        chain = secret.value("tls.crt") if secret is not None and (ref.group, ref.kind) == ("", "Secret") else None
        key = secret.value("tls.key") if secret is not None else None
        if chain is None or key is None:
            message = f"there is no Secret {name} with a certificate in tls.crt and its key in tls.key, both PEM"
            scope.report.error(gateway, field, message, reason="InvalidCertificateRef")
            continue
        if problem := pair_problem(chain, key):
            message, remedy = f"Secret {name}: {problem}", "a certificate in tls.crt and its key in tls.key, both PEM"
            scope.report.error(gateway, field, message, remedy=remedy, reason="InvalidCertificateRef")
            continue
        found.append(ir.Certificate(name=f"certificate/{name}", chain=chain.reveal(), key=key))
    return tuple(found)


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


def _has_container(config: ai_gateway.GatewayConfig) -> bool:
    return config.spec.ext_proc is not None and config.spec.ext_proc.kubernetes is not None


def _config(scope: Scope, gateway: gateway_api.Gateway) -> ai_gateway.GatewayConfig | None:
    name = scope.configs.get(gateway.name)
    found = scope.world.gateway_configs.get(name) if name is not None else None
    if name is not None and found is None:
        field = f"metadata.annotations[{CONFIG_ANNOTATION}]"
        broken = scope.world.is_rejected(ai_gateway.GROUP, "GatewayConfig", name)
        wrong = f"GatewayConfig {name.name} is not valid" if broken else f"there is no GatewayConfig {name.name} here"
        # compat: the Gateway is served all the same
        remedy = similar(name, scope.world.gateway_configs)
        scope.report.warning(gateway, field, f"{wrong}; defaults are in force", remedy=remedy)
    elif not scope.options.envoy_gateway and found is not None and _has_container(found):
        message = "ignored; only pods of an Envoy Gateway get a container for the processor"
        scope.report.warning(found, "spec.extProc.kubernetes", message)
    elif found is not None:
        check_capture(scope, found)
    return found


def _attached(
    scope: Scope, gateway: gateway_api.Gateway, listener: gateway_api.Listener, config: ai_gateway.GatewayConfig | None
) -> dict[str, list[ir.Rule]]:
    """The rules of every route on a listener, by hostname."""
    place = Attachment(gateway.name, listener.name, config)
    found: defaultdict[str, list[ir.Rule]] = defaultdict(list)
    for route, hostnames in scope.attachments.by_listener.get((gateway.name, listener.name), ()):
        rules = _rules(scope, route, place)
        for hostname in hostnames:
            found[hostname].extend(rules)
    return found


def _rules(scope: Scope, route: Route, place: Attachment) -> tuple[ir.Rule, ...]:
    return scope.memory.rules(
        route, (place.gateway, place.listener), scope.report, partial(_resolved, scope, route, place)
    )


def _resolved(scope: Scope, route: Route, place: Attachment) -> Iterator[ir.Rule]:
    if isinstance(route, ai_gateway.AIGatewayRoute):
        return ai_rules(scope, route, place)
    return http_rules(scope, route, place)


def _listener(
    scope: Scope, gateway: gateway_api.Gateway, index: int, listener: gateway_api.Listener
) -> ir.Listener | None:
    tls = listener.protocol == "HTTPS"
    _check_kinds(scope, gateway, index, listener)
    if listener.protocol not in ("HTTP", "HTTPS"):
        field = f"spec.listeners[{index}].protocol"
        message = f"{listener.protocol} is not supported"
        scope.report.error(gateway, field, message, remedy="HTTP or HTTPS", reason="UnsupportedProtocol")
        return None
    certificates = _certificates(scope, gateway, index, listener) if tls else ()
    if tls and not certificates:
        if listener.tls is None:
            field = f"spec.listeners[{index}].tls.certificateRefs"
            scope.report.error(gateway, field, "an HTTPS listener needs a certificate", reason="InvalidCertificateRef")
        return None
    config = _config(scope, gateway)
    hosts = _hosts(_attached(scope, gateway, listener, config))
    targets = policies.gateway_targets(gateway.name, listener.name)
    security = in_force(scope, scope.security, targets)
    auth = policies.auth(scope, security) if security is not None else None
    policy = client_policy(scope, gateway.name, listener.name)
    traffic = received(scope, policy) if policy is not None else NO_POLICY
    if (security is not None and auth is None) or traffic is None or any(target in scope.broken for target in targets):
        hosts = closed(hosts)
    if not tls and traffic is not None and traffic.tls.clients is not None and policy is not None:
        message = f"listener {listener.name} of {gateway.name} speaks no TLS, so its clients show no certificate"
        scope.report.warning(policy, "spec.tls.clientValidation", message)
    told = telemetry(scope, gateway)
    return ir.Listener(
        name=f"{gateway.name}/{listener.name}",
        hostname=listener.hostname or "*",
        certificates=certificates,
        hosts=hosts,
        auth=auth,
        traffic=traffic or NO_POLICY,
        tracing=told.tracing,
        logs=told.logs,
    )


def _check_kinds(scope: Scope, gateway: gateway_api.Gateway, index: int, listener: gateway_api.Listener) -> None:
    for number, kind in enumerate(listener.allowed_routes.kinds):
        if (kind.group, kind.kind) not in ROUTE_KINDS:
            field = f"spec.listeners[{index}].allowedRoutes.kinds[{number}]"
            message = f"{kind.kind} is not served"
            scope.report.error(gateway, field, message, remedy="HTTPRoute", reason="InvalidRouteKinds")


@dataclass(frozen=True, slots=True)
class _Placed:
    """A listener and where it stands."""

    gateway: gateway_api.Gateway
    index: int
    written: gateway_api.Listener
    resolved: ir.Listener

    @property
    def place(self) -> tuple[int, str, str]:
        """What no two may share, but for plain listeners, whose routes are told apart by their own hostnames."""
        return self.written.port, self.written.protocol, self.written.hostname


def _listeners(scope: Scope) -> Iterator[_Placed]:
    """The listeners that can be served as far as they themselves go, those of older Gateways first."""
    for gateway in scope.gateways.values():
        _check_class(scope, gateway)
        for index, listener in enumerate(gateway.spec.listeners):
            resolved = _listener(scope, gateway, index, listener)
            if resolved is not None:
                yield _Placed(gateway, index, listener, resolved)


def _without_conflicts(scope: Scope, found: Iterable[_Placed]) -> Iterator[_Placed]:
    """Those that can be served together.

    Within a Gateway nobody wins: which listener its author meant cannot be told, so both are out. Between Gateways the
    older wins.
    """
    owners: dict[int, tuple[Name, str]] = {}
    secure: dict[tuple[int, str], Name] = {}
    for name, group in groupby(found, key=lambda each: each.gateway.name):
        listeners = list(group)
        spoken: defaultdict[int, set[str]] = defaultdict(set)
        for each in listeners:
            spoken[each.written.port].add(each.written.protocol)
        for each in listeners:
            port, protocol, hostname = each.place
            owner, owned = owners.setdefault(port, (name, protocol))
            if len(spoken[port]) > 1:
                _conflict(scope, each, "protocol", "ProtocolConflict", name)
            elif owned != protocol:
                _conflict(scope, each, "protocol", "ProtocolConflict", owner)
            elif protocol == "HTTPS" and (other := secure.setdefault((port, hostname), name)) != name:
                _conflict(scope, each, "hostname", "HostnameConflict", other)
            else:
                yield each


def _conflict(scope: Scope, each: _Placed, what: str, reason: str, other: Name) -> None:
    field, port = f"spec.listeners[{each.index}].{what}", each.written.port
    if reason == "HostnameConflict":
        message = f"port {port} is already used for this hostname by Gateway {other}"
    else:
        message = f"port {port} is already used by a listener of another protocol of Gateway {other}"
    scope.report.error(each.gateway, field, message, remedy="a port of its own", reason=reason)


def _check_class(scope: Scope, gateway: gateway_api.Gateway) -> None:
    classes = scope.world.gateway_classes
    if Name("", gateway.spec.gateway_class_name) not in classes:
        known = ", ".join(name.name for name in classes)
        message = f"there is no GatewayClass {gateway.spec.gateway_class_name}; the Gateway is served all the same"
        scope.report.warning(gateway, "spec.gatewayClassName", message, remedy=f"one of {known}" if known else "")


def _merged(listeners: tuple[ir.Listener, ...]) -> tuple[ir.Listener, ...]:
    """Plain listeners of one port share one filter chain: their hosts are told apart by name, the rest by the first.

    What a listener asks of its clients moves to its rules where the listeners do not agree: it must not get lost, nor
    be asked of the others' clients. A rule that comes to a host by two of them counts as the more specific listener's.
    """
    if len(listeners) < 2:
        return listeners
    agreed = len({listener.auth for listener in listeners}) == 1
    rules: defaultdict[str, dict[str, ir.Rule]] = defaultdict(dict)
    for listener in sorted(listeners, key=lambda each: _specificity(each.hostname)):
        for host in listener.hosts:
            for rule in host.rules:
                guarded = rule if agreed or rule.auth is not None else replace(rule, auth=listener.auth)
                rules[host.hostname].setdefault(rule.name, guarded)
    hosts = _hosts({hostname: list(found.values()) for hostname, found in rules.items()})
    return (replace(listeners[0], hostname="*", hosts=hosts, auth=listeners[0].auth if agreed else None),)


def _check_parents(scope: Scope) -> None:
    """Every route is told where it attaches to nothing; what is wrong with its rules is said all the same."""
    for route in (*scope.world.ai_gateway_routes.values(), *scope.world.http_routes.values()):
        parents = scope.attachments.parents.get(route.key)
        if parents is None:
            continue
        if not parents:
            scope.report.warning(route, "spec.parentRefs", "the route is attached to no Gateway, so it serves nothing")
        for parent in parents:
            if parent.reason:
                field = f"spec.parentRefs[{parent.index}]"
                scope.report.error(route, field, parent.message, remedy=parent.remedy, reason=parent.reason)
        ours = not parents or any(not parent.foreign for parent in parents)
        if ours and not any(parent.listeners for parent in parents):
            _rules(scope, route, Attachment(Name("", ""), "", None))


def _rules_of_gateways(scope: Scope) -> ir.Program:
    """Beside Envoy Gateway, where each Gateway has Envoys of its own: a port for every listener, and only its rules."""
    ports: list[ir.Port] = []
    for gateway in scope.gateways.values():
        config = _config(scope, gateway)
        for listener in gateway.spec.listeners:
            if listener.protocol not in ("HTTP", "HTTPS"):
                continue
            hosts = _hosts(_attached(scope, gateway, listener, config))
            found = ir.Listener(
                name=f"{gateway.name}/{listener.name}", hostname=listener.hostname or "*", certificates=(), hosts=hosts
            )
            ports.append(ir.Port(number=listener.port, tls=listener.protocol == "HTTPS", listeners=(found,)))
    names = sorted(listener.name for port in ports for listener in port.listeners)
    return ir.Program(ports=tuple(ports), listeners=tuple(names))


def _check_unread(scope: Scope) -> None:
    """What is read beside Envoy Gateway alone."""
    ignored = "ignored; a standalone gateway has its own Envoy"
    for proxy in scope.world.envoy_proxies.values():
        for name, value in (("bootstrap", proxy.spec.bootstrap), ("provider", proxy.spec.provider)):
            if value is not None:
                scope.report.warning(proxy, f"spec.{name}", ignored)
    check_proxies(scope)


def program(scope: Scope) -> ir.Program:
    """All ports of all Gateways. Gateways share ports; a port cannot speak HTTP and HTTPS at once."""
    check_leaving(scope)
    for config in scope.world.gateway_configs.values():
        check_proxy(scope, config)
    if scope.options.envoy_gateway:
        found = _rules_of_gateways(scope)
        _check_parents(scope)
        check_backends(scope)
        check_quotas(scope)
        check_limit_policies(scope)
        return found
    _check_unread(scope)
    ports: defaultdict[int, list[_Placed]] = defaultdict(list)
    for placed in _without_conflicts(scope, _listeners(scope)):
        ports[placed.written.port].append(placed)
    _check_parents(scope)
    check_backends(scope)
    check_quotas(scope)
    check_limit_policies(scope)
    return ir.Program(
        ports=tuple(_port(scope, number, ports[number]) for number in sorted(ports)),
        listeners=tuple(sorted(placed.resolved.name for found in ports.values() for placed in found)),
    )


def _port(scope: Scope, number: int, found: list[_Placed]) -> ir.Port:
    tls = found[0].written.protocol == "HTTPS"
    listeners = together(scope, number, [(placed.gateway.name, placed.resolved) for placed in found], tls=tls)
    return ir.Port(number=number, tls=tls, listeners=listeners if tls else _merged(listeners))
