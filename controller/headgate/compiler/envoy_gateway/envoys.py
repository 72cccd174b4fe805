"""Which Envoys serve a Gateway, by its EnvoyProxies, and what they lack: told of the AI routes that need it.

An EnvoyProxy is named by the Gateway (`infrastructure.parametersRef`) or by its class (`parametersRef`): what either
says counts. Of an image without a version in its tag nothing is said.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final, TypeGuard

import yaml
from headgate.compiler.envoy_gateway.routes import Problem
from headgate.compiler.envoy_gateway.rules import Rules
from headgate.compiler.envoy_gateway.sidecar import RUNTIME_GUARD
from headgate.compiler.lanes import needs_processor
from headgate.compiler.resources import envoy_gateway
from headgate.compiler.resources.metadata import Name
from headgate.compiler.world import World

ENVOY_MIN: Final = (1, 40)
"""The oldest Envoy that has the filters and cluster specifiers that AI routes are made of."""
GUARD_OFF: Final = (
    "in the EnvoyProxy, spec.bootstrap: {type: Merge, value: '"
    + json.dumps({"layered_runtime": {"layers": [{"name": "headgate", "static_layer": {RUNTIME_GUARD: False}}]}})
    + "'}"
)
_OFF: Final = ("false", "False", "0")
_TAG: Final = re.compile(r":[^/:@]*?v?(\d+)\.(\d+)[^/:@]*(?:@|\Z)")


def _is_map(value: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(value, Mapping)


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)


def _at(value: object, *path: str) -> object:
    for name in path:
        value = value.get(name) if _is_map(value) else None
    return value


def proxies_of(world: World, name: Name) -> Iterator[envoy_gateway.EnvoyProxy]:
    """The EnvoyProxies of a Gateway, its own first."""
    gateway = world.gateways.get(name)
    if gateway is None:
        return
    own = _at(gateway.spec.infrastructure, "parametersRef", "name")
    if isinstance(own, str) and (found := world.envoy_proxies.get(Name(name.namespace, own))) is not None:
        yield found
    for each in world.gateway_classes.values():
        if each.metadata.name == gateway.spec.gateway_class_name:
            where = (_at(each.spec.parameters_ref, part) for part in ("namespace", "name"))
            namespace, shared = (part if isinstance(part, str) else "" for part in where)
            if (found := world.envoy_proxies.get(Name(namespace, shared))) is not None:
                yield found


def turns_guard_off(proxy: envoy_gateway.EnvoyProxy) -> bool:
    """Whether its bootstrap says so: as a whole, merged, or as a JSON patch."""
    bootstrap = proxy.spec.bootstrap
    value = _at(bootstrap, "value")
    if isinstance(value, str):
        try:
            if _says_off(yaml.safe_load(value)):
                return True
        except yaml.YAMLError:  # Envoy Gateway refuses it
            return False
    patches = _at(bootstrap, "jsonPatches")
    return _is_list(patches) and any(_patched_off(each) for each in patches)


def _says_off(value: object) -> bool:
    """Whether the guard stands anywhere in it, as one key or as nested ones, with a value that is off."""
    if _is_map(value):
        if RUNTIME_GUARD in value:
            return _is_off(value[RUNTIME_GUARD])
        nested = _at(value, *RUNTIME_GUARD.split("."))
        return _is_off(nested) or any(map(_says_off, value.values()))
    return _is_list(value) and any(map(_says_off, value))


def _is_off(value: object) -> bool:
    return str(value) in _OFF


def _patched_off(patch: object) -> bool:
    path, value = _at(patch, "path"), _at(patch, "value")
    return _says_off(value) or (isinstance(path, str) and path.endswith(RUNTIME_GUARD) and _is_off(value))


def envoy_version(proxy: envoy_gateway.EnvoyProxy) -> tuple[int, int] | None:
    """Of its image's tag."""
    for workload in ("envoyDeployment", "envoyDaemonSet"):
        image = _at(proxy.spec.provider, "kubernetes", workload, "container", "image")
        if isinstance(image, str) and (found := _TAG.search(image)) is not None:
            return int(found[1]), int(found[2])
    return None


def envoy_problems(world: World, rules: Rules) -> Iterator[Problem]:
    """What Gateways' Envoys lack, for each AI route that needs it."""
    for gateway, served in rules.by_gateway.items():
        namespace, _, name = gateway.partition("/")
        proxies = list(proxies_of(world, Name(namespace, name)))
        version = next(filter(None, map(envoy_version, proxies)), None)
        routes = sorted({known.rule.route for known in served.values()})
        if version is not None and version < ENVOY_MIN:
            said = f"the Envoys of {gateway} are {_dotted(version)}; AI routes need {_dotted(ENVOY_MIN)} or newer"
            remedy = f"an image of Envoy {_dotted(ENVOY_MIN)} in the EnvoyProxy"
            yield from (Problem(route, said, remedy) for route in routes)
        if not any(map(turns_guard_off, proxies)):
            said = f"the Envoys of {gateway} may crash when a translated body has to wait: {RUNTIME_GUARD} is on"
            translated = sorted({known.rule.route for known in served.values() if needs_processor(known.rule)})
            yield from (Problem(route, said, GUARD_OFF, served=True) for route in translated)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
