"""Garbage is looked for later where somebody waits."""

import gc

import pytest
from headgate.runtime.garbage import collect_later


def test_cycles_are_looked_for_again_afterwards() -> None:
    with collect_later():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_also_after_a_failure() -> None:
    with pytest.raises(ValueError, match="broken"), collect_later():
        raise ValueError("broken")
    assert gc.isenabled()


def test_where_nobody_looks_for_them_nobody_does_afterwards() -> None:
    gc.disable()
    try:
        with collect_later():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
