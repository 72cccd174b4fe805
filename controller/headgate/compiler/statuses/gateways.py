"""GatewayClasses, Gateways and their listeners, by Gateway API's words.

https://gateway-api.sigs.k8s.io/reference/spec/#gatewaystatus, #listenerstatus
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from headgate.compiler import ir
from headgate.compiler.conditions import ObjectStatus
from headgate.compiler.options import Mode
from headgate.compiler.resolve.attachment import supported_kinds
from headgate.compiler.resolve.report import Found
from headgate.compiler.resolve.scope import Scope
from headgate.compiler.resources import gateway_api
from headgate.compiler.statuses.form import Json, condition, text, with_warnings
from headgate.compiler.statuses.subject import Subject, rejected_subjects, subject

CONFLICTS: Final = frozenset({"ProtocolConflict", "HostnameConflict"})
GATEWAY_API_MINOR_MIN: Final = 2
_VERSION: Final = re.compile(r"v?(\d+)\.(\d+)")
UNACCEPTED: Final = frozenset({"UnsupportedProtocol", "PortUnavailable"})


def class_statuses(scope: Scope) -> Iterator[ObjectStatus]:
    """Classes that name our controller; in files, all."""
    for found in scope.world.gateway_classes.values():
        if scope.options.mode is Mode.FILES or found.spec.controller_name == scope.options.controller_name:
            about = subject(scope, found)
            reason = "InvalidParameters" if about.errors else "Accepted"
            message = text(about.errors) or with_warnings("", about.warnings)
            accepted = about.condition("Accepted", reason, message=message)
            yield about.status({"conditions": [accepted, *_supported_version(scope, about)]})
    for about, rejected in rejected_subjects(scope, "GatewayClass"):
        if rejected.controller_name == scope.options.controller_name:
            yield about.status({"conditions": [about.condition("Accepted", "InvalidParameters")]})


def _supported_version(scope: Scope, about: Subject) -> Iterator[Json]:
    """Whether the definitions are of a version that we know; what is of another one is served as far as it is read."""
    version = scope.options.gateway_api
    if not version:
        return
    found = _VERSION.match(version)
    known = found is not None and found[1] == "1" and int(found[2]) >= GATEWAY_API_MINOR_MIN
    said = f"Gateway API {version}" + (
        "" if known else f"; 1.{GATEWAY_API_MINOR_MIN} and newer ones of 1 are supported"
    )
    yield about.condition("SupportedVersion", "SupportedVersion" if known else "UnsupportedVersion", message=said)


def gateway_statuses(scope: Scope, program: ir.Program) -> Iterator[ObjectStatus]:
    """The Gateways that are ours."""
    served = frozenset(program.listeners)
    for gateway in scope.gateways.values():
        yield _gateway(scope, gateway, served)
    for about, rejected in rejected_subjects(scope, "Gateway"):
        if scope.serves_class(rejected.gateway_class):
            message = text(about.errors)
            kinds = ("Accepted", "Programmed")
            yield about.status({"conditions": [about.condition(kind, "Invalid", message=message) for kind in kinds]})


def _gateway(scope: Scope, gateway: gateway_api.Gateway, served: frozenset[str]) -> ObjectStatus:
    about = subject(scope, gateway)
    listeners = [
        _listener(scope, about, (index, listener), served=f"{gateway.name}/{listener.name}" in served)
        for index, listener in enumerate(gateway.spec.listeners)
    ]
    addresses = _addresses(scope)
    own = [found for found in about.errors if not found.diagnostic.field.startswith("spec.listeners[")]
    of_listeners = [found for found in about.errors if found not in own]
    in_force = sum(f"{gateway.name}/{listener.name}" in served for listener in gateway.spec.listeners)
    if own:
        accepted = about.condition("Accepted", "Invalid", message=text(own))
    elif of_listeners:
        accepted = condition(
            "Accepted",
            "ListenersNotValid",
            status=in_force > 0,
            message=text(of_listeners),
            generation=about.generation,
        )
    else:
        accepted = about.condition("Accepted", "Accepted", message=with_warnings("", about.warnings))
    if not in_force:
        programmed = about.condition("Programmed", "Invalid", message="no listener is valid")
    elif not addresses:
        message = "the gateway does not know under which address its clients reach it"
        programmed = about.condition("Programmed", "AddressNotAssigned", message=message)
    else:
        programmed = about.condition("Programmed", "Programmed")
    status: dict[str, object] = {"addresses": addresses} if addresses else {}
    return about.status({**status, "conditions": [accepted, programmed], "listeners": listeners})


def _addresses(scope: Scope) -> list[Json]:
    given = scope.options.gateway_addresses
    if scope.options.mode is Mode.FILES:
        given = given or (scope.options.listen_address,)
    return [{"type": _address_type(address), "value": address} for address in given]


def _address_type(address: str) -> str:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return "Hostname"
    return "IPAddress"


def _listener(scope: Scope, about: Subject, numbered: tuple[int, gateway_api.Listener], *, served: bool) -> Json:
    index, listener = numbered
    prefix = f"spec.listeners[{index}]"
    found = [each for each in about.errors if _below(each.diagnostic.field, prefix)]
    conflicts = [each for each in found if each.reason in CONFLICTS]
    unaccepted = [each for each in found if each.reason in UNACCEPTED]
    references = [each for each in found if each not in conflicts and each not in unaccepted]
    routes = scope.attachments.by_listener.get((about.name, listener.name), ())
    return {
        "name": listener.name,
        "supportedKinds": [{"group": group, "kind": kind} for group, kind in supported_kinds(listener)],
        "attachedRoutes": len(routes),
        "conditions": [
            _of_listener(about, "Accepted", unaccepted or conflicts),
            _of_listener(about, "ResolvedRefs", references),
            about.condition("Programmed", "Programmed" if served else "Invalid", message="" if served else text(found)),
            _conflicted(about, conflicts),
        ],
    }


def _below(field: str, prefix: str) -> bool:
    return field == prefix or field.startswith(f"{prefix}.")


def _of_listener(about: Subject, type_: str, found: Sequence[Found]) -> Json:
    return about.condition(type_, found[0].reason if found else type_, message=text(found))


def _conflicted(about: Subject, found: Sequence[Found]) -> Mapping[str, object]:
    reason = found[0].reason if found else "NoConflicts"
    return condition("Conflicted", reason, status=bool(found), message=text(found), generation=about.generation)
