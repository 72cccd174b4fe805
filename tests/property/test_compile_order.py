"""The compiler's output does not depend on the order in which objects came."""

from pathlib import Path

import pytest
from headgate.compiler.compile import Compiled, compile_world
from headgate.compiler.options import Options
from headgate.compiler.resources.kinds import KINDS
from headgate.compiler.resources.metadata import Resource
from headgate.compiler.world import World, make_world
from headgate.controller.sources.files import load
from hypothesis import given, settings
from hypothesis import strategies as st

CASES = Path(__file__).parent.parent / "golden" / "compile"
OPTIONS = Options(
    extproc_sockets=("/x.sock",), ratelimit_socket="/r.sock", lua_directory="/lua", secrets_directory="/f"
)


def objects(world: World) -> list[Resource]:
    return [resource for kind in KINDS for resource in getattr(world, kind.world).values()]


def serialized(compiled: Compiled) -> list[tuple[str, str, bytes]]:
    return [
        (url, name, message.SerializeToString(deterministic=True))
        for url, named in compiled.resources.items()
        for name, message in named.items()
    ]


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_order_of_objects_changes_nothing(case: str, data: st.DataObject) -> None:
    world = load((CASES / case / "in.yaml",), environment={}).world
    expected = compile_world(world, OPTIONS)
    shuffled = data.draw(st.permutations(objects(world)))
    said = data.draw(st.permutations([each for found in world.diagnostics.values() for each in found]))
    found = compile_world(make_world(shuffled, world.rejected.values(), diagnostics=said), OPTIONS)
    assert serialized(found) == serialized(expected)
    assert found.limits == expected.limits
    assert found.diagnostics == expected.diagnostics
    assert found.statuses == expected.statuses
