from pathlib import Path

import pytest
from headgate.cli.plan import make_plan
from headgate.cli.run_options import RunOptions
from headgate.cli.state_directory import StateDirectory


@pytest.mark.parametrize(("observe", "told"), [(False, True), (True, False)])
def test_prices_that_nobody_reads_are_told(short_path: Path, *, observe: bool, told: bool) -> None:
    options = RunOptions(paths=(short_path,), prices=short_path / "prices.yaml", observe=observe)
    state = StateDirectory(short_path / "state")
    try:
        plan = make_plan(options, state, {})
    finally:
        state.close()
    assert any("--prices" in note for note in plan.told) is told
