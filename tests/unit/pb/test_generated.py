"""What `make protos` writes is committed, current, and covers every protobuf module that we import."""

import ast
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).parents[3]
PROTOS = REPOSITORY / "protos"
SOURCES = ("controller", "envoy", "extproc", "protos/headgate", "ratelimit", "tests")
STUBBED_ELSEWHERE = ("google.protobuf", "headgate.pb")


def _generate() -> ModuleType:
    spec = spec_from_file_location("generate", PROTOS / "generate.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _contents(folder: Path, *patterns: str) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for each in patterns for path in sorted(folder.rglob(each))}


def test_generated_code_is_current(tmp_path: Path) -> None:
    _generate().generate_code(tmp_path)
    expected = _contents(tmp_path, "*_pb2.py", "*_pb2.pyi")
    assert _contents(PROTOS, "headgate/pb/*_pb2.py", "headgate/pb/*_pb2.pyi") == expected, "run `make protos`"


def test_generated_typings_are_current(tmp_path: Path) -> None:
    _generate().generate_typings(tmp_path)
    assert _contents(PROTOS / "typings", "*.pyi") == _contents(tmp_path, "*.pyi"), "run `make protos`"


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names if name.name.endswith("_pb2"))
            case ast.ImportFrom(module=str(module), names=names):
                if module.endswith("_pb2"):
                    yield module
                yield from (f"{module}.{name.name}" for name in names if name.name.endswith("_pb2"))
            case _:
                pass


def test_every_imported_protobuf_module_has_a_stub() -> None:
    imported = {
        name
        for source in SOURCES
        for path in (REPOSITORY / source).rglob("*.py")
        if not path.name.endswith("_pb2.py")
        for name in _imported(path)
        if not name.startswith(STUBBED_ELSEWHERE)
    }
    stubless = sorted(name for name in imported if not (PROTOS / "typings" / f"{name.replace('.', '/')}.pyi").exists())
    assert not stubless, "add these to TYPED_MODULES in protos/generate.py and run `make protos`"


@pytest.mark.parametrize("module", _generate().TYPED_MODULES)
def test_every_stub_is_of_a_module_that_exists(module: str) -> None:
    __import__(module)
    assert module in sys.modules
