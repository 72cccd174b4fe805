"""What mypyc would compile into something else, and say nothing."""

from importlib import import_module
from inspect import getmembers, isclass

import msgspec
import pytest
from support.compiled import compiled_modules


@pytest.mark.parametrize("name", compiled_modules())
def test_a_compiled_module_declares_no_struct(name: str) -> None:
    """Its keywords (`frozen`, `gc`, `tag`) would be gone, and the types of its members be what is outermost of them."""
    declared = [each for _, each in getmembers(import_module(name), isclass) if each.__module__ == name]
    assert not [each for each in declared if issubclass(each, msgspec.Struct)]
