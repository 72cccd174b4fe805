"""The reference is what the types say, says something of every field, and promises nothing that nobody keeps."""

import ast
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from headgate.compiler.resources.kinds import KINDS, Kind
from headgate.compiler.resources.metadata import OWN_FIELDS, Struct
from msgspec import inspect

REPOSITORY = Path(__file__).parents[3]
COMPILER = REPOSITORY / "controller" / "headgate" / "compiler"

CHECKED_WHEN_READ = frozenset(
    {
        ("ListenerTls", "mode"),
        ("LabelSelectorRequirement", "operator"),
        ("BackendTls", "well_known_ca_certificates"),
        ("BackendTls", "auto_sni_from_endpoint_hostname"),
        ("BackendTLSPolicyValidation", "well_known_ca_certificates"),
        ("LimitPolicySpec", "pooled_rule"),
        ("PolicySpec", "target_ref"),
        ("ClientIPDetection", "direct_source_ip"),
        ("GatewayConfigSpec", "ext_proc"),
        ("GatewayConfigExtProc", "kubernetes"),
        ("Secret", "string_data"),
    }
)
"""Fields whose only meaning is looked at by the types themselves: what else they could say is refused."""


def _generate() -> ModuleType:
    spec = spec_from_file_location("generate", REPOSITORY / "docs" / "generate.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATE = _generate()


def _structs(type_: inspect.Type) -> Iterator[inspect.StructType]:
    match type_:
        case inspect.StructType():
            yield type_
            for field in type_.fields:
                yield from _structs(field.type)
        case inspect.VarTupleType():
            yield from _structs(type_.item_type)
        case inspect.UnionType():
            for each in type_.types:
                yield from _structs(each)
        case _:
            return


def _specs(kind: Kind) -> Iterator[tuple[type[Struct], str]]:
    """Every (struct, field) of a kind, without the head that all kinds share."""
    for struct in _structs(inspect.type_info(kind.type)):
        cls: type[object] = struct.cls
        assert issubclass(cls, Struct)
        if cls.__name__ != "ObjectMeta":
            yield from ((cls, field.name) for field in struct.fields)


def _read_by_the_compiler() -> frozenset[str]:
    """Every attribute and text in the compiler's code outside of the types."""
    found: set[str] = set()
    for path in COMPILER.rglob("*.py"):
        if "resources" not in path.parts:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute):
                    found.add(node.attr)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
    return frozenset(found)


READ = _read_by_the_compiler()


def test_the_committed_page_is_current() -> None:
    expected: str = GENERATE.reference()
    assert (REPOSITORY / "docs" / "reference.md").read_text() == expected, "run `make reference`"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_field_says_what_it_means(kind: Kind) -> None:
    described = inspect.type_info(kind.type)
    assert [row.path for row in GENERATE.rows(described) if not row.meaning] == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_field_is_read_and_then_ignored_in_silence(kind: Kind) -> None:
    """A field that leads to nothing belongs into its struct's `unsupported` or `refused`."""
    silent: list[str] = []
    for cls, field in _specs(kind):
        meaning: str = GENERATE.field_docs(cls).get(field, "")
        checked = any((base.__name__, field) in CHECKED_WHEN_READ for base in cls.__mro__)
        head = field in ("api_version", "kind", "metadata", "status", *OWN_FIELDS)
        if not (field in READ or checked or head or meaning.startswith(("Not used", "For people"))):
            silent.append(f"{cls.__name__}.{field}")
    assert silent == []
