"""All statuses of a world."""

from collections.abc import Iterator

from headgate.compiler import ir
from headgate.compiler.conditions import ObjectStatus
from headgate.compiler.options import Mode
from headgate.compiler.resolve.scope import Scope
from headgate.compiler.statuses.ai import ai_statuses
from headgate.compiler.statuses.gateways import class_statuses, gateway_statuses
from headgate.compiler.statuses.policies import backend_statuses, policy_statuses, tls_statuses
from headgate.compiler.statuses.routes import route_statuses


def object_statuses(scope: Scope, program: ir.Program) -> tuple[ObjectStatus, ...]:
    """The status of every object that is ours, by key; Envoy Gateway reports on all but AI kinds where it runs."""
    return tuple(sorted(_statuses(scope, program), key=lambda status: status.key))


def _statuses(scope: Scope, program: ir.Program) -> Iterator[ObjectStatus]:
    yield from ai_statuses(scope, program)
    if scope.options.mode is Mode.ENVOY_GATEWAY:
        return
    yield from class_statuses(scope)
    yield from gateway_statuses(scope, program)
    yield from route_statuses(scope)
    yield from policy_statuses(scope)
    yield from tls_statuses(scope)
    yield from backend_statuses(scope)
