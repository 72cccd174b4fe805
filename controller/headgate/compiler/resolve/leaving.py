"""Objects that are being deleted, and cannot go."""

import json
from typing import Final

from headgate.compiler.resolve.scope import Scope

UPSTREAMS: Final = "aigateway.envoyproxy.io/finalizer"
"""compat: Envoy AI Gateway's, on its kinds. We need none: what is ours the API server collects."""


def check_leaving(scope: Scope) -> None:
    """Tells of a finalizer that nobody takes away where Envoy AI Gateway's controller does not run any more."""
    world = scope.world
    for kind in (
        world.ai_gateway_routes,
        world.ai_service_backends,
        world.backend_security_policies,
        world.quota_policies,
    ):
        for each in kind.values():
            metadata = each.metadata
            if metadata.deletion_timestamp and UPSTREAMS in metadata.finalizers:
                others = [name for name in metadata.finalizers if name != UPSTREAMS]
                patch = json.dumps({"metadata": {"finalizers": others or None}})
                message = "is to be deleted, and stays until Envoy AI Gateway's controller takes its finalizer away"
                what = f"{each.kind.lower()} {metadata.name}"
                remedy = f"without it: kubectl -n {metadata.namespace} patch {what} --type=merge -p '{patch}'"
                scope.report.warning(each, "metadata.finalizers", message, remedy=remedy)
