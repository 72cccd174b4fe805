"""What policies are told of each Gateway that they act on: Gateway API's PolicyStatus.

https://gateway-api.sigs.k8s.io/reference/spec/#policyancestorstatus
"""

from collections.abc import Iterator, Sequence
from typing import Final

from headgate.compiler.conditions import ObjectStatus
from headgate.compiler.options import Mode
from headgate.compiler.resolve.report import Found
from headgate.compiler.resolve.scope import Scope, selected
from headgate.compiler.resources import (
    ai_gateway,
    backend_tls,
    client_traffic,
    envoy_gateway,
    gateway_api,
    policies,
    security_policy,
)
from headgate.compiler.resources.metadata import Key, Name
from headgate.compiler.statuses.form import Json, text, with_warnings
from headgate.compiler.statuses.subject import Subject, rejected_subjects, subject
from headgate.compiler.world import Target

ANCESTORS_MAX: Final = 16
"""Gateway API's bound."""
_GATEWAY: Final = (gateway_api.GROUP, "Gateway")
KINDS: Final = ("BackendTrafficPolicy", "SecurityPolicy", "ClientTrafficPolicy")
Policy = policies.BackendTrafficPolicy | security_policy.SecurityPolicy | client_traffic.ClientTrafficPolicy


def policy_statuses(scope: Scope) -> Iterator[ObjectStatus]:
    """Envoy Gateway's policies, as far as they act on Gateways of ours."""
    world = scope.world
    found: tuple[Policy, ...] = (
        *world.backend_traffic_policies.values(),
        *world.security_policies.values(),
        *world.client_traffic_policies.values(),
    )
    for policy in found:
        about = subject(scope, policy)
        ancestors: dict[Target, list[str]] = {}
        for field, target in selected(world, policy, policy.spec):
            for ancestor in _ancestors(scope, target):
                ancestors.setdefault(ancestor, []).append(field)
        yield about.status({"ancestors": [_entry(scope, about, *item) for item in _bounded(ancestors)]})
    for about, rejected in rejected_subjects(scope, *KINDS):
        of_rejected = {ancestor: [""] for target in rejected.targets for ancestor in _ancestors(scope, target)}
        yield about.status({"ancestors": [_entry(scope, about, *item) for item in _bounded(of_rejected)]})


def _bounded(ancestors: dict[Target, list[str]]) -> list[tuple[Target, list[str]]]:
    return sorted(ancestors.items())[:ANCESTORS_MAX]


def _ancestors(scope: Scope, target: Target) -> Iterator[Target]:
    """The Gateways of ours that a target leads to; the target itself where it does not exist."""
    name = Name(target.namespace, target.name)
    if target.kind == "Gateway":
        if name in scope.gateways or not _exists(scope, target):
            yield target
        return
    if not _exists(scope, target):
        yield target
        return
    # compat: an AI route is an HTTPRoute of the same name to Envoy Gateway
    kinds = ((gateway_api.GROUP, "HTTPRoute"), (ai_gateway.GROUP, "AIGatewayRoute"))
    for kind in kinds if target.kind == "HTTPRoute" else kinds[1:]:
        for parent in scope.attachments.parents.get(Key(*kind, *name), ()):
            if parent.gateway in scope.gateways and not parent.foreign:
                yield Target(*_GATEWAY, *parent.gateway, parent.reference.section_name)


def _exists(scope: Scope, target: Target) -> bool:
    name, world = Name(target.namespace, target.name), scope.world
    return world.has(target.group, target.kind, name) or (
        target.kind == "HTTPRoute" and world.has(ai_gateway.GROUP, "AIGatewayRoute", name)
    )


def _entry(scope: Scope, about: Subject, ancestor: Target, fields: Sequence[str]) -> Json:
    """Errors about one target are told of the ancestors that it leads to, all others of every one."""
    wrong = [found for found in about.errors if not _of_a_target(found) or found.diagnostic.field in fields]
    message = text(wrong) or with_warnings("", about.warnings)
    accepted = about.condition("Accepted", _reason(wrong), message=message)
    return _of(scope, ancestor, [accepted])


def _of_a_target(found: Found) -> bool:
    return found.reason in ("Conflicted", "TargetNotFound")


def _reason(wrong: Sequence[Found]) -> str:
    if not wrong:
        return "Accepted"
    return wrong[0].reason if _of_a_target(wrong[0]) else "Invalid"


def _of(scope: Scope, ancestor: Target, conditions: list[Json]) -> Json:
    reference: dict[str, object] = {
        "group": ancestor.group,
        "kind": ancestor.kind,
        "namespace": ancestor.namespace,
        "name": ancestor.name,
    }
    if ancestor.section_name:
        reference["sectionName"] = ancestor.section_name
    return {
        "ancestorRef": reference,
        "controllerName": scope.options.controller_name,
        "conditions": conditions,
    }


def tls_statuses(scope: Scope) -> Iterator[ObjectStatus]:
    """BackendTLSPolicies of our Backends: the Gateways whose routes lead to them."""
    policies = scope.world.backend_tls_policies
    leading = _leading(scope) if policies else {}
    for policy in policies.values():
        about = subject(scope, policy)
        names = _backends(policy)
        ancestors = sorted({gateway for name in names for gateway in leading.get(name, ())})
        conditions = _tls_conditions(about)
        listed = [Target(*_GATEWAY, *gateway) for gateway in ancestors[:ANCESTORS_MAX]]
        yield about.status({"ancestors": [_of(scope, ancestor, conditions) for ancestor in listed]})


def _backends(policy: backend_tls.BackendTLSPolicy) -> list[Name]:
    return [
        Name(policy.metadata.namespace, target.name)
        for target in policy.spec.target_refs
        if (target.group, target.kind) == (envoy_gateway.GROUP, "Backend")
    ]


def _tls_conditions(about: Subject) -> list[Json]:
    references, others = about.references, about.others
    if others:
        accepted = about.condition("Accepted", _reason(others), message=text(others))
    elif references:
        accepted = about.condition("Accepted", "NoValidCACertificate", message=text(references))
    else:
        accepted = about.condition("Accepted", "Accepted", message=with_warnings("", about.warnings))
    reason = "InvalidCACertificateRef" if references else "ResolvedRefs"
    return [accepted, about.condition("ResolvedRefs", reason, message=text(references))]


def _leading(scope: Scope) -> dict[Name, set[Name]]:
    """By Backend, the Gateways of ours whose routes lead to it."""
    services = {
        name: Name(backend.spec.backend_ref.namespace or name.namespace, backend.spec.backend_ref.name)
        for name, backend in scope.world.ai_service_backends.items()
    }
    found: dict[Name, set[Name]] = {}
    for (gateway, _), routes in scope.attachments.by_listener.items():
        for route, _ in routes:
            namespace = route.metadata.namespace
            for rule in route.spec.rules:
                for ref in rule.backend_refs:
                    name = Name(ref.namespace or namespace, ref.name)
                    backend = services.get(name) if isinstance(route, ai_gateway.AIGatewayRoute) else name
                    if backend is not None:
                        found.setdefault(backend, set()).add(gateway)
    return found


def backend_statuses(scope: Scope) -> Iterator[ObjectStatus]:
    """Envoy Gateway's Backends: what it says of them where it runs. On a cluster those that routes of ours lead to."""
    all_ours = scope.options.mode is not Mode.STANDALONE
    leading = {} if all_ours else _leading(scope)
    for backend in scope.world.backends.values():
        if not all_ours and backend.name not in leading:
            continue
        about = subject(scope, backend)
        reason = "Invalid" if about.errors else "Accepted"
        message = text(about.errors) or with_warnings("", about.warnings)
        yield about.status({"conditions": [about.condition("Accepted", reason, message=message)]})
    for about, _ in rejected_subjects(scope, "Backend"):
        if all_ours or about.name in leading:
            yield about.status({"conditions": [about.condition("Accepted", "Invalid", message=text(about.errors))]})
