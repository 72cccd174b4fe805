"""Golden files: small inputs by hand, outputs by `pytest --update-golden tests/golden`, the diff read as the review."""

from collections.abc import Callable
from pathlib import Path

import pytest

Golden = Callable[[Path, bytes], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", default=False, help="write the golden files instead of comparing"
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """`golden(path, actual)`: the file must hold exactly these bytes."""
    update = bool(request.config.getoption("--update-golden", default=False))

    def compare(path: Path, actual: bytes) -> None:
        if update:
            if not path.exists() or path.read_bytes() != actual:
                path.write_bytes(actual)
            return
        assert path.exists(), f"{path} is missing: run with --update-golden and read it"
        assert actual.decode("utf-8", "replace") == path.read_bytes().decode("utf-8", "replace")

    return compare
