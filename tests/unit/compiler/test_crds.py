"""The committed CRDs are what the types say, and the facts beside the types are about something."""

from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, cast

import pytest
from headgate.compiler.resources.crds import FACTS, GROUPS, UNREAD_KINDS, crds, plural_of
from headgate.compiler.resources.kinds import KINDS, NOT_SUPPORTED
from headgate.compiler.resources.metadata import Struct
from msgspec import inspect

MANIFESTS = Path(__file__).parents[3] / "manifests"


def test_the_committed_files_are_what_the_types_say() -> None:
    spec = spec_from_file_location("generate_crds", MANIFESTS / "generate_crds.py")
    assert spec
    assert spec.loader
    generate = module_from_spec(spec)
    spec.loader.exec_module(generate)
    committed = {path.name: path.read_text() for path in (MANIFESTS / "crds").glob("*.yaml")}
    assert committed == generate.files(), "run `make crds` and read the diff"


def test_every_kind_of_ours_has_one() -> None:
    kinds = {kind.name for kind in (*KINDS, *UNREAD_KINDS) if kind.group in GROUPS}
    described = {crd["spec"]["names"]["kind"] for crd in crds()}  # pyright: ignore[reportIndexIssue, reportUnknownVariableType]
    assert described == kinds


def test_kinds_that_are_not_read_say_so() -> None:
    for kind in UNREAD_KINDS:
        assert (kind.group, kind.name) in NOT_SUPPORTED
        assert kind not in KINDS


@pytest.mark.parametrize(
    ("kind", "plural"),
    [("MCPRoute", "mcproutes"), ("QuotaPolicy", "quotapolicies"), ("GatewayConfig", "gatewayconfigs")],
)
def test_plurals(kind: str, plural: str) -> None:
    assert plural_of(kind) == plural


def _structs(type_: inspect.Type) -> Iterator[type[Struct]]:
    match type_:
        case inspect.StructType() if issubclass(type_.cls, Struct):
            yield type_.cls
            unread = FACTS[type_.cls.__name__].unread if type_.cls.__name__ in FACTS else None
            if unread:
                yield from _structs(inspect.type_info(unread))
            for field in type_.fields:
                yield from _structs(field.type)
        case inspect.VarTupleType():
            yield from _structs(type_.item_type)
        case inspect.UnionType():
            for each in type_.types:
                yield from _structs(each)
        case _:
            return


def test_facts_are_about_structs_and_fields_that_there_are() -> None:
    structs: dict[str, type[Struct]] = {}
    for kind in (*KINDS, *UNREAD_KINDS):
        if kind.group in GROUPS:
            for struct in _structs(inspect.type_info(kind.type)):
                known = structs.setdefault(struct.__name__, struct)
                assert known is struct, f"two structs are called {struct.__name__}: their facts would be mixed up"
    assert not FACTS.keys() - structs.keys()
    for name, facts in FACTS.items():
        parts = (structs[name], *([facts.unread] if facts.unread else []))
        fields = {field.encode_name for part in parts for field in _fields(part)}
        for table in (facts.field_rules, facts.keys, facts.formats, facts.defaults, facts.not_in):
            assert not table.keys() - fields, name


def _fields(struct: type[Struct]) -> tuple[inspect.Field, ...]:
    described = inspect.type_info(struct)
    assert isinstance(described, inspect.StructType)
    return described.fields


def _mutations(schema: Any) -> Iterator[Any]:
    """Every schema of a `headerMutation` below a schema."""
    if isinstance(schema, dict):
        below = cast("dict[str, Any]", schema)
        for name, value in below.items():
            if name == "headerMutation":
                yield value["properties"]
            yield from _mutations(value)
    elif isinstance(schema, list):
        for each in cast("list[Any]", schema):
            yield from _mutations(each)


def test_crds_take_every_text_that_a_header_mutation_may_hold() -> None:
    """compat: what Envoy does not take is told in the object's status, and not refused by the API server."""
    found = [each for crd in crds() for each in _mutations(crd)]
    assert found
    for each in found:
        value = each["set"]["items"]["properties"]["value"]
        assert (value["minLength"], value["maxLength"], "pattern" in value) == (1, 4096, False)
        assert each["remove"]["items"].keys() == {"type"}
