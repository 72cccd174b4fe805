"""What became of a route's parentRefs, as values: `attachment` decides, `memory` remembers, statuses tell."""

from dataclasses import dataclass

from headgate.compiler.resources import gateway_api
from headgate.compiler.resources.metadata import Name


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """What became of one parentRef of a route."""

    index: int
    reference: gateway_api.ParentReference
    gateway: Name
    """The Gateway that it names, whether or not there is one."""
    foreign: bool = False
    """Another controller's: nothing is said of it."""
    listeners: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Listeners that take the route, each with the hostnames that both have; empty where `reason` says why not."""
    reason: str = ""
    message: str = ""
    remedy: str = ""
