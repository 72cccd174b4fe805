"""Which Envoys serve a Gateway, and what they lack: told of the AI routes that need it.

What is deployed counts (`Deployed`, read off Envoy Gateway's workloads); before anything is, what the EnvoyProxies say
that the Gateway (`infrastructure.parametersRef`) or its class (`parametersRef`) names. Of an image without a version in
its tag nothing is said.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeGuard

import yaml
from headgate.compiler.envoy_gateway.routes import Problem
from headgate.compiler.envoy_gateway.rules import Rules
from headgate.compiler.envoy_gateway.sidecar import RUNTIME_GUARD
from headgate.compiler.lanes import needs_processor
from headgate.compiler.resolve.envoy_proxies import at, is_map, proxies_of
from headgate.compiler.resources import envoy_gateway
from headgate.compiler.resources.metadata import Name
from headgate.compiler.world import World

ENVOY_MIN: Final = (1, 40)
"""The oldest Envoy that has the filters and cluster specifiers that AI routes are made of."""
ENVOY_GATEWAY_MIN: Final = (1, 8)
"""compat: the oldest Envoy Gateway that is supported; tested with 1.9."""
GUARD_OFF: Final = (
    "in the EnvoyProxy, spec.bootstrap: {type: Merge, value: '"
    + json.dumps({"layered_runtime": {"layers": [{"name": "headgate", "static_layer": {RUNTIME_GUARD: False}}]}})
    + "'}"
)
_OFF: Final = ("false", "False", "0")
_TAG: Final = re.compile(r":[^/:@]*?v?(\d+)\.(\d+)[^/:@]*(?:@|\Z)")


Version = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Deployed:
    """What runs for a Gateway, as far as images say it."""

    envoy: Version | None = None
    envoy_gateway: Version | None = None
    """Of the container that Envoy Gateway puts beside Envoy, which is its own image."""


NOTHING: Final = Deployed()


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)


def turns_guard_off(proxy: envoy_gateway.EnvoyProxy) -> bool:
    """Whether its bootstrap says so: as a whole, merged, or as a JSON patch."""
    bootstrap = proxy.spec.bootstrap
    value = at(bootstrap, "value")
    if isinstance(value, str):
        try:
            if _says_off(yaml.safe_load(value)):
                return True
        except yaml.YAMLError:  # Envoy Gateway refuses it
            return False
    patches = at(bootstrap, "jsonPatches")
    return _is_list(patches) and any(_patched_off(each) for each in patches)


def _says_off(value: object) -> bool:
    """Whether the guard stands anywhere in it, as one key or as nested ones, with a value that is off."""
    if is_map(value):
        if RUNTIME_GUARD in value:
            return _is_off(value[RUNTIME_GUARD])
        nested = at(value, *RUNTIME_GUARD.split("."))
        return _is_off(nested) or any(map(_says_off, value.values()))
    return _is_list(value) and any(map(_says_off, value))


def _is_off(value: object) -> bool:
    return str(value) in _OFF


def _patched_off(patch: object) -> bool:
    path, value = at(patch, "path"), at(patch, "value")
    return _says_off(value) or (isinstance(path, str) and path.endswith(RUNTIME_GUARD) and _is_off(value))


def image_version(image: object) -> Version | None:
    """Of an image's tag."""
    found = _TAG.search(image) if isinstance(image, str) else None
    return (int(found[1]), int(found[2])) if found is not None else None


def envoy_version(proxy: envoy_gateway.EnvoyProxy) -> Version | None:
    """Of the image that it names."""
    workloads = (at(proxy.spec.provider, "kubernetes", each) for each in ("envoyDeployment", "envoyDaemonSet"))
    return next(filter(None, (image_version(at(each, "container", "image")) for each in workloads)), None)


def _shared_with(world: World, name: Name) -> Name:
    """What stands in `Pod.gateway` for all Gateways of its class, where those share their Envoys."""
    gateway = world.gateways.get(name)
    return Name("", gateway.spec.gateway_class_name if gateway is not None else "")


def envoy_problems(
    world: World, rules: Rules, deployed: Mapping[Name, Deployed] = MappingProxyType({})
) -> Iterator[Problem]:
    """What Gateways' Envoys lack, for each AI route that needs it."""
    for gateway, served in rules.by_gateway.items():
        namespace, _, name = gateway.partition("/")
        own = Name(namespace, name)
        proxies = list(proxies_of(world, own))
        runs = deployed.get(own) or deployed.get(_shared_with(world, own), NOTHING)
        routes = sorted({known.rule.route for known in served.values()})
        yield from (
            problem
            for route in routes
            for problem in _old(route, gateway, runs.envoy or next(filter(None, map(envoy_version, proxies)), None))
        )
        if runs.envoy_gateway is not None and runs.envoy_gateway < ENVOY_GATEWAY_MIN:
            said = f"the Envoy Gateway of {gateway} is {_dotted(runs.envoy_gateway)}, which is not supported"
            remedy = f"Envoy Gateway {_dotted(ENVOY_GATEWAY_MIN)} or newer"
            yield from (Problem(route, said, remedy, served=True) for route in routes)
        if not any(map(turns_guard_off, proxies)):
            said = f"the Envoys of {gateway} may crash when a translated body has to wait: {RUNTIME_GUARD} is on"
            translated = sorted({known.rule.route for known in served.values() if needs_processor(known.rule)})
            yield from (Problem(route, said, GUARD_OFF, served=True) for route in translated)


def _old(route: str, gateway: str, version: Version | None) -> Iterator[Problem]:
    if version is not None and version < ENVOY_MIN:
        said = f"the Envoys of {gateway} are {_dotted(version)}; AI routes need {_dotted(ENVOY_MIN)} or newer"
        yield Problem(route, said, f"an image of Envoy {_dotted(ENVOY_MIN)} in the EnvoyProxy")


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
