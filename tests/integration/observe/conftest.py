"""A browser for the tests of the page, and where their screenshots go."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.chromium import Chromium, ChromiumMissingError, Page

ARTIFACTS = Path(__file__).parents[3] / "artifacts" / "observe"


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    """Debian's chromium. Where there is none its tests are skipped and say how to get it."""
    with tempfile.TemporaryDirectory(prefix="hg-", ignore_cleanup_errors=True) as directory:
        try:
            started = Chromium(Path(directory))
        except ChromiumMissingError as error:
            pytest.skip(str(error))
        with started:
            yield started


@pytest.fixture
def shoot() -> Callable[[Page, str], None]:
    """Keeps what a page looks like: on a desk and on a phone, light and dark."""

    def shoot(page: Page, name: str) -> None:
        for width, height, phone in ((1280, 900, False), (390, 844, True)):
            for scheme in ("light", "dark"):
                page.view(width, height, scheme=scheme, phone=phone)
                page.screenshot(ARTIFACTS / f"{name}-{width}-{scheme}.png")
        page.view()

    return shoot
