"""The xDS types we serve and the order in which a change may reach Envoy.

Make before break: what is referred to arrives before what refers to it, and leaves after it.
https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

_PREFIX: Final = "type.googleapis.com/"

CLUSTER: Final = _PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINT: Final = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
SECRET: Final = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
EXTENSION: Final = _PREFIX + "envoy.config.core.v3.TypedExtensionConfig"
LISTENER: Final = _PREFIX + "envoy.config.listener.v3.Listener"
ROUTE: Final = _PREFIX + "envoy.config.route.v3.RouteConfiguration"


class Phase(IntEnum):
    """Steps of one change; a step starts when Envoy has acknowledged everything of the steps before it."""

    UPSTREAMS = 1
    LISTENERS = 2
    ROUTES = 3
    REMOVALS = 4


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One row: where its updates and its removals stand in the order, and why."""

    url: str
    updates: Phase
    removals: Phase
    wildcard: bool
    """Envoy asks for all of them (CDS, LDS) rather than by name."""
    reason: str


RESOURCE_TYPES: Final = (
    ResourceType(CLUSTER, Phase.UPSTREAMS, Phase.REMOVALS, True, "routes refer to clusters"),
    ResourceType(ENDPOINT, Phase.UPSTREAMS, Phase.REMOVALS, False, "a cluster warms until its endpoints are there"),
    ResourceType(SECRET, Phase.UPSTREAMS, Phase.REMOVALS, False, "clusters and listeners refer to secrets"),
    ResourceType(EXTENSION, Phase.LISTENERS, Phase.REMOVALS, False, "listeners refer to filters, filters to clusters"),
    # In the same response as the updates: Envoy removes first, and refuses a second listener on one address.
    ResourceType(LISTENER, Phase.LISTENERS, Phase.LISTENERS, True, "a renamed listener keeps its address"),
    ResourceType(ROUTE, Phase.ROUTES, Phase.REMOVALS, False, "routes refer to clusters and to filters of listeners"),
)

TYPES_BY_URL: Final = {row.url: row for row in RESOURCE_TYPES}
