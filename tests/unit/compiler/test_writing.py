"""What is written of an object is read as that object: every kind that the examples and golden cases have."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from headgate.compiler.reading import read_object
from headgate.compiler.resources.metadata import NOWHERE, Resource
from headgate.compiler.resources.writing import write_object
from headgate.compiler.world import World
from headgate.controller.sources.files import load

REPOSITORY = Path(__file__).parents[3]
FILES = (*REPOSITORY.glob("manifests/examples/*.yaml"), *REPOSITORY.glob("tests/golden/compile/*/in.yaml"))


def _objects(world: World) -> Iterator[Resource]:
    for name in (field.name for field in fields(world) if field.name.startswith(("ai_", "backend_security"))):
        yield from getattr(world, name).values()


@pytest.mark.parametrize("path", sorted(FILES), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_is_written_is_read_again(path: Path) -> None:
    for resource in _objects(load((path,), environment={}).world):
        read = read_object(write_object(resource), NOWHERE).resource
        assert read == resource
