"""The table of metrics is what the processes declare."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = spec_from_file_location("generate_metrics", DOCS / "generate_metrics.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_what_is_declared(generate: ModuleType) -> None:
    text = (DOCS / "metrics.md").read_text()
    assert generate.document(text) == text, "run `make reference`"


def test_no_two_metrics_share_a_name(generate: ModuleType) -> None:
    names = [each.prometheus_name for _, each in generate.descriptions()]
    assert len(names) == len(set(names))


def test_every_metric_says_what_it_is(generate: ModuleType) -> None:
    for _, each in generate.descriptions():
        assert each.help.endswith("."), each.name
        assert "|" not in each.help, each.name
