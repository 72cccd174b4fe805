"""What routes are told of each of their parents, by Gateway API's words.

https://gateway-api.sigs.k8s.io/reference/spec/#routeparentstatus
"""

from collections.abc import Iterator

from headgate.compiler.conditions import ObjectStatus
from headgate.compiler.options import Mode
from headgate.compiler.resolve.parent import Parent
from headgate.compiler.resolve.scope import Scope
from headgate.compiler.resources import gateway_api
from headgate.compiler.resources.metadata import Name
from headgate.compiler.statuses.form import Json, text, with_warnings
from headgate.compiler.statuses.subject import Subject, rejected_subjects, subject
from headgate.compiler.world import Rejected

PARENT_REASONS = frozenset({"NoMatchingParent", "NotAllowedByListeners", "NoMatchingListenerHostname"})


def route_statuses(scope: Scope) -> Iterator[ObjectStatus]:
    """All HTTPRoutes: one that hangs on no Gateway of ours has no parents, which takes away what we said before."""
    for route in scope.world.http_routes.values():
        about = subject(scope, route)
        yield about.status({"parents": parents(scope, about, scope.attachments.parents[route.key])})
    for about, rejected in rejected_subjects(scope, "HTTPRoute"):
        yield about.status({"parents": rejected_parents(scope, about, rejected)})


def parents(scope: Scope, about: Subject, found: tuple[Parent, ...]) -> list[Json]:
    """An entry for each parent that is ours. Nobody knows whose a Gateway is that does not exist: files have all."""
    files = scope.options.mode is Mode.FILES
    return [
        _entry(scope, about, parent)
        for parent in found
        if not parent.foreign and (files or parent.gateway in scope.gateways)
    ]


def rejected_parents(scope: Scope, about: Subject, rejected: Rejected) -> list[Json]:
    """The same for a route that is not valid."""
    message = text(about.errors)
    conditions = [about.condition("Accepted", "UnsupportedValue", message=message)]
    return [
        _of(scope, reference, conditions)
        for reference in rejected.parents
        if Name(reference.namespace or about.key.namespace, reference.name) in scope.gateways
    ]


def _entry(scope: Scope, about: Subject, parent: Parent) -> Json:
    own = [found for found in about.others if found.reason not in PARENT_REASONS]
    if parent.reason:
        message = f"{parent.message}; try: {parent.remedy}" if parent.remedy else parent.message
        accepted = about.condition("Accepted", parent.reason, message=message)
    elif own:
        accepted = about.condition("Accepted", "UnsupportedValue", message=text(own))
    else:
        accepted = about.condition("Accepted", "Accepted", message=with_warnings("", about.warnings))
    references = about.references
    reason = references[0].reason if references else "ResolvedRefs"
    return _of(scope, parent.reference, [accepted, about.condition("ResolvedRefs", reason, message=text(references))])


def _of(scope: Scope, reference: gateway_api.ParentReference, conditions: list[Json]) -> Json:
    return {
        "parentRef": parent_reference(reference),
        "controllerName": scope.options.controller_name,
        "conditions": conditions,
    }


def parent_reference(reference: gateway_api.ParentReference) -> Json:
    """The reference as its author wrote it."""
    found: dict[str, object] = {"group": reference.group, "kind": reference.kind, "name": reference.name}
    if reference.namespace:
        found["namespace"] = reference.namespace
    if reference.section_name:
        found["sectionName"] = reference.section_name
    if reference.port is not None:
        found["port"] = reference.port
    return found
