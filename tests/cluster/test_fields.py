"""What Gateway API and Envoy Gateway have in the kinds that we read is known to us, under its name."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from headgate.compiler.resources import envoy_gateway, gateway_api
from headgate.compiler.resources.kinds import KINDS, Kind
from headgate.compiler.resources.metadata import Struct
from headgate.controller.rbac import plural
from msgspec import inspect
from support.kube import Kube

THEIRS = [kind for kind in KINDS if kind.group in (gateway_api.GROUP, envoy_gateway.GROUP)]
OTHER_CHANNELS = {
    "Gateway.spec.defaultScope",
    "HTTPRoute.spec.useDefaultGateways",
    "HTTPRoute.spec.rules[].sessionPersistence",
    "HTTPRoute.spec.rules[].retry",
    "HTTPRoute.spec.rules[].filters[].externalAuth",
    "EnvoyProxy.spec.lua",
    "ClientTrafficPolicy.spec.headers.maxRequestHeaderLimit",
}
"""Fields of Gateway API's experimental channel and of other versions of Envoy Gateway, which these CRDs may lack."""

Schema = Mapping[str, Any]


def differences(schema: Schema, type_: inspect.Type, path: str) -> Iterator[str]:
    """Fields that one of them has and the other does not, below a field of both."""
    match type_:
        case inspect.UnionType():
            for each in type_.types:
                yield from differences(schema, each, path)
        case inspect.VarTupleType():
            yield from differences(schema.get("items", {}), type_.item_type, f"{path}[]")
        case inspect.DictType():
            yield from differences(_values(schema), type_.value_type, f"{path}{{}}")
        case inspect.StructType() if issubclass(type_.cls, Struct):
            yield from _of_struct(schema, type_, type_.cls, path)
        case _:
            return


def _values(schema: Schema) -> Schema:
    """What a map holds; nothing where anything may be in it."""
    values: Schema | bool = schema.get("additionalProperties", False)
    return values if not isinstance(values, bool) else {}


def _of_struct(schema: Schema, type_: inspect.StructType, cls: type[Struct], path: str) -> Iterator[str]:
    theirs: Schema = schema.get("properties", {})
    ours = {each.encode_name: each.type for each in type_.fields}
    known = ours.keys() | cls.unsupported.keys() | cls.refused.keys()
    yield from (f"{path}.{name} is not known" for name in theirs.keys() - known)
    yield from (
        f"{path}.{name} is not theirs" for name in known - theirs.keys() if f"{path}.{name}" not in OTHER_CHANNELS
    )
    for name in ours.keys() & theirs.keys():
        yield from differences(theirs[name], ours[name], f"{path}.{name}")


@pytest.mark.parametrize("kind", THEIRS, ids=lambda kind: kind.name)
async def test_every_field_is_read_or_named(kube: Kube, gateway_crds: None, kind: Kind) -> None:
    crd = await kube.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", f"{plural(kind)}.{kind.group}")
    found = {each["name"]: each["schema"]["openAPIV3Schema"] for each in crd["spec"]["versions"] if each["served"]}
    described = inspect.type_info(kind.type)
    assert isinstance(described, inspect.StructType)
    (spec,) = [each.type for each in described.fields if each.name == "spec"]
    served = [version for version in kind.served if version in found]
    assert served
    for version in served:
        schema = found[version]["properties"]["spec"]
        assert sorted(differences(schema, spec, f"{kind.name}.spec")) == []
