"""What people are told about their files: `diagnostics/<case>.yaml`, beside it what `headgate check` prints of it."""

from pathlib import Path

import pytest
from golden.conftest import Golden
from headgate.controller.sources.files import load

CASES = {
    "gateway": "listeners, routes, filters",
    "heads": "kinds and versions",
    "nacks": "what Envoy would refuse, and with it everything in the same route configuration, listener or cluster",
    "policies": "a List, fields that are not supported, bounds, rules",
    "route": "types, bounds, rules, unknown fields of an AIGatewayRoute",
    "secrets": "the environment, base64; a value is never repeated",
    "syntax": "YAML that cannot be parsed",
}
FOLDER = Path(__file__).parent / "diagnostics"


@pytest.mark.parametrize("case", CASES)
def test_diagnostics(case: str, golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    loaded = load([Path(f"{case}.yaml")], environment={})
    golden(FOLDER / f"{case}.txt", "".join(f"{each}\n" for each in loaded.diagnostics).encode())


def test_every_case_is_listed() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(CASES)
