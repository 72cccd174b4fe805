"""That the tests of `make compiled-test` run on compiled modules; elsewhere they are skipped."""

import os
from importlib import import_module
from pathlib import Path

import pytest
from support.compiled import compiled_modules

from compiled.__main__ import COMPILED_VARIABLE


@pytest.mark.parametrize("name", compiled_modules())
def test_every_module_that_is_compiled_is_loaded_as_such(name: str) -> None:
    if COMPILED_VARIABLE not in os.environ:
        pytest.skip("needs the wheel that `make compiled-test` builds")
    path = import_module(name).__file__
    assert path is not None
    assert Path(path).suffix == ".so", path
