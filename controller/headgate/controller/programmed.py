"""What Envoy said about a configuration, as what it means for the objects it came from. Pure."""

from collections.abc import Iterable, Iterator, Sequence

from headgate.compiler.conditions import ObjectStatus
from headgate.compiler.resources.metadata import Key
from headgate.controller.status import Refused
from headgate.controller.store import Refusal

_AI = "aigateway.envoyproxy.io"
_GATEWAY = "gateway.networking.k8s.io"


def refused_objects(refusals: Iterable[Refusal], statuses: Sequence[ObjectStatus]) -> tuple[Refused, ...]:
    """The objects whose configuration Envoy refused a part of.

    Names of resources tell whose they are: clusters are named after the rule of a route, routes and listeners after the
    Gateway. A part that is shared by several Gateways (a port, a secret) counts against all of them.
    """
    keys = [each.key for each in statuses]
    found: dict[Refused, None] = {}
    for refusal in refusals:
        for key in _owners(refusal.reference.name, keys):
            found[Refused(key, refusal.message)] = None
    return tuple(found)


def _owners(name: str, keys: Sequence[Key]) -> Iterator[Key]:
    parts = name.split("/")
    match parts:
        case [namespace, _, "route", route, "rule", _, "ref", *_]:
            wanted = (_AI, "AIGatewayRoute", namespace, route)
        case ["httproute", namespace, route, "rule", *_]:
            wanted = (_GATEWAY, "HTTPRoute", namespace, route)
        case ["backend-security-policy", namespace, policy, *_]:
            wanted = (_AI, "BackendSecurityPolicy", namespace, policy)
        case [namespace, gateway, _]:
            wanted = (_GATEWAY, "Gateway", namespace, gateway)
        case _:
            wanted = None
    owners = [key for key in keys if key == wanted]
    yield from owners or (key for key in keys if (key.group, key.kind) == (_GATEWAY, "Gateway"))
