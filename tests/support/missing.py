"""Programs that only a distribution's packages bring: who lacks one is told how to get it, and CI must have it."""

import os
from typing import NoReturn

import pytest


def missing(text: str) -> NoReturn:
    """Skips the test, saying why; in CI (`CI` in the environment) fails it."""
    if os.environ.get("CI"):
        pytest.fail(text, pytrace=False)
    pytest.skip(text)
