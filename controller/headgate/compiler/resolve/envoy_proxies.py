"""Which EnvoyProxies are about a Gateway."""

from collections.abc import Iterator, Mapping
from typing import TypeGuard

from headgate.compiler.resources import envoy_gateway
from headgate.compiler.resources.metadata import Name
from headgate.compiler.world import World


def is_map(value: object) -> TypeGuard[Mapping[str, object]]:
    """Whether a plain value is an object."""
    return isinstance(value, Mapping)


def at(value: object, *path: str) -> object:
    """What stands there, or None."""
    for name in path:
        value = value.get(name) if is_map(value) else None
    return value


def proxies_of(world: World, name: Name) -> Iterator[envoy_gateway.EnvoyProxy]:
    """The EnvoyProxies of a Gateway, its own first."""
    gateway = world.gateways.get(name)
    if gateway is None:
        return
    own = at(gateway.spec.infrastructure, "parametersRef", "name")
    if isinstance(own, str) and (found := world.envoy_proxies.get(Name(name.namespace, own))) is not None:
        yield found
    for each in world.gateway_classes.values():
        if each.metadata.name == gateway.spec.gateway_class_name:
            where = (at(each.spec.parameters_ref, part) for part in ("namespace", "name"))
            namespace, shared = (part if isinstance(part, str) else "" for part in where)
            if (found := world.envoy_proxies.get(Name(namespace, shared))) is not None:
                yield found
