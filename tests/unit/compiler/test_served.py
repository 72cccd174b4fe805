"""What is found once for a kind of rules is what each of them would find for itself."""

from pathlib import Path

import pytest
from headgate.compiler.compile import compile_world
from headgate.compiler.lower.served import each_class, served_classes
from headgate.compiler.options import Options
from headgate.controller.sources.files import load

CASES = Path(__file__).parents[2] / "golden" / "compile"
OPTIONS = [
    Options(extproc_sockets=("/x.sock",), lua_directory="/lua"),
    Options(extproc_sockets=("/x.sock",), lua_directory="/lua", access_log="/dev/stdout", path_root="/ai"),
    Options(lua_directory="/lua"),
]


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_rules_of_a_kind_are_served_as_each_would_be(case: str) -> None:
    world = load((CASES / case / "in.yaml",), environment={}).world
    for options in OPTIONS:
        for port in compile_world(world, options).program.ports:
            rules = {rule for listener in port.listeners for host in listener.hosts for rule in host.rules if rule.ai}
            for rule in rules:
                alone, by_kind = tuple(each_class(rule, options)), served_classes(rule, options)
                assert by_kind == alone, rule.name
                assert [each.path_class for each in by_kind] == [each.path_class for each in alone]
