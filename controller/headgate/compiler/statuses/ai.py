"""The conditions of AI kinds.

    ResolvedRefs   what it refers to is there, valid, and may be referred to
    Programmed     Envoy is given all of it
    Accepted       nothing is wrong with it; reason, type and message are those of upstream's single condition
    NotAccepted    only where Accepted is False, and last

Scripts read `.status.conditions[-1:].type`: it is `Accepted` or `NotAccepted`, as upstream's one condition is. Whoever
waits for `Accepted`, `ResolvedRefs` or `Programmed` finds each at all times.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from headgate.compiler import ir
from headgate.compiler.conditions import ObjectStatus, Severity
from headgate.compiler.options import Mode
from headgate.compiler.resolve.scope import Scope
from headgate.compiler.resources import ai_gateway, envoy_gateway
from headgate.compiler.resources.metadata import Key, Name, Resource
from headgate.compiler.statuses.form import Json, condition, joined, text, with_warnings
from headgate.compiler.statuses.routes import parents, rejected_parents
from headgate.compiler.statuses.subject import Subject, rejected_subjects, subject

SUCCESS: Final = {
    "AIGatewayRoute": "AI Gateway Route reconciled successfully",
    "AIServiceBackend": "AIServiceBackend reconciled successfully",
    "BackendSecurityPolicy": "BackendSecurityPolicy reconciled successfully",
    "GatewayConfig": "GatewayConfig reconciled successfully",
    "QuotaPolicy": "QuotaPolicy reconciled successfully",
    "LimitPolicy": "LimitPolicy reconciled successfully",
    "TranslationPolicy": "TranslationPolicy reconciled successfully",
}
"""compat: upstream's words, which scripts may compare."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether Envoy is given an object: `Programmed`, or the reason why it is not, or not all of it."""

    reason: str = "Programmed"
    message: str = ""


class Served:
    """What of the AI kinds is in the program."""

    def __init__(self, scope: Scope, program: ir.Program) -> None:
        self.rules: dict[str, ir.Rule] = {}
        self.services: set[str] = set()
        self.limits: set[str] = set()
        for port in program.ports:
            for listener in port.listeners:
                for host in listener.hosts:
                    for rule in host.rules:
                        self.rules.setdefault(rule.name, rule)
        for rule in self.rules.values():
            self.limits.update(limit.name for limit in rule.limits)
            self.services.update(backend.service for backend in rule.backends if backend.dialect is not None)
        self.foreign = _foreign(scope)


def _foreign(scope: Scope) -> frozenset[Key]:
    """Objects that only routes of other controllers' Gateways use: theirs to report on."""
    if scope.options.mode is not Mode.STANDALONE:
        return frozenset()
    used: dict[Key, bool] = {}
    for route in scope.world.ai_gateway_routes.values():
        found = scope.attachments.parents[route.key]
        foreign = bool(found) and all(parent.foreign for parent in found)
        used[route.key] = foreign
        for name in _services(route):
            key = Key(ai_gateway.GROUP, "AIServiceBackend", *name)
            used[key] = used.get(key, True) and foreign
    for policy in scope.world.backend_security_policies.values():
        targets = [Key(ai_gateway.GROUP, "AIServiceBackend", *name) for name in _targets(policy)]
        used[policy.key] = bool(targets) and all(used.get(key, False) for key in targets)
    for name in scope.world.gateway_configs:
        users = [gateway for gateway, config in scope.configs.items() if config == name]
        key = Key(ai_gateway.GROUP, "GatewayConfig", *name)
        used[key] = bool(users) and not any(gateway in scope.gateways for gateway in users)
    return frozenset(key for key, foreign in used.items() if foreign)


def _services(route: ai_gateway.AIGatewayRoute) -> Iterator[Name]:
    for rule in route.spec.rules:
        for ref in rule.backend_refs:
            yield Name(ref.namespace or route.metadata.namespace, ref.name)


def _targets(policy: ai_gateway.BackendSecurityPolicy) -> list[Name]:
    return [Name(policy.metadata.namespace, target.name) for target in policy.spec.target_refs]


def ai_statuses(scope: Scope, program: ir.Program) -> Iterator[ObjectStatus]:
    """The AI kinds, in every mode."""
    served = Served(scope, program)
    world = scope.world
    for route in world.ai_gateway_routes.values():
        if route.key not in served.foreign:
            about = subject(scope, route)
            status = _status(about, _route(scope, served, route))
            if scope.options.ai_route_parents:
                status = {**status, "parents": parents(scope, about, scope.attachments.parents[route.key])}
            yield about.status(status)
    for backend in world.ai_service_backends.values():
        yield from _one(scope, served, backend, _service(scope, served, backend))
    for policy in world.backend_security_policies.values():
        used = any(str(name) in served.services for name in _targets(policy))
        yield from _one(scope, served, policy, _use(scope, policy, "no backend that is served has it", used=used))
    for policy in (*world.translation_policies.values(), *world.quota_policies.values()):
        names = [Name(policy.metadata.namespace, target.name) for target in policy.spec.target_refs]
        used = any(str(name) in served.services for name in names)
        yield from _one(scope, served, policy, _use(scope, policy, "no backend that is served has it", used=used))
    for limited in world.limit_policies.values():
        used = any(name.startswith(f"LimitPolicy/{limited.name}/") for name in served.limits)
        yield from _one(scope, served, limited, _use(scope, limited, "nothing that is served is its target", used=used))
    for config in world.gateway_configs.values():
        used = any(scope.configs.get(gateway) == config.name for gateway in scope.gateways)
        yield from _one(scope, served, config, _use(scope, config, "no Gateway names it", used=used))
    yield from _rejected(scope)


def _one(scope: Scope, served: Served, resource: Resource, outcome: Outcome) -> Iterator[ObjectStatus]:
    if resource.key not in served.foreign:
        about = subject(scope, resource)
        yield about.status(_status(about, outcome))


def _rejected(scope: Scope) -> Iterator[ObjectStatus]:
    for about, rejected in rejected_subjects(scope, *SUCCESS):
        names = [Name(each.namespace or about.key.namespace, each.name) for each in rejected.parents]
        if names and all(name in scope.world.gateways and name not in scope.gateways for name in names):
            continue
        status = _status(about, Outcome("Invalid", "the object is not valid"), resolved="Invalid")
        if scope.options.ai_route_parents and about.key.kind == "AIGatewayRoute":
            status = {**status, "parents": rejected_parents(scope, about, rejected)}
        yield about.status(status)


def _status(about: Subject, outcome: Outcome, *, resolved: str = "ResolvedRefs") -> Json:
    kind, generation = about.key.kind, about.generation
    references = about.references
    reason = references[0].reason if references else resolved
    conditions = [
        about.condition("ResolvedRefs", reason, message=text(references)),
        about.condition("Programmed", outcome.reason, message=with_warnings(outcome.message, about.warnings)),
    ]
    if not about.errors:
        reason = "Accepted" if kind == "GatewayConfig" else "ReconciliationSucceeded"
        conditions.append(condition("Accepted", reason, status=True, message=SUCCESS[kind], generation=generation))
    else:
        for type_ in ("Accepted", "NotAccepted"):
            reason = "NotAccepted" if kind == "GatewayConfig" else "ReconciliationFailed"
            message = text(about.errors)
            conditions.append(condition(type_, reason, status=False, message=message, generation=generation))
    return {"conditions": conditions}


def _use(scope: Scope, resource: Resource, unused: str, *, used: bool) -> Outcome:
    errors = scope.found(resource.key, Severity.ERROR)
    if errors:
        return Outcome("Invalid", text(errors))
    return Outcome() if used else Outcome("NotUsed", unused)


def _service(scope: Scope, served: Served, backend: ai_gateway.AIServiceBackend) -> Outcome:
    if str(backend.name) in served.services:
        return Outcome()
    why = why_unusable(scope, backend)
    return Outcome("Invalid", why) if why else Outcome("NotUsed", "no route that is served refers to it")


def why_unusable(scope: Scope, backend: ai_gateway.AIServiceBackend) -> str:
    """What is wrong with a backend and what it depends on; empty if nothing is."""
    target = backend.spec.backend_ref
    where = Name(target.namespace or backend.metadata.namespace, target.name)
    keys = [
        backend.key,
        *(policy.key for policy in scope.credentials.get(backend.name, ())),
        Key(envoy_gateway.GROUP, "Backend", *where),
        *(policy.key for policy in scope.tls.get(where, ())),
    ]
    found = ((key, scope.found(key, Severity.ERROR)) for key in keys)
    return joined(text(errors) if key == backend.key else f"{key}: {text(errors)}" for key, errors in found if errors)


def _route(scope: Scope, served: Served, route: ai_gateway.AIGatewayRoute) -> Outcome:
    found = [parent for parent in scope.attachments.parents[route.key] if not parent.foreign]
    accepted = [parent for parent in found if not parent.reason]
    if not accepted:
        why = joined(parent.message for parent in found)
        return Outcome("NotAttached", why or "no Gateway is named in spec.parentRefs")
    missing: list[str] = [f"spec.parentRefs[{parent.index}]: {parent.message}" for parent in found if parent.reason]
    whole = 0
    for index, rule in enumerate(route.spec.rules):
        why = list(_rule(scope, served, route, (index, rule)))
        whole += not why
        missing.extend(why)
    if not missing:
        return Outcome()
    rules = len(route.spec.rules)
    resolved = [served.rules[name] for name in _names(route) if name in served.rules]
    if rules and not resolved:
        return Outcome("ListenersNotReady", "no listener that takes the route is valid")
    some = whole or any(rule.backends and rule.direct is None for rule in resolved)
    return Outcome("PartiallyProgrammed" if some else "Invalid", joined(missing))


def _names(route: ai_gateway.AIGatewayRoute) -> Iterable[str]:
    return (f"{route.name}/rule/{index}" for index in range(len(route.spec.rules)))


def _rule(
    scope: Scope,
    served: Served,
    route: ai_gateway.AIGatewayRoute,
    numbered: tuple[int, ai_gateway.AIGatewayRouteRule],
) -> Iterator[str]:
    """What of a rule Envoy is not given."""
    index, rule = numbered
    resolved = served.rules.get(f"{route.name}/rule/{index}")
    if resolved is None:
        yield f"spec.rules[{index}]: not served"
        return
    if resolved.direct is not None and resolved.backends:
        yield f"spec.rules[{index}]: answered {resolved.direct.status}: a policy that guards it is not valid"
        return
    present = {backend.name.rpartition("/")[2] for backend in resolved.backends}
    for number, ref in enumerate(rule.backend_refs):
        if str(number) not in present:
            name = Name(ref.namespace or route.metadata.namespace, ref.name)
            backend = scope.world.ai_service_backends.get(name)
            why = why_unusable(scope, backend) if backend is not None else ""
            said = "; ".join(why.splitlines())
            yield f"spec.rules[{index}].backendRefs[{number}]: {name} is not served" + (f": {said}" if said else "")
